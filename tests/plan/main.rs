//! Directories of payloads, plans, and hosts that are brought to a level, on the simulated Xen.
#![cfg(test)]
#![allow(unreachable_pub, reason = "the modules of one test")]

/// Hosts that become what is wanted, whatever they were, and whatever goes wrong meanwhile.
mod ensure {
    mod directory;
    mod host;
    mod observed;
    mod properties;
    mod transaction;
}

/// Directories of payloads: the files for a Xen, the problems, and the payloads to have applied.
mod store {
    mod choice;
    mod damage;
    pub mod directory;
    mod membership;
    mod reading;
    mod story;
}

#[path = "../common/story/mod.rs"]
mod story;

/// The names that most of these modules use.
mod prelude {
    pub use std::time::Duration;

    pub use proptest::collection::vec;
    pub use proptest::prelude::*;
    pub use proptest::sample::select;
    pub use xen_livepatch::payload::*;
    pub use xen_livepatch::plan::*;
    pub use xen_livepatch::sim::*;
    pub use xen_livepatch::*;
}
