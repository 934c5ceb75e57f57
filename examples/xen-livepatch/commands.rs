//! The commands.

mod actions;
mod carry_out;
mod ensure;
mod files;
mod guarded;
mod status;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;

use xen_livepatch::{Action, Flags, LivepatchClient, PayloadName};

use crate::arguments::{Command, CommandLine, CommonOptions, Deferred};
use crate::failure::Failure;
use crate::output::{Done, Output};
use crate::{manual, simulation};

/// The circumstances of a command.
#[derive(Clone, Copy)]
pub(crate) struct Context<'a> {
    pub(crate) options: &'a CommonOptions,
    /// The flags for the action of the command.
    pub(crate) flags: Flags,
    pub(crate) output: &'a Output,
}

/// Runs the command that the line names.
pub(crate) fn run(CommandLine { options, flags, command, .. }: CommandLine, output: &Output) -> Result<Done, Failure> {
    let context = Context { options: &options, flags, output };
    match command {
        Command::List => actions::list(context),
        Command::Upload(Deferred(upload)) => actions::upload(context, &upload),
        Command::Apply(Deferred(apply)) => actions::act(context, Action::Apply, &apply.name),
        Command::Revert(Deferred(revert)) => match revert.name {
            Some(name) => actions::act(context, Action::Revert, &name),
            None => actions::revert_all(context),
        },
        Command::Replace(Deferred(replace)) => actions::act(context, Action::Replace, &replace.name),
        Command::Unload(Deferred(unload)) => match unload.name {
            Some(name) => actions::act(context, Action::Unload, &name),
            None => actions::unload_all(context),
        },
        Command::Load(Deferred(load)) => actions::load(context, &load),
        Command::Status(Deferred(status)) => status::status(context, &status),
        Command::Inspect(Deferred(inspect)) => Ok(files::inspect(&inspect)),
        Command::Check(Deferred(check)) => files::check(context, &check),
        Command::Ensure(Deferred(ensure)) => ensure::ensure(context, &ensure),
        Command::Confirm(Deferred(confirm)) => guarded::confirm(context, &confirm),
        Command::Simulate(simulate) => simulation::command(&options, simulate),
        Command::Man => manual::page(),
        Command::Completions(Deferred(completions)) => Ok(manual::completions(completions.shell)),
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
    let given = given.as_bytes();
    Ok(PayloadName::new(from_hex(given).as_deref().unwrap_or(given))?)
}

/// The bytes of a name in the form in which `--json` prints names that are not UTF-8: `hex:` and their digits.
fn from_hex(name: &[u8]) -> Option<Vec<u8>> {
    let digits = name.strip_prefix(b"hex:")?;
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let bytes = digits.chunks(2).map(|pair| match *pair {
        [high, low] => Some(digit(high)?.wrapping_shl(4) | digit(low)?),
        _ => None,
    });
    bytes.collect::<Option<Vec<u8>>>().filter(|bytes| !bytes.is_empty())
}

#[cfg(test)]
mod tests {
    use xen_livepatch::PayloadName;

    use super::from_hex;

    #[test]
    fn every_name_printed_by_json_is_accepted() {
        let names: [&[u8]; 8] =
            [b"fix", b"\\xff", b"a\\n\\xff", b"hex:ff", b"hex:", b"hex:xyz", "h\u{e9}".as_bytes(), &[0xfe; 127]];
        for name in names {
            let json = serde_json::to_value(PayloadName::new(name).unwrap()).unwrap();
            let given = json.as_str().unwrap().as_bytes();
            assert_eq!(from_hex(given).as_deref().unwrap_or(given), name, "{json}");
        }
        for other in ["ff", "hex:f", "hex:", "hex:+f", "hex:fg", "HEX:ff"] {
            assert_eq!(from_hex(other.as_bytes()), None, "{other}");
        }
    }
}
