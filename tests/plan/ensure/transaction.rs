//! A gap, and the way back from it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use super::host::{connect, level, name, payload, wanted};
use crate::prelude::*;

#[test]
fn stories() {
    crate::story::run(include_str!("../stories/transaction.txt"));
}

#[test]
fn stories_of_deadlines() {
    crate::story::run(include_str!("../stories/deadlines.txt"));
}

#[test]
fn stories_of_waiting_guests() {
    crate::story::run(include_str!("../stories/guests.txt"));
}

/// A host on which this level is applied, and a client that did not upload it.
fn host(release: Release, stack: &[&str]) -> (SimulatedXen, LivepatchClient) {
    let xen = SimulatedXen::new(release);
    connect(&xen).ensure(&wanted(&xen, stack), |_| ()).unwrap();
    let client = connect(&xen);
    (xen, client)
}

/// An observer can't hold a gap open: it is called before and after. One that panics there does so outside.
#[test]
fn an_observer_is_not_called_in_a_gap() {
    let (xen, client) = host(Release::V4_17, &["a"]);
    let seen = catch_unwind(AssertUnwindSafe(|| {
        client.ensure(&wanted(&xen, &["hooked"]), |event| {
            let now = level(&xen);
            assert!(!now.is_empty(), "called in a gap: {event:?}");
            if matches!(event, StepEvent::GapCloses) {
                panic!("no room left on the device");
            }
        })
    }));
    assert!(seen.is_err());
    assert_eq!(level(&xen), ["hooked"]);
    // And the client is as usable as before.
    client.ensure(&wanted(&xen, &["a"]), |_| ()).unwrap();
    assert_eq!(level(&xen), ["a"]);
}

/// An observer may take an inventory; that does not wait for the plan that calls the observer.
#[test]
fn an_observer_may_take_an_inventory() {
    let (xen, client) = host(Release::V4_17, &["a"]);
    let start = Instant::now();
    client.ensure(&wanted(&xen, &["hooked"]), |_| drop(client.inventory().unwrap())).unwrap();
    assert!(start.elapsed() < Duration::from_secs(15), "{:?}", start.elapsed());
}

/// Two payloads may share a build-id: the one that was there is put back, not the one that was to come.
#[test]
fn the_way_back_takes_the_file_of_the_payload_that_was_there() {
    let xen = SimulatedXen::new(Release::V4_17);
    let (own, id) = (xen.build_id().unwrap(), BuildId::new([7; 20]));
    let below = payload(&xen, "d");
    let named = |text: &str, depends: &BuildId| {
        PayloadBuilder::new(&id, depends, &own).function(FunctionPatch::returning("do_xen_version", text))
    };
    let old = named("-old", &own).writable_data([1]).build();
    let new = named("-new", below.build_id().unwrap()).hook(HookKind::PreApply, HookCode::returns(-22)).build();
    xen.other_upload("old", &old).unwrap();
    xen.other_action("old", Action::Apply, Flags::empty()).unwrap();
    let wanted = Wanted::stack([(name("d"), below), (name("new"), Payload::parse(&new).unwrap())]);
    let client = connect(&xen);
    let failure = client.ensure(&wanted.at_hand([Payload::parse(&old).unwrap()]), |_| ()).unwrap_err();
    assert_eq!((failure.outcome(), xen.applied()), (Outcome::Restored, vec![name("old")]), "{failure}");
}

/// However many there are, and however little Xen logs, all can be taken out.
#[test]
fn nothing_ends_whatever_the_order_is() {
    for level in [LogLevel::None, LogLevel::Errors] {
        let xen = SimulatedXen::builder(Release::V4_17).console_size(1 << 18).build();
        let mut below: Option<BuildId> = None;
        for number in 0..70 {
            let name = format!("p{number}");
            let new = PayloadBuilder::for_xen(&xen, &name).function(FunctionPatch::returning("do_xen_version", &*name));
            let new = if let Some(below) = &below { new.depends_on(below) } else { new };
            xen.other_upload(&name, &new.build()).unwrap();
            below = Some(new.build_id().clone());
        }
        xen.set_log_level(LogLevel::None);
        for number in (0..70).rev() {
            xen.other_action(format!("p{number}"), Action::Apply, Flags::NODEPS).unwrap();
        }
        xen.set_log_level(level);
        connect(&xen).ensure(&Wanted::nothing(), |_| ()).unwrap();
        assert!(xen.applied().is_empty());
    }
}
