//! The outcome of a plan that was not carried out to its end.

use core::fmt;

use crate::error::{Error, ErrorKind};
use crate::inventory::{Inventory, Unidentified};
use crate::plan::{Plan, PlanError, Step, StoreProblem, joined};
use crate::types::{LoadedPayload, PayloadName};

/// A host that has the wanted payloads: the result of [`ensure`](crate::LivepatchClient::ensure).
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Ensured {
    /// The plan that was carried out; empty if there was nothing to do.
    pub plan: Plan,
    /// The inventory afterwards. An entry may lack its [`functions`](crate::InventoryEntry::functions), which no plan needs.
    pub inventory: Inventory,
}

/// The level of a host after a plan, compared with the one before it and with the one that was wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Outcome {
    /// The wanted payloads are applied, and no others.
    Reached,
    /// The host runs the payloads that it ran before. Some may have been uploaded.
    Unchanged,
    /// The host runs the payloads that it ran before, in their order: some had been taken out of effect and were put back.
    Restored,
    /// The host is in between. It runs all payloads that it ran before and some wanted ones, or all wanted ones and some
    /// others, or those that it ran before in an order that was not known.
    Partial,
    /// The host lacks payloads that it ran before, and wanted ones as well.
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

/// The error of a plan that was not carried out to its end: its steps, the way back, and the payloads that are loaded now.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Interrupted {
    /// The cause.
    pub error: Error,
    /// The level of the host now.
    pub outcome: Outcome,
    /// The steps that succeeded, also those of plans that were made anew on the way.
    pub done: Vec<Step>,
    /// The step that failed; `None` if the run ended between two steps, as when another tool has interfered. If
    /// [`Error::may_have_happened`], it may have been done all the same.
    pub failed: Option<Step>,
    /// The steps that were not begun.
    pub left: Vec<Step>,
    /// The steps of the way back that succeeded.
    pub back: Vec<Step>,
    /// The error that ended the way back, if one did.
    pub back_error: Option<Error>,
    /// The payloads that are loaded now; `None` if the list could not be read.
    pub loaded: Option<Vec<LoadedPayload>>,
    /// Loaded payloads that could not be identified, if one of them may be the payload that was to be uploaded.
    #[cfg_attr(feature = "serde", serde(serialize_with = "names"))]
    pub unidentified: Vec<(PayloadName, Unidentified)>,
    /// The number of steps of the last plan that were done.
    #[cfg_attr(feature = "serde", serde(skip))]
    pub(super) before: usize,
}

#[cfg(feature = "serde")]
fn names<S: serde::Serializer>(unidentified: &[(PayloadName, Unidentified)], to: S) -> Result<S::Ok, S::Error> {
    to.collect_seq(unidentified.iter().map(|(name, _)| name))
}

impl Interrupted {
    /// The payloads that are applied now, in the order of upload; `None` if the list could not be read.
    #[must_use]
    pub fn applied(&self) -> Option<Vec<&PayloadName>> {
        let rows = self.loaded.as_ref()?;
        Some(rows.iter().filter(|row| row.status.is_applied()).map(|row| &row.name).collect())
    }

    /// Returns true if another attempt may succeed, from the present level of the host.
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
        let Self { error, before, failed, left, .. } = self;
        let total = before + usize::from(failed.is_some()) + left.len();
        match failed {
            Some(step) => {
                write!(f, "step {} of {total} failed: ", before + 1)?;
                match error.kind() {
                    // The error has what was applied at that moment.
                    ErrorKind::ReplaceFailed { code, .. } => {
                        write!(f, "{step}: it failed with {code}, after Xen had reverted what was applied")?;
                    }
                    _ => write!(f, "{error}")?,
                }
            }
            None => write!(f, "stopped after {before} of {total} steps: {error}")?,
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

/// The reason why a host does not have the wanted payloads.
///
/// One error type for everything from a directory to a host: `?` converts the errors of a client, of payload files, of
/// a [`PayloadStore`](crate::PayloadStore), of a [`Plan`] and of [`carry_out`](crate::LivepatchClient::carry_out).
///
/// ```
/// # use std::path::Path;
/// # use xen_livepatch::*;
/// fn follow(client: &LivepatchClient, directory: &Path) -> Result<(), EnsureError> {
///     let wanted = PayloadStore::read(directory)?.wanted_for(&client.target()?)?;
///     let plan = Plan::new(&client.inventory()?, &wanted)?;
///     Ok(client.carry_out(&plan, |_| ())?)
/// }
/// # let (_, client, ..) = doctest::fix().unwrap();
/// let error = follow(&client, Path::new("/nonexistent")).unwrap_err();
/// assert_eq!((error.word(), error.outcome(), error.is_retryable()), ("file", Outcome::Unchanged, false));
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum EnsureError {
    /// An operation before the plan failed, such as reading a file or taking an inventory.
    Operation(Error),
    /// There is no plan. Nothing was done.
    NoPlan(PlanError),
    /// The plan was not carried out to its end.
    Interrupted(Box<Interrupted>),
    /// Some files that might be wanted could not be used. Everything that is certain was added to what is applied, and nothing
    /// was taken out.
    Incomplete {
        /// The files.
        problems: Vec<StoreProblem>,
        /// The plan that was carried out; `None` if there is none that takes nothing out.
        plan: Option<Box<Plan>>,
    },
}

impl EnsureError {
    /// The level of the host now.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::Interrupted(interrupted) => interrupted.outcome,
            Self::Operation(error) if error.may_have_happened() => Outcome::Unknown,
            Self::Incomplete { plan: Some(plan), .. } if !plan.is_empty() => Outcome::Partial,
            Self::Operation(_) | Self::NoPlan(_) | Self::Incomplete { .. } => Outcome::Unchanged,
        }
    }

    /// Returns true if the same call may succeed later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Operation(error) => error.is_retryable(),
            Self::NoPlan(error) => error.is_retryable(),
            Self::Interrupted(interrupted) => interrupted.is_retryable(),
            Self::Incomplete { problems, .. } => problems.iter().any(StoreProblem::is_retryable),
        }
    }

    /// The error of the operation that failed, if one did.
    #[must_use]
    pub fn error(&self) -> Option<&Error> {
        match self {
            Self::Operation(error) => Some(error),
            Self::Interrupted(interrupted) => Some(&interrupted.error),
            Self::NoPlan(_) | Self::Incomplete { .. } => None,
        }
    }

    /// The cause in one word, which stays the same from version to version: that of the [operation's error](Self::error), that
    /// of the [`PlanError`], or `incomplete`.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Operation(error) => error.kind().meaning().word,
            Self::Interrupted(interrupted) => interrupted.error.kind().meaning().word,
            Self::NoPlan(error) => error.word(),
            Self::Incomplete { .. } => "incomplete",
        }
    }
}

impl fmt::Display for EnsureError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Operation(error) => error.fmt(f),
            Self::NoPlan(error) => error.fmt(f),
            Self::Interrupted(interrupted) => interrupted.fmt(f),
            Self::Incomplete { problems, .. } => {
                let problems = joined(problems);
                write!(f, "some files could not be used, so that this may not be all that is wanted: {problems}")
            }
        }
    }
}

impl core::error::Error for EnsureError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Operation(error) => Some(error),
            Self::NoPlan(error) => Some(error),
            Self::Interrupted(interrupted) => Some(&**interrupted),
            Self::Incomplete { problems, .. } => Some(problems.first()?),
        }
    }
}

/// [`Error`], and what converts into it.
impl<E: Into<Error>> From<E> for EnsureError {
    fn from(error: E) -> Self {
        Self::Operation(error.into())
    }
}

impl From<PlanError> for EnsureError {
    fn from(error: PlanError) -> Self {
        match error {
            PlanError::Incomplete { problems } => Self::Incomplete { problems, plan: None },
            error => Self::NoPlan(error),
        }
    }
}

impl From<Box<Interrupted>> for EnsureError {
    fn from(interrupted: Box<Interrupted>) -> Self {
        Self::Interrupted(interrupted)
    }
}

impl From<StoreProblem> for EnsureError {
    fn from(problem: StoreProblem) -> Self {
        Self::Incomplete { problems: vec![problem], plan: None }
    }
}

#[cfg(feature = "serde")]
crate::types::fields::serialize_fields! {
    /// The word, the text, true if it is worth another try, the outcome, the error of the operation, and the fields of the
    /// cause.
    EnsureError as |error| {
        kind: error.word(),
        message: error.to_string(),
        retryable: error.is_retryable(),
        outcome: error.outcome(),
        error: error.error(),
        details: Details(error),
    }
}

#[cfg(feature = "serde")]
struct Details<'a>(&'a EnsureError);

#[cfg(feature = "serde")]
impl serde::Serialize for Details<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            EnsureError::NoPlan(error) => crate::plan::Details(error).serialize(serializer),
            EnsureError::Incomplete { problems, .. } => serializer.collect_map([("problems", problems)]),
            EnsureError::Operation(error) => error.kind().serialize(serializer),
            EnsureError::Interrupted(interrupted) => interrupted.error.kind().serialize(serializer),
        }
    }
}
