//! Tests on a real Xen. `cargo real-xen` boots one and runs them in its dom0; elsewhere they are ignored.
#![cfg(test)]
#![allow(clippy::as_conversions, unreachable_pub, reason = "the modules of one test")]

mod checked;
mod costs;
#[path = "../common/host.rs"]
mod host;
mod inventory;
mod listing;
mod opening;
mod outcomes;
#[path = "../common/system_calls.rs"]
mod system_calls;

/// The names that most of these modules use.
mod prelude {
    pub use std::time::Duration;

    pub use xen_livepatch::payload::*;
    pub use xen_livepatch::sim::*;
    pub use xen_livepatch::*;

    pub use crate::host::*;
}
