//! The failure of a command, with its exit status.

use std::fmt::Display;
use std::io;
use std::path::Path;

use serde::Serialize;
use serde_json::{Value, json};
use xen_livepatch::{Error, Interrupted, InvalidName, Outcome, PlanError};

use crate::exit_status::ExitStatus;
use crate::terminal::shown;

/// The failure of a command, for people and for programs.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub(crate) status: ExitStatus,
    pub(crate) message: String,
    /// Lines that add to the message, such as those of Xen's log.
    pub(crate) details: Vec<String>,
    /// The failure for programs, with at least `kind`, `message` and `retryable`.
    pub(crate) error: Value,
    /// The result of the part that was done before.
    pub(crate) result: Option<Value>,
}

impl Failure {
    /// A failure of the tool, not of the library. The kind is a stable word for programs.
    pub(crate) fn new(kind: &str, message: impl Display) -> Self {
        Self::with_status(ExitStatus::Failed, kind, message)
    }

    pub(crate) fn with_status(status: ExitStatus, kind: &str, message: impl Display) -> Self {
        let message = message.to_string();
        let error = json!({ "kind": kind, "message": message, "retryable": status == ExitStatus::Retry });
        Self { status, message, details: Vec::new(), error, result: None }
    }

    fn of_library(error: &(impl Serialize + Display), is_retryable: bool) -> Self {
        let status = if is_retryable { ExitStatus::Retry } else { ExitStatus::Failed };
        Self { status, message: error.to_string(), details: Vec::new(), error: as_json(error), result: None }
    }

    pub(crate) fn file(path: &Path, error: &io::Error) -> Self {
        Self::new("file", format_args!("{}: {error}", shown(path)))
    }

    pub(crate) fn with_result(self, result: Value) -> Self {
        Self { result: Some(result), ..self }
    }

    /// The kind of the failure, a stable word.
    pub(crate) fn kind(&self) -> &str {
        self.error.get("kind").and_then(Value::as_str).expect("every error has a kind")
    }

    /// Adds a sentence to the message.
    pub(crate) fn and(self, sentence: &str) -> Self {
        let message = format!("{}; {sentence}", self.message);
        self.with_message(message)
    }

    pub(crate) fn with_message(self, message: String) -> Self {
        Self { message: message.clone(), ..self }.with_field("message", message)
    }

    /// Adds a field to the error for programs, or replaces it.
    pub(crate) fn with_field(mut self, name: &str, value: impl Into<Value>) -> Self {
        let error = self.error.as_object_mut().expect("every error is built as an object");
        error.insert(name.to_owned(), value.into());
        self
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self { details: error.xen_log().to_vec(), ..Self::of_library(&error, error.is_retryable()) }
    }
}

impl From<InvalidName> for Failure {
    fn from(error: InvalidName) -> Self {
        Error::from(error).into()
    }
}

impl From<PlanError> for Failure {
    fn from(error: PlanError) -> Self {
        Self::of_library(&error, error.is_retryable())
    }
}

impl From<Box<Interrupted>> for Failure {
    fn from(interrupted: Box<Interrupted>) -> Self {
        let status = match interrupted.outcome {
            Outcome::Worse => ExitStatus::Worse,
            _ if interrupted.is_retryable() => ExitStatus::Retry,
            _ => ExitStatus::Failed,
        };
        let failure = Self::from(interrupted.error.clone())
            .with_message(interrupted.to_string())
            .with_field("retryable", interrupted.is_retryable())
            .with_field("outcome", interrupted.outcome.word())
            // The host may have been changed by earlier steps, even if they were undone.
            .with_field("may_have_happened", interrupted.may_have_happened());
        let mut result = as_json(&*interrupted);
        let fields = result.as_object_mut().expect("a structure is an object");
        fields.insert("changed".into(), interrupted.may_have_happened().into());
        Self { status, ..failure }.with_result(result)
    }
}

/// A value whose JSON is text, such as a name.
pub(crate) fn as_word(value: &impl Serialize) -> String {
    as_json(value).as_str().expect("it is serialised as text").to_owned()
}

/// The JSON of a type of the library.
pub(crate) fn as_json(value: &impl Serialize) -> Value {
    serde_json::to_value(value).expect("the library's types have only text as keys, and serialise without errors")
}
