//! Decides the outcome of an operation from what the client observed: done, to be tried again, or an error.
//!
//! These are pure functions of [`Evidence`]; none depends on a hypervisor. An error states a cause as a fact only if Xen
//! logged it, or if this release leaves no other. Otherwise it lists the possible causes.

mod action;
mod refusal;
#[cfg(test)]
mod tests;
mod upload;

use crate::error::{Error, ErrorKind};
use crate::types::{Action, BuildId, Errno, Flags, Identity, LoadedPayload, PayloadName, State, Status};
use crate::xen::{Architecture, Release, Rule};

pub(crate) use crate::xen::log::messages::LogMessage;
pub(crate) use action::{is_done, judge, judge_unseen, ready};
pub(crate) use upload::{Present, Twin, UploadEvidence, judge_upload, names_symbol};

/// The running Xen, as far as rules depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Xen {
    /// That of the interface version, if the version that Xen reports differs.
    pub(crate) release: (u16, u16),
    pub(crate) architecture: Architecture,
}

impl Xen {
    pub(crate) fn has(self, rule: &Rule) -> bool {
        // All releases are of 4: see `Interface::release`. A rule that holds in the first one of a series holds in the later ones.
        rule.holds_in(Release::of(self.release.1, 0))
    }
}

/// A payload's status at one moment, and the list around it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Look {
    pub(crate) status: Status,
    /// The applied payloads, in the order of upload; `None` if only the payload's own status was read.
    pub(crate) applied: Option<Vec<PayloadName>>,
    /// The number of uploads and unloads so far, by any tool.
    pub(crate) version: Option<u32>,
}

impl Look {
    /// `None` if the payload is not in the list.
    pub(crate) fn of(name: &PayloadName, rows: &[LoadedPayload], version: u32) -> Option<Self> {
        let status = rows.iter().find(|row| row.name == *name)?.status;
        let applied = rows.iter().filter(|row| row.status.is_applied()).map(|row| row.name.clone());
        Some(Self { status, applied: Some(applied.collect()), version: Some(version) })
    }

    /// The state that an action needs, and nothing else.
    pub(crate) fn needed(action: Action) -> Self {
        Self { status: Status { state: needed(action), rc: 0 }, applied: None, version: None }
    }
}

/// The payload after an action had been sent.
#[derive(Clone, Debug)]
pub(crate) enum After {
    /// Nothing is pending on it; a mark of work in progress is stale.
    Seen(Look),
    /// It is no longer loaded.
    Gone,
    /// Xen was still working on it at the deadline.
    Running,
    /// Its status could not be read.
    Unreadable(Error),
}

/// The build-ids known to the client.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Known {
    /// Xen's own.
    pub(crate) xen: Option<BuildId>,
    /// Those of the payload that this client uploaded under the name.
    pub(crate) payload: Identity,
    /// Those of payloads that this client uploaded under other names.
    pub(crate) others: Vec<(PayloadName, BuildId)>,
}

/// The observations of one attempt at an action.
#[derive(Clone, Debug)]
pub(crate) struct Evidence<'a> {
    pub(crate) action: Action,
    pub(crate) flags: Flags,
    pub(crate) xen: Xen,
    /// The payload just before it was sent, when nothing was pending on the host.
    pub(crate) before: &'a Look,
    /// The error number with which Xen refused it; `None` if it was accepted.
    pub(crate) refused: Option<Errno>,
    pub(crate) after: &'a After,
    /// The messages about the payload in Xen's log; none if that is not readable.
    pub(crate) messages: Vec<LogMessage>,
    pub(crate) known: Known,
}

/// The outcome of an attempt.
#[derive(Clone, Debug)]
pub(crate) enum Verdict {
    Done,
    /// Nothing has changed, and another attempt may succeed. The error is for callers that make none.
    Again(Again, Error),
    Failed(Error),
}

/// The reason to try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Again {
    /// Xen could not stop the CPUs in time. The caller limits the number of attempts.
    Quiesce,
    /// The host was busy.
    Busy,
}

/// The state that an action requires.
pub(crate) fn needed(action: Action) -> State {
    if action == Action::Revert { State::Applied } else { State::Checked }
}

/// The state that it leads to. An unloaded payload has none.
pub(crate) fn target(action: Action) -> Option<State> {
    match action {
        Action::Apply | Action::Replace => Some(State::Applied),
        Action::Revert => Some(State::Checked),
        Action::Unload => None,
    }
}

/// The error if another action was running, as far as could be seen.
pub(crate) fn in_progress() -> Error {
    Error::new(ErrorKind::OperationInProgress).errno(Errno::EBUSY)
}
