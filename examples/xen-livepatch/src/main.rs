//! `xen-livepatch`, the tool: a drop-in replacement for Xen's C tool of the same name, without its bugs and with the
//! features that it lacks.
//!
//!     cargo install --locked --profile dist --path examples/xen-livepatch
//!     cargo run -- --simulate demo list
//!     cargo in-xen -- status      # on a real Xen, booted for this
//!
//! The tool is thin: everything a toolstack could use is in the library. `command_line.rs` reads a line,
//! `arguments.rs` describes it, `commands/` has the commands, and `output.rs` prints their outcome.

mod arguments;
mod command_line;
mod commands;
mod completion;
mod exit_status;
mod exposition;
mod failure;
mod files;
mod guard;
mod host;
mod hypervisors;
mod input;
mod loaded_names;
mod lock;
mod manual;
mod memory;
mod options;
mod output;
mod permissions;
mod progress;
mod signals;
mod simulation;
mod systemd;
mod table;
mod terminal;
mod trust;
mod widen;

use std::env;
use std::ffi::OsString;
use std::process::ExitCode;

use output::Output;

fn main() -> ExitCode {
    completion::answer();
    let words: Vec<OsString> = env::args_os().collect();
    let line = match command_line::parse(&words) {
        Ok(line) => line,
        // clap returns help and the version as errors.
        Err(error) if !error.use_stderr() => {
            return Output::help(&error.render().ansi().to_string());
        }
        Err(error) => return Output::for_usage(&words).failed(&command_line::failure(&error, &words)),
    };
    let output = Output::new(line.options.json, line.name.clone(), line.command.is_change());
    if let Some(directory) = &line.options.simulate {
        terminal::note(&format!("using the simulated Xen in {}", terminal::shown(directory)));
    }
    match commands::run(line, &output) {
        Ok(done) => output.done(&done),
        Err(failure) => output.failed(&failure),
    }
}
