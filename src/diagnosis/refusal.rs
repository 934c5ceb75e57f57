//! What it means that Xen refused an action, where the payload is in the state that it was in.

use super::{Evidence, Known, LogMessage, Look};
use crate::error::{Action, Error, ErrorKind as Kind};
use crate::types::errno::Errno;
use crate::types::flags::Flags;
use crate::types::name::PayloadName;
use crate::xen::rules;

/// Whether one of the payload's own hooks may have refused with this number. A hook's result is kept as the payload's.
pub(super) fn same_refusal_by_a_hook(e: &Evidence<'_>, errno: Errno, after: &Look) -> bool {
    let hooks = matches!(e.action, Action::Apply | Action::Revert) && e.xen.has(&rules::ACTION_HOOKS);
    hooks && after.status.error_or_mark() == Some(errno) && !e.messages.contains(&LogMessage::NotQuiesced)
}

/// What Xen's log says, and else what the number and the payload's result leave; `None` if that could not be read.
pub(super) fn explain(e: &Evidence<'_>, errno: Errno, after: Option<&Look>) -> Error {
    let kind = said(e, errno).unwrap_or_else(|| deduced(e, errno, after));
    Error::new(kind).errno(errno)
}

/// The cause that Xen names. Its last message is about the outcome.
fn said(e: &Evidence<'_>, errno: Errno) -> Option<Kind> {
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
            _ if hooks => Kind::Unexplained { code: errno, reasons: own(e.action, errno).unwrap_or(HOOK_OR_XEN) },
            Errno::ENOENT => Kind::NoSuchPayload,
            _ => by_number(e, errno),
        };
    };
    if same_refusal_by_a_hook(e, errno, after) {
        // Xen itself has no such answer to this action, so if the result is new it is the hook's.
        let new = after.status.rc != e.before.status.rc;
        return if new && own(e.action, errno).is_none() {
            Kind::HookRefused { code: errno }
        } else {
            Kind::Unexplained { code: errno, reasons: own(e.action, errno).unwrap_or(HOOK_OR_XEN) }
        };
    }
    // It is in the list, so another tool has put it there again.
    if errno == Errno::ENOENT {
        return Kind::Overtaken { state: Some(after.status.state), applied: None };
    }
    by_number(e, errno)
}

/// What Xen itself means by a number.
fn by_number(e: &Evidence<'_>, errno: Errno) -> Kind {
    let apply = e.action == Action::Apply;
    match (e.action, errno) {
        (Action::Revert, Errno::EBUSY) => {
            Kind::Unexplained { code: errno, reasons: own(e.action, errno).unwrap_or(HOOK_OR_XEN) }
        }
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

/// Xen did not say which of several reasons it had.
pub(super) fn unexplained(action: Action, errno: Errno) -> Error {
    let reasons = own(action, errno).unwrap_or(HOOK_OR_XEN);
    Error::new(Kind::Unexplained { code: errno, reasons }).errno(errno)
}

fn own(action: Action, errno: Errno) -> Option<&'static str> {
    OWN.iter().find(|row| row.0 == action && row.1 == errno).map(|row| row.2)
}

const HOOK_OR_XEN: &str = "one of its hooks returned this, now or before, or Xen itself did";

/// What Xen itself returns for an action, a hook's result apart, and what it may have been where the result is the same.
const OWN: [(Action, Errno, &str); 8] = [
    (Action::Apply, Errno::EBUSY, BUSY),
    (Action::Revert, Errno::EBUSY, "it is not on top, one of its hooks returned this, or the host was busy"),
    (
        Action::Apply,
        Errno::EINVAL,
        "one of its hooks returned this, its dependency is not on top of the stack, or the code it replaces is not what it expects",
    ),
    (Action::Apply, Errno::ERANGE, "one of its hooks returned this, or the code it replaces is not what it expects"),
    (Action::Apply, Errno::ENODATA, "one of its hooks returned this, or this Xen has no build-id"),
    (Action::Apply, Errno::EFAULT, MEMORY),
    (Action::Revert, Errno::EFAULT, MEMORY),
    (
        Action::Apply,
        Errno::ENOENT,
        "one of its hooks returned this, or another tool unloaded and uploaded it meanwhile",
    ),
];
const BUSY: &str = "one of its hooks returned this, or the host was busy";
const MEMORY: &str =
    "one of its hooks returned this, or Xen could not reach this program's memory; either way it is as it was";

/// It goes on top of something else. `certain`: Xen named what is on top, or itself.
fn depends(e: &Evidence<'_>, on: Option<PayloadName>, certain: bool) -> Kind {
    let Known { xen, payload, others } = &e.known;
    let found = match &on {
        Some(top) => others.iter().find(|(name, _)| name == top).map(|(_, id)| id.clone()),
        None if certain || e.action == Action::Replace => xen.clone(),
        None => None,
    };
    Kind::DependsOnAnother { action: e.action, expected: payload.depends.clone(), found, on }
}
