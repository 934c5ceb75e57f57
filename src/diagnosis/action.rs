//! The outcome of an attempt at an action.
//!
//! Xen returns 0 both for "started" and for "nothing to do", works later, uses one error number for many causes, and may
//! leave a mark of work that never began. So only the state, the result and the stack that follow are believed.

use super::refusal::{explain, same_refusal_by_a_hook, unexplained};
use super::{After, Again, Evidence, LogMessage, Look, Verdict, in_progress, needed, target};
use crate::error::{Error, ErrorKind as Kind};
use crate::types::{Action, Errno, State};
use crate::xen::{Architecture, rules};

/// Returns an error if an action would change nothing, since Xen would report success.
pub(crate) fn ready(action: Action, before: &Look) -> Result<(), Error> {
    let (found, needed) = (before.status.state, needed(action));
    if found == needed { Ok(()) } else { Err(Error::new(Kind::WrongState { found, needed })) }
}

/// Returns true if the action was done. No other evidence is needed for that.
pub(crate) fn is_done(action: Action, refused: Option<Errno>, after: &After) -> bool {
    // An action whose answer Xen could not write may have been done.
    let perhaps = refused.is_none_or(|errno| errno == Errno::EFAULT);
    perhaps
        && match after {
            After::Gone => action == Action::Unload,
            After::Seen(after) => {
                let alone = || after.applied.as_ref().is_some_and(|applied| applied.len() == 1);
                Some(after.status.state) == target(action)
                    && after.status.rc == 0
                    && (action != Action::Replace || alone())
            }
            After::Running | After::Unreadable(_) => false,
        }
}

pub(crate) fn judge(e: &Evidence<'_>) -> Verdict {
    if is_done(e.action, e.refused, e.after) {
        return Verdict::Done;
    }
    let perhaps = e.refused.is_none_or(|errno| errno == Errno::EFAULT);
    let after = match (e.after, e.refused) {
        (After::Running, _) => return failed(Kind::Unfinished, Some(Errno::EAGAIN)),
        (After::Unreadable(error), _) if perhaps => return failed(Kind::OutcomeUnknown, error.raw_errno()),
        (After::Unreadable(error), None) => return Verdict::Failed(error.clone()),
        (After::Unreadable(error), Some(errno)) => {
            // The same denial may have met both calls.
            let same = error.raw_errno() == Some(errno);
            return Verdict::Failed(if same { error.clone() } else { explain(e, errno, None) });
        }
        (After::Gone, Some(Errno::ENOENT)) => return failed(Kind::NoSuchPayload, Some(Errno::ENOENT)),
        (After::Gone, _) => return failed(Kind::Overtaken { state: None, applied: None }, e.refused),
        (After::Seen(after), _) => after,
    };
    match e.refused {
        None => finished(e, after),
        Some(errno) if after.status.state != e.before.status.state => {
            if errno == Errno::EFAULT {
                finished(e, after)
            } else {
                overtaken(e, after)
            }
        }
        Some(Errno::EFAULT) => faulted(e, after),
        Some(Errno::EBUSY) => busy(e, after),
        Some(errno) => Verdict::Failed(explain(e, errno, Some(after))),
    }
}

/// Judges an action that this client has not sent, so that nothing is known of the state before it.
pub(crate) fn judge_unseen(e: &Evidence<'_>) -> Verdict {
    let After::Seen(Look { status, .. }) = e.after else {
        return match e.after {
            After::Gone if e.action != Action::Unload => failed(Kind::NoSuchPayload, Some(Errno::ENOENT)),
            _ => judge(e),
        };
    };
    let found = status.state;
    match target(e.action) {
        _ if status.in_progress() => failed(Kind::StaleInProgress { state: found }, Some(Errno::EAGAIN)),
        // UNLOAD leaves no result behind.
        None => failed(Kind::OutcomeUnknown, None),
        Some(expected) if found != expected && status.rc == 0 => failed(Kind::NotDone { found, expected }, None),
        // Only an APPLY has no other cause. The result may be that of a REPLACE.
        Some(expected)
            if found != expected
                && e.action == Action::Apply
                && status.error() == Some(Errno::EINVAL)
                && may_have_changed(e)
                && !e.messages.contains(&LogMessage::MayHaveChanged) =>
        {
            failed(Kind::Unexplained { code: Errno::EINVAL, reasons: APPLY_OR_REPLACE }, Some(Errno::EINVAL))
        }
        Some(_) => judge(e),
    }
}

const APPLY_OR_REPLACE: &str = "it was reverted before and has writable data, or the result is that of a replace";

fn failed(kind: Kind, errno: Option<Errno>) -> Verdict {
    let error = Error::new(kind);
    Verdict::Failed(match errno {
        Some(errno) => error.errno(errno),
        None => error,
    })
}

/// The outcome if this action alone would have left another state of the payload.
fn overtaken(e: &Evidence<'_>, after: &Look) -> Verdict {
    let applied = after.applied.clone().filter(|_| e.action == Action::Replace);
    failed(Kind::Overtaken { state: Some(after.status.state), applied }, e.refused.or_else(|| after.status.error()))
}

/// Xen accepted the action and has finished it.
fn finished(e: &Evidence<'_>, after: &Look) -> Verdict {
    let status = after.status;
    let reached = Some(status.state) == target(e.action);
    let replacing = e.action == Action::Replace;
    let moved = after.applied.is_none() || after.applied != e.before.applied;
    if replacing && reached && after.applied.is_none() {
        return failed(Kind::OutcomeUnknown, None);
    }
    // A hook in place of the action may return any number.
    let hook = e.messages.contains(&LogMessage::HookInstead) && !e.messages.contains(&LogMessage::NotQuiesced);
    if status.in_progress() {
        let code = Errno::EAGAIN;
        return match e.action {
            Action::Replace if !reached && (hook || moved) => replace_failed(code, after),
            _ if hook && !reached => action_failed(code, status.state),
            _ => failed(Kind::StaleInProgress { state: status.state }, Some(code)),
        };
    }
    let Some(code) = status.error() else { return overtaken(e, after) };
    if reached {
        return overtaken(e, after);
    }
    let waiting = e.messages.iter().rev().find_map(|message| match message {
        LogMessage::ActiveWaitqueue(domain) => Some(*domain),
        _ => None,
    });
    if let Some(domain) = waiting.filter(|_| code == Errno::EBUSY && !hook && !(replacing && moved)) {
        return failed(Kind::ActiveWaitqueue { domain }, Some(code));
    }
    if code == Errno::EBUSY && !hook && !(replacing && moved) {
        return Verdict::Again(Again::Quiesce, Error::new(Kind::QuiesceTimeout).errno(code));
    }
    match e.action {
        Action::Replace => replace_failed(code, after),
        Action::Apply if code == Errno::EINVAL && may_have_changed(e) => failed(Kind::ReapplyNeedsReupload, Some(code)),
        // A number that is not negative is no error to Xen, so that such a refusal is reported as accepted.
        _ if e.messages.contains(&LogMessage::HookFailed(code)) => failed(Kind::HookRefused { code }, Some(code)),
        _ => action_failed(code, status.state),
    }
}

fn action_failed(code: Errno, state: State) -> Verdict {
    failed(Kind::ActionFailed { code, state }, Some(code))
}

fn replace_failed(code: Errno, after: &Look) -> Verdict {
    failed(Kind::ReplaceFailed { code, applied: after.applied.clone() }, Some(code))
}

/// Returns true if `EINVAL` after an apply means that the payload was reverted before: Xen logs it, or no other cause exists.
fn may_have_changed(e: &Evidence<'_>) -> bool {
    let silent = !e.xen.has(&rules::REASONS_ON_CONSOLE) || e.messages.is_empty();
    let no_other = e.xen.has(&rules::REAPPLY_GUARDED)
        && !e.xen.has(&rules::ACTION_HOOKS)
        && e.xen.architecture == Architecture::X86_64
        && silent;
    no_other || e.messages.contains(&LogMessage::MayHaveChanged)
}

/// Xen could not reach our memory, either before the action or after it, to report. The state is as it was.
fn faulted(e: &Evidence<'_>, after: &Look) -> Verdict {
    let (before, now) = (e.before.status, after.status);
    let other_stack = e.action == Action::Replace && after.applied != e.before.applied;
    let other_list = e.action == Action::Unload && after.version != e.before.version;
    if other_list {
        // It may have been unloaded and uploaded again since.
        return failed(Kind::OutcomeUnknown, Some(Errno::EFAULT));
    }
    let own = e
        .messages
        .iter()
        .any(|message| matches!(message, LogMessage::HookFailed(Errno::EFAULT) | LogMessage::NotAsExpected(..)));
    if own || now.error() == Some(Errno::EFAULT) {
        return Verdict::Failed(explain(e, Errno::EFAULT, Some(after)));
    }
    if other_stack || (now.rc != before.rc && !now.in_progress()) {
        return finished(e, after);
    }
    failed(Kind::Fault, Some(Errno::EFAULT))
}

/// Xen, or a hook, returned `EBUSY`. The state is as it was.
fn busy(e: &Evidence<'_>, after: &Look) -> Verdict {
    let (before, now) = (e.before.status, after.status);
    let others = after.applied.as_ref().is_none_or(|applied| applied.len() > 1);
    // A mark from before hides whether the host was busy.
    let error = || match e.action {
        Action::Revert if others && before.in_progress() && !e.messages.contains(&LogMessage::NotQuiesced) => {
            Error::new(unexplained(Action::Revert, Errno::EBUSY)).errno(Errno::EBUSY)
        }
        _ => in_progress(),
    };
    let top = e.messages.iter().rev().find_map(|message| match message {
        LogMessage::Top(top) => Some(top.clone()),
        _ => None,
    });
    if e.action == Action::Revert {
        // If an older mark or result hides it, Xen's log shows it.
        let untouched = now.rc == before.rc && !now.in_progress();
        let only_that = untouched && others && !same_refusal_by_a_hook(e, Errno::EBUSY, after);
        if top.is_some() || only_that {
            return failed(Kind::NotOnTop { top: top.flatten() }, Some(Errno::EBUSY));
        }
    }
    let hooked = e.messages.contains(&LogMessage::HookFailed(Errno::EBUSY));
    if hooked || (now.error() == Some(Errno::EBUSY) && same_refusal_by_a_hook(e, Errno::EBUSY, after)) {
        return Verdict::Failed(explain(e, Errno::EBUSY, Some(after)));
    }
    // A busy host leaves its mark. Otherwise an action was pending that has ended by now.
    if now.in_progress() || now.rc == before.rc { Verdict::Again(Again::Busy, error()) } else { overtaken(e, after) }
}
