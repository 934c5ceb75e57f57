//! How what was done is told: to people, or with `--json` to programs.

use std::cell::Cell;
use std::ffi::OsString;
use std::io::{self, IsTerminal as _, Write as _};
use std::iter;
use std::process::ExitCode;

use anstyle::{AnsiColor, Style};
use clap::ArgMatches;
use serde_json::{Map, Value};
use xen_livepatch::HypercallEvent;

use crate::failure::Failure;

/// The version of what `--json` prints. It changes when something that was there goes away or means something else.
const SCHEMA: u32 = 1;

const ERROR: Style = AnsiColor::Red.on_default().bold();
const NOTE: Style = AnsiColor::Yellow.on_default();

/// What a command came to.
#[derive(Debug, Default)]
pub(crate) struct Done {
    /// For people.
    pub(crate) text: String,
    /// For programs.
    pub(crate) result: Value,
    pub(crate) status: u8,
}

impl Done {
    pub(crate) fn new(text: impl Into<String>, result: Value) -> Self {
        Self { text: text.into(), result, status: 0 }
    }
}

/// In one piece, since others may write to the same terminal. What can't be told is no reason to leave work half done.
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
}

impl Output {
    pub(crate) fn new(arguments: &ArgMatches) -> Self {
        let command = arguments.subcommand_name().unwrap_or_default().to_owned();
        Self { json: arguments.get_flag("json"), command, open: Cell::new(false) }
    }

    /// For a command line that could not be read.
    pub(crate) fn for_usage(words: &[OsString]) -> Self {
        Self { json: words.iter().any(|word| word == "--json"), command: String::new(), open: Cell::new(false) }
    }

    /// Help and version, which were asked for.
    pub(crate) fn help(text: &str) -> ExitCode {
        Self::print(text, 0)
    }

    /// Whether there are people who watch a bar.
    pub(crate) fn is_watched(&self) -> bool {
        !self.json && io::stderr().is_terminal()
    }

    /// The beginning of a line that [`end`](Self::end) ends.
    pub(crate) fn begin(&self, text: &str) {
        if !self.json {
            let mut out = anstream::stdout();
            // What can't be told is no reason to leave work half done. The end tells whether it could.
            let _ = write!(out, "{text}... ").and_then(|()| out.flush());
            self.open.set(true);
        }
    }

    pub(crate) fn end(&self, text: &str) {
        if self.open.replace(false) {
            let _ = writeln!(anstream::stdout(), "{text}");
        }
    }

    /// A line of what goes on.
    pub(crate) fn line(&self, text: &str) {
        if !self.json {
            let _ = writeln!(anstream::stdout(), "{text}");
        }
    }

    pub(crate) fn done(&self, done: &Done) -> ExitCode {
        self.end("completed");
        let text = if self.json { self.object(done.status == 0, Some(&done.result), None) } else { done.text.clone() };
        Self::print(&text, done.status)
    }

    pub(crate) fn failed(&self, failure: &Failure) -> ExitCode {
        self.end("failed");
        if self.json {
            let text = self.object(false, failure.result.as_ref(), Some(&failure.error));
            return Self::print(&text, failure.status);
        }
        let first = format!("{ERROR}error:{ERROR:#} {}", failure.message);
        let lines: Vec<String> =
            iter::once(first).chain(failure.details.iter().map(|line| format!("  {line}"))).collect();
        tell(&format!("{}\n", lines.join("\n")));
        ExitCode::from(failure.status)
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

    /// A reader who has seen enough is not an error; a full disk is.
    fn print(text: &str, status: u8) -> ExitCode {
        let mut out = anstream::stdout();
        match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                tell(&format!("{ERROR}error:{ERROR:#} the result could not be written: {error}\n"));
                ExitCode::from(status.max(1))
            }
            _ => ExitCode::from(status),
        }
    }
}
