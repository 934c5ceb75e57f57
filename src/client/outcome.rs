//! The outcome of a plan that was not carried out to its end.

use core::fmt;

use crate::error::Error;
use crate::inventory::Unidentified;
use crate::name::PayloadName;
use crate::plan::{Plan, PlanError, Step};
use crate::status::LoadedPayload;

/// The level of a host after a plan, compared with the one before it and with the one that was wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Outcome {
    /// All that is wanted is applied, and nothing else.
    Reached,
    /// The host runs what it ran before.
    Unchanged,
    /// The host runs what it ran before: some of that was taken out, and was put back.
    Restored,
    /// The host is on its way: it runs all that it ran before and some of what is wanted, or all that is wanted and some of
    /// what was to be taken out.
    Partial,
    /// Something that ran before is missing, and something that is wanted is as well.
    Worse,
    /// The list of payloads could not be read any more.
    Unknown,
}

impl Outcome {
    /// The outcome in one word, which stays the same from version to version.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Reached => "reached",
            Self::Unchanged => "unchanged",
            Self::Restored => "restored",
            Self::Partial => "partial",
            Self::Worse => "worse",
            Self::Unknown => "unknown",
        }
    }
}

/// The word.
impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// A plan that was not carried out to its end: its steps, the way back, and the payloads that are loaded now.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Interrupted {
    /// The cause.
    pub error: Error,
    /// The level of the host now.
    pub outcome: Outcome,
    /// The steps that succeeded, also those of plans that were made anew on the way.
    pub done: Vec<Step>,
    /// The step that failed; `None` if all that were begun succeeded, and the host then was not as planned.
    /// [`Error::may_have_happened`] says whether it may have been done all the same.
    pub failed: Option<Step>,
    /// The steps that were not begun.
    pub left: Vec<Step>,
    /// The steps of the way back that succeeded.
    pub back: Vec<Step>,
    /// The error that ended the way back, if one did.
    pub back_error: Option<Error>,
    /// The payloads that are loaded now; `None` if the list could not be read.
    pub loaded: Option<Vec<LoadedPayload>>,
    /// Loaded payloads that could not be identified, if that may be the cause: one of them may be the one that was to be
    /// uploaded.
    pub unidentified: Vec<(PayloadName, Unidentified)>,
}

impl Interrupted {
    /// The payloads that are applied now, in the order of upload; `None` if the list could not be read.
    #[must_use]
    pub fn applied(&self) -> Option<Vec<&PayloadName>> {
        let rows = self.loaded.as_ref()?;
        Some(rows.iter().filter(|row| row.status.is_applied()).map(|row| &row.name).collect())
    }

    /// Returns true if the same may succeed when it is tried again, from the level of the host now.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        // An end that was not seen is no refusal.
        self.error.is_retryable()
            || self.error.may_have_happened()
            || self.unidentified.iter().any(|(_, reason)| reason.is_retryable())
    }

    /// Returns true if anything was changed on the host, or may have been.
    #[must_use]
    pub fn may_have_happened(&self) -> bool {
        !self.done.is_empty() || !self.back.is_empty() || self.error.may_have_happened()
    }
}

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { error, done, failed, left, .. } = self;
        let total = done.len() + usize::from(failed.is_some()) + left.len();
        match failed {
            Some(_) => write!(f, "step {} of {total} failed: {error}", done.len() + 1)?,
            None => write!(f, "stopped after {} of {total} steps: {error}", done.len())?,
        }
        match self.outcome {
            Outcome::Restored => f.write_str("; the payloads that had been taken out were applied again")?,
            Outcome::Worse => f.write_str("; THE HOST RUNS WITHOUT PAYLOADS THAT WERE APPLIED BEFORE")?,
            Outcome::Reached => f.write_str("; all the same, all that is wanted is applied")?,
            Outcome::Unchanged | Outcome::Partial | Outcome::Unknown => {}
        }
        for (name, reason) in &self.unidentified {
            write!(f, "; {name:?} could not be identified: {reason}")?;
        }
        if let Some(error) = &self.back_error {
            write!(f, "; the way back failed: {error}")?;
        }
        match self.applied().as_deref() {
            None => f.write_str("; the list of what is applied now could not be read"),
            Some([]) => f.write_str("; nothing is applied now"),
            Some(names) => {
                let names: Vec<String> = names.iter().map(|name| format!("{name:?}")).collect();
                write!(f, "; applied now: {}", names.join(", "))
            }
        }
    }
}

impl core::error::Error for Interrupted {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        Some(&self.error)
    }
}

/// The reason why a host is not as it was wanted.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EnsureError {
    /// The payloads that are loaded could not be read. Nothing was done.
    #[error("{0}")]
    Inventory(#[source] Error),
    /// There is no way to what is wanted. Nothing was done.
    #[error("{0}")]
    NoPlan(#[source] PlanError),
    /// The plan was not carried out to its end.
    #[error("{0}")]
    Interrupted(#[source] Box<Interrupted>),
    /// The plan was carried out, but some files that might belong to what is wanted could not be used:
    /// [`Plan::problems`].
    #[error("the payloads whose files could be used are applied, but not all could: {}", problems(.0))]
    Incomplete(Box<Plan>),
}

fn problems(plan: &Plan) -> String {
    plan.problems().iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

impl EnsureError {
    /// The level of the host after it.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::Inventory(_) | Self::NoPlan(_) => Outcome::Unchanged,
            Self::Interrupted(interrupted) => interrupted.outcome,
            Self::Incomplete(plan) if plan.is_empty() => Outcome::Unchanged,
            Self::Incomplete(_) => Outcome::Partial,
        }
    }

    /// Returns true if the same may succeed when it is tried again.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Inventory(error) => error.is_retryable(),
            Self::Interrupted(interrupted) => interrupted.is_retryable(),
            Self::NoPlan(_) | Self::Incomplete(_) => false,
        }
    }

    /// The error of an operation that it comes from, if it comes from one.
    #[must_use]
    pub fn error(&self) -> Option<&Error> {
        match self {
            Self::Inventory(error) => Some(error),
            Self::Interrupted(interrupted) => Some(&interrupted.error),
            Self::NoPlan(_) | Self::Incomplete(_) => None,
        }
    }
}
