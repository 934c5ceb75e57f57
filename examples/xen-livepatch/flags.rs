//! The flags of actions, as options of the command line.

use clap::{Arg, ArgAction, ArgMatches};
use xen_livepatch::{Action, Flags, KnownFlag};

/// The flags that a command takes: those of its action, and of the apply that ends a load.
fn known(command: &str) -> impl Iterator<Item = &'static KnownFlag> {
    let action = if command == "load" { Some(Action::Apply) } else { command.parse().ok() };
    Flags::KNOWN.iter().filter(move |known| action.is_some_and(|action| known.actions.contains(&action)))
}

/// The options that a command takes.
pub(crate) fn options(command: &str) -> impl Iterator<Item = Arg> {
    known(command).map(|known| {
        let (major, minor) = known.since;
        let help = format!("{} (Xen {major}.{minor} and newer)", known.help);
        Arg::new(known.option).long(known.option).action(ArgAction::SetTrue).help(help)
    })
}

/// The flags that were set for it.
pub(crate) fn of(command: &str, arguments: &ArgMatches) -> Flags {
    known(command).filter(|known| arguments.get_flag(known.option)).map(|known| known.flag).collect()
}
