//! A step of a plan.

use core::fmt;

use crate::types::build_id::BuildId;
use crate::types::name::PayloadName;

/// One step of a plan: an operation of a client.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Step {
    /// Upload a payload.
    Upload {
        /// The name to upload it under.
        name: PayloadName,
        /// Its build-id.
        build_id: BuildId,
    },
    /// Apply a payload on top of what is applied.
    Apply {
        /// The payload.
        name: PayloadName,
        /// True if it does not depend on the payload below it, so that it is applied with
        /// [`Flags::NODEPS`](crate::Flags::NODEPS). Only the way back to the old level has such steps.
        nodeps: bool,
    },
    /// Revert the payload on top.
    Revert {
        /// The payload.
        name: PayloadName,
    },
    /// Revert everything and apply a payload, while all CPUs stand still.
    Replace {
        /// The payload.
        name: PayloadName,
        /// The payloads that are reverted, in the order of upload.
        reverts: Vec<PayloadName>,
    },
    /// Unload a payload that is not applied.
    Unload {
        /// The payload.
        name: PayloadName,
    },
}

impl Step {
    /// The payload that it is about.
    #[must_use]
    pub const fn name(&self) -> &PayloadName {
        match self {
            Self::Upload { name, .. }
            | Self::Apply { name, .. }
            | Self::Revert { name }
            | Self::Replace { name, .. }
            | Self::Unload { name } => name,
        }
    }

    /// Returns true if it takes out what is applied.
    #[must_use]
    pub const fn takes_out(&self) -> bool {
        matches!(self, Self::Revert { .. } | Self::Replace { .. })
    }

    /// The operation in one word, which stays as it is from version to version.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Upload { .. } => "upload",
            Self::Apply { .. } => "apply",
            Self::Revert { .. } => "revert",
            Self::Replace { .. } => "replace",
            Self::Unload { .. } => "unload",
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.word(), self.name())?;
        match self {
            Self::Upload { build_id, .. } => write!(f, " (build-id {build_id})"),
            Self::Replace { reverts, .. } => {
                let names: Vec<String> = reverts.iter().map(ToString::to_string).collect();
                write!(f, " (reverts {})", names.join(", "))
            }
            Self::Apply { nodeps: true, .. } => f.write_str(" (NODEPS)"),
            _ => Ok(()),
        }
    }
}
