//! The output of commands: text for people, or with `--json` an object for programs.

use std::cell::{Cell, RefCell};
use std::ffi::OsString;
use std::io::{self, IsTerminal as _, Write};
use std::iter;
use std::process::ExitCode;

use anstyle::{AnsiColor, Style};
use clap::ArgMatches;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::stat::{fstat, major, minor};
use serde_json::{Map, Value};
use xen_livepatch::HypercallEvent;

use crate::failure::{FINAL, Failure, UNWRITTEN};

/// The version of what `--json` prints. It changes when something that was there goes away or means something else.
const SCHEMA: u32 = 1;

const ERROR: Style = AnsiColor::Red.on_default().bold();
const NOTE: Style = AnsiColor::Yellow.on_default();

/// The commands that change something: without their output they are done all the same. Of the others the output is all
/// that there is.
const CHANGES: [&str; 9] = ["upload", "apply", "revert", "replace", "unload", "load", "ensure", "confirm", "simulate"];

/// The device numbers of `/dev/null`.
const NULL: (u64, u64) = (1, 3);

/// The outcome of a command that did what it was asked for.
#[derive(Debug, Default)]
pub(crate) struct Done {
    /// For people.
    pub(crate) text: String,
    /// For programs.
    pub(crate) result: Value,
    pub(crate) status: u8,
    /// The flaw in what was done, if there is one. It brings its own exit status.
    pub(crate) but: Option<Failure>,
}

impl Done {
    pub(crate) fn new(text: impl Into<String>, result: Value) -> Self {
        Self { text: text.into(), result, ..Self::default() }
    }

    /// It was done, with this exit status.
    pub(crate) fn with_status(self, status: u8) -> Self {
        Self { status, ..self }
    }

    /// It was done, with this flaw.
    pub(crate) fn but(self, failure: Failure) -> Self {
        Self { status: failure.status, but: Some(failure), ..self }
    }
}

/// Writes to stderr in one piece, since others may write to the same terminal. An error there is no reason to leave work
/// half done.
fn tell(text: &str) {
    let _ = anstream::stderr().write_all(text.as_bytes());
}

/// Something that people should know, and programs need not.
pub(crate) fn note(text: &str) {
    tell(&format!("{NOTE}{text}{NOTE:#}\n"));
}

/// A hypercall, as it is made.
pub(crate) fn hypercall(event: &HypercallEvent<'_>) {
    tell(&format!("  {event}\n"));
}

#[derive(Debug)]
pub(crate) struct Output {
    json: bool,
    command: String,
    /// A line that waits for its end: `Applying fix... `.
    open: Cell<bool>,
    /// The first error that output met.
    error: RefCell<Option<io::Error>>,
}

impl Output {
    pub(crate) fn new(arguments: &ArgMatches) -> Self {
        Self::of(arguments.subcommand_name().unwrap_or_default(), arguments.get_flag("json"))
    }

    /// For a command line that could not be read.
    pub(crate) fn for_usage(words: &[OsString]) -> Self {
        Self::of("", words.iter().any(|word| word == "--json"))
    }

    fn of(command: &str, json: bool) -> Self {
        Self { json, command: command.to_owned(), open: Cell::new(false), error: RefCell::default() }
    }

    /// Help and version, which were asked for.
    pub(crate) fn help(text: &str) -> ExitCode {
        let output = Self::of("", false);
        output.write_to(&mut anstream::stdout(), text);
        output.exit(0)
    }

    /// The outcome in the form that was asked for. The other one is not made.
    pub(crate) fn outcome(&self, text: impl FnOnce() -> String, result: impl FnOnce() -> Value) -> Done {
        if self.json { Done::new("", result()) } else { Done::new(text(), Value::Null) }
    }

    /// Returns true if people may watch a bar.
    pub(crate) fn is_watched(&self) -> bool {
        !self.json && io::stderr().is_terminal()
    }

    /// The beginning of a line that [`end`](Self::end) ends.
    pub(crate) fn begin(&self, text: &str) {
        if !self.json {
            self.write(&format!("{text}... "));
            self.open.set(true);
        }
    }

    pub(crate) fn end(&self, text: &str) {
        if self.open.replace(false) {
            self.write(&format!("{text}\n"));
        }
    }

    /// A line about work under way.
    pub(crate) fn line(&self, text: &str) {
        if !self.json {
            self.write(&format!("{text}\n"));
        }
    }

    pub(crate) fn done(&self, done: &Done) -> ExitCode {
        self.end("completed");
        if self.json {
            let error = done.but.as_ref().map(|failure| &failure.error);
            self.write(&self.object(done.status == 0, Some(&done.result), error));
        } else {
            self.write(&done.text);
            if let Some(failure) = &done.but {
                explain(failure);
            }
        }
        self.exit(done.status)
    }

    pub(crate) fn failed(&self, failure: &Failure) -> ExitCode {
        self.end("failed");
        if self.json {
            self.write(&self.object(false, failure.result.as_ref(), Some(&failure.error)));
        } else {
            explain(failure);
        }
        self.exit(failure.status)
    }

    fn object(&self, ok: bool, result: Option<&Value>, error: Option<&Value>) -> String {
        let mut object = Map::new();
        object.insert("schema".into(), SCHEMA.into());
        object.insert("command".into(), self.command.clone().into());
        object.insert("ok".into(), ok.into());
        for (key, value) in [("result", result), ("error", error)] {
            if let Some(value) = value.filter(|value| !value.is_null()) {
                object.insert(key.into(), value.clone());
            }
        }
        format!("{}\n", Value::Object(object))
    }

    /// Prints this. An error is kept for the end, since it is no reason to leave work half done. A reader who has seen
    /// enough is not an error.
    fn write(&self, text: &str) {
        self.write_to(&mut io::stdout(), text);
    }

    fn write_to(&self, out: &mut impl Write, text: &str) {
        let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
        if let Some(error) = written.err().filter(|error| error.kind() != io::ErrorKind::BrokenPipe) {
            self.error.borrow_mut().get_or_insert(error);
        }
    }

    /// The exit status: a command that is done stays done where its output is lost, and reports that.
    fn exit(&self, status: u8) -> ExitCode {
        let is_change = CHANGES.contains(&self.command.as_str());
        let error = match self.error.borrow_mut().take() {
            Some(error) => error.to_string(),
            None if !is_discarded() => return ExitCode::from(status),
            // Programs that need no text begin like that: for them the exit status is enough.
            None if !self.json => {
                note("the output is lost: standard output is closed, or /dev/null");
                return ExitCode::from(status);
            }
            None => "standard output is closed, or /dev/null".to_owned(),
        };
        let fate = if status == 0 && is_change { "; the command itself is done" } else { "" };
        tell(&format!("{ERROR}error:{ERROR:#} the output could not be written: {error}{fate}\n"));
        ExitCode::from(match status {
            0 if is_change => UNWRITTEN,
            0 => FINAL,
            status => status,
        })
    }
}

/// Shows a failure to people.
fn explain(failure: &Failure) {
    let first = format!("{ERROR}error:{ERROR:#} {}", failure.message);
    let lines: Vec<String> = iter::once(first).chain(failure.details.iter().map(|line| format!("  {line}"))).collect();
    tell(&format!("{}\n", lines.join("\n")));
}

/// Returns true if the standard output was closed when this process began, or is as if it had been.
///
/// The runtime opens `/dev/null` in the place of such a descriptor, for reading and writing. A shell that is to discard the
/// output opens it for writing alone; some other programs can't be distinguished.
fn is_discarded() -> bool {
    let stdout = io::stdout();
    let Ok(flags) = fcntl(&stdout, FcntlArg::F_GETFL).map(OFlag::from_bits_retain) else { return true };
    let is_null = fstat(&stdout).is_ok_and(|about| (major(about.st_rdev), minor(about.st_rdev)) == NULL);
    is_null && flags & OFlag::O_ACCMODE == OFlag::O_RDWR
}
