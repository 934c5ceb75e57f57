//! The reason why Xen refused an action that left the payload's state as it was.

use super::{Evidence, Known, LogMessage, Look};
use crate::error::{Error, ErrorKind as Kind};
use crate::types::{Action, Errno, Flags, PayloadName};
use crate::xen::rules;

/// Returns true if one of the payload's own hooks may have refused with this number. Xen keeps a hook's result as the payload's.
pub(super) fn same_refusal_by_a_hook(e: &Evidence<'_>, errno: Errno, after: &Look) -> bool {
    let hooks = matches!(e.action, Action::Apply | Action::Revert) && e.xen.has(&rules::ACTION_HOOKS);
    hooks && after.status.error_or_mark() == Some(errno) && !e.messages.contains(&LogMessage::NotQuiesced)
}

/// The error for a refusal: the cause in Xen's log, and otherwise the one that follows from the number and the payload's result
/// (`None` if that could not be read).
pub(super) fn explain(e: &Evidence<'_>, errno: Errno, after: Option<&Look>) -> Error {
    let kind = logged(e, errno).unwrap_or_else(|| deduced(e, errno, after));
    Error::new(kind).errno(errno)
}

/// The cause that Xen's log names. The last message is about the outcome.
fn logged(e: &Evidence<'_>, errno: Errno) -> Option<Kind> {
    e.messages.iter().rev().find_map(|message| match message {
        LogMessage::HookFailed(code) if *code == errno => Some(Kind::HookRefused { code: errno }),
        LogMessage::NotAsExpected(function, code) if *code == errno => {
            Some(Kind::ExpectationNotMet { function: Some(function.clone()) })
        }
        LogMessage::NotBuiltOn(on) if errno == Errno::EINVAL => Some(depends(e, on.clone(), true)),
        _ => None,
    })
}

fn deduced(e: &Evidence<'_>, errno: Errno, after: Option<&Look>) -> Kind {
    let hooks = matches!(e.action, Action::Apply | Action::Revert) && e.xen.has(&rules::ACTION_HOOKS);
    let Some(after) = after else {
        return match errno {
            _ if hooks => unexplained(e.action, errno),
            Errno::ENOENT => Kind::NoSuchPayload,
            _ => by_number(e, errno),
        };
    };
    if same_refusal_by_a_hook(e, errno, after) {
        // Xen itself never returns this number for this action, so a new result is the hook's.
        let new = after.status.rc != e.before.status.rc;
        return if new && possible_causes(e.action, errno).is_none() {
            Kind::HookRefused { code: errno }
        } else {
            unexplained(e.action, errno)
        };
    }
    // It is in the list, so another tool has uploaded it again.
    if errno == Errno::ENOENT {
        return Kind::Overtaken { state: Some(after.status.state), applied: None };
    }
    by_number(e, errno)
}

/// The cause of a number that Xen itself returned.
fn by_number(e: &Evidence<'_>, errno: Errno) -> Kind {
    let apply = e.action == Action::Apply;
    match (e.action, errno) {
        (Action::Revert, Errno::EBUSY) => unexplained(e.action, errno),
        (_, Errno::EBUSY) => Kind::OperationInProgress,
        (Action::Apply | Action::Replace, Errno::ENODATA) => Kind::NoBuildId,
        (Action::Replace, Errno::EOPNOTSUPP) if e.xen.has(&rules::ACTION_HOOKS) => Kind::VetoingHooks,
        (Action::Replace, Errno::EINVAL) => depends(e, None, false),
        (_, Errno::EINVAL | Errno::ERANGE) if apply && e.xen.has(&rules::EXPECTATIONS) => {
            let dependency = errno == Errno::EINVAL && !e.flags.contains(Flags::NODEPS);
            if dependency { Kind::DependencyOrExpectation } else { Kind::ExpectationNotMet { function: None } }
        }
        (_, Errno::EINVAL) if apply => depends(e, None, false),
        _ => Kind::of_number(errno),
    }
}

/// The kind if there are several possible causes.
pub(super) fn unexplained(action: Action, errno: Errno) -> Kind {
    let reasons =
        possible_causes(action, errno).unwrap_or("one of its hooks returned this, now or before, or Xen itself did");
    Kind::Unexplained { code: errno, reasons }
}

/// The possible causes of a number that Xen itself returns for an action, if a hook may have returned the same.
fn possible_causes(action: Action, errno: Errno) -> Option<&'static str> {
    Some(match (action, errno) {
        (Action::Apply, Errno::EBUSY) => "one of its hooks returned this, or the host was busy",
        (Action::Revert, Errno::EBUSY) => "it is not on top, one of its hooks returned this, or the host was busy",
        (Action::Apply, Errno::EINVAL) => {
            "one of its hooks returned this, its dependency is not on top of the stack, or the code it replaces is not what \
             it expects"
        }
        (Action::Apply, Errno::ERANGE) => {
            "one of its hooks returned this, or the code it replaces is not what it expects"
        }
        (Action::Apply, Errno::ENODATA) => "one of its hooks returned this, or this Xen has no build-id",
        (Action::Apply | Action::Revert, Errno::EFAULT) => {
            "one of its hooks returned this, or Xen could not reach this program's memory; either way it is as it was"
        }
        (Action::Apply, Errno::ENOENT) => {
            "one of its hooks returned this, or another tool unloaded and uploaded it meanwhile"
        }
        _ => return None,
    })
}

/// The kind for a payload that depends on another one. `certain`: Xen's log names the payload on top, or Xen itself.
fn depends(e: &Evidence<'_>, on: Option<PayloadName>, certain: bool) -> Kind {
    let Known { xen, payload, others } = &e.known;
    let found = match &on {
        Some(top) => others.iter().find(|(name, _)| name == top).map(|(_, id)| id.clone()),
        None if certain || e.action == Action::Replace => xen.clone(),
        None => None,
    };
    Kind::DependsOnAnother { action: e.action, expected: payload.depends.clone(), found, on }
}
