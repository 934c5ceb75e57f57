//! The client against a simulated Xen of each release: what it does is compared with what Xen then has.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise"
)]
#![allow(unreachable_pub, reason = "the modules of one test")]

#[path = "common/told.rs"]
mod told;

#[path = "client/arm.rs"]
mod arm;
#[path = "client/console.rs"]
mod console;
#[path = "client/costs.rs"]
mod costs;
#[path = "client/errors.rs"]
mod errors;
#[path = "client/faulted.rs"]
mod faulted;
#[path = "client/files.rs"]
mod files;
#[path = "client/flags.rs"]
mod flags;
#[path = "client/hooks.rs"]
mod hooks;
#[path = "client/host.rs"]
mod host;
#[path = "client/inventory.rs"]
mod inventory;
#[path = "client/listing.rs"]
mod listing;
#[path = "client/open.rs"]
mod open;
#[path = "client/outcomes.rs"]
mod outcomes;
#[path = "client/replacing.rs"]
mod replacing;
#[path = "client/serialized.rs"]
mod serialized;
#[path = "client/story.rs"]
mod story;
#[path = "client/target.rs"]
mod target;
#[path = "client/turns.rs"]
mod turns;
#[path = "client/waiting.rs"]
mod waiting;
#[path = "client/watching.rs"]
mod watching;
