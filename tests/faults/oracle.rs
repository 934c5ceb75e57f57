//! The state of Xen, and checks of a client's reports against it.

use std::collections::HashSet;
use std::time::Instant;

use crate::prelude::*;

/// The most by which a call may miss its deadline on a busy machine.
const SLACK: Duration = Duration::from_secs(3);

/// More hypercalls than any operation with these deadlines needs.
const CALLS: u64 = 400;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Truth {
    pub loaded: Vec<PayloadName>,
    /// From the bottom of the stack to its top.
    pub applied: Vec<PayloadName>,
}

impl Truth {
    pub fn of(xen: &SimulatedXen) -> Self {
        Self { loaded: xen.loaded(), applied: xen.applied() }
    }

    pub fn state(&self, name: &PayloadName) -> Option<State> {
        let state = if self.applied.contains(name) { State::Applied } else { State::Checked };
        self.loaded.contains(name).then_some(state)
    }

    /// As an error lists them.
    pub fn applied_in_order_of_upload(&self) -> Vec<PayloadName> {
        self.loaded.iter().filter(|name| self.applied.contains(name)).cloned().collect()
    }
}

/// Runs a call, within its deadline and a limited number of hypercalls.
pub fn timed(step: &ClientCall, xen: &SimulatedXen, hooks: &Hooks, client: &LivepatchClient) -> Result<()> {
    let (start, calls) = (Instant::now(), xen.calls());
    let result = step.run(xen, hooks, client);
    let (took, made) = (start.elapsed(), xen.calls().total() - calls.total());
    assert!(took < step.deadline + SLACK, "{took:?}");
    assert!(made < CALLS, "{made} hypercalls");
    if let (Operation::Act(..), true) = (step.operation, step.deadline.is_zero()) {
        assert_eq!(made, 0, "something was sent after the deadline");
    }
    if let Err(error) = &result {
        assert!(error.to_string().lines().count() == 1, "{error}");
    }
    result
}

/// Checks that a success has changed this and nothing else, if nobody else acts.
pub fn check_success(step: &ClientCall, before: &Truth, now: &Truth) {
    use xen_livepatch::Action as A;
    let name = name(step.id);
    let with = |names: &[PayloadName]| [names, std::slice::from_ref(&name)].concat();
    let mut expected = before.clone();
    match step.operation {
        Operation::Upload => expected.loaded = with(&before.loaded),
        Operation::Act(A::Apply, _) => expected.applied = with(&before.applied),
        Operation::Act(A::Replace, _) => expected.applied = vec![name.clone()],
        Operation::Act(A::Revert, _) => assert_eq!(expected.applied.pop(), Some(name.clone())),
        Operation::Act(A::Unload, _) => {
            assert!(before.loaded.contains(&name) && !before.applied.contains(&name));
            expected.loaded.retain(|other| *other != name);
        }
        Operation::Wait(A::Apply) => assert!(before.applied.contains(&name)),
        Operation::Wait(A::Replace) => assert_eq!(before.applied, std::slice::from_ref(&name)),
        Operation::Wait(A::Revert) => assert_eq!(before.state(&name), Some(State::Checked)),
        Operation::Wait(A::Unload) => assert_eq!(before.state(&name), None),
        _ => {}
    }
    assert_eq!(*now, expected, "not what was asked for");
    if matches!(step.operation, Operation::Act(A::Apply | A::Replace, _)) {
        assert!(!before.applied.contains(&name), "it did nothing");
    }
}

/// Checks that a report was true at one of these moments during the operation.
pub fn check_report(step: &ClientCall, hooks: &Hooks, moments: &[Truth], result: &Result<()>) {
    let name = name(step.id);
    let once =
        |what: &dyn Fn(&Truth) -> bool| assert!(moments.iter().any(what), "{result:?} never was so: {moments:#?}");
    let was = |state: Option<State>| once(&|truth| truth.state(&name) == state);
    let Err(error) = result else {
        match step.operation.action() {
            Some(Action::Apply) => was(Some(State::Applied)),
            Some(Action::Replace) => once(&|truth| truth.applied == [name.clone()]),
            Some(Action::Revert) => was(Some(State::Checked)),
            Some(Action::Unload) => was(None),
            _ if matches!(step.operation, Operation::Upload) => once(&|truth| truth.state(&name).is_some()),
            _ => {}
        }
        return;
    };
    match error.kind() {
        ErrorKind::NoSuchPayload => was(None),
        ErrorKind::WrongState { found, .. } | ErrorKind::NotDone { found, .. } => was(Some(*found)),
        ErrorKind::AlreadyLoaded { by: Duplicate::Name, .. } => {
            once(&|truth| truth.loaded.contains(&name));
        }
        ErrorKind::StaleInProgress { state, .. } | ErrorKind::ActionFailed { state, .. } => was(Some(*state)),
        ErrorKind::Overtaken { state, applied: None, .. } => was(*state),
        ErrorKind::Overtaken { state, applied: Some(applied), .. } => {
            once(&|truth| truth.state(&name) == *state && truth.applied_in_order_of_upload() == *applied);
        }
        ErrorKind::ReplaceFailed { applied: Some(applied), .. } => {
            once(&|truth| truth.applied_in_order_of_upload() == *applied);
        }
        ErrorKind::NotOnTop { top, .. } => {
            let is_it = |last: &PayloadName| *last != name && top.as_ref().is_none_or(|top| top == last);
            once(&|truth| truth.applied.last().is_some_and(is_it));
        }
        ErrorKind::DependsOnAnother { on: Some(on), .. } => once(&|truth| truth.applied.last() == Some(on)),
        ErrorKind::HookRefused { code, .. } => {
            let reverts = step.operation.action() == Some(Action::Revert);
            let kind = if reverts { HookKind::PreRevert } else { HookKind::PreApply };
            assert_eq!(hook_of(hooks, step.id, kind), Some(code.number().wrapping_neg()), "{error:?}");
        }
        ErrorKind::ReapplyNeedsReupload => assert_eq!(step.id, 4, "only that has data: {error:?}"),
        _ => {}
    }
    // The number in a kind is the error's own.
    match error.kind() {
        ErrorKind::HookRefused { code, .. }
        | ErrorKind::Unexplained { code, .. }
        | ErrorKind::ActionFailed { code, .. }
        | ErrorKind::ReplaceFailed { code, .. } => assert_eq!(error.raw_errno(), Some(*code), "{error:?}"),
        ErrorKind::DeadlinePassed => assert_eq!(error.raw_errno(), None),
        _ => {}
    }
}

/// Checks that no row is doubled or mixed from two.
pub fn check_rows(release: Release, rows: &[LoadedPayload]) {
    let names: HashSet<_> = rows.iter().map(|row| &row.name).collect();
    assert_eq!(names.len(), rows.len(), "a row twice: {rows:?}");
    for row in rows {
        let expected = (release >= Release::V4_14).then(|| row.name.as_bytes());
        assert_eq!(row.metadata.get("id"), expected, "a row made of two");
    }
}

/// Checks that a client without faults reports the state of Xen.
pub fn check_agreement(xen: &SimulatedXen, client: &LivepatchClient) {
    let rows = client.list().unwrap();
    check_rows(xen.release(), &rows);
    assert_eq!(rows.iter().map(|row| row.name.clone()).collect::<Vec<_>>(), xen.loaded());
    for row in &rows {
        assert_eq!(Some(row.status), xen.status(&row.name));
        assert_eq!(client.status(&row.name).unwrap(), row.status);
    }
    assert_eq!(xen.crashed(), None);
}
