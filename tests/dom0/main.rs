//! Tests on a real Xen. `cargo real-xen` boots one and runs them in its dom0; elsewhere they are ignored.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::print_stdout,
    reason = "a test stops at the first surprise, and prints for the process that started it"
)]
#![allow(unreachable_pub, reason = "the modules of one test")]

mod checked;
mod costs;
mod ensure;
#[path = "../common/host.rs"]
mod host;
mod inventory;
mod level;
mod listing;
mod opening;
mod outcomes;
mod refusals;
mod story;
#[path = "../common/system_calls.rs"]
mod system_calls;
