//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Arg, ArgAction, ArgGroup, ArgMatches, Command, value_parser};
use clap_complete::Shell;
use xen_livepatch::{BuildId, ProblemKind, Release, Target};

use crate::flags;

/// A command that the C tool has too.
struct Shared {
    name: &'static str,
    takes: &'static [Takes],
    about: &'static str,
    /// Differences from the C tool, and remarks.
    more: &'static str,
}

#[derive(Clone, Copy)]
enum Takes {
    Name,
    File,
    /// A name, or `--all`.
    NameOrAll(&'static str),
}

const SHARED: [Shared; 7] = [
    Shared {
        name: "list",
        takes: &[],
        about: "List what is loaded, in the order of upload",
        more: "The table is that of Xen's C tool. Names and metadata that would break a line or act on a terminal are \
               escaped. Xen before 4.14 reports no metadata.",
    },
    Shared {
        name: "upload",
        takes: &[Takes::Name, Takes::File],
        about: "Upload FILE under NAME, without applying it",
        more: "The file is checked first. A payload that this Xen would refuse, accept without noticing a fault, or be \
               damaged by is not sent.",
    },
    Shared {
        name: "apply",
        takes: &[Takes::Name],
        about: "Apply NAME on top of what is applied",
        more: "It returns when Xen has finished. If NAME is applied already, there is nothing to do.",
    },
    Shared {
        name: "revert",
        takes: &[Takes::NameOrAll("Revert everything, from the top of the stack down")],
        about: "Revert NAME, which has to be on top of the stack",
        more: "If NAME is not applied, there is nothing to do. If it is below the top, that is an error (exit status 1): trying \
               again can't help.",
    },
    Shared {
        name: "replace",
        takes: &[Takes::Name],
        about: "Revert everything and apply NAME, in one step",
        more: "For payloads that contain the fixes of those before them. If NAME is applied and nothing else is, there \
               is nothing to do; if others are applied too, that is an error.",
    },
    Shared {
        name: "unload",
        takes: &[Takes::NameOrAll("Unload every payload that is not applied")],
        about: "Unload NAME, which must not be applied",
        more: "",
    },
    Shared {
        name: "load",
        takes: &[Takes::File],
        about: "Upload FILE under its own name less its last suffix, and apply it",
        more: "If it can't be applied, it is unloaded again, unless it may still come into effect.",
    },
];

/// The exit statuses and their meanings.
pub(crate) const STATUS: &[(u8, &str)] = &[
    (0, "done"),
    (1, "failed, or the command line is wrong"),
    (2, "failed, because the host or another tool was busy: try again"),
    (3, "a payload was left out at boot, because an earlier boot went down with it"),
    (4, "done, but not guarded: the guard's state could not be written"),
    (5, "done, but the output could not be written"),
    (6, "failed, and the host runs without payloads that were applied before"),
    (7, "some files could not be used, and this may not be all that is wanted"),
    (8, "ensure --dry-run: there is something to do"),
    (9, "ensure: no payload is for this Xen"),
    (10, "ensure: there are no payloads"),
];

const ABOUT: &str = "Live-patch the running Xen hypervisor";

const LONG_ABOUT: &str = "\
Live-patch the running Xen hypervisor, of any release from 4.7 to 4.22.

A payload is uploaded under a name, applied on top of those that are applied already, reverted from the top down, and \
unloaded. By default it must have been built for the payload below it, or, at the bottom, for this very Xen. Payloads are \
identified by build-id. `inspect` shows the contents of a payload, `check` whether this Xen would accept it, `status` the \
payloads that run; `ensure` brings the host to a desired state.";

/// Adds to a command all but its name.
type Describe = fn(Command) -> Command;

/// The commands that the C tool does not have.
const OWN: [(&str, Describe); 8] = [
    ("status", status),
    ("inspect", inspect),
    ("check", check),
    ("ensure", ensure),
    ("confirm", confirm),
    ("simulate", simulate),
    ("man", manual),
    ("completions", completions),
];

/// Reads the words of a command line.
///
/// # Errors
/// If they are wrong, or ask for help or the version.
pub(crate) fn parse(words: &[OsString]) -> Result<ArgMatches, clap::Error> {
    // To describe every command takes longer than to list payloads. A line needs those whose names are in it; help and
    // errors name them all.
    let named = with_commands(|name| words.iter().any(|word| word == name));
    named.try_get_matches_from(words).or_else(|_| command().try_get_matches_from(words))
}

/// All of the command line.
pub(crate) fn command() -> Command {
    with_commands(|_| true)
}

/// The command line with these of its commands.
fn with_commands(wanted: impl Fn(&str) -> bool) -> Command {
    let heading = "Options of every command";
    Command::new("xen-livepatch")
        .version(env!("CARGO_PKG_VERSION"))
        .about(ABOUT)
        .long_about(LONG_ABOUT)
        .after_help(exit_status())
        .arg_required_else_help(true)
        .subcommand_required(true)
        .max_term_width(80)
        .next_help_heading(heading)
        .args([
            switch("json", "Print one JSON object, also for an error (but not for help)").global(true),
            path("simulate", "DIR", "Use the simulated Xen stored in DIR instead of this machine's")
                .global(true)
                .conflicts_with("device"),
            path("device", "PATH", "Use this device [default: /dev/xen/privcmd]").global(true),
            duration(
                "timeout",
                "The time that Xen may take to stop all processors, such as 100ms [default: Xen's 30ms]",
            ),
            duration("deadline", "The time that an action, a gap, or waiting for another tool may take [default: 30s]"),
            Arg::new("retries")
                .long("retries")
                .value_name("N")
                .value_parser(value_parser!(u32))
                .help("The number of further attempts if not all processors stopped in time [default: 0]")
                .global(true),
            switch("force", "Set FORCE on uploads: Xen accepts it from 4.19 on, and it has no effect").global(true),
            switch("verbose", "Show each hypercall, with its time, on stderr").short('v').global(true),
        ])
        .subcommands(SHARED.iter().filter(|shared| wanted(shared.name)).map(Shared::command))
        .subcommands(OWN.iter().filter(|(name, _)| wanted(name)).map(|(name, describe)| describe(Command::new(*name))))
}

fn exit_status() -> String {
    let lines: Vec<String> = STATUS.iter().map(|(number, about)| format!("  {number}  {about}")).collect();
    format!("Exit status:\n{}", lines.join("\n"))
}

/// The commands that a word could be short for, among those of the command that the line names before it, if any.
pub(crate) fn candidates(word: &str, line: &[OsString]) -> Vec<String> {
    let all = command();
    let group = line.iter().filter_map(|other| all.find_subcommand(other)).find(|group| group.has_subcommands());
    let names = group.unwrap_or(&all).get_subcommands().map(Command::get_name).chain(["help"]);
    names.filter(|name| !word.is_empty() && name.starts_with(word)).map(ToOwned::to_owned).collect()
}

impl Shared {
    fn command(&self) -> Command {
        let command = Command::new(self.name).about(self.about);
        let command =
            if self.more.is_empty() { command } else { command.long_about(format!("{}\n\n{}", self.about, self.more)) };
        let command = self.takes.iter().fold(command, |command, takes| takes.add_to(command));
        let uploads = self.takes.iter().any(|takes| matches!(takes, Takes::File));
        command.args(flags::options(self.name)).args(uploads.then(accept))
    }
}

impl Takes {
    fn add_to(self, command: Command) -> Command {
        let name = Arg::new("name")
            .value_name("NAME")
            .value_parser(value_parser!(OsString))
            .help("The payload's name, 1 to 127 bytes; or hex: and its bytes in hexadecimal");
        match self {
            Self::Name => command.arg(name.required(true)),
            Self::NameOrAll(help) => command
                .arg(name)
                .arg(switch("all", help))
                .group(ArgGroup::new("what").args(["name", "all"]).required(true)),
            Self::File => command.arg(file("file", "FILE", "A live-patch file").required(true)),
        }
    }
}

fn status(command: Command) -> Command {
    command
        .about("Show the effective version of Xen, the stack, and the payloads off the chain")
        .long_about(
            "Show the effective version of Xen, the stack, and the payloads off the chain\n\nBuild-ids, dependencies and \
             functions come from the dump that Xen prints on its console when debug key x is pressed. The key is pressed \
             only if something is not known yet. The guard's verdicts follow: payloads that are not confirmed yet, \
             the level that survived last, and suspects.",
        )
        .arg(
            Arg::new("name")
                .value_name("NAME")
                .value_parser(value_parser!(OsString))
                .help("Show all that is known of this payload instead"),
        )
        .arg(state_dir())
}

fn inspect(command: Command) -> Command {
    command.about("Show the contents of live-patch files (offline)").arg(files("Live-patch files"))
}

fn check(command: Command) -> Command {
    command
        .about("Check whether Xen would accept these files, and whether they would harm it")
        .long_about(
            "Check whether Xen would accept these files, and whether they would harm it\n\nWithout options it is the Xen of \
             this machine. With --for-xen no Xen is asked. A finding is possible where it holds for some of the point \
             releases that this Xen may be. The exit status is 1 if a file would not be uploaded.",
        )
        .arg(files("Live-patch files"))
        .arg(accept())
        .arg(
            Arg::new("for-xen")
                .long("for-xen")
                .value_name("RELEASE")
                .value_parser(release)
                .help("Check for this release, from 4.7 to 4.22, such as 4.17 or 4.17.7"),
        )
        .arg(
            Arg::new("build-id")
                .long("build-id")
                .value_name("HEX")
                .value_parser(build_id)
                .requires("for-xen")
                .help("The build-id of that Xen; unless given, payloads for any are taken"),
        )
}

fn ensure(command: Command) -> Command {
    command
        .about("Bring the host to exactly these payloads, from the bottom of the stack to its top")
        .long_about(
            "Bring the host to exactly these payloads, from the bottom of the stack to its top\n\nPayloads that are applied \
             already stay, under whatever name. Everything that can be checked is checked first. New payloads are uploaded \
             before anything is taken out, and take the place of the old ones in one step if Xen can do that. If it can't, \
             there is a gap: the host runs without some payloads for a moment. The gap is printed before it is entered, and \
             signals wait until it is closed. If a step fails for good, the old payloads are put back.\n\nOf a \
             directory, files that end in .livepatch count, and those for this Xen are applied; a link `livepatch.livepatch` in it chooses the top one. Files for \
             another Xen are listed and ignored. While a file is damaged, payloads are only added, from the bottom up to the \
             damaged file, and the exit status is 7. If a payload would have to go, nothing is done. If no payload is for \
             this Xen, nothing is reverted, and the exit status is 9, or 10 for a directory without payloads. With --boot both are \
             fine if nothing is applied.",
        )
        .arg(
            file("what", "FILE|DIR", "Payload files, lowest first, or one directory of them").num_args(1..),
        )
        .arg(switch("nothing", "Revert and unload everything: Xen as it was booted"))
        .group(ArgGroup::new("wanted").args(["what", "nothing"]).required(true))
        .arg(accept())
        .arg(switch("dry-run", "Print the plan with its gaps, and do nothing; the exit status is 8 if there is something to do"))
        .arg(switch("keep-unapplied", "Leave payloads loaded that are not applied"))
        .arg(switch("one-by-one", "Revert and apply in single steps, without replace, and so with a gap"))
        .arg(switch("no-gap", "Refuse plans with a gap"))
        .arg(
            Arg::new("name")
                .long("name")
                .value_name("NAME")
                .value_parser(value_parser!(OsString))
                .help("Load the one FILE under this name, unless it is loaded already [default: the name of the file without its \
                       suffix, or the name that XAPI would give it]"),
        )
        .arg(switch(
            "boot",
            "For unattended boots: leave out suspects, payloads that were new when the host went down, and those above them; do \
             nothing if switched off",
        ))
        .arg(switch("retry", "Apply suspects too"))
        .arg(state_dir())
}

fn confirm(command: Command) -> Command {
    command
        .about("Mark the payloads that ensure applied in this boot as good")
        .long_about(
            "Mark the payloads that ensure applied in this boot as good\n\nA payload counts if it is applied now and ensure \
             applied it long enough ago. No crash or power cut is held against it from then on. The exit status is 2 if it \
             is too early for all of them.",
        )
        .arg(
            Arg::new("after")
                .long("after")
                .value_name("TIME")
                .value_parser(time)
                .help("The time that must have passed since [default: 10min]"),
        )
        .arg(switch("shutdown", "Count them at once, if the system is shutting down; systemd is asked where it runs"))
        .arg(state_dir())
}

fn simulate(command: Command) -> Command {
    command
        .about("Make a simulated Xen for --simulate, and payloads for it")
        .subcommand_required(true)
        .subcommand(
            Command::new("new")
                .about("Make a simulated Xen in a new directory")
                .arg(file("dir", "DIR", "The directory to make").required(true))
                .arg(
                    Arg::new("release")
                        .long("release")
                        .value_name("RELEASE")
                        .value_parser(simulated_release)
                        .default_value("4.20")
                        .help("The release, from 4.7 to 4.22"),
                )
                .arg(
                    Arg::new("build-id")
                        .long("build-id")
                        .value_name("HEX")
                        .value_parser(build_id)
                        .help("Xen's build-id [default: one for each release]"),
                ),
        )
        .subcommand(
            Command::new("payload")
                .about("Make a payload for the Xen that --simulate names, which changes its version text")
                .arg(file("file", "FILE", "The file to write").required(true))
                .arg(file("on", "FILE", "The payload that it depends on [default: Xen itself]").long("on"))
                .arg(switch("read-only", "Make .livepatch.funcs read-only, as Xen's own build tools do"))
                .arg(
                    Arg::new("text")
                        .long("text")
                        .value_name("TEXT")
                        .allow_hyphen_values(true)
                        .help("The end of Xen's version while it is applied [default: - and the file's name]"),
                ),
        )
}

fn manual(command: Command) -> Command {
    command.about("Print the manual page")
}

fn completions(command: Command) -> Command {
    command
        .about("Print completions for a shell")
        .arg(Arg::new("shell").value_name("SHELL").required(true).value_parser(value_parser!(Shell)).help("The shell"))
}

fn accept() -> Arg {
    Arg::new("accept")
        .long("accept")
        .value_name("FINDING")
        .value_parser(|name: &str| name.parse::<ProblemKind>())
        .action(ArgAction::Append)
        .help("Accept this finding, by the name that check prints, where it is only possible; may be repeated")
}

fn switch(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).action(ArgAction::SetTrue).help(help)
}

fn file(name: &'static str, value: &'static str, help: &'static str) -> Arg {
    Arg::new(name).value_name(value).value_parser(value_parser!(PathBuf)).help(help)
}

fn files(help: &'static str) -> Arg {
    file("files", "FILE", help).num_args(1..).required(true)
}

fn path(name: &'static str, value: &'static str, help: &'static str) -> Arg {
    file(name, value, help).long(name)
}

fn duration(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).value_name("TIME").value_parser(time).help(help).global(true)
}

fn state_dir() -> Arg {
    path("state", "DIR", "The directory of the guard's state [default: /var/lib/xen-livepatch]")
}

fn time(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|error| format!("{error}; write it like 100ms or 5s"))
}

fn build_id(text: &str) -> Result<BuildId, String> {
    text.parse().map_err(|error: xen_livepatch::InvalidBuildId| error.to_string())
}

/// A release that this program knows: `4.17`, `4.17.7`, or as a vendor's Xen reports it, `4.17.3-1.xs8`.
fn release(text: &str) -> Result<Target, String> {
    let Version { series: (major, minor), point, suffix } =
        version(text).ok_or("write it like 4.17, 4.17.7 or 4.17.3-1.xs8")?;
    if Release::from_version(major, minor).is_none() {
        return Err(format!("Xen {major}.{minor} is not known: this program knows 4.7 to 4.22"));
    }
    let target = Target::new((major, minor));
    Ok(match point {
        None => target,
        Some(point) if suffix.is_empty() => target.point(point),
        // Not all that led to it need be there.
        Some(point) if suffix.starts_with("-pre") || suffix.starts_with("-rc") => {
            target.points(point.saturating_sub(1)..)
        }
        // A vendor's Xen has that point release's changes, and perhaps some of later ones.
        Some(point) => target.points(point..),
    })
}

/// The parts of a version text.
#[derive(Debug, PartialEq)]
struct Version<'t> {
    series: (u16, u16),
    point: Option<u16>,
    /// From a `-`, `+` or `_` on.
    suffix: &'t str,
}

fn version(text: &str) -> Option<Version<'_>> {
    let (numbers, suffix) = text.split_at(text.find(['-', '+', '_']).unwrap_or(text.len()));
    let mut parts = numbers.split('.').map(|part| part.parse().ok());
    let series = (parts.next()??, parts.next()??);
    let point = match parts.next() {
        Some(point) => Some(point?),
        None => None,
    };
    parts.next().is_none().then_some(Version { series, point, suffix })
}

fn simulated_release(text: &str) -> Result<Release, String> {
    text.parse().map_err(|error: xen_livepatch::UnknownRelease| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The words of a line, as a shell would split it.
    fn words(line: &str) -> Vec<OsString> {
        line.split_whitespace().map(OsString::from).collect()
    }

    #[test]
    fn a_line_is_read_as_if_every_command_had_been_described() {
        for line in [
            "x list",
            "x --json --simulate list status list",
            "x --simulate status list --timeout 1s",
            "x upload list apply",
            "x status status",
            "x load --nodeps help",
            "x ensure --name list check --boot",
            "x --simulate new simulate payload status --on simulate",
            "x simulate new list",
            "x list status",
            "x new list",
            "x help list",
            "x list help",
            "x list --help",
            "x simulate help new",
            "x --version list",
            "x lis",
            "x nonsense list",
            "x --nonsense",
            "x --simulate list",
            "x",
        ] {
            let words = words(line);
            let text = |read: Result<ArgMatches, clap::Error>| match read {
                // Before what was found, it may list the commands that were described.
                Ok(matches) => format!("{matches:?}").split_once(" args: ").unwrap().1.to_owned(),
                Err(error) => error.render().ansi().to_string(),
            };
            assert_eq!(text(parse(&words)), text(command().try_get_matches_from(&words)), "{line}");
        }
    }

    #[test]
    fn releases_are_read_as_vendors_write_them() {
        for (text, series, points) in [
            ("4.17", 17, (0, None)),
            ("4.17.7", 17, (7, Some(7))),
            ("4.17.8", 17, (8, Some(8))),
            ("4.17.3-1.xs8", 17, (3, None)),
            ("4.17.5+23-g0123456", 17, (5, None)),
            ("4.17.3_04-150600.3", 17, (3, None)),
            ("4.17.4-pre", 17, (3, None)),
            ("4.18.0-rc1", 18, (0, None)),
            ("4.22-rc1", 22, (0, None)),
        ] {
            let target = release(text).unwrap();
            assert_eq!((target.release(), target.known_points()), ((4, series), points), "{text}");
        }
        for text in ["", "4", "4.", "4.x", "4.17.", "4.17.x", "4.17.3.1", "4.+17", "4.65536", "4-17", "xen-4.17"] {
            assert!(release(text).is_err_and(|error| error.starts_with("write it like")), "{text}");
        }
    }

    #[test]
    fn releases_that_nobody_knows_are_refused() {
        for text in ["3.4", "4.6", "4.6.6", "4.23", "4.99", "5.0", "5.17"] {
            assert!(release(text).is_err_and(|error| error.contains("is not known")), "{text}");
        }
        for minor in 7..=22 {
            assert!(release(&format!("4.{minor}")).is_ok());
        }
    }
}
