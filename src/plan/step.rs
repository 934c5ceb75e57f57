//! The steps of a plan, and the gaps that they make.

use core::fmt;
use core::hash::{Hash, Hasher};
use core::ops::Deref;
use std::sync::Arc;

use crate::payload::{Footprint, Payload};
use crate::types::{BuildId, PayloadName};
use crate::xen::Release;

/// A payload that a plan may upload. It dereferences to the [`Payload`], which is shared with the plan's
/// [`Wanted`](crate::Wanted).
#[derive(Clone, Debug)]
pub struct PlannedPayload {
    payload: Arc<Payload>,
    footprint: Arc<Footprint>,
}

impl PlannedPayload {
    pub(super) fn new(payload: &Arc<Payload>, release: Release) -> Self {
        let footprint = Arc::new(Footprint::of_file(payload, release));
        Self { payload: Arc::clone(payload), footprint }
    }

    pub(super) const fn footprint(&self) -> &Arc<Footprint> {
        &self.footprint
    }
}

impl Deref for PlannedPayload {
    type Target = Arc<Payload>;

    fn deref(&self) -> &Arc<Payload> {
        &self.payload
    }
}

/// By their bytes.
impl PartialEq for PlannedPayload {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.payload, &other.payload) || self.payload.bytes() == other.payload.bytes()
    }
}

impl Eq for PlannedPayload {}

impl Hash for PlannedPayload {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.payload.build_id().hash(state);
    }
}

/// One step of a plan: an operation of a client.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(tag = "operation", rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Step {
    /// Upload a payload.
    Upload {
        /// The name to upload it under.
        #[cfg_attr(feature = "serde", serde(rename = "payload"))]
        name: PayloadName,
        /// Its build-id.
        build_id: BuildId,
        /// The payload.
        #[cfg_attr(feature = "serde", serde(skip))]
        payload: PlannedPayload,
    },
    /// Apply a payload on top of what is applied.
    Apply {
        /// The payload.
        #[cfg_attr(feature = "serde", serde(rename = "payload"))]
        name: PayloadName,
        /// True if it does not depend on the payload below it, so that it is applied with
        /// [`Flags::NODEPS`](crate::Flags::NODEPS). Only the way back to the old level has such steps.
        #[cfg_attr(feature = "serde", serde(skip_serializing_if = "core::ops::Not::not"))]
        nodeps: bool,
    },
    /// Revert the payload on top.
    Revert {
        /// The payload.
        #[cfg_attr(feature = "serde", serde(rename = "payload"))]
        name: PayloadName,
    },
    /// Revert everything and apply a payload, while all CPUs stand still.
    Replace {
        /// The payload.
        #[cfg_attr(feature = "serde", serde(rename = "payload"))]
        name: PayloadName,
        /// The payloads that are reverted, in the order of upload.
        reverts: Vec<PayloadName>,
    },
    /// Unload a payload that is not applied.
    Unload {
        /// The payload.
        #[cfg_attr(feature = "serde", serde(rename = "payload"))]
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

/// A payload that the host runs without for some steps of a plan: it was applied, and not all wanted payloads are applied yet.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Gap {
    /// The payload.
    pub payload: PayloadName,
    /// The step that takes it out of effect, counted from 0.
    pub from: usize,
    /// The step that ends the gap, counted from 0: it applies the payload again, or the last wanted payload.
    pub until: usize,
    /// False if the payload can't be put back after a failure, because that needs an upload, and its file is not at hand
    /// ([`Wanted::at_hand`](crate::Wanted::at_hand)).
    pub recoverable: bool,
}

impl fmt::Display for Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { payload, from, until, recoverable } = self;
        write!(f, "from step {} to step {} the host runs without {payload}", from + 1, until + 1)?;
        if *recoverable {
            Ok(())
        } else {
            f.write_str(", and it can not be put back if a step fails: its file is not at hand")
        }
    }
}
