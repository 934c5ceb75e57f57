//! The reading of a command line.

use std::ffi::OsString;

use anstream::adapter::strip_str;
use clap::error::{ContextKind, ContextValue, ErrorKind as ClapKind};
use clap::{CommandFactory as _, FromArgMatches as _, Subcommand as _};
use xen_livepatch::{Flags, KnownFlag, escaped};

use crate::arguments::Command;
use crate::failure::Failure;
use crate::options::CommonOptions;
use crate::terminal;

/// A line that was read.
#[derive(Debug)]
pub(crate) struct CommandLine {
    /// The name of the command.
    pub(crate) name: String,
    pub(crate) options: CommonOptions,
    /// The flags for the action of the command.
    pub(crate) flags: Flags,
    pub(crate) command: Command,
}

/// Reads the words of a command line.
///
/// # Errors
/// If they are wrong, or ask for help or the version.
pub(crate) fn parse(words: &[OsString]) -> Result<CommandLine, clap::Error> {
    // clap copies the options of every command to each command, which takes longer than listing payloads. Only help and
    // errors need more commands than the line names.
    let named = with_commands(|name| words.iter().any(|word| word == name));
    parse_with(named, words).or_else(|_| parse_with(command(), words))
}

fn parse_with(described: clap::Command, words: &[OsString]) -> Result<CommandLine, clap::Error> {
    let matches = described.try_get_matches_from(words)?;
    let (name, own) = matches.subcommand().expect("clap requires a command");
    let is_given = |known: &&KnownFlag| matches!(own.try_get_one(known.option), Ok(Some(true)));
    Ok(CommandLine {
        name: name.to_owned(),
        options: CommonOptions::from_arg_matches(&matches)?,
        flags: Flags::KNOWN.iter().filter(is_given).map(|known| known.flag).collect(),
        command: Command::from_arg_matches(&matches)?,
    })
}

/// The whole command line, for help, the manual page and completions.
pub(crate) fn command() -> clap::Command {
    with_commands(|_| true)
}

fn with_commands(is_wanted: impl Fn(&str) -> bool) -> clap::Command {
    let all = Command::augment_subcommands(clap::Command::new("all"));
    let wanted = all.get_subcommands().filter(|command| is_wanted(command.get_name()));
    let common = CommonOptions::command();
    let subcommands: Vec<_> = wanted.map(|command| with_fitting_help(command.clone(), &common)).collect();
    common.subcommands(subcommands)
}

/// Hides the common options that a command accepts without using them, and shows its longer text below the options, where
/// clap sets these closely.
fn with_fitting_help(command: clap::Command, common: &clap::Command) -> clap::Command {
    let name = command.get_name().to_owned();
    let unused = common.get_arguments().filter(|option| !uses(&name, option.get_id().as_str()));
    let command = command.args(unused.map(|option| option.clone().hide(true)));
    let long = command.get_long_about().map(ToString::to_string);
    match long.as_deref().and_then(|long| long.split_once("\n\n")) {
        Some((_, more)) => command.long_about(None).after_help(more.to_owned()),
        None => command,
    }
}

/// Returns true if a common option has a meaning for a command.
fn uses(command: &str, option: &str) -> bool {
    let acts = ["apply", "revert", "replace", "unload", "load", "ensure"].contains(&command);
    match option {
        "timeout" | "retries" => acts,
        "deadline" => acts || ["upload", "install", "uninstall"].contains(&command),
        "force" => ["upload", "load"].contains(&command),
        "simulate" => !["inspect", "schema", "man", "completions"].contains(&command),
        "device" | "verbose" => uses(command, "simulate") && command != "simulate",
        _ => true,
    }
}

/// The commands that a word could be short for, among those of the command that the line names before it, if any.
fn candidates(word: &str, line: &[OsString]) -> Vec<String> {
    let all = command();
    let group = line.iter().filter_map(|other| all.find_subcommand(other)).find(|group| group.has_subcommands());
    let names = group.unwrap_or(&all).get_subcommands().map(clap::Command::get_name).chain(["help"]);
    names.filter(|name| !word.is_empty() && name.starts_with(word)).map(ToOwned::to_owned).collect()
}

/// The failure of a wrong command line.
pub(crate) fn failure(error: &clap::Error, words: &[OsString]) -> Failure {
    let word = match error.get(ContextKind::InvalidSubcommand) {
        Some(ContextValue::String(word)) if error.kind() == ClapKind::InvalidSubcommand => Some(word),
        _ => None,
    };
    let help = format!("see '{} help'", terminal::command());
    let message = match word.map(|word| (word, candidates(word, words))) {
        Some((word, names)) if !names.is_empty() => {
            let (word, names) = (escaped(word.as_bytes()), names.join(" or "));
            format!("'{word}' is not a command; it could be short for {names}: write it out")
        }
        Some((word, _)) => format!("'{}' is not a command; {help}", escaped(word.as_bytes())),
        None if words.len() < 2 => format!("a command is missing; {help}"),
        None => {
            let text = strip_str(&error.render().to_string()).to_string();
            // It contains words of the command line, which may be anything.
            let lines: Vec<String> = text.trim_end().lines().map(|line| escaped(line.as_bytes())).collect();
            let text = lines.join("\n");
            text.strip_prefix("error: ").unwrap_or(&text).to_owned()
        }
    };
    Failure::new("usage", message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        command().debug_assert();
    }

    #[test]
    fn a_line_is_read_as_if_every_command_had_been_described() {
        for (line, name) in [
            ("x list", Some("list")),
            ("x --json --simulate list status list", Some("status")),
            ("x --simulate status list --timeout 1s", Some("list")),
            ("x upload list apply", Some("upload")),
            ("x status status", Some("status")),
            ("x load --nodeps help", Some("load")),
            ("x ensure --name list check --boot", Some("ensure")),
            ("x --simulate new simulate payload status --on simulate", Some("simulate")),
            ("x simulate new list", Some("simulate")),
            ("x list status", None),
            ("x new list", None),
            ("x help list", None),
            ("x list help", None),
            ("x list --help", None),
            ("x simulate help new", None),
            ("x --version list", None),
            ("x lis", None),
            ("x nonsense list", None),
            ("x --nonsense", None),
            ("x --simulate list", None),
            ("x", None),
        ] {
            let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            let (parsed, whole) = (parse(&words), parse_with(command(), &words));
            for parsed in [&parsed, &whole] {
                assert_eq!(parsed.as_ref().ok().map(|line| &*line.name), name, "{line}");
            }
            let text = |parsed: Result<CommandLine, clap::Error>| match parsed {
                Ok(parsed) => format!("{parsed:?}"),
                Err(error) => error.render().ansi().to_string(),
            };
            assert_eq!(text(parsed), text(whole), "{line}");
        }
    }
}
