//! A model of both tools on a simulated Xen, which predicts their behaviour on a real one.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt as _;

use xen_livepatch::sim::SimulatedXen;
use xen_livepatch::{Action, Errno, Flags, LivepatchClient, LoadedPayload, State, Status};

use super::differences::{AGAIN, CRASHED, DONE, FAILED, Fault, Kind};
use super::files::{Entry, Files};

/// The last 4.x whose C tool accepts abbreviated commands.
const LAST_WITH_ABBREVIATIONS: u16 = 18;

/// The commands of the C tool, in the order in which it matches abbreviations.
const COMMANDS: [&str; 8] = ["help", "list", "upload", "load", "apply", "revert", "replace", "unload"];

/// The longest name that Xen accepts. The C tool accepts one more byte.
const LONGEST: usize = 127;

pub struct Model {
    pub kind: Kind,
    pub xen: SimulatedXen,
    client: LivepatchClient,
    minor: u16,
}

pub struct Expected {
    pub exit: i32,
    pub faults: BTreeSet<Fault>,
}

/// A valid command line.
#[derive(Debug, PartialEq, Eq)]
enum Parsed<'a> {
    Nothing,
    Upload { name: &'a OsStr, file: &'a OsStr },
    Act { action: Action, name: &'a OsStr, flags: Flags },
    Load { file: &'a OsStr, flags: Flags },
}

impl Model {
    pub fn new(kind: Kind, xen: SimulatedXen) -> Self {
        let client = LivepatchClient::builder().hook_time(std::time::Duration::ZERO).connect(xen.clone()).unwrap();
        let minor = xen.release().minor();
        Self { kind, xen, client, minor }
    }

    pub fn rows(&self) -> Vec<LoadedPayload> {
        self.client.list().unwrap()
    }

    pub fn extra(&self) -> String {
        self.client.xen_version().unwrap().extra
    }

    /// The exit status where the tools differ.
    fn either(&self, c_tool: i32, ours: i32) -> i32 {
        if self.kind == Kind::C { c_tool } else { ours }
    }

    pub fn run(&self, arguments: &[OsString], files: &Files) -> Expected {
        let mut faults = faults_of(arguments, self.minor);
        let words: Vec<&OsStr> = arguments.iter().map(OsString::as_os_str).collect();
        let parsed = match self.kind {
            Kind::C => self.parse_as_c_tool(&words),
            Kind::Ours => self.parse_as_ours(&words),
        };
        let exit = match parsed {
            Err(exit) => exit,
            Ok(Parsed::Nothing) => DONE,
            Ok(Parsed::Upload { name, file }) => self.upload(name.as_bytes(), file, files, &mut faults),
            Ok(Parsed::Act { action, name, flags }) => self.act(action, name.as_bytes(), flags, &mut faults),
            Ok(Parsed::Load { file, flags }) => self.load(file, flags, files, &mut faults),
        };
        Expected { exit, faults }
    }

    fn parse_as_c_tool<'a>(&self, words: &[&'a OsStr]) -> Result<Parsed<'a>, i32> {
        let takes_force = self.minor > LAST_WITH_ABBREVIATIONS;
        let words = match words {
            [] => return Err(DONE),
            [force, rest @ ..] if takes_force && *force == "--force" => rest,
            words => words,
        };
        let [word, rest @ ..] = words else { return Err(FAILED) };
        let known = |command: &&str| {
            if takes_force { word == command } else { command.as_bytes().starts_with(word.as_bytes()) }
        };
        let command = COMMANDS.into_iter().find(known).ok_or(FAILED)?;
        let flags = |given: &[&OsStr], takes_nodeps: bool| {
            let known = given.iter().all(|flag| takes_nodeps && *flag == "--nodeps");
            if !known {
                return Err(FAILED);
            }
            Ok(if given.is_empty() { Flags::empty() } else { Flags::NODEPS })
        };
        match (command, rest) {
            ("help", _) | ("list", []) => Ok(Parsed::Nothing),
            ("upload", [name, file]) => Ok(Parsed::Upload { name, file }),
            // It crashes before it checks the flags; if it checks them after the upload, it only undoes that.
            ("load", [file, given @ ..]) if file.is_empty() || flags(given, true).is_ok() => {
                Ok(Parsed::Load { file, flags: flags(given, true).unwrap_or_default() })
            }
            ("list" | "upload" | "load", _) | (_, []) => Err(FAILED),
            (action, [name, given @ ..]) => {
                let flags = flags(given, action == "apply")?;
                Ok(Parsed::Act { action: action_of(action), name, flags })
            }
        }
    }

    fn parse_as_ours<'a>(&self, words: &[&'a OsStr]) -> Result<Parsed<'a>, i32> {
        let is_option = |word: &&&OsStr| word.as_bytes().starts_with(b"-") && word.len() > 1;
        let options: Vec<&OsStr> = words.iter().filter(is_option).copied().collect();
        let rest: Vec<&OsStr> = words.iter().filter(|word| !is_option(word)).copied().collect();
        if options == ["--help"] || options == ["-h"] {
            return Err(DONE);
        }
        let count = |option: &str| options.iter().filter(|given| **given == option).count();
        let (force, nodeps) = (count("--force"), count("--nodeps"));
        let [command, rest @ ..] = &rest[..] else { return Err(FAILED) };
        let command = command.to_str().ok_or(FAILED)?;
        let takes_nodeps = matches!(command, "apply" | "load");
        if force > 1 || nodeps > usize::from(takes_nodeps) || force + nodeps < options.len() {
            return Err(FAILED);
        }
        let flags = if nodeps == 1 { Flags::NODEPS } else { Flags::empty() };
        // Ours sends it only to a Xen that knows it, where it has no effect.
        let refused = force == 1 && self.minor <= LAST_WITH_ABBREVIATIONS;
        match (command, rest) {
            ("help" | "list", []) => Ok(Parsed::Nothing),
            ("help", [about]) if COMMANDS.iter().any(|command| about == command) => Ok(Parsed::Nothing),
            ("upload" | "load", [_, ..]) if refused => Err(FAILED),
            ("upload", [name, file]) => Ok(Parsed::Upload { name, file }),
            ("load", [file]) => Ok(Parsed::Load { file, flags }),
            ("apply" | "revert" | "replace" | "unload", [name]) => {
                Ok(Parsed::Act { action: action_of(command), name, flags })
            }
            _ => Err(FAILED),
        }
    }

    /// Returns true if the tool refuses the name itself.
    fn refuses_name(&self, name: &[u8], faults: &mut BTreeSet<Fault>) -> bool {
        if name.is_empty() {
            faults.insert(Fault::EmptyName);
        }
        name.len() > LONGEST || name.is_empty() && self.kind == Kind::Ours
    }

    fn upload(&self, name: &[u8], file: &OsStr, files: &Files, faults: &mut BTreeSet<Fault>) -> i32 {
        if self.refuses_name(name, faults) {
            return FAILED;
        }
        let Some(Entry::File(bytes)) = files.get(file).filter(|entry| !entry.is_empty()) else { return FAILED };
        // Xen refuses all these files that our check refuses.
        self.xen.other_upload(name, bytes).map_or_else(status_of, |()| DONE)
    }

    fn act(&self, action: Action, name: &[u8], flags: Flags, faults: &mut BTreeSet<Fault>) -> i32 {
        if self.refuses_name(name, faults) {
            return FAILED;
        }
        let Some(Status { state, rc, .. }) = self.xen.status(name) else { return FAILED };
        if rc == -11 {
            faults.insert(Fault::StaleMark);
            if self.kind == Kind::C {
                return AGAIN;
            }
        }
        match (action, state) {
            (Action::Replace, State::Applied) if self.xen.applied().len() > 1 => {
                faults.insert(Fault::OthersStay);
                return self.either(DONE, FAILED);
            }
            (Action::Apply | Action::Replace, State::Applied) | (Action::Revert, State::Checked) => return DONE,
            (Action::Unload, State::Applied) => return FAILED,
            (Action::Revert, _) if self.xen.applied().last().is_none_or(|top| top.as_bytes() != name) => {
                faults.insert(Fault::NotOnTop);
                return self.either(AGAIN, FAILED);
            }
            _ => {}
        }
        match self.xen.other_action(name, action, flags) {
            // Only a hook fails with EAGAIN here.
            Err(errno) if errno.number() == 11 => {
                faults.insert(Fault::HookAgain);
                self.either(AGAIN, FAILED)
            }
            result => result.map_or_else(status_of, |()| DONE),
        }
    }

    fn load(&self, file: &OsStr, flags: Flags, files: &Files, faults: &mut BTreeSet<Fault>) -> i32 {
        if file.is_empty() {
            faults.insert(Fault::NoFile);
            return self.either(CRASHED, FAILED);
        }
        let path = file.as_bytes();
        let own = path.rsplit(|byte| *byte == b'/').next().unwrap();
        let name = own.iter().rposition(|byte| *byte == b'.').map_or(own, |dot| &own[..dot]);
        if name.is_empty() && !own.is_empty() {
            faults.insert(Fault::HiddenFile);
        }
        let uploaded = self.upload(name, file, files, faults);
        if uploaded != DONE {
            return uploaded;
        }
        let applied = self.act(Action::Apply, name, flags, faults);
        if applied != DONE {
            self.act(Action::Unload, name, Flags::empty(), faults);
        }
        applied
    }

    pub fn list(&self, faults: &mut BTreeSet<Fault>) -> Vec<u8> {
        let rows = self.rows();
        if rows.is_empty() {
            return b"Nothing to list\n".to_vec();
        }
        let mut table = format!(" {:<39}| {:<11}| metadata\n{:-<40}+{:-<12}+", "ID", "status", "", "").into_bytes();
        table.extend(b"---------------\n");
        for row in rows {
            let mut name = row.name.as_bytes().to_vec();
            let texts = row.metadata.as_bytes().split(|byte| *byte == 0).filter(|text| !text.is_empty());
            let mut metadata = texts.collect::<Vec<_>>().join(&b';');
            if self.kind == Kind::Ours {
                name = row.name.to_string().into_bytes();
                metadata = row.metadata.to_string().into_bytes();
            }
            if !is_plain(row.name.as_bytes()) || !is_plain(&metadata) || !is_plain(row.metadata.as_bytes()) {
                faults.insert(Fault::RawTable);
            }
            // Padded by bytes, as the C tool does.
            name.resize(name.len().max(40), b' ');
            table.extend(name);
            table.extend(format!("| {}{}    | ", state(row.status.state), result(row.status.rc)).bytes());
            table.extend(metadata);
            table.push(b'\n');
        }
        table
    }
}

/// The faults that the command line alone determines.
fn faults_of(arguments: &[OsString], minor: u16) -> BTreeSet<Fault> {
    let mut faults = BTreeSet::new();
    let words: Vec<&[u8]> = arguments.iter().map(|word| word.as_bytes()).collect();
    let is_option = |word: &[u8]| word.starts_with(b"-") && word.len() > 1;
    let positional: Vec<&[u8]> = words.iter().copied().filter(|word| !is_option(word)).collect();
    let command = positional.first().copied();
    match command {
        None if words.is_empty() => faults.extend([Fault::NoCommand]),
        Some(b"") => faults.extend([Fault::EmptyCommand]),
        Some(word) if COMMANDS.iter().any(|known| known.as_bytes() == word) => {}
        Some(word) if COMMANDS.iter().any(|known| known.as_bytes().starts_with(word)) => {
            faults.insert(Fault::Shortened);
        }
        _ => {}
    }
    if command == Some(b"help") && words.len() > 1 {
        faults.insert(Fault::HelpOfNothing);
    }
    let count = |option: &[u8]| words.iter().filter(|word| **word == option).count();
    if count(b"--help") + count(b"-h") > 0 {
        faults.insert(Fault::LongHelp);
    }
    if count(b"--force") > 0 {
        faults.extend([Fault::ForceUnknown, Fault::ForceAfter]);
    }
    if count(b"--nodeps") > 1 {
        faults.insert(Fault::TwiceNodeps);
    }
    let known: [&[u8]; 4] = [b"--force", b"--nodeps", b"--help", b"-h"];
    if words.iter().any(|word| is_option(word) && !known.contains(word)) {
        faults.insert(Fault::HyphenName);
    }
    faults.retain(|fault| fault.is_in(minor));
    faults
}

fn action_of(command: &str) -> Action {
    match command {
        "apply" => Action::Apply,
        "revert" => Action::Revert,
        "replace" => Action::Replace,
        "unload" => Action::Unload,
        other => unreachable!("{other} is not an action"),
    }
}

/// The exit status for an error of Xen; both tools ask to try again if it was busy.
fn status_of(errno: Errno) -> i32 {
    if [11, 16].contains(&errno.number()) { AGAIN } else { FAILED }
}

/// Returns true if a terminal shows the text unchanged. NULs separate the texts of metadata.
fn is_plain(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_ok_and(|text| !text.chars().any(|c| c.is_control() && c != '\0'))
}

fn state(state: State) -> &'static str {
    match state {
        State::Checked => "CHECKED",
        State::Applied => "APPLIED",
        _ => "unknown",
    }
}

fn result(rc: i32) -> String {
    if rc == 0 {
        return String::new();
    }
    let text = io::Error::from_raw_os_error(-rc).to_string();
    format!(" ({}, {})", -rc, text.split(" (os error").next().unwrap())
}
