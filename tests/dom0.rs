//! Live-patches a real Xen. `cargo real-xen` boots one and runs this in its dom0; elsewhere the tests are ignored.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::print_stdout,
    reason = "a test stops at the first surprise, and speaks to the process that started it"
)]
#![allow(unreachable_pub, reason = "the modules of one test")]

#[path = "common/told.rs"]
mod told;

#[path = "dom0/checked.rs"]
mod checked;
#[path = "dom0/costs.rs"]
mod costs;
#[path = "dom0/ensure.rs"]
mod ensure;
#[path = "dom0/host.rs"]
mod host;
#[path = "dom0/inventory.rs"]
mod inventory;
#[path = "dom0/level.rs"]
mod level;
#[path = "dom0/listing.rs"]
mod listing;
#[path = "dom0/opening.rs"]
mod opening;
#[path = "dom0/outcomes.rs"]
mod outcomes;
#[path = "dom0/refusals.rs"]
mod refusals;
#[path = "dom0/story.rs"]
mod story;
