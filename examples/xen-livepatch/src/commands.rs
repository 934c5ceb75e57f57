//! The commands.

mod actions;
mod carry_out;
mod ensure;
mod files;
mod guarded;
mod install;
mod metrics;
mod on_disk;
mod simulate;
mod status;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;

use xen_livepatch::{Action, BuildId, Flags, LivepatchClient, PayloadName};

use crate::arguments::{Command, Deferred};
use crate::command_line::CommandLine;
use crate::failure::Failure;
use crate::options::CommonOptions;
use crate::output::{Done, Output};
use crate::{completion, manual};

/// The circumstances of a command.
#[derive(Clone, Copy)]
pub(crate) struct Context<'a> {
    pub(crate) options: &'a CommonOptions,
    /// The flags for the action of the command.
    pub(crate) flags: Flags,
    pub(crate) output: &'a Output,
}

pub(crate) fn run(CommandLine { options, flags, command, .. }: CommandLine, output: &Output) -> Result<Done, Failure> {
    let context = Context { options: &options, flags, output };
    match command {
        Command::List => actions::list(context),
        Command::Upload(Deferred(upload)) => actions::upload(context, &upload),
        Command::Apply(Deferred(apply)) => actions::act(context, Action::Apply, &apply.name, false),
        Command::Revert(Deferred(revert)) => match revert.name {
            Some(name) => actions::act(context, Action::Revert, &name, false),
            None => actions::revert_all(context),
        },
        Command::Replace(Deferred(replace)) => actions::act(context, Action::Replace, &replace.name, false),
        Command::Unload(Deferred(unload)) => match unload.name {
            Some(name) => actions::act(context, Action::Unload, &name, unload.if_loaded),
            None => actions::unload_all(context),
        },
        Command::Load(Deferred(load)) => actions::load(context, &load),
        Command::Status(Deferred(status)) => status::status(context, &status),
        Command::Inspect(Deferred(inspect)) => files::inspect(context, &inspect),
        Command::Check(Deferred(check)) => files::check(context, &check),
        Command::Ensure(Deferred(ensure)) => ensure::ensure(context, &ensure),
        Command::Install(Deferred(arguments)) => install::install(context, &arguments),
        Command::Uninstall(Deferred(arguments)) => install::uninstall(context, &arguments),
        Command::Confirm(Deferred(confirm)) => guarded::confirm(context, &confirm),
        Command::Metrics(Deferred(metrics)) => metrics::metrics(&options, &metrics),
        Command::Simulate(simulate) => simulate::simulate(&options, simulate),
        Command::Schema => Ok(manual::printed(include_str!("../schema.json"))),
        Command::Man(Deferred(manual)) => manual::page(manual.install.as_deref()),
        Command::Completions(Deferred(completions)) => Ok(completion::script(completions.shell)),
    }
}

/// The name of a loaded payload, as given on the command line.
fn loaded_name(given: &OsStr, client: &LivepatchClient) -> Result<PayloadName, Failure> {
    // Xen's C tool can upload a payload with an empty name, which must be possible to remove.
    if given.is_empty() {
        if let Some(row) = client.list()?.into_iter().find(|row| row.name.as_bytes().is_empty()) {
            return Ok(row.name);
        }
    }
    name(given)
}

fn name(given: &OsStr) -> Result<PayloadName, Failure> {
    // The form in which `--json` prints names that are not UTF-8. A build-id has such digits too.
    let bytes = given.to_str().and_then(|given| given.strip_prefix("hex:")?.parse::<BuildId>().ok());
    Ok(PayloadName::new(bytes.as_ref().map_or(given.as_bytes(), BuildId::as_bytes))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_printed_by_json_is_accepted() {
        let names: [&[u8]; 8] =
            [b"fix", b"\\xff", b"a\\n\\xff", b"hex:ff", b"hex:", b"hex:xyz", "h\u{e9}".as_bytes(), &[0xfe; 127]];
        for name in names {
            let json = serde_json::to_value(PayloadName::new(name).unwrap()).unwrap();
            let given = OsStr::new(json.as_str().unwrap());
            assert_eq!(super::name(given).unwrap().as_bytes(), name, "{json}");
        }
        for other in ["ff", "hex:f", "hex:", "hex:+f", "hex:fg", "HEX:ff"] {
            assert_eq!(name(OsStr::new(other)).unwrap().as_bytes(), other.as_bytes());
        }
    }
}
