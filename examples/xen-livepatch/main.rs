//! `xen-livepatch`, the tool: what scripts expect of the C tool of that name, without its faults, and what it lacks.
//!
//!     cargo install --path . --example xen-livepatch
//!     cargo run --example xen-livepatch -- --simulate demo list
//!     cargo in-xen --example xen-livepatch -- status      # on a real Xen, booted for this
//!
//! It is thin: what a toolstack could want is in the library. `arguments.rs` has the command line, `commands/` what each
//! command does, `output.rs` prints the outcome.

mod arguments;
mod commands;
mod failure;
mod flags;
mod guard;
mod host;
mod input;
mod lock;
mod manual;
mod memory;
mod output;
mod progress;
mod shown;
mod signals;
mod simulation;
mod systemd;
mod table;

use std::env;
use std::ffi::OsString;
use std::process::ExitCode;

use failure::Failure;
use output::Output;

fn main() -> ExitCode {
    let words: Vec<OsString> = env::args_os().collect();
    let arguments = match arguments::parse(&words) {
        Ok(arguments) => arguments,
        // Help and version are asked for as errors.
        Err(error) if !error.use_stderr() => {
            return Output::help(&error.render().ansi().to_string());
        }
        Err(error) => return Output::for_usage(&words).failed(&Failure::usage(&error, &words)),
    };
    let output = Output::new(&arguments);
    if let Some(folder) = simulation::simulated(&arguments) {
        output::note(&format!("this is the simulated Xen of {}", shown::shown(folder)));
    }
    match commands::run(&arguments, &output) {
        Ok(done) => output.done(&done),
        Err(failure) => output.failed(&failure),
    }
}
