//! The failure of a command, with its exit status.

use std::ffi::OsString;
use std::fmt::Display;
use std::io;
use std::path::Path;

use anstream::adapter::strip_str;
use clap::error::{ContextKind, ContextValue, ErrorKind as ClapKind};
use serde_json::{Value, json};
use xen_livepatch::{EnsureError, Error, InvalidName, Outcome, PlanError, escaped};

use crate::arguments;
use crate::shown::shown;

/// The same again will fail again.
pub(crate) const FINAL: u8 = 1;
/// The same again may succeed.
pub(crate) const AGAIN: u8 = 2;
/// The host went down with a payload that was new then, so it was not applied.
pub(crate) const NOT_SURVIVED: u8 = 3;
/// It is done, but the guard could not write down that it was.
pub(crate) const NOT_GUARDED: u8 = 4;
/// It is done, but the output could not be written.
pub(crate) const UNWRITTEN: u8 = 5;

/// The host runs without payloads that were applied before.
pub(crate) const WORSE: u8 = 6;
/// All that could be used is applied, but some files could not be used.
pub(crate) const INCOMPLETE: u8 = 7;
/// A dry run found that there is something to do.
pub(crate) const NOT_AS_WANTED: u8 = 8;
/// There are payloads, and none is for this Xen.
pub(crate) const NOTHING_FOR_THIS_XEN: u8 = 9;
/// There are no payloads.
pub(crate) const NOTHING_THERE: u8 = 10;

/// An error: for people, and for programs.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub(crate) status: u8,
    pub(crate) message: String,
    /// Lines of Xen's log, or others that add to the message.
    pub(crate) details: Vec<String>,
    /// All of it, for programs: at least `kind`, `message` and `retryable`.
    pub(crate) error: Value,
    /// The part that was done all the same.
    pub(crate) result: Option<Value>,
}

impl Failure {
    /// A failure that is of the tool, not of the library. The kind is one word that stays as it is.
    pub(crate) fn new(kind: &str, message: impl Display) -> Self {
        Self::with_status(FINAL, kind, message)
    }

    pub(crate) fn with_status(status: u8, kind: &str, message: impl Display) -> Self {
        let message = message.to_string();
        let error = json!({ "kind": kind, "message": message, "retryable": status == AGAIN });
        Self { status, message, details: Vec::new(), error, result: None }
    }

    pub(crate) fn file(path: &Path, error: &io::Error) -> Self {
        Self::new("file", format_args!("{}: {error}", shown(path)))
    }

    pub(crate) fn with_result(self, result: Value) -> Self {
        Self { result: Some(result), ..self }
    }

    /// With one more sentence.
    pub(crate) fn and(mut self, sentence: &str) -> Self {
        self.message = format!("{}; {sentence}", self.message);
        if let Some(error) = self.error.as_object_mut() {
            error.insert("message".into(), self.message.clone().into());
        }
        self
    }

    /// A fault of the command line.
    pub(crate) fn usage(error: &clap::Error, words: &[OsString]) -> Self {
        let word = match error.get(ContextKind::InvalidSubcommand) {
            Some(ContextValue::String(word)) if error.kind() == ClapKind::InvalidSubcommand => Some(word),
            _ => None,
        };
        let help = "see 'xen-livepatch help'";
        let message = match word.map(|word| (word, arguments::candidates(word, words))) {
            Some((word, names)) if !names.is_empty() => {
                let (word, names) = (escaped(word.as_bytes()), names.join(" or "));
                format!("'{word}' is not a command; it could be short for {names}: write it out")
            }
            Some((word, _)) => format!("'{}' is not a command; {help}", escaped(word.as_bytes())),
            None if words.len() < 2 => format!("a command is missing; {help}"),
            None => {
                let text = strip_str(&error.render().to_string()).to_string();
                // With the words of the line, which may be anything.
                let lines: Vec<String> = text.trim_end().lines().map(|line| escaped(line.as_bytes())).collect();
                let text = lines.join("\n");
                text.strip_prefix("error: ").unwrap_or(&text).to_owned()
            }
        };
        Self::new("usage", message)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self {
            status: if error.is_retryable() { AGAIN } else { FINAL },
            message: error.to_string(),
            details: error.xen_log().to_vec(),
            error: as_json(&error),
            result: None,
        }
    }
}

impl From<InvalidName> for Failure {
    fn from(error: InvalidName) -> Self {
        Error::from(error).into()
    }
}

impl From<PlanError> for Failure {
    fn from(error: PlanError) -> Self {
        let kind = match error {
            PlanError::Gap { .. } => "gap",
            PlanError::Unfit { .. } => "unfit",
            _ => "no_plan",
        };
        Self::new(kind, error)
    }
}

impl From<EnsureError> for Failure {
    fn from(error: EnsureError) -> Self {
        match error {
            EnsureError::Inventory(error) => error.into(),
            EnsureError::NoPlan(error) => error.into(),
            EnsureError::Interrupted(interrupted) => {
                let result = as_json(&*interrupted);
                let own = Self::from(interrupted.error.clone());
                let status = match interrupted.outcome {
                    Outcome::Worse => WORSE,
                    _ if interrupted.is_retryable() => AGAIN,
                    _ => FINAL,
                };
                let mut failure = Self { status, message: interrupted.to_string(), result: Some(result), ..own };
                if let Some(error) = failure.error.as_object_mut() {
                    error.insert("message".into(), failure.message.clone().into());
                    error.insert("retryable".into(), interrupted.is_retryable().into());
                    error.insert("outcome".into(), interrupted.outcome.word().into());
                    // One step was done, or all that was done was undone: the host was changed.
                    error.insert("may_have_happened".into(), interrupted.may_have_happened().into());
                }
                failure
            }
            other => Self::new("ensure", other),
        }
    }
}

/// The JSON of a type of the library.
pub(crate) fn as_json(value: &impl serde::Serialize) -> Value {
    // Its types have no keys that are not text, and nothing else fails.
    serde_json::to_value(value).unwrap_or_default()
}
