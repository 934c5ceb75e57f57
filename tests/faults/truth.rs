//! What Xen has, and what a client says of it.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use xen_livepatch::sim::{Release, SimulatedXen};
use xen_livepatch::{ErrorKind, LivepatchClient, LoadedPayload, PayloadName, Result};

use crate::plan::{Operation, Step};

/// How much later than its deadline a call may return on a busy machine.
const SLACK: Duration = Duration::from_secs(3);

/// More than any operation with these deadlines needs.
const CALLS: u64 = 400;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Truth {
    pub loaded: Vec<PayloadName>,
    pub applied: Vec<PayloadName>,
}

impl Truth {
    pub fn of(xen: &SimulatedXen) -> Self {
        Self { loaded: xen.loaded(), applied: xen.applied() }
    }
}

/// Runs a step. It takes no longer than it may, and no more hypercalls.
pub fn timed(step: &Step, xen: &SimulatedXen, client: &LivepatchClient) -> Result<()> {
    let (start, calls) = (Instant::now(), xen.calls().total());
    let result = step.run(xen, client);
    let (took, calls) = (start.elapsed(), xen.calls().total() - calls);
    assert!(took < step.deadline + SLACK, "{took:?}");
    assert!(calls < CALLS, "{calls} hypercalls");
    if let Err(error) = &result {
        assert!(error.to_string().lines().count() == 1, "{error}");
    }
    result
}

/// What an error says of the outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    NothingDone,
    /// It may be done already, or soon.
    Unknown,
}

pub fn outcome(kind: &ErrorKind) -> Outcome {
    match kind {
        ErrorKind::Unfinished
        | ErrorKind::OutcomeUnknown
        | ErrorKind::StaleInProgress { .. }
        | ErrorKind::UnexpectedAnswer { .. }
        // What a failed replace leaves behind.
        | ErrorKind::ReplaceFailed { .. }
        | ErrorKind::ActionFailed { .. } => Outcome::Unknown,
        _ => Outcome::NothingDone,
    }
}

/// What a success means, where nobody else acts.
pub fn check_success(step: &Step, before: &Truth, now: &Truth) {
    use xen_livepatch::Action as A;
    let name = crate::plan::name(step.id);
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
        _ => {}
    }
    assert_eq!(*now, expected, "not what was asked for");
    if matches!(step.operation, Operation::Act(A::Apply | A::Replace, _)) {
        assert!(!before.applied.contains(&name), "it did nothing");
    }
}

/// No row is doubled, or made of two.
pub fn check_rows(release: Release, rows: &[LoadedPayload]) {
    let names: HashSet<_> = rows.iter().map(|row| &row.name).collect();
    assert_eq!(names.len(), rows.len(), "a row twice: {rows:?}");
    for row in rows {
        let expected = (release >= Release::V4_14).then(|| row.name.as_bytes());
        assert_eq!(row.metadata.get("id"), expected, "a row made of two");
    }
}

/// When all is well a client says what Xen has.
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
