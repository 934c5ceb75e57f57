//! The output of commands: text for people, or with `--json` an object for programs.

use std::cell::{Cell, RefCell};
use std::ffi::OsString;
use std::io::{self, IsTerminal as _, Write};
use std::iter;
use std::process::ExitCode;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::stat::{fstat, major, minor};
use serde_json::{Map, Value};

use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::terminal::{ERROR, note, print_error};

/// The version of the objects that `--json` prints. It changes when a field is removed or changes its meaning.
const SCHEMA: u32 = 1;

/// The device numbers of `/dev/null`.
const NULL: (u64, u64) = (1, 3);

/// The outcome of a successful command.
#[derive(Debug, Default)]
pub(crate) struct Done {
    /// The output for people.
    pub(crate) text: String,
    /// The output for programs.
    pub(crate) result: Value,
    pub(crate) status: ExitStatus,
    /// The flaw of the outcome, with its own exit status.
    pub(crate) flaw: Option<Failure>,
}

impl Done {
    pub(crate) fn new(text: impl Into<String>, result: Value) -> Self {
        Self { text: text.into(), result, ..Self::default() }
    }

    pub(crate) fn with_status(self, status: ExitStatus) -> Self {
        Self { status, ..self }
    }

    pub(crate) fn with_flaw(self, flaw: Failure) -> Self {
        Self { status: flaw.status, flaw: Some(flaw), ..self }
    }
}

#[derive(Debug)]
pub(crate) struct Output {
    json: bool,
    /// The name of the command; empty if the command line could not be read.
    command: String,
    is_change: bool,
    /// True while a line is unfinished, such as `Applying fix... `.
    open: Cell<bool>,
    /// The first error in writing to stdout.
    error: RefCell<Option<io::Error>>,
}

impl Output {
    pub(crate) fn new(json: bool, command: String, is_change: bool) -> Self {
        Self { json, command, is_change, ..Self::for_usage(&[]) }
    }

    /// The output for a command line that could not be read.
    pub(crate) fn for_usage(words: &[OsString]) -> Self {
        let json = words.iter().any(|word| word == "--json");
        Self { json, command: String::new(), is_change: false, open: Cell::new(false), error: RefCell::default() }
    }

    /// Prints the help or the version.
    pub(crate) fn help(text: &str) -> ExitCode {
        let output = Self::for_usage(&[]);
        output.write_to(&mut anstream::stdout(), text);
        output.exit(ExitStatus::Done)
    }

    pub(crate) fn shows_progress(&self) -> bool {
        !self.json && io::stderr().is_terminal()
    }

    /// Prints the beginning of a line that [`end`](Self::end) finishes.
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

    /// Prints a line for people.
    pub(crate) fn line(&self, text: &str) {
        if !self.json {
            self.write(&format!("{text}\n"));
        }
    }

    pub(crate) fn done(&self, done: &Done) -> ExitCode {
        self.end("completed");
        if self.json {
            let error = done.flaw.as_ref().map(|failure| &failure.error);
            self.write(&self.object(done.status == ExitStatus::Done, Some(&done.result), error));
        } else {
            self.write(&done.text);
            if let Some(failure) = &done.flaw {
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

    fn write(&self, text: &str) {
        self.write_to(&mut io::stdout(), text);
    }

    /// Writes the text, and keeps an error for the end, since it is no reason to stop halfway.
    fn write_to(&self, out: &mut impl Write, text: &str) {
        let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
        // A closed pipe is no error: its reader has seen enough.
        if let Some(error) = written.err().filter(|error| error.kind() != io::ErrorKind::BrokenPipe) {
            self.error.borrow_mut().get_or_insert(error);
        }
    }

    /// The exit status, with a message on stderr if output was lost.
    fn exit(&self, status: ExitStatus) -> ExitCode {
        let error = match self.error.borrow_mut().take() {
            Some(error) => error.to_string(),
            None if !is_discarded() => return status.into(),
            // Some programs start the tool like that, since they need no text but only the exit status.
            None if !self.json => {
                note("the output is lost: standard output is closed, or /dev/null");
                return status.into();
            }
            None => "standard output is closed, or /dev/null".to_owned(),
        };
        let is_done = status == ExitStatus::Done && self.is_change;
        let fate = if is_done { "; the command itself is done" } else { "" };
        print_error(&format!("{ERROR}error:{ERROR:#} the output could not be written: {error}{fate}\n"));
        match status {
            ExitStatus::Done if self.is_change => ExitStatus::OutputLost.into(),
            ExitStatus::Done => ExitStatus::Failed.into(),
            status => status.into(),
        }
    }
}

/// Prints a failure for people.
fn explain(failure: &Failure) {
    let first = format!("{ERROR}error:{ERROR:#} {}", failure.message);
    let lines: Vec<String> = iter::once(first).chain(failure.details.iter().map(|line| format!("  {line}"))).collect();
    print_error(&format!("{}\n", lines.join("\n")));
}

/// Returns true if the standard output was closed when this process began.
///
/// Rust's runtime replaces a closed descriptor by `/dev/null`, opened for reading and writing. A shell that discards the
/// output opens it for writing only; some other programs can't be distinguished from the runtime.
fn is_discarded() -> bool {
    let stdout = io::stdout();
    let Ok(flags) = fcntl(&stdout, FcntlArg::F_GETFL).map(OFlag::from_bits_retain) else { return true };
    let is_null = fstat(&stdout).is_ok_and(|about| (major(about.st_rdev), minor(about.st_rdev)) == NULL);
    is_null && flags & OFlag::O_ACCMODE == OFlag::O_RDWR
}
