//! Another toolstack acts on the same host, between any two hypercalls.

use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use xen_livepatch::sim::{Call, Release, SimulatedXen};
use xen_livepatch::{Action, Flags, LivepatchClient};

use crate::cases;
use crate::plan::{PAYLOADS, Step, all_is_well_again, name, payload, release, step};
use crate::truth::{check_agreement, check_rows, timed};

/// What the other toolstack does. It never touches the first two payloads.
#[derive(Clone, Copy, Debug)]
enum Other {
    Upload(u8),
    Start(u8, Action),
    Act(u8, Action),
    Finish,
}

fn other() -> impl Strategy<Value = Other> {
    let id = 2..PAYLOADS;
    let action = || select(&[Action::Apply, Action::Revert, Action::Replace, Action::Unload][..]);
    prop_oneof![
        3 => id.clone().prop_map(Other::Upload),
        2 => (id.clone(), action()).prop_map(|(id, action)| Other::Start(id, action)),
        3 => (id, action()).prop_map(|(id, action)| Other::Act(id, action)),
        1 => Just(Other::Finish),
    ]
}

impl Other {
    fn act(self, xen: &SimulatedXen) {
        let flags = if xen.release() >= Release::V4_14 { Flags::NODEPS } else { Flags::empty() };
        // Whether it succeeds is of no interest.
        let _ = match self {
            Self::Upload(id) => xen.other_upload(name(id), &payload(xen, id)),
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

fn visit() -> impl Strategy<Value = Visit> {
    let calls = [Call::Upload, Call::Get, Call::List, Call::Apply, Call::Revert, Call::Replace, Call::OtherAction];
    (select(calls.to_vec()), 1..4_u64, any::<bool>(), other()).prop_map(|(call, nth, after, other)| Visit {
        call,
        nth,
        after,
        other,
    })
}

proptest! {
    #![proptest_config(cases(600))]

    #[test]
    fn another_toolstack_does_not_confuse_a_client(
        release in release(),
        steps in vec((step(), vec(visit(), 0..5)), 1..20),
    ) {
        story(release, &steps);
    }
}

fn story(release: Release, steps: &[(Step, Vec<Visit>)]) {
    let xen = SimulatedXen::new(release);
    let client = LivepatchClient::builder().settle_time(Duration::ZERO).connect(xen.clone()).unwrap();
    for id in [0, 1] {
        xen.other_upload(name(id), &payload(&xen, id)).unwrap();
    }
    for (step, visits) in steps {
        xen.set_pace(step.pace);
        for order in &step.orders {
            order.give(&xen);
        }
        for Visit { call, nth, after, other } in visits.iter().copied() {
            let on = xen.on(call).nth(nth);
            if after { on.after(move |xen| other.act(xen)) } else { on.before(move |xen| other.act(xen)) }
        }
        let kept: Vec<_> = xen.loaded().into_iter().filter(|loaded| [name(0), name(1)].contains(loaded)).collect();
        // Not even what the client itself reads in the middle of it all is ever mixed up.
        let rows = client.list();
        if let Ok(rows) = &rows {
            check_rows(release, rows);
            for name in &kept {
                assert!(rows.iter().any(|row| row.name == *name), "{name} is missing");
            }
        }
        let _ = timed(step, &xen, &client);
        all_is_well_again(&xen);
        check_agreement(&xen, &client);
    }
}
