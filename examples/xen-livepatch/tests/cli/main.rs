//! The command-line tool on the simulated Xen: JSON, the level of a host, the guard over several boots, and other processes.
#![cfg(test)]

mod completions;
mod demo;
mod guard;
mod install;
mod level;
mod looks;
mod metrics;
mod schema;
mod shell;
#[path = "../../../../tests/common/system_calls.rs"]
mod system_calls;
mod trust;

use std::path::Path;

fn tool() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_xen-livepatch"))
}
