//! Commands, generated from a seed and the loaded payloads.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;

use xen_livepatch::{LoadedPayload, State};

use super::files::{DIRECTORY, FAILING, ON_OTHERS, ON_XEN, REFUSED, path_of};
use super::model::Model;
use super::random::Random;

/// If more payloads than this are loaded, some are removed.
const MOST_LOADED: usize = 6;

const ACTIONS: [&str; 4] = ["apply", "revert", "replace", "unload"];

type Command = Vec<OsString>;

pub struct Generator(Random);

/// The names of the payloads on a host.
struct Names {
    /// From the bottom of the stack.
    applied: Vec<OsString>,
    checked: Vec<OsString>,
    all: Vec<OsString>,
}

/// A kind of commands.
type Intent = fn(&mut Generator, &Names) -> Vec<Command>;

const INTENTS: [(usize, Intent); 16] = [
    (2, |_, _| vec![words(&["list"])]),
    (14, |generator, _| vec![generator.upload()]),
    (14, |generator, _| vec![generator.load()]),
    (16, |generator, names| vec![generator.act("apply", &names.checked, names)]),
    (9, Generator::revert),
    (6, |generator, names| vec![generator.act("replace", &names.checked, names)]),
    (7, |generator, names| vec![generator.act("unload", &names.checked, names)]),
    (4, Generator::again),
    (6, |generator, _| generator.failing()),
    (6, |generator, _| vec![generator.refused()]),
    (5, |generator, _| vec![generator.unknown()]),
    (6, |generator, _| vec![generator.usage()]),
    (5, |generator, _| generator.names()),
    (4, Generator::short),
    (4, |generator, _| vec![generator.options()]),
    (2, |generator, _| generator.wild()),
];

fn words(of: &[&str]) -> Command {
    of.iter().map(OsString::from).collect()
}

impl Generator {
    pub fn new(seed: u64) -> Self {
        Self(Random::new(seed))
    }

    /// The next commands, for a host in the state of the model.
    pub fn next(&mut self, host: &Model) -> Vec<Command> {
        let rows = host.rows();
        let checked = rows.iter().filter(|row| row.status.state == State::Checked).map(name_of).collect();
        let applied = host.xen.applied().iter().map(|name| of_bytes(name.as_bytes())).collect();
        let names = Names { applied, checked, all: rows.iter().map(name_of).collect() };
        if names.all.len() > MOST_LOADED && self.0.percent(40) {
            return if names.checked.is_empty() {
                self.revert(&names)
            } else {
                vec![self.act("unload", &names.checked, &names)]
            };
        }
        self.0.weighted(&INTENTS)(self, &names)
    }

    /// The last commands: after them the C tool refuses all others.
    pub fn last() -> Vec<Command> {
        vec![
            words(&["upload", "marked", "marking.livepatch"]),
            words(&["apply", "marked", "--nodeps"]),
            words(&["revert", "marked"]),
            words(&["unload", "marked"]),
        ]
    }

    fn file(&mut self) -> String {
        let id = if self.0.percent(30) { self.0.of(&ON_OTHERS) } else { self.0.of(&ON_XEN) };
        path_of(id)
    }

    fn upload(&mut self) -> Command {
        let file = self.file();
        let own = file.trim_end_matches(".livepatch").to_owned();
        let name = if self.0.percent(75) {
            own
        } else {
            self.0.of(&["another", "hello", "x", "a: b", "A", "tr\u{e4}ge", "dots.in.it.", " leading", "|"]).into()
        };
        words(&["upload", &name, &file])
    }

    fn load(&mut self) -> Command {
        let mut file = self.file();
        if self.0.percent(20) {
            file = format!("{DIRECTORY}/{file}");
        }
        let mut command = words(&["load", &file]);
        match self.0.below(10) {
            0..4 => command.push("--nodeps".into()),
            4 => command.push("--bogus".into()),
            _ => {}
        }
        command
    }

    /// An action, mostly on a payload that it makes sense for.
    fn act(&mut self, action: &str, sensible: &[OsString], names: &Names) -> Command {
        let choices = if sensible.is_empty() || self.0.percent(15) { &names.all } else { sensible };
        let mut command = vec![action.into(), self.one_of(choices)];
        if self.0.percent(if action == "apply" { 40 } else { 4 }) {
            command.push("--nodeps".into());
        }
        command
    }

    fn one_of(&mut self, names: &[OsString]) -> OsString {
        if names.is_empty() { "hello".into() } else { self.0.of(names) }
    }

    fn revert(&mut self, names: &Names) -> Vec<Command> {
        let top = names.applied.len().saturating_sub(1);
        let sensible = if self.0.percent(40) { &names.applied[..] } else { &names.applied[top..] };
        vec![self.act("revert", sensible, names)]
    }

    /// An action on a payload that may be in the requested state already, or in the wrong one.
    fn again(&mut self, names: &Names) -> Vec<Command> {
        let action = self.0.of(&ACTIONS);
        vec![self.act(action, &names.all, names)]
    }

    fn failing(&mut self) -> Vec<Command> {
        let id = self.0.of(&FAILING);
        let file = path_of(id);
        let nodeps = self.0.percent(50);
        let flagged = |mut command: Command| {
            command.extend(nodeps.then(|| "--nodeps".into()));
            command
        };
        if self.0.percent(40) {
            return vec![flagged(words(&["load", &file]))];
        }
        let mut commands = vec![words(&["upload", id, &file]), flagged(words(&["apply", id]))];
        if self.0.percent(60) {
            commands.push(words(&["unload", id]));
        }
        commands
    }

    fn refused(&mut self) -> Command {
        let file = path_of(self.0.of(&REFUSED));
        if self.0.percent(30) { words(&["load", &file]) } else { words(&["upload", "refused", &file]) }
    }

    fn unknown(&mut self) -> Command {
        let action = self.0.of(&ACTIONS);
        match self.0.below(5) {
            0 => words(&["upload", "nothing", "/nowhere/at.all"]),
            1 => words(&["load", "/nowhere/at.all"]),
            2 => words(&[action, "not there"]),
            3 => words(&[action, "not there", "--bogus"]),
            _ => words(&[action, "HELLO"]),
        }
    }

    fn usage(&mut self) -> Command {
        let choices: [&[&str]; 24] = [
            &[],
            &[""],
            &["help"],
            &["help", "apply"],
            &["help", "me"],
            &["bogus"],
            &["Apply", "hello"],
            &["listen"],
            &["upload"],
            &["upload", "alone"],
            &["upload", "hello", "hello.livepatch", "more"],
            &["apply"],
            &["revert"],
            &["replace"],
            &["unload"],
            &["load"],
            &["load", ""],
            &["load", "a directory"],
            &["load", "a directory/"],
            &["load", "hello.livepatch", "nodeps"],
            &["apply", "hello", "bye"],
            &["apply", "hello", "nodeps"],
            &["list", "hello"],
            &["unload", "hello", "bye"],
        ];
        words(self.0.of(&choices))
    }

    /// Names at the limits of length.
    fn names(&mut self) -> Vec<Command> {
        let name = match self.0.below(6) {
            0 => String::new(),
            1 => "n".repeat(127),
            2 => "n".repeat(128),
            3 => "n".repeat(129),
            4 => "n".repeat(40),
            _ => "-x".into(),
        };
        let nothing_there = self.0.percent(25);
        let action = self.0.of(&ACTIONS);
        if nothing_there {
            return vec![words(&[action, &name])];
        }
        match self.0.below(4) {
            0 => {
                let file = self.0.of(&[".hidden", "./.hidden", "...x", "deeper/x.y.z.livepatch"]);
                vec![words(&["load", &file.replace("./.hidden", &format!("{DIRECTORY}/.hidden"))])]
            }
            1 => {
                let long = self.0.of(&[127, 128]);
                vec![words(&["load", &format!("{}.livepatch", "m".repeat(long))])]
            }
            _ => vec![words(&["upload", &name, "debug.livepatch"]), words(&[action, &name]), words(&["unload", &name])],
        }
    }

    /// An abbreviated command, then the same command in full.
    fn short(&mut self, names: &Names) -> Vec<Command> {
        let (checked, file) = (self.one_of(&names.checked), self.file().into());
        let top = names.applied.last().cloned().unwrap_or_else(|| "hello".into());
        let (short, full, argument) = self.0.of(&[
            ("l", "list", None),
            ("he", "help", None),
            ("lis", "list", None),
            ("lo", "load", Some(file)),
            ("a", "apply", Some(checked.clone())),
            ("un", "unload", Some(checked.clone())),
            ("r", "revert", Some(top)),
            ("rep", "replace", Some(checked.clone())),
            ("u", "unload", Some(checked)),
        ]);
        let command = |word: &str| [OsString::from(word)].into_iter().chain(argument.clone()).collect::<Command>();
        vec![command(short), command(full)]
    }

    fn options(&mut self) -> Command {
        let choices: [&[&str]; 15] = [
            &["--force"],
            &["--force", "list"],
            &["--force", "help"],
            &["--force", "--force", "list"],
            &["--force", "upload", "hello", "hello.livepatch"],
            &["--force", "load", "debug.livepatch"],
            &["--force", "upload", "short", "short.livepatch"],
            &["upload", "nop", "nop.livepatch", "--force"],
            &["list", "--force"],
            &["--help"],
            &["-h"],
            &["--bogus"],
            &["--nodeps", "list"],
            &["apply", "hello", "--nodeps", "--nodeps"],
            &["apply", "--nodeps", "not there"],
        ];
        words(self.0.of(&choices))
    }

    /// Names and metadata that act on a terminal or break the table.
    fn wild(&mut self) -> Vec<Command> {
        let name = self.0.of(&["two\nlines", "\u{1b}[31mred", "tab\t", "del\u{7f}"]);
        let (name, upload) = if self.0.percent(50) {
            ("wild", words(&["upload", "wild", "wild.livepatch"]))
        } else {
            (name, words(&["upload", name, "debug.livepatch"]))
        };
        let apply = words(&["apply", name, "--nodeps"]);
        vec![upload, apply, words(&["revert", name]), words(&["unload", name])]
    }
}

fn name_of(row: &LoadedPayload) -> OsString {
    of_bytes(row.name.as_bytes())
}

pub fn of_bytes(bytes: &[u8]) -> OsString {
    OsString::from_vec(bytes.to_vec())
}
