//! The command-line tool on the simulated Xen, as far as the transcripts do not show it: JSON, other tools and processes.
#![cfg(test)]

mod completions;
mod demo;
mod hosts;
mod looks;
mod place;
mod schema;
mod shell;
#[path = "../../../../tests/common/system_calls.rs"]
mod system_calls;

use std::path::Path;

fn tool() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_xen-livepatch"))
}
