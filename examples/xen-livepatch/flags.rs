//! The flags of actions, as options of the command line.

use clap::{Arg, ArgAction, ArgMatches};
use xen_livepatch::Flags;

/// An option that sets a flag of an action.
struct FlagOption {
    option: &'static str,
    flag: Flags,
    /// The commands that take it.
    commands: &'static [&'static str],
    help: &'static str,
}

/// Every flag of every action. The next one is one row.
const OPTIONS: [FlagOption; 1] = [FlagOption {
    option: "nodeps",
    flag: Flags::NODEPS,
    commands: &["apply", "load"],
    help: "Apply on top of whatever is applied; only Xen's own build-id has to match (Xen 4.14 and newer)",
}];

/// The options that a command takes.
pub(crate) fn options(command: &str) -> impl Iterator<Item = Arg> {
    OPTIONS
        .iter()
        .filter(move |row| row.commands.contains(&command))
        .map(|row| Arg::new(row.option).long(row.option).action(ArgAction::SetTrue).help(row.help))
}

/// The flags that were set for it.
pub(crate) fn of(command: &str, arguments: &ArgMatches) -> Flags {
    let rows = OPTIONS.iter().filter(|row| row.commands.contains(&command) && arguments.get_flag(row.option));
    rows.map(|row| row.flag).collect()
}
