//! A client and another toolstack on the same host and the same payloads.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use xen_livepatch::sim::{Call, SimulatedXen};
use xen_livepatch::{Action, Flags, Release};

use crate::cases;
use crate::oracle::{Truth, check_agreement, check_report, check_rows, timed};
use crate::scenario::{CALLS, ClientCall, Hooks, PAYLOADS, all_is_well_again, hooks, name, payload, release, step};

/// An operation of the other toolstack.
#[derive(Clone, Copy, Debug)]
enum Other {
    Upload(u8),
    Start(u8, Action),
    Act(u8, Action),
    Finish,
}

/// To any payload, or never to the first two.
fn other(every: bool) -> impl Strategy<Value = Other> {
    let id = if every { 0..PAYLOADS } else { 2..PAYLOADS };
    let action = || select(&[Action::Apply, Action::Revert, Action::Replace, Action::Unload][..]);
    prop_oneof![
        3 => id.clone().prop_map(Other::Upload),
        2 => (id.clone(), action()).prop_map(|(id, action)| Other::Start(id, action)),
        3 => (id, action()).prop_map(|(id, action)| Other::Act(id, action)),
        1 => Just(Other::Finish),
    ]
}

impl Other {
    fn act(self, xen: &SimulatedXen, hooks: &Hooks) {
        let flags = if xen.release() >= Release::V4_14 { Flags::NODEPS } else { Flags::empty() };
        // Whether it succeeds is of no interest.
        let _ = match self {
            Self::Upload(id) => xen.other_upload(name(id), &payload(xen, hooks, id)),
            Self::Start(id, action) => xen.other_start(name(id), action, flags),
            Self::Act(id, action) => xen.other_action(name(id), action, flags),
            Self::Finish => {
                xen.finish_action();
                Ok(())
            }
        };
    }
}

#[derive(Clone, Copy, Debug)]
struct Visit {
    call: Call,
    nth: u64,
    after: bool,
    other: Other,
}

fn visit(every: bool) -> impl Strategy<Value = Visit> {
    (select(&CALLS[..]), 1..4_u64, any::<bool>(), other(every)).prop_map(|(call, nth, after, other)| Visit {
        call,
        nth,
        after,
        other,
    })
}

/// Every moment that there was.
#[derive(Clone, Default)]
struct History(Arc<Mutex<Vec<Truth>>>);

impl History {
    fn note(&self, xen: &SimulatedXen) {
        let mut moments = self.0.lock().unwrap();
        let now = Truth::of(xen);
        if moments.last() != Some(&now) {
            moments.push(now);
        }
    }

    /// Notes what is so before and after every hypercall from now on.
    fn follow(&self, xen: &SimulatedXen) {
        for call in CALLS {
            let (before, after) = (self.clone(), self.clone());
            xen.on(call).always().before(move |xen| before.note(xen));
            xen.on(call).always().after(move |xen| after.note(xen));
        }
    }
}

proptest! {
    #![proptest_config(cases(600))]

    #[test]
    fn another_toolstack_does_not_confuse_a_client(
        release in release(),
        hooks in hooks(),
        steps in vec((step(), vec(visit(false), 0..5)), 1..20),
    ) {
        story(release, &hooks, &steps, true);
    }

    #[test]
    fn another_toolstack_on_the_same_payload_does_not_either(
        release in release(),
        hooks in hooks(),
        steps in vec((step(), vec(visit(true), 0..5)), 1..20),
    ) {
        story(release, &hooks, &steps, false);
    }
}

fn story(release: Release, hooks: &Hooks, steps: &[(ClientCall, Vec<Visit>)], two_stay: bool) {
    let xen = SimulatedXen::new(release);
    let client = crate::scenario::settings().settle_time(Duration::ZERO).connect(xen.clone()).unwrap();
    for id in [0, 1] {
        xen.other_upload(name(id), &payload(&xen, hooks, id)).unwrap();
    }
    for (step, visits) in steps {
        xen.set_pace(step.pace);
        xen.set_log_level(step.log);
        let history = History::default();
        history.note(&xen);
        history.follow(&xen);
        for order in &step.orders {
            order.give(&xen);
        }
        for Visit { call, nth, after, other } in visits.iter().copied() {
            let (on, hooks, history) = (xen.on(call).nth(nth), *hooks, history.clone());
            let act = move |xen: &SimulatedXen| {
                history.note(xen);
                other.act(xen, &hooks);
                history.note(xen);
            };
            if after { on.after(act) } else { on.before(act) }
        }
        let kept: Vec<_> =
            xen.loaded().into_iter().filter(|loaded| two_stay && [name(0), name(1)].contains(loaded)).collect();
        // Not even what the client itself reads in the middle of it all is ever mixed up.
        let rows = client.list();
        if let Ok(rows) = &rows {
            check_rows(release, rows);
            for name in &kept {
                assert!(rows.iter().any(|row| row.name == *name), "{name} is missing");
            }
        }
        let result = timed(step, &xen, hooks, &client);
        history.note(&xen);
        check_report(step, hooks, &history.0.lock().unwrap(), &result);
        all_is_well_again(&xen);
        check_agreement(&xen, &client);
    }
}
