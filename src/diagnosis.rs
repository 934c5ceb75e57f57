//! What an operation came to, judged from evidence: done, to be tried again, or an error, built once.
//!
//! Pure functions. The client drives (asks, waits, sends) and collects [`Evidence`]; nothing here knows a hypervisor.
//! A cause is told as a fact only where Xen said it, or where this release leaves no other. Whatever else it may have
//! been is told as such.

mod action;
mod refusal;
#[cfg(test)]
mod tests;
mod upload;

use crate::error::{Action, Error, ErrorKind};
use crate::types::build_id::BuildId;
use crate::types::build_id::Identity;
use crate::types::errno::Errno;
use crate::types::flags::Flags;
use crate::types::name::PayloadName;
use crate::types::status::{LoadedPayload, State, Status};
use crate::xen::architecture::Architecture;
use crate::xen::rules::Rule;
use crate::xen::target::Target;

pub(crate) use crate::xen::log::messages::LogMessage;
pub(crate) use action::{is_done, judge, judge_unseen, ready};
pub(crate) use upload::{Present, Twin, UploadEvidence, judge_upload, names_symbol};

/// The running Xen, as far as its rules are concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Xen {
    /// As its interface version has it, where that and what Xen calls itself disagree.
    pub(crate) release: (u16, u16),
    pub(crate) architecture: Architecture,
}

impl Xen {
    pub(crate) fn has(self, rule: &Rule) -> bool {
        // What holds in the first release of a series holds in the later ones.
        rule.holds_in(Target::new(self.release).range().0)
    }
}

/// The list at one moment, from the point of view of one payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Look {
    pub(crate) status: Status,
    /// What is applied, in the order of upload; `None` where only the payload's own status was read.
    pub(crate) applied: Option<Vec<PayloadName>>,
    /// Counts uploads and unloads, by anyone.
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

/// What was found after an action had been sent.
#[derive(Clone, Debug)]
pub(crate) enum After {
    /// Nothing is pending on the payload; a mark that says so is stale.
    Seen(Look),
    /// It is no longer loaded.
    Gone,
    /// Xen was still working on it at the deadline.
    Running,
    /// Xen did not say.
    Unreadable(Error),
}

/// What the client knows about build-ids.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Known {
    /// Xen's own.
    pub(crate) xen: Option<BuildId>,
    /// What this client uploaded under the payload's name.
    pub(crate) payload: Identity,
    /// The build-ids of what this client uploaded under other names.
    pub(crate) others: Vec<(PayloadName, BuildId)>,
}

/// One attempt at an action.
#[derive(Clone, Debug)]
pub(crate) struct Evidence<'a> {
    pub(crate) action: Action,
    pub(crate) flags: Flags,
    pub(crate) xen: Xen,
    /// Just before it was sent, when nothing was pending on the host.
    pub(crate) before: &'a Look,
    /// What Xen refused it with; `None` if it was accepted.
    pub(crate) refused: Option<Errno>,
    pub(crate) after: &'a After,
    /// Those of Xen's log about the payload; none where it is not readable.
    pub(crate) messages: Vec<LogMessage>,
    pub(crate) known: Known,
}

/// What an attempt came to.
#[derive(Clone, Debug)]
pub(crate) enum Verdict {
    Done,
    /// Nothing has changed, and another attempt may succeed.
    Again(Again, Error),
    Failed(Error),
}

/// Why to try again. The error is for the case that nobody does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Again {
    /// The CPUs did not come to rest: the caller says how often to try.
    Quiesce,
    /// The host was busy.
    Busy,
}

/// The state that an action needs.
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

/// Another action was running, as far as could be seen.
pub(crate) fn in_progress() -> Error {
    Error::new(ErrorKind::OperationInProgress).errno(Errno::EBUSY)
}
