//! What each command does.

mod actions;
mod ensure;
mod files;
mod listing;
mod status;

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt as _;

use clap::ArgMatches;
use xen_livepatch::{LivepatchClient, PayloadName};

use crate::failure::Failure;
use crate::output::{Done, Output};
use crate::{manual, simulation};

/// The command that the line names.
pub(crate) fn run(arguments: &ArgMatches, output: &Output) -> Result<Done, Failure> {
    let Some((command, own)) = arguments.subcommand() else {
        return Err(Failure::new("usage", "a command is missing"));
    };
    match command {
        "list" => listing::list(own),
        "upload" => actions::upload(own, output),
        "apply" => actions::act(actions::APPLY, own, output),
        "revert" if own.get_flag("all") => actions::revert_all(own, output),
        "revert" => actions::act(actions::REVERT, own, output),
        "replace" => actions::act(actions::REPLACE, own, output),
        "unload" if own.get_flag("all") => actions::unload_all(own, output),
        "unload" => actions::act(actions::UNLOAD, own, output),
        "load" => actions::load(own, output),
        "status" => status::status(own),
        "inspect" => Ok(files::inspect(own)),
        "check" => files::check(own),
        "ensure" => ensure::ensure(own, output),
        "confirm" => ensure::confirm(own),
        "simulate" => simulation::command(own),
        "man" => manual::page(),
        "completions" => Ok(manual::completions(own)),
        other => Err(Failure::new("usage", format_args!("'{other}' is not a command"))),
    }
}

/// The name of a loaded payload. Xen's C tool lets one in that is empty, which has to be got rid of.
fn loaded_name(arguments: &ArgMatches, client: &LivepatchClient) -> Result<PayloadName, Failure> {
    let given = arguments.get_one::<OsString>("name");
    if given.is_some_and(|name| name.is_empty()) {
        if let Some(row) = client.list()?.into_iter().find(|row| row.name.as_bytes().is_empty()) {
            return Ok(row.name);
        }
    }
    name(arguments)
}

/// The name on the command line. It is there, where the command takes one that it can't do without.
fn name(arguments: &ArgMatches) -> Result<PayloadName, Failure> {
    let name = arguments.get_one::<OsString>("name").map(|name| name.as_bytes()).unwrap_or_default();
    Ok(PayloadName::new(name)?)
}
