//! Tests on a real Xen with processors that run at the same time: several clients at once, samples during an action, hooks that
//! outlast their action.
//!
//! `cargo real-xen` runs them in a boot of their own, with a thread for each processor. If processors take turns, one client may
//! begin an action before another processor has left the last one. That processor then waits, with its interrupts off, for an
//! end that it has missed, until the quiesce timeout passes. A processor that runs has left within microseconds.
#![cfg(test)]
#![allow(clippy::as_conversions, unreachable_pub, reason = "the modules of one test")]

mod crowd;
mod exchange;
#[path = "../common/host.rs"]
mod host;
mod memory;
mod post_hooks;
