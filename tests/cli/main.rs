//! The command-line tool on the simulated Xen: JSON, the level of a host, the guard over several boots, and other processes.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that can't go on fails, and its data are known"
)]

mod demo;
mod guard;
mod level;
mod looks;
mod schema;
mod shell;
#[path = "../common/system_calls.rs"]
mod system_calls;
mod tool;
