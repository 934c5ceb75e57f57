//! A client and another toolstack on the same host and the same payloads.

use std::sync::{Arc, Mutex};

use crate::prelude::*;

/// An operation of the other toolstack.
#[derive(Clone, Copy, Debug)]
enum Other {
    Upload,
    Start(Action),
    Act(Action),
    Finish,
}

fn other() -> impl Strategy<Value = Other> {
    prop_oneof![
        3 => Just(Other::Upload),
        2 => action().prop_map(Other::Start),
        3 => action().prop_map(Other::Act),
        1 => Just(Other::Finish),
    ]
}

impl Other {
    fn act(self, xen: &SimulatedXen, hooks: &Hooks, id: u8) {
        let flags = if xen.release() >= Release::V4_14 { Flags::NODEPS } else { Flags::empty() };
        // Whether it succeeds is of no interest.
        let _ = match self {
            Self::Upload => xen.other_upload(name(id), &payload(xen, hooks, id)),
            Self::Start(action) => xen.other_start(name(id), action, flags),
            Self::Act(action) => xen.other_action(name(id), action, flags),
            Self::Finish => {
                xen.finish_action();
                Ok(())
            }
        };
    }
}

/// An operation of the other toolstack on a payload, before or after a call.
#[derive(Clone, Copy, Debug)]
struct Visit {
    call: Call,
    nth: u64,
    after: bool,
    other: Other,
    id: u8,
}

fn visit() -> impl Strategy<Value = Visit> {
    (select(&CALLS[..]), 1..4_u64, any::<bool>(), other(), 0..PAYLOADS)
        .prop_map(|(call, nth, after, other, id)| Visit { call, nth, after, other, id })
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
    #![proptest_config(cases(1200))]

    #[test]
    fn another_toolstack_does_not_confuse_a_client(
        release in release(),
        hooks in hooks(),
        steps in vec((step(), vec(visit(), 0..5)), 1..20),
        two_stay in any::<bool>(),
    ) {
        story(release, &hooks, &steps, two_stay);
    }
}

/// The other toolstack may act on any payload, or, if `two_stay`, never on the first two.
fn story(release: Release, hooks: &Hooks, steps: &[(ClientCall, Vec<Visit>)], two_stay: bool) {
    let xen = SimulatedXen::new(release);
    let client = settings().settle_time(Duration::ZERO).connect(xen.clone()).unwrap();
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
        for Visit { call, nth, after, other, id } in visits.iter().copied() {
            let id = if two_stay { 2 + id % (PAYLOADS - 2) } else { id };
            let (on, hooks, history) = (xen.on(call).nth(nth), *hooks, history.clone());
            let act = move |xen: &SimulatedXen| {
                history.note(xen);
                other.act(xen, &hooks, id);
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
