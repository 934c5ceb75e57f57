//! What an attempt at an action came to.
//!
//! Xen returns 0 both for "started" and for "nothing to do", works later, keeps one number for many causes, and may
//! leave a mark of work that never began. So only the state, the result and the stack that follow are believed.

use super::refusal::{explain, same_refusal_by_a_hook, unexplained};
use super::{After, Again, Evidence, LogMessage, Look, Verdict, in_progress, needed, target};
use crate::error::{Action, Error, ErrorKind as Kind};
use crate::types::errno::Errno;
use crate::types::status::State;
use crate::xen::architecture::Architecture;
use crate::xen::rules;

/// Whether an action can be sent at all: Xen reports success for one that would change nothing.
pub(crate) fn ready(action: Action, before: &Look) -> Result<(), Error> {
    let (found, needed) = (before.status.state, needed(action));
    if found == needed { Ok(()) } else { Err(Error::new(Kind::WrongState { found, needed })) }
}

/// Whether it was done, for which Xen's log need not be read.
pub(crate) fn is_done(e: &Evidence<'_>) -> bool {
    // What Xen could not tell us may have been done.
    let perhaps = e.refused.is_none_or(|errno| errno == Errno::EFAULT);
    perhaps
        && match e.after {
            After::Gone => e.action == Action::Unload,
            After::Seen(after) => {
                let alone = after.applied.as_ref().is_some_and(|applied| applied.len() == 1);
                Some(after.status.state) == target(e.action)
                    && after.status.rc == 0
                    && (e.action != Action::Replace || alone)
            }
            After::Running | After::Unreadable(_) => false,
        }
}

pub(crate) fn judge(e: &Evidence<'_>) -> Verdict {
    if is_done(e) {
        return Verdict::Done;
    }
    let perhaps = e.refused.is_none_or(|errno| errno == Errno::EFAULT);
    let after = match (e.after, e.refused) {
        (After::Running, _) => return failed(Kind::Unfinished, Some(Errno::EAGAIN)),
        (After::Unreadable(error), _) if perhaps => return failed(Kind::OutcomeUnknown, error.raw_errno()),
        (After::Unreadable(error), None) => return Verdict::Failed(error.clone()),
        (After::Unreadable(error), Some(errno)) => {
            // What forbids the one may have forbidden the other.
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
        Some(needed) if found != needed && status.rc == 0 => failed(Kind::WrongState { found, needed }, None),
        Some(_) => judge(e),
    }
}

fn failed(kind: Kind, errno: Option<Errno>) -> Verdict {
    let error = Error::new(kind);
    Verdict::Failed(match errno {
        Some(errno) => error.errno(errno),
        None => error,
    })
}

/// The state of the payload is not what this action, and nothing else, would have left.
fn overtaken(e: &Evidence<'_>, after: &Look) -> Verdict {
    let applied = after.applied.clone().filter(|_| e.action == Action::Replace);
    failed(Kind::Overtaken { state: Some(after.status.state), applied }, e.refused.or_else(|| after.status.error()))
}

/// Xen accepted it and is through with it.
fn finished(e: &Evidence<'_>, after: &Look) -> Verdict {
    let status = after.status;
    let reached = Some(status.state) == target(e.action);
    let replacing = e.action == Action::Replace;
    let moved = after.applied.is_none() || after.applied != e.before.applied;
    if replacing && reached && after.applied.is_none() {
        return failed(Kind::OutcomeUnknown, None);
    }
    // A hook in place of the action has a number of its own, which may be any.
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
        // What is not negative is not an error to Xen, so a hook that returns it refuses and is accepted.
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

/// Whether `EINVAL` after an apply means that the payload was reverted before: Xen says so, or nothing else can.
fn may_have_changed(e: &Evidence<'_>) -> bool {
    let silent = !e.xen.has(&rules::REASONS_ON_CONSOLE) || e.messages.is_empty();
    let no_other = e.xen.has(&rules::REAPPLY_GUARDED)
        && !e.xen.has(&rules::ACTION_HOOKS)
        && e.xen.architecture == Architecture::X86_64
        && silent;
    no_other || e.messages.contains(&LogMessage::MayHaveChanged)
}

/// Xen could not reach our memory: before the action, or after it, when it meant to report. The state is as it was.
fn faulted(e: &Evidence<'_>, after: &Look) -> Verdict {
    let (before, now) = (e.before.status, after.status);
    let other_stack = e.action == Action::Replace && after.applied != e.before.applied;
    let other_list = e.action == Action::Unload && after.version != e.before.version;
    if other_list {
        // It, or another of this name, was uploaded since.
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

/// Xen said that it is busy: with this payload, with another, or a hook said so. The state is as it was.
fn busy(e: &Evidence<'_>, after: &Look) -> Verdict {
    let (before, now) = (e.before.status, after.status);
    let others = after.applied.as_ref().is_none_or(|applied| applied.len() > 1);
    // A mark from before hides whether the host was busy.
    let error = || match e.action {
        Action::Revert if others && before.in_progress() && !e.messages.contains(&LogMessage::NotQuiesced) => {
            unexplained(Action::Revert, Errno::EBUSY)
        }
        _ => in_progress(),
    };
    let top = e.messages.iter().rev().find_map(|message| match message {
        LogMessage::Top(top) => Some(top.clone()),
        _ => None,
    });
    if e.action == Action::Revert {
        // Where an older mark or an older result hides it, Xen's log tells.
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
    // A busy host leaves its mark. Else something was pending that is over by now.
    if now.in_progress() || now.rc == before.rc { Verdict::Again(Again::Busy, error()) } else { overtaken(e, after) }
}
