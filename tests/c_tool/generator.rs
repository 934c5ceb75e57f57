//! Commands, generated from a seed and the loaded payloads.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;

use xen_livepatch::{LoadedPayload, State};

use super::files::{DIRECTORY, FAILING, ON_OTHERS, ON_XEN, REFUSED, path_of};
use super::model::Model;
use super::random::Random;

/// If more payloads than this are loaded, they are removed.
const MOST_LOADED: usize = 6;

type Command = Vec<OsString>;

pub struct Generator(Random);

#[derive(Clone, Copy)]
enum Intent {
    List,
    Upload,
    Load,
    Apply,
    Revert,
    Replace,
    Unload,
    Again,
    Failing,
    Refused,
    Unknown,
    Usage,
    Names,
    Short,
    Options,
    Wild,
}

const INTENTS: [(usize, Intent); 16] = [
    (2, Intent::List),
    (14, Intent::Upload),
    (14, Intent::Load),
    (16, Intent::Apply),
    (9, Intent::Revert),
    (6, Intent::Replace),
    (7, Intent::Unload),
    (4, Intent::Again),
    (6, Intent::Failing),
    (6, Intent::Refused),
    (5, Intent::Unknown),
    (6, Intent::Usage),
    (5, Intent::Names),
    (4, Intent::Short),
    (4, Intent::Options),
    (2, Intent::Wild),
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
        let applied: Vec<OsString> = host.xen.applied().iter().map(|name| of_bytes(name.as_bytes())).collect();
        let of_state = |state| rows.iter().filter(move |row| row.status.state == state).map(name_of);
        let checked: Vec<OsString> = of_state(State::Checked).collect();
        let anything: Vec<OsString> = rows.iter().map(name_of).collect();
        let intent = match self.0.weighted(&INTENTS) {
            Intent::Upload | Intent::Load | Intent::Names | Intent::Wild if rows.len() > MOST_LOADED => {
                if checked.is_empty() { Intent::Revert } else { Intent::Unload }
            }
            intent => intent,
        };
        match intent {
            Intent::List => vec![words(&["list"])],
            Intent::Upload => vec![self.upload()],
            Intent::Load => vec![self.load()],
            Intent::Apply => vec![self.act("apply", &checked, &anything)],
            Intent::Revert => {
                let top: Vec<OsString> = applied.last().cloned().into_iter().collect();
                let below = self.0.percent(40);
                vec![self.act("revert", if below { &applied } else { &top }, &anything)]
            }
            Intent::Replace => vec![self.act("replace", &checked, &anything)],
            Intent::Unload => vec![self.act("unload", &checked, &anything)],
            // In the requested state already, or in the wrong one.
            Intent::Again => {
                let action = self.0.of(&["apply", "revert", "replace", "unload"]);
                vec![self.act(action, &anything, &anything)]
            }
            Intent::Failing => self.failing(),
            Intent::Refused => vec![self.refused()],
            Intent::Unknown => vec![self.unknown()],
            Intent::Usage => vec![self.usage()],
            Intent::Names => self.names(),
            Intent::Short => self.short(&checked, &applied),
            Intent::Options => vec![self.options()],
            Intent::Wild => self.wild(),
        }
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
    fn act(&mut self, action: &str, sensible: &[OsString], anything: &[OsString]) -> Command {
        let choices = if sensible.is_empty() || self.0.percent(15) { anything } else { sensible };
        let name = if choices.is_empty() { "hello".into() } else { self.0.of(choices) };
        let mut command = vec![action.into(), name];
        if self.0.percent(if action == "apply" { 40 } else { 4 }) {
            command.push("--nodeps".into());
        }
        command
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
        let action = self.0.of(&["apply", "revert", "replace", "unload"]);
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
        let action = self.0.of(&["apply", "revert", "replace", "unload"]);
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
    fn short(&mut self, checked: &[OsString], applied: &[OsString]) -> Vec<Command> {
        let some = |random: &mut Random, of: &[OsString]| {
            if of.is_empty() { OsString::from("hello") } else { random.of(of) }
        };
        let top = applied.last().cloned().unwrap_or_else(|| "hello".into());
        let (short, full, argument): (&str, &str, Option<OsString>) = match self.0.below(9) {
            0 => ("l", "list", None),
            1 => ("he", "help", None),
            2 => ("lis", "list", None),
            3 => ("lo", "load", Some(self.file().into())),
            4 => ("a", "apply", Some(some(&mut self.0, checked))),
            5 => ("un", "unload", Some(some(&mut self.0, checked))),
            6 => ("r", "revert", Some(top)),
            7 => ("rep", "replace", Some(some(&mut self.0, checked))),
            _ => ("u", "unload", Some(some(&mut self.0, checked))),
        };
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
