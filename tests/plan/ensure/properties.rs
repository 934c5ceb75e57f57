//! The promise: from any state, with any fault, a host ends with what was wanted, with what it had, or worse is announced.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};

use super::host::{Deed, STACKS, connect, connect_mortal, deed, level, release, wanted, wanted_with_files};
use crate::prelude::*;
use crate::story::orders::{lose_answer, time_out};

pub fn cases(count: u32) -> ProptestConfig {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(count);
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

/// A host in a random state, and a level that may be wanted of it.
#[derive(Debug)]
struct Case {
    release: Release,
    deeds: Vec<Deed>,
    stack: &'static [&'static str],
    /// True if the files of all payloads are at hand, and not only those that are wanted.
    files: bool,
}

/// Cases after up to so many deeds, of which NODEPS is one only if that is allowed.
fn case(nodeps: bool, deeds: usize) -> impl Strategy<Value = Case> {
    let parts = (release(), vec(deed(nodeps), 0..deeds), select(&STACKS[..]), any::<bool>());
    parts.prop_map(|(release, deeds, stack, files)| Case { release, deeds, stack, files })
}

impl Case {
    fn host(&self) -> (SimulatedXen, LivepatchClient, Wanted) {
        let xen = SimulatedXen::new(self.release);
        self.deeds.iter().for_each(|deed| deed.act(&xen));
        let goal = if self.files { wanted_with_files(&xen, self.stack) } else { wanted(&xen, self.stack) };
        (xen.clone(), connect(&xen), goal)
    }
}

fn contains(level: &[&str], all: &[&str]) -> bool {
    all.iter().all(|id| level.contains(id))
}

/// A run as an observer sees it: its announced gaps, and the moments at which it was in one that was not announced.
struct Watch<'a> {
    xen: &'a SimulatedXen,
    before: Vec<&'static str>,
    stack: Vec<&'static str>,
    in_gap: bool,
    announced: bool,
}

impl Watch<'_> {
    fn see(&mut self, event: &StepEvent) {
        match event {
            StepEvent::GapOpens { .. } => {
                assert!(!self.in_gap);
                (self.in_gap, self.announced) = (true, true);
            }
            StepEvent::GapCloses => self.in_gap = false,
            _ => assert!(!self.in_gap, "nobody is called in a gap"),
        }
    }

    /// Outside of gaps, nothing that ran before is missing while something that is wanted is.
    fn look(&mut self, event: &StepEvent) {
        self.see(event);
        if !matches!(event, StepEvent::GapCloses | StepEvent::Back { .. }) {
            let now = level(self.xen);
            assert!(contains(&now, &self.before) || contains(&now, &self.stack), "{now:?} in {event:?}");
        }
    }
}

/// Runs `ensure`, and compares the reported outcome with the level that Xen has afterwards.
fn ensure(
    xen: &SimulatedXen,
    client: &LivepatchClient,
    goal: &Wanted,
    stack: &[&'static str],
    mishaps: &[Mishap],
) -> Result<Plan, EnsureError> {
    let before = level(xen);
    let mut watch = Watch { xen, before: before.clone(), stack: stack.to_vec(), in_gap: false, announced: false };
    // The levels that others brought the host to meanwhile.
    let others = Arc::new(Mutex::new(Vec::new()));
    for mishap in mishaps {
        mishap.order(xen, &others);
    }
    let looks = mishaps.is_empty();
    let ensured = client.ensure(goal, |event| if looks { watch.look(&event) } else { watch.see(&event) });
    let result = ensured.map(|ensured| ensured.plan);
    xen.forget_orders();
    xen.finish_action();
    let now = level(xen);
    let outcome = result.as_ref().err().map_or(Outcome::Reached, EnsureError::outcome);
    let text = result.as_ref().map_or_else(ToString::to_string, ToString::to_string);
    let report = format!("{before:?} to {stack:?}: {outcome}, now {now:?}: {text}");
    let levels = std::mem::take(&mut *others.lock().unwrap());
    let names = xen.applied();
    let as_before = now == before || levels.contains(&names);
    let all_of = |level: &Vec<PayloadName>| level.iter().all(|name| names.contains(name));
    let keeps = contains(&now, &before) || levels.iter().any(all_of);
    match outcome {
        Outcome::Reached => assert_eq!(now, stack, "{report}"),
        Outcome::Unchanged | Outcome::Restored => assert!(as_before, "{report}"),
        Outcome::Partial => assert!(keeps || contains(&now, stack), "{report}"),
        Outcome::Worse => assert!(!(keeps || contains(&now, stack)) || !levels.is_empty(), "{report}"),
        Outcome::Unknown => {}
        other => panic!("{other}"),
    }
    assert_eq!(xen.crashed(), None);
    result
}

/// The host is as wanted, and stays so. Nothing is left loaded but payloads that could not be identified, which may be needed.
fn arrived(xen: &SimulatedXen, client: &LivepatchClient, stack: &[&'static str], kept: bool) {
    assert_eq!(level(xen), stack);
    let inventory = client.inventory().unwrap();
    let again = Plan::new(&inventory, &wanted_with_files(xen, stack)).unwrap();
    let applied = xen.applied();
    let left: Vec<PayloadName> = xen.loaded().into_iter().filter(|name| !applied.contains(name)).collect();
    let mut named = again.leftovers().to_vec();
    named.sort_by_key(|name| left.iter().position(|other| other == name));
    assert!(kept || (again.is_empty() && left == named), "left: {left:?}: {again}");
    // None of the levels needs another payload, and the files show it, if it is known which they belong to.
    let unidentified =
        |name: &PayloadName| inventory.payloads.iter().any(|entry| entry.name == *name && entry.build_id.is_none());
    assert!(kept || left.iter().all(unidentified), "left: {left:?}: {inventory}");
}

/// Something goes wrong, once.
#[derive(Clone, Copy, Debug)]
enum Mishap {
    Fail(Call, u64, Errno),
    LostAnswer(Call, u64),
    TimeOut(Action),
    Other(Call, u64, Deed),
}

const CALLS: [Call; 6] = [Call::Upload, Call::Apply, Call::Revert, Call::Replace, Call::Unload, Call::List];

fn mishap(others: bool) -> impl Strategy<Value = Mishap> {
    let call = || select(&CALLS[..]);
    let errno =
        || select(&[Errno::EFAULT, Errno::EBUSY, Errno::ENOMEM, Errno::EINVAL, Errno::EAGAIN, Errno::EPERM][..]);
    let weight = u32::from(others);
    prop_oneof![
        2 => (call(), 1..4_u64, errno()).prop_map(|(call, nth, errno)| Mishap::Fail(call, nth, errno)),
        2 => (call(), 1..4_u64).prop_map(|(call, nth)| Mishap::LostAnswer(call, nth)),
        1 => select(&[Action::Apply, Action::Revert, Action::Replace][..]).prop_map(Mishap::TimeOut),
        2 * weight => (call(), 1..9_u64, deed(true)).prop_map(|(call, nth, deed)| Mishap::Other(call, nth, deed)),
    ]
}

impl Mishap {
    fn order(self, xen: &SimulatedXen, others: &Arc<Mutex<Vec<Vec<PayloadName>>>>) {
        match self {
            Self::Fail(call, nth, errno) => xen.on(call).nth(nth).before(move |xen| xen.on(call).fail(errno)),
            Self::LostAnswer(call, nth) => xen.on(call).nth(nth).before(move |xen| lose_answer(xen, call, Some(1))),
            Self::TimeOut(action) => time_out(xen, action.into(), Some(1)),
            Self::Other(call, nth, deed) => {
                let others = Arc::clone(others);
                xen.on(call).nth(nth).before(move |xen| {
                    deed.act(xen);
                    others.lock().unwrap().push(xen.applied());
                });
            }
        }
    }
}

proptest! {
    #![proptest_config(cases(300))]

    /// There is always a way, whatever the state, and it is announced where it leads through a gap.
    #[test]
    fn a_host_becomes_what_is_wanted(case in case(true, 24), kept in any::<bool>()) {
        let (xen, client, goal) = case.host();
        let goal = if kept { goal.keep_unapplied() } else { goal };
        ensure(&xen, &client, &goal, case.stack, &[]).unwrap();
        arrived(&xen, &client, case.stack, kept || !case.files);
    }

    /// Whatever goes wrong, the outcome describes the host, and the next run succeeds.
    #[test]
    fn a_host_never_ends_worse_unless_that_is_said(case in case(true, 16), mishaps in vec(mishap(true), 1..4)) {
        let (xen, client, goal) = case.host();
        let _ = ensure(&xen, &client, &goal, case.stack, &mishaps);
        ensure(&xen, &client, &goal, case.stack, &[]).unwrap();
        arrived(&xen, &client, case.stack, !case.files);
    }

    /// Without other tools, and with files at hand, one fault never leaves a host worse off.
    #[test]
    fn one_fault_leaves_a_host_with_what_it_had(case in case(false, 16), mishap in mishap(false)) {
        let (xen, client, goal) = Case { files: true, ..case }.host();
        let outcome = ensure(&xen, &client, &goal, case.stack, &[mishap]).err().map(|error| error.outcome());
        prop_assert!(!matches!(outcome, Some(Outcome::Worse | Outcome::Unknown)), "{:?}", outcome);
    }

    /// A payload whose own hook refuses it brings back the level from before.
    #[test]
    fn a_refused_payload_changes_nothing(
        release in select(&[Release::V4_14, Release::V4_17, Release::V4_22][..]),
        deeds in vec(deed(false), 0..16),
    ) {
        let case = Case { release, deeds, stack: &["d", "refusing"], files: true };
        let (xen, client, goal) = case.host();
        let before = level(&xen);
        let error = ensure(&xen, &client, &goal, case.stack, &[]).unwrap_err();
        let expected = match &before[..] {
            ["d"] => Outcome::Unchanged,
            [] => Outcome::Partial,
            _ => Outcome::Restored,
        };
        prop_assert_eq!(error.outcome(), expected, "{:?}: {}", before, error);
    }

    /// A process that is killed after any hypercall leaves a host from which the next one arrives.
    #[test]
    fn the_next_run_arrives_after_a_kill(case in case(true, 16), calls in 1..60_u32) {
        let (xen, _, goal) = case.host();
        let killed = catch_unwind(AssertUnwindSafe(|| {
            let _ = connect_mortal(&xen, calls).ensure(&goal, |_| ());
        }));
        xen.finish_action();
        let client = connect(&xen);
        ensure(&xen, &client, &goal, case.stack, &[]).unwrap();
        arrived(&xen, &client, case.stack, !case.files);
        prop_assert!(killed.is_ok() || xen.crashed().is_none());
    }
}
