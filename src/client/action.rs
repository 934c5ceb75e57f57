//! An action from its first check to Xen's result.
//!
//! Xen returns 0 both for "started" and for "nothing to do", works later, and may leave a mark of work that never
//! began. So: read the state, refuse a wrong one, act, and believe only the state and the result that follow.

use std::time::{Duration, Instant};

use super::asking::{ask, outcome_unknown};
use super::console::Watch;
use super::deadline::{Deadline, Pauses};
use super::options::ActionOptions;
use super::turn::Taken;
use super::{LivepatchClient, listing};
use crate::errno::Errno;
use crate::error::{Action, Error, ErrorKind, Result};
use crate::flags::Flags;
use crate::hypercall::channel::CallError;
use crate::hypercall::operation::Act;
use crate::name::PayloadName;
use crate::status::{State, Status};

/// Longer than any one action can hold up another: the longest quiesce timeout, and some.
const LONGEST_ACTION: Duration = Duration::from_secs(5);

/// How often GET shows work in progress before Xen is asked whether there really is any.
const POLLS_BEFORE_DOUBT: u32 = 8;

/// How often Xen may say that it is busy, and leave no mark, before that is the word of the payload's own hook.
const UNMARKED_REFUSALS: u32 = 3;

/// What it means when Xen doesn't tell how a payload is.
type Failed = fn(CallError) -> Error;

/// Nothing was asked of Xen yet.
const NOTHING_DONE: Failed = CallError::general;

/// Xen has been asked for the action.
const MAYBE_DONE: Failed = |error| outcome_unknown(error.general());

/// One call of an action method.
#[derive(Debug)]
pub(super) struct Attempt<'a> {
    client: &'a LivepatchClient,
    action: Action,
    name: &'a PayloadName,
    flags: Flags,
    options: ActionOptions,
    started: Instant,
    deadline: Deadline,
}

/// What one ACTION came to, unless it failed.
enum Outcome {
    Done,
    /// Something else is under way on this host.
    Busy,
    /// As busy, but without the mark that a busy host leaves: what was pending has just finished, or a hook says so
    /// whose last word was the same.
    Unmarked,
    /// Xen could not stop the CPUs in time, and changed nothing.
    TimedOut,
}

impl<'a> Attempt<'a> {
    pub(super) fn new(
        client: &'a LivepatchClient,
        action: Action,
        name: &'a PayloadName,
        flags: Flags,
        options: ActionOptions,
    ) -> Self {
        let deadline = Deadline::after(options.time());
        Self { client, action, name, flags, options, started: Instant::now(), deadline }
    }

    pub(super) fn run(&self, watch: &Watch<'_>) -> Result<()> {
        self.check_flags()?;
        let turn = self.client.turn.take(self.deadline).ok_or_else(in_progress)?;
        watch.begin();
        let mut retries = self.options.retries();
        let mut unmarked = 0;
        let mut pauses = Pauses::new();
        // What begins at the deadline could not be waited for.
        let mut again = || self.deadline.sleep(pauses.next()) && !self.deadline.remaining().is_zero();
        loop {
            match self.act(&turn)? {
                Outcome::Done => return Ok(()),
                Outcome::Unmarked if unmarked < UNMARKED_REFUSALS && again() => unmarked += 1,
                Outcome::Unmarked => {
                    return Err(Error::new(ErrorKind::HookRefused { code: Errno::EBUSY }).errno(Errno::EBUSY));
                }
                Outcome::Busy if again() => {}
                Outcome::Busy => return Err(in_progress()),
                Outcome::TimedOut if retries > 0 && turn.settle(self.deadline) && again() => retries -= 1,
                Outcome::TimedOut => return Err(Error::new(ErrorKind::QuiesceTimeout).errno(Errno::EBUSY)),
            }
        }
    }

    /// Refuses what Xen would ignore: bits without a meaning, and `NODEPS` where it has none.
    fn check_flags(&self) -> Result<()> {
        let refuse = |flags, by| Err(Error::new(ErrorKind::UnsupportedFlag { flags, by }));
        let meaningful = if self.action == Action::Apply { Flags::NODEPS } else { Flags::empty() };
        let unknown = self.flags.difference(meaningful);
        if !unknown.is_empty() {
            return refuse(unknown, format!("{}, which would go on without it", self.action));
        }
        if !self.flags.is_empty() && !self.client.channel.interface().has_action_flags() {
            let (major, minor) = self.client.channel.release();
            return refuse(self.flags, format!("Xen {major}.{minor}: actions have flags from 4.14 on"));
        }
        Ok(())
    }

    /// The state that the action is for.
    fn needed(&self) -> State {
        if self.action == Action::Revert { State::Applied } else { State::Checked }
    }

    /// The state that it leaves. An unloaded payload has none.
    fn target(&self) -> Option<State> {
        match self.action {
            Action::Apply | Action::Replace => Some(State::Applied),
            Action::Revert => Some(State::Checked),
            Action::Unload => None,
        }
    }

    fn get(&self, failed: Failed) -> Result<Status> {
        self.client.get(self.name).map_err(failed)
    }

    /// ACTION with this command; with none, whether work is pending on the payload.
    fn call(&self, action: Option<Action>) -> core::result::Result<(), CallError> {
        let timeout = self.options.quiesce_nanoseconds();
        self.client.channel.call(Act { name: self.name, action, timeout, flags: self.flags.bits() })
    }

    /// Whether Xen really has work pending on this payload, whatever its mark says.
    fn is_pending(&self, failed: Failed) -> Result<bool> {
        match ask(|| self.call(None)) {
            Err(CallError::Refused(Errno::EBUSY)) => Ok(true),
            Err(CallError::Refused(Errno::EOPNOTSUPP)) => Ok(false),
            Err(error) => Err(failed(error)),
            Ok(()) => Err(unexpected("it carried out a command that no release has")),
        }
    }

    fn act(&self, turn: &Taken<'_>) -> Result<Outcome> {
        let mut before = self.get(NOTHING_DONE)?;
        if before.in_progress() {
            if self.is_pending(NOTHING_DONE)? {
                return Ok(Outcome::Busy);
            }
            // What was under way may have just finished.
            before = self.get(NOTHING_DONE)?;
        }
        if before.state != self.needed() {
            return Err(self.wrong_state(before));
        }
        match self.call(Some(self.action)) {
            Ok(()) => {
                let outcome = if self.action == Action::Unload { Ok(Outcome::Done) } else { self.wait() };
                turn.finished();
                outcome
            }
            Err(CallError::Refused(errno)) => {
                let outcome = self.refused(errno, before);
                // With EFAULT it may have happened all the same.
                if errno == Errno::EFAULT {
                    turn.finished();
                }
                outcome
            }
            Err(error) => Err(error.general()),
        }
    }

    /// Waits for the result of an action that Xen accepted.
    fn wait(&self) -> Result<Outcome> {
        let mut pauses = Pauses::new();
        for poll in 1_u32.. {
            let mut status = self.get(MAYBE_DONE)?;
            if status.in_progress() && poll % POLLS_BEFORE_DOUBT == 0 && !self.is_pending(MAYBE_DONE)? {
                // It has just finished, or someone else's attempt has left its mark on what had.
                status = self.get(MAYBE_DONE)?;
                if status.in_progress() {
                    return Err(Error::new(ErrorKind::StaleInProgress { state: status.state }).errno(Errno::EAGAIN));
                }
            }
            if !status.in_progress() {
                return self.finished(status);
            }
            if !self.deadline.sleep(pauses.next()) {
                break;
            }
        }
        Err(Error::new(ErrorKind::Unfinished).errno(Errno::EAGAIN))
    }

    /// What the final status says.
    fn finished(&self, status: Status) -> Result<Outcome> {
        let Some(code) = status.error() else {
            return if Some(status.state) == self.target() {
                Ok(Outcome::Done)
            } else {
                Err(unexpected(&format!(
                    "it finished, and yet the payload is {}: did another tool act on it?",
                    status.state
                )))
            };
        };
        let reapply_guard = self.client.channel.interface().guards_reapply();
        let kind = match (self.action, code) {
            (_, Errno::EBUSY) => return Ok(Outcome::TimedOut),
            (Action::Apply, Errno::EINVAL) if reapply_guard && status.state == State::Checked => {
                ErrorKind::ReapplyNeedsReupload
            }
            (Action::Replace, code) => ErrorKind::ReplaceFailed { code, applied: self.applied() },
            (_, code) => ErrorKind::ActionFailed { code, state: status.state },
        };
        Err(Error::new(kind).errno(code))
    }

    /// What ACTION's own error means. The payload's status afterwards tells causes apart that share a number.
    fn refused(&self, errno: Errno, before: Status) -> Result<Outcome> {
        let after = match self.client.get(self.name) {
            Ok(after) => after,
            Err(CallError::Refused(Errno::ENOENT)) if self.action == Action::Unload && errno == Errno::EFAULT => {
                return Ok(Outcome::Done);
            }
            Err(error) if errno == Errno::EFAULT => return Err(MAYBE_DONE(error)),
            Err(error) => return Err(NOTHING_DONE(error)),
        };
        match errno {
            Errno::EBUSY => self.busy(before, after),
            Errno::EFAULT => self.faulted(before, after),
            _ => Err(self.explain(errno, before, after)),
        }
    }

    fn busy(&self, before: Status, after: Status) -> Result<Outcome> {
        // A host that is busy leaves its mark. What refuses before that doesn't: a hook, whose result is kept, and a
        // revert below the top. Where an older mark hides which it was, only time tells.
        let ambiguous = before.in_progress() && self.started.elapsed() < LONGEST_ACTION;
        if after.in_progress() && (!before.in_progress() || ambiguous || self.action != Action::Revert) {
            return Ok(Outcome::Busy);
        }
        let kind = match self.action {
            Action::Apply | Action::Revert if after.rc != before.rc && after.error() == Some(Errno::EBUSY) => {
                ErrorKind::HookRefused { code: Errno::EBUSY }
            }
            Action::Revert => ErrorKind::NotOnTop { top: None },
            Action::Apply if before.error() == Some(Errno::EBUSY) && after == before => return Ok(Outcome::Unmarked),
            // What was pending has just finished.
            _ => return Ok(Outcome::Busy),
        };
        Err(Error::new(kind).errno(Errno::EBUSY))
    }

    /// Xen could not reach our memory: before the action, or after it, when it meant to tell.
    fn faulted(&self, before: Status, mut after: Status) -> Result<Outcome> {
        if after.in_progress() {
            if self.is_pending(MAYBE_DONE)? {
                return self.wait();
            }
            // It may have just finished.
            after = self.get(MAYBE_DONE)?;
        }
        // A mark that is still there is a busy host's.
        if Some(after.state) == self.target() || (after.rc != before.rc && !after.in_progress()) {
            return self.finished(after);
        }
        Err(CallError::Refused(Errno::EFAULT).general())
    }

    fn explain(&self, errno: Errno, before: Status, after: Status) -> Error {
        if after.state != self.needed() {
            return self.wrong_state(after);
        }
        // A hook's refusal is kept as the payload's result; no other refusal touches it.
        let told = after.rc == errno.number().wrapping_neg();
        let hook = told && after.rc != before.rc;
        let kind = match (self.action, errno) {
            _ if hook => ErrorKind::HookRefused { code: errno },
            (Action::Apply | Action::Replace, Errno::ENODATA) => ErrorKind::NoBuildId,
            (Action::Apply, Errno::EINVAL | Errno::ERANGE) if self.flags.contains(Flags::NODEPS) => {
                ErrorKind::ExpectationNotMet { function: None }
            }
            (Action::Apply, Errno::ERANGE) => ErrorKind::ExpectationNotMet { function: None },
            (Action::Apply, Errno::EINVAL) if self.client.channel.interface().has_action_flags() => {
                ErrorKind::DependencyOrExpectation
            }
            (action @ (Action::Apply | Action::Replace), Errno::EINVAL) => {
                ErrorKind::DependsOnAnother { action, expected: None, found: None, on: None }
            }
            (Action::Replace, Errno::EOPNOTSUPP) => ErrorKind::VetoingHooks,
            (Action::Apply | Action::Revert, code) if told => ErrorKind::HookRefused { code },
            _ => return CallError::Refused(errno).general(),
        };
        Error::new(kind).errno(errno)
    }

    fn wrong_state(&self, status: Status) -> Error {
        Error::new(ErrorKind::WrongState { found: status.state, needed: self.needed() })
    }

    /// The names of what is applied now.
    fn applied(&self) -> Option<Vec<PayloadName>> {
        let rows = listing::list(&self.client.channel).ok()?;
        Some(rows.into_iter().filter(|row| row.status.state == State::Applied).map(|row| row.name).collect())
    }
}

fn in_progress() -> Error {
    Error::new(ErrorKind::OperationInProgress).errno(Errno::EBUSY)
}

fn unexpected(what: &str) -> Error {
    Error::new(ErrorKind::UnexpectedAnswer { what: what.into() })
}
