//! Tests on a real Xen with processors that run at the same time: several clients at once, samples during an action, hooks that
//! outlast their action.
//!
//! `cargo real-xen` runs them in a boot of their own, with a thread for each processor. If processors take turns, one client may
//! begin an action before another processor has left the last one. That processor then waits, with its interrupts off, for an
//! end that it has missed, until the quiesce timeout passes. A processor that runs has left within microseconds.
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

mod crowd;
mod exchange;
#[path = "../common/host.rs"]
#[allow(dead_code, reason = "most of it is for tests/dom0/")]
mod host;
mod memory;
mod post_hooks;
