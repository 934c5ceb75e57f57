//! The commands.

mod actions;
mod carry_out;
mod ensure;
mod files;
mod guarded;
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
        "list" => listing::list(own, output),
        "upload" => actions::upload(own, output),
        "apply" => actions::act(actions::APPLY, own, output),
        "revert" if own.get_flag("all") => actions::revert_all(own, output),
        "revert" => actions::act(actions::REVERT, own, output),
        "replace" => actions::act(actions::REPLACE, own, output),
        "unload" if own.get_flag("all") => actions::unload_all(own, output),
        "unload" => actions::act(actions::UNLOAD, own, output),
        "load" => actions::load(own, output),
        "status" => status::status(own, output),
        "inspect" => Ok(files::inspect(own)),
        "check" => files::check(own),
        "ensure" => ensure::ensure(own, output),
        "confirm" => guarded::confirm(own),
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
    Ok(PayloadName::new(from_hex(name).as_deref().unwrap_or(name))?)
}

/// The bytes of a name that is given as `--json` gives those that are not UTF-8: `hex:` and their digits.
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
    fn every_name_that_json_gives_is_taken_back() {
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
