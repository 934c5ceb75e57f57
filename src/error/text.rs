//! The parts of error texts that depend on what is known.

use crate::loader::Finding;
use crate::types::{Action, BuildId, Errno, PayloadName, State};
use crate::xen::KnownSeries;

pub(super) fn opening(path: Option<&str>) -> String {
    path.map_or_else(String::new, |path| format!("{path} can't be opened: "))
}

pub(super) fn refused_interface(xen: &str, pinned: Option<u32>) -> String {
    let flask = "its FLASK policy denies livepatch_op to this domain";
    match pinned {
        Some(version) => format!("Xen {xen} does not accept sysctl interface version {version:#x}, or {flask}"),
        None => format!(
            "Xen {xen} accepts none of the sysctl interface versions of {KnownSeries}: it is older or newer than this \
             crate knows, or {flask}"
        ),
    }
}

pub(super) fn overtaken(state: Option<State>, applied: Option<&[PayloadName]>) -> String {
    let state = state.map_or_else(|| "it is no longer loaded".into(), |state| format!("it is {state}"));
    match applied {
        None => state,
        Some(names) => format!("{state}{}", now_applied(names)),
    }
}

pub(super) fn now_applied(names: &[PayloadName]) -> String {
    if names.is_empty() {
        ", and nothing is applied".into()
    } else {
        format!(", and these are applied: {}", list_names(names))
    }
}

pub(super) fn another_xen(expected: Option<&BuildId>, found: Option<&BuildId>) -> String {
    match (expected, found) {
        (Some(expected), Some(found)) => {
            format!("it was built for the Xen with build-id {expected}, but this one has build-id {found}")
        }
        (Some(expected), None) => format!("it was built for another Xen, the one with build-id {expected}"),
        (None, Some(found)) => format!("it was built for another Xen than this one, which has build-id {found}"),
        (None, None) => "it was built for another Xen".into(),
    }
}

pub(super) fn dependency(expected: Option<&BuildId>, on: Option<&PayloadName>, found: Option<&BuildId>) -> String {
    let top = match (on, found) {
        (Some(name), Some(id)) => Some(format!("payload {name:?} with build-id {id}")),
        (Some(name), None) => Some(format!("payload {name:?}")),
        (None, Some(id)) => Some(format!("Xen itself with build-id {id}")),
        (None, None) => None,
    };
    match (expected, top) {
        (Some(expected), Some(top)) => format!("it depends on build-id {expected}, but would be applied on {top}"),
        (Some(expected), None) => format!("it depends on build-id {expected}, which is not on top of the stack"),
        (None, Some(top)) => format!("it does not depend on {top}, which it would be applied on"),
        (None, None) => "it does not depend on the build-id on top of the stack".into(),
    }
}

/// Names the build-ids that Xen did not report.
pub(super) fn hearsay(expected: Option<&BuildId>, below: Option<&BuildId>) -> &'static str {
    match (expected, below) {
        (Some(_), Some(_)) => " (both as uploaded by this client)",
        (None, Some(_)) => " (as uploaded by this client)",
        _ => "",
    }
}

pub(super) fn remedy(action: Action) -> &'static str {
    match action {
        Action::Replace => "replace compares with Xen's own build-id, and NODEPS does not apply to it",
        _ => "apply what it depends on first, or, from Xen 4.14 on, use NODEPS for a debug patch",
    }
}

pub(super) fn is_top(name: Option<&PayloadName>) -> String {
    name.map_or_else(String::new, |name| format!(" ({name:?} is)"))
}

/// The causes of a failure once all CPUs are stopped.
pub(super) fn after_start(code: Errno, state: State) -> &'static str {
    if code == Errno::EINVAL && state == State::Checked {
        "a hook of the payload returned this, Xen could not map its code, or it was reverted before and has writable \
         data (then unload it and upload it again)"
    } else {
        "a hook of the payload returned this, or Xen could not map its code"
    }
}

pub(super) fn xens_words(text: Option<&str>) -> String {
    text.map_or_else(String::new, |text| format!(". Xen's log: {text}"))
}

pub(super) fn list_findings(findings: &[Finding]) -> String {
    const MOST: usize = 5;
    let mut texts: Vec<String> = findings.iter().take(MOST).map(ToString::to_string).collect();
    if findings.len() > MOST {
        texts.push(format!("and {} more", findings.len() - MOST));
    }
    texts.join("; ")
}

pub(super) fn list_names(names: &[PayloadName]) -> String {
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    names.join(", ")
}

pub(super) fn still_applied(names: Option<&[PayloadName]>) -> String {
    match names {
        None => "the payloads applied now could not be determined: look at the list".into(),
        Some([]) => "nothing is applied now, so this host is unpatched".into(),
        Some(names) => format!("applied now: {}", list_names(names)),
    }
}

pub(super) fn guest(domain: Option<u16>) -> String {
    domain.map_or_else(|| "a virtual CPU of a guest".into(), |domain| format!("a virtual CPU of d{domain}"))
}
