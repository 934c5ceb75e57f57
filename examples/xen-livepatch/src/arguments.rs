//! The commands and their arguments.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Arg, ArgAction, ArgGroup, ArgMatches, Args, FromArgMatches, Subcommand};
use clap_complete::Shell;
use xen_livepatch::{Action, BuildId, Flags, KnownFlag, ProblemKind, Release, State, Target, XenVersion};

use crate::loaded_names::loaded;
use crate::options::{releases, time};

const NAME_HELP: &str = "The payload's name, 1 to 127 bytes; or hex: and its bytes in hexadecimal";
const FILE_HELP: &str = "A live-patch file";
const ACCEPT_HELP: &str = "Accept a finding that is only possible, by the name that check prints; may be repeated";
const TRUSTED_HELP: &str =
    "The directory of trusted keys, *.pub [default: /etc/xen-livepatch/trusted.d, or trusted.d in the simulated Xen]";
const PAYLOADS_HELP: &str = "The directory of the payload files [default: /usr/lib/xen-livepatch]";
const STATE_HELP: &str =
    "The directory of the guard's state [default: /var/lib/xen-livepatch, or boot in the simulated Xen]";

// The doc comments below are the help. clap takes that of a struct for the command that has its arguments, so those structs
// have none.

/// A command. Those up to `Load` are also commands of Xen's C tool.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List the loaded payloads, in the order of upload
    ///
    /// The table is that of Xen's C tool. Characters in names and metadata that would break a line or act on a terminal
    /// are escaped. Xen before 4.14 reports no metadata.
    List,

    /// Upload FILE under NAME, without applying it
    ///
    /// The file is checked first. A payload that this Xen would refuse, wrongly accept, or be damaged by is not sent. If
    /// there are trusted keys, FILE.minisig must be its signature by one of them.
    Upload(Deferred<Upload>),

    /// Apply NAME on top of the stack
    ///
    /// The command returns when Xen has finished. If NAME is applied already, there is nothing to do.
    #[command(args = flag_options(Action::Apply))]
    Apply(Deferred<Unapplied>),

    /// Revert NAME, which must be on top of the stack
    ///
    /// If NAME is not applied, there is nothing to do. If it is below the top, that is an error (exit status 1): trying
    /// again can't help.
    #[command(args = flag_options(Action::Revert))]
    Revert(Deferred<Revert>),

    /// Revert everything and apply NAME, in one step
    ///
    /// For cumulative payloads, which contain the fixes of those before them. If NAME is the only applied payload, there
    /// is nothing to do; if others are applied too, that is an error.
    #[command(args = flag_options(Action::Replace))]
    Replace(Deferred<Unapplied>),

    /// Unload NAME, which must not be applied
    #[command(args = flag_options(Action::Unload))]
    Unload(Deferred<Unload>),

    /// Upload FILE under its own name without the last suffix, and apply it
    ///
    /// If it can't be applied, it is unloaded again, unless it may still come into effect. If there are trusted keys,
    /// FILE.minisig must be its signature by one of them.
    #[command(args = flag_options(Action::Apply))]
    Load(Deferred<Load>),

    /// Show the effective version of Xen, the stack, and the payloads off the chain
    ///
    /// Build-ids, dependencies and functions come from the dump that Xen prints on its console for debug key x. The key
    /// is pressed only if something is not known yet. The fixes of a payload are those in its metadata, under the keys
    /// fixes, xsa and cve, separated by blanks or commas. The payload files on disk follow, and the guard's verdicts:
    /// payloads that are not confirmed yet, the level that survived last, and suspects.
    Status(Deferred<ShowStatus>),

    /// Show the contents of live-patch files (offline)
    Inspect(Deferred<Inspect>),

    /// Check whether Xen would accept these files, and whether they would harm it
    ///
    /// The check is for the Xen of this machine or, with --for-xen, for another one, without accessing any Xen. It does not
    /// ask for the payloads that a file depends on to be applied; `ensure --dry-run` does. A finding is possible if it holds
    /// for some of the point releases that this Xen may be. In a directory, files for another Xen are only named, and
    /// problems of the whole are reported, such as two files that exclude each other. The exit status is 1 if a file would
    /// not be uploaded.
    Check(Deferred<Check>),

    /// Bring the host to exactly these payloads, from the bottom of the stack to its top
    ///
    /// Payloads that are already applied stay, whatever their names. Everything that can be checked is checked first. New
    /// payloads are uploaded before any payload is reverted, and replace the old ones in one step if Xen can do that. If it
    /// can't, there is a gap: the host runs without some payloads for a moment. The gap is printed before it is entered,
    /// and signals wait until it is closed. If a step fails for good, the old payloads are put back.
    ///
    /// In a directory, files that end in .livepatch count, and those for this Xen are applied; a link
    /// `livepatch.livepatch` chooses the top one. Files for another Xen are listed and ignored. While a file is damaged,
    /// payloads are only added, from the bottom up to the damaged file, and the exit status is 7. If a payload would
    /// have to be removed, nothing is done. If no payload is for this Xen, nothing is reverted, and the exit status is 9,
    /// or 10 for a directory without payloads. With --boot, both count as success if nothing is applied.
    ///
    /// If there are trusted keys, a file without a valid signature FILE.minisig counts as damaged. On a real Xen, files
    /// that users other than root can change count as damaged too, and such a directory is refused.
    Ensure(Deferred<Ensure>),

    /// Put payload files into the directory that ensure applies at boot
    ///
    /// The files are checked for this Xen or, with --for-xen, for another one. Nothing is installed if one of them does not
    /// pass, or if the directory would no longer determine what to apply. The host is not changed: ensure does that.
    Install(Deferred<Install>),

    /// Remove the payload file NAME from the directory that ensure applies at boot
    ///
    /// Nothing is removed if another payload in the directory depends on it. The host is not changed: ensure does that.
    Uninstall(Deferred<Uninstall>),

    /// Mark the payloads that ensure applied in this boot as good
    ///
    /// This covers payloads that are applied now and that ensure applied long enough ago. No later crash or power cut
    /// makes them suspect. The exit status is 2 if it is too early for all of them.
    Confirm(Deferred<Confirm>),

    /// Print metrics of this host for Prometheus
    ///
    /// The text format is that of node exporter's textfile collector. The metrics are the loaded payloads, the files in
    /// DIR, the level as `ensure --dry-run DIR` reports it, the last `ensure`, the guard's state, and the installed
    /// hypervisors. If a part can't be read, the others are printed with `xen_livepatch_error`, and the exit status is 1, or
    /// 2 if Xen was busy.
    Metrics(Deferred<Metrics>),

    /// Make a simulated Xen for --simulate, and payloads for it
    #[command(subcommand)]
    Simulate(Simulate),

    /// Print the JSON schema of the output of --json
    Schema,

    /// Print the manual page, or install it
    Man(Deferred<Manual>),

    /// Print the script that makes a shell complete command lines
    ///
    /// For bash: source <(xen-livepatch completions bash). The script calls the tool for the words, so that it also completes
    /// the names of loaded payloads, for users who may list them.
    Completions(Deferred<Completions>),
}

impl Command {
    /// Returns true if the command changes something, so that it is done even if its output is lost.
    pub(crate) fn is_change(&self) -> bool {
        use Command::{Check, Completions, Inspect, List, Man, Metrics, Schema, Status};
        match self {
            Man(Deferred(manual)) => manual.install.is_some(),
            List | Status(_) | Inspect(_) | Check(_) | Metrics(_) | Schema | Completions(_) => false,
            _ => true,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct Upload {
    #[arg(help = NAME_HELP)]
    pub(crate) name: OsString,
    #[arg(help = FILE_HELP)]
    pub(crate) file: PathBuf,
    #[arg(long, value_name = "FINDING", help = ACCEPT_HELP)]
    pub(crate) accept: Vec<ProblemKind>,
    #[command(flatten)]
    pub(crate) signature: SignatureOptions,
}

#[derive(Debug, Args)]
pub(crate) struct SignatureOptions {
    #[arg(long, value_name = "DIR", help = TRUSTED_HELP)]
    pub(crate) trusted: Option<PathBuf>,
    /// Accept the file without a signature, although there are trusted keys
    #[arg(long)]
    pub(crate) unsigned: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Unapplied {
    #[arg(help = NAME_HELP, add = loaded(Some(State::Checked)))]
    pub(crate) name: OsString,
}

#[derive(Debug, Args)]
#[command(group = name_or_all())]
pub(crate) struct Revert {
    #[arg(help = NAME_HELP, add = loaded(Some(State::Applied)))]
    pub(crate) name: Option<OsString>,
    /// Revert everything, from the top of the stack down
    #[arg(long)]
    pub(crate) all: bool,
}

#[derive(Debug, Args)]
#[command(group = name_or_all())]
pub(crate) struct Unload {
    #[arg(help = NAME_HELP, add = loaded(Some(State::Checked)))]
    pub(crate) name: Option<OsString>,
    /// Unload every payload that is not applied
    #[arg(long)]
    pub(crate) all: bool,
    /// Succeed if NAME is not loaded
    #[arg(long, conflicts_with = "all")]
    pub(crate) if_loaded: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Load {
    #[arg(help = FILE_HELP)]
    pub(crate) file: PathBuf,
    #[arg(long, value_name = "FINDING", help = ACCEPT_HELP)]
    pub(crate) accept: Vec<ProblemKind>,
    #[command(flatten)]
    pub(crate) signature: SignatureOptions,
}

#[derive(Debug, Args)]
pub(crate) struct ShowStatus {
    /// Show everything known about this payload alone
    #[arg(add = loaded(None))]
    pub(crate) name: Option<OsString>,
    /// Compare with the payload files in DIR [default: /usr/lib/xen-livepatch, or none with --simulate]
    #[arg(long, value_name = "DIR")]
    pub(crate) directory: Option<PathBuf>,
    #[arg(long, value_name = "DIR", help = STATE_HELP)]
    pub(crate) state: Option<PathBuf>,
    #[arg(long, value_name = "DIR", help = TRUSTED_HELP)]
    pub(crate) trusted: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Inspect {
    /// Live-patch files, and directories of them
    #[arg(value_name = "FILE|DIR", required = true)]
    pub(crate) files: Vec<PathBuf>,
    #[arg(long, value_name = "DIR", help = TRUSTED_HELP)]
    pub(crate) trusted: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Check {
    /// Live-patch files, and directories of them
    #[arg(value_name = "FILE|DIR", required = true)]
    pub(crate) files: Vec<PathBuf>,
    #[arg(long, value_name = "FINDING", help = ACCEPT_HELP)]
    pub(crate) accept: Vec<ProblemKind>,
    #[command(flatten)]
    pub(crate) xen: XenOptions,
}

#[derive(Debug, Args)]
pub(crate) struct XenOptions {
    #[arg(long, value_name = "RELEASE", value_parser = target,
          help = format!("Check for this release, from {}, such as 4.17 or 4.17.7", releases()))]
    pub(crate) for_xen: Option<Target>,
    /// The build-id of that Xen [default: accept payloads for any]
    #[arg(long, value_name = "HEX", requires = "for_xen")]
    pub(crate) build_id: Option<BuildId>,
    #[arg(long, value_name = "DIR", help = TRUSTED_HELP)]
    pub(crate) trusted: Option<PathBuf>,
}

impl XenOptions {
    /// The Xen that they name, if they do.
    pub(crate) fn target(&self) -> Option<Target> {
        let target = self.for_xen.clone()?;
        Some(self.build_id.iter().cloned().fold(target, Target::build_id))
    }
}

#[derive(Debug, Args)]
pub(crate) struct Install {
    /// Payload files, with their signatures beside them, if there are any (FILE.minisig)
    #[arg(value_name = "FILE", required = true)]
    pub(crate) files: Vec<PathBuf>,
    #[arg(long, value_name = "DIR", help = PAYLOADS_HELP)]
    pub(crate) directory: Option<PathBuf>,
    #[arg(long, value_name = "FINDING", help = ACCEPT_HELP)]
    pub(crate) accept: Vec<ProblemKind>,
    #[command(flatten)]
    pub(crate) xen: XenOptions,
}

#[derive(Debug, Args)]
pub(crate) struct Uninstall {
    #[arg(help = NAME_HELP)]
    pub(crate) name: OsString,
    #[arg(long, value_name = "DIR", help = PAYLOADS_HELP)]
    pub(crate) directory: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) xen: XenOptions,
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("wanted").args(["paths", "nothing"]).required(true))]
#[expect(clippy::struct_excessive_bools, reason = "a switch each")]
pub(crate) struct Ensure {
    /// Payload files, lowest first, or one directory of them
    #[arg(value_name = "FILE|DIR")]
    pub(crate) paths: Vec<PathBuf>,
    /// Revert and unload everything: Xen as it was booted
    #[arg(long)]
    pub(crate) nothing: bool,
    #[arg(long, value_name = "FINDING", help = ACCEPT_HELP)]
    pub(crate) accept: Vec<ProblemKind>,
    /// Print the plan with its gaps, and do nothing; the exit status is 8 if there is something to do
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Leave unapplied payloads loaded
    #[arg(long)]
    pub(crate) keep_unapplied: bool,
    /// Revert and apply in single steps, without replace, and so with a gap
    #[arg(long)]
    pub(crate) one_by_one: bool,
    /// Refuse plans with a gap
    #[arg(long)]
    pub(crate) no_gap: bool,
    /// Load the one FILE under this name, unless it is loaded already [default: the name of the file without its suffix,
    /// or the name that XAPI would give it]
    #[arg(long)]
    pub(crate) name: Option<OsString>,
    /// For unattended boots: skip suspects (payloads that were new when the host went down) and the payloads above them;
    /// do nothing if switched off
    #[arg(long)]
    pub(crate) boot: bool,
    /// Apply suspects too
    #[arg(long)]
    pub(crate) retry: bool,
    #[arg(long, value_name = "DIR", help = STATE_HELP)]
    pub(crate) state: Option<PathBuf>,
    #[arg(long, value_name = "DIR", help = TRUSTED_HELP)]
    pub(crate) trusted: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Confirm {
    /// The time that must have passed since they were applied [default: 10min]
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub(crate) after: Option<Duration>,
    /// Mark them at once if the system is shutting down, as confirmed by systemd if it runs
    #[arg(long)]
    pub(crate) shutdown: bool,
    #[arg(long, value_name = "DIR", help = STATE_HELP)]
    pub(crate) state: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Metrics {
    /// The directory of the payloads that are wanted [default: /usr/lib/xen-livepatch]
    #[arg(value_name = "DIR")]
    pub(crate) directory: Option<PathBuf>,
    /// Replace FILE as a whole instead of printing
    #[arg(long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// A directory of installed hypervisors; may be repeated [default: /boot, or none with --simulate]
    #[arg(long = "boot-directory", value_name = "DIR")]
    pub(crate) boot_directories: Vec<PathBuf>,
    #[arg(long, value_name = "DIR", help = STATE_HELP)]
    pub(crate) state: Option<PathBuf>,
    #[arg(long, value_name = "DIR", help = TRUSTED_HELP)]
    pub(crate) trusted: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Manual {
    /// Write it below DIR, such as /usr/local/share/man
    #[arg(long, value_name = "DIR")]
    pub(crate) install: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Completions {
    /// The shell
    pub(crate) shell: Shell,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Simulate {
    /// Make a simulated Xen in a new directory
    New(Deferred<NewSimulation>),

    /// Make a payload that changes the version text of the Xen that --simulate names
    Payload(Deferred<SimulatedPayload>),
}

#[derive(Debug, Args)]
pub(crate) struct NewSimulation {
    /// The directory to make
    #[arg(value_name = "DIR")]
    pub(crate) directory: PathBuf,
    #[arg(long, value_name = "RELEASE", default_value = "4.20", help = format!("The release, from {}", releases()))]
    pub(crate) release: Release,
    /// Xen's build-id [default: one for each release]
    #[arg(long, value_name = "HEX")]
    pub(crate) build_id: Option<BuildId>,
}

#[derive(Debug, Args)]
pub(crate) struct SimulatedPayload {
    /// The file to write
    pub(crate) file: PathBuf,
    /// The payload that it depends on [default: Xen itself]
    #[arg(long, value_name = "FILE")]
    pub(crate) on: Option<PathBuf>,
    /// Make .livepatch.funcs read-only, as Xen's own build tools do
    #[arg(long)]
    pub(crate) read_only: bool,
    /// The end of Xen's version while it is applied [default: - and the file's name]
    #[arg(long, allow_hyphen_values = true)]
    pub(crate) text: Option<String>,
}

/// Arguments that are described to clap only if the line contains their command, which keeps the other commands cheap.
#[derive(Debug)]
pub(crate) struct Deferred<T>(pub(crate) T);

impl<T: Args> Args for Deferred<T> {
    fn augment_args(command: clap::Command) -> clap::Command {
        command.defer(T::augment_args)
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        command.defer(T::augment_args_for_update)
    }
}

impl<T: FromArgMatches> FromArgMatches for Deferred<T> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        T::from_arg_matches(matches).map(Self)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        self.0.update_from_arg_matches(matches)
    }
}

/// The options of the flags that an action has.
fn flag_options(action: Action) -> impl Iterator<Item = Arg> {
    let option = |known: &KnownFlag| {
        let (major, minor) = known.since;
        let help = format!("{} (Xen {major}.{minor} and newer)", known.help);
        Arg::new(known.option).long(known.option).action(ArgAction::SetTrue).help(help)
    };
    Flags::KNOWN.iter().filter(move |known| known.actions.contains(&action)).map(option)
}

fn name_or_all() -> ArgGroup {
    ArgGroup::new("which").args(["name", "all"]).required(true)
}

/// Reads the version of a known release: `4.17`, `4.17.7`, or in a vendor's form `4.17.3-1.xs8`.
fn target(text: &str) -> Result<Target, String> {
    let is_point = |point: &str| point.parse::<u16>().is_ok();
    let is_complete = |version: &XenVersion| {
        let before_suffix = version.extra.split(['-', '+', '_']).next();
        before_suffix.is_some_and(|text| text.is_empty() || text.strip_prefix('.').is_some_and(is_point))
    };
    let version: Option<XenVersion> = text.parse().ok().filter(is_complete);
    let version = version.ok_or("write it like 4.17, 4.17.7 or 4.17.3-1.xs8")?;
    match Release::from_version(version.major, version.minor) {
        Some(_) => Ok(Target::from(&version)),
        None => Err(format!(
            "Xen {}.{} is not supported: this program supports {}",
            version.major,
            version.minor,
            releases()
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_read_as_vendors_write_them() {
        let releases = ["4.7", "4.17", "4.17.7", "4.17.8", "4.17.4-pre", "4.18.0-rc1", "4.22", "4.22-rc1"];
        for text in releases.into_iter().chain(["4.17.3-1.xs8", "4.17.5+23-g0123456", "4.17.3_04-150600.3"]) {
            assert_eq!(target(text), Ok(Target::from(&text.parse().unwrap())), "{text}");
        }
        for text in ["", "4", "4.", "4.x", "4.17.", "4.17.x", "4.17.3.1", "4.+17", "4.65536", "4-17", "xen-4.17"] {
            assert!(target(text).is_err_and(|error| error.starts_with("write it like")), "{text}");
        }
        for text in ["3.4", "4.6", "4.6.6", "4.99", "5.0", "5.17"] {
            assert!(target(text).is_err_and(|error| error.contains("is not supported")), "{text}");
        }
    }
}
