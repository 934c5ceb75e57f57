//! The events that an observer of a plan gets.

use std::error::Error as _;

use super::host::{builder, connect, name, wanted};
use crate::prelude::*;

/// Events, a word each.
fn word(event: StepEvent) -> String {
    match event {
        StepEvent::Begin { step, index, total, .. } => format!("{}/{total} {} {}", index + 1, step.word(), step.name()),
        StepEvent::End { error: None, .. } => "done".into(),
        StepEvent::End { error: Some(error), .. } => format!("failed: {error}"),
        _ => "?".into(),
    }
}

#[test]
fn each_step_begins_and_ends() {
    for release in Release::ALL {
        let xen = SimulatedXen::new(release);
        let client = connect(&xen);
        let mut seen = Vec::new();
        let ensured = client.ensure(&wanted(&xen, &["a", "b"]), |event| seen.push(word(event))).unwrap();
        assert_eq!(ensured.plan.steps().len(), 4);
        let expected = ["1/4 upload a", "done", "2/4 upload b", "done", "3/4 apply a", "done", "4/4 apply b", "done"];
        assert_eq!(seen, expected, "{release}");
    }
}

#[test]
fn a_failure_tells_how_far_it_came() {
    for release in Release::ALL {
        let xen = SimulatedXen::new(release);
        let client = connect(&xen);
        client.ensure(&wanted(&xen, &["a"]), |_| ()).unwrap();
        xen.on_apply().time_out();
        let mut seen = Vec::new();
        let plan = Plan::new(&client.inventory().unwrap(), &wanted(&xen, &["a", "b", "c"])).unwrap();
        let failure = client.carry_out(&plan, |event| seen.push(word(event))).unwrap_err();
        assert_eq!(failure.error.kind(), &ErrorKind::QuiesceTimeout, "{release}");
        assert_eq!((&failure.done[..], failure.failed.as_ref()), (&plan.steps()[..2], plan.steps().get(2)));
        assert_eq!(failure.left, plan.steps()[3..]);
        assert_eq!(failure.applied(), Some(vec![&name("a")]));
        assert_eq!(failure.loaded.as_ref().map(Vec::len), Some(3));
        let text = failure.to_string();
        assert!(text.starts_with("step 3 of 4 failed: apply \"b\": "), "{text}");
        assert!(text.ends_with("; applied now: \"a\""), "{text}");
        assert_eq!(seen.len(), 6);
        assert!(seen[5].starts_with("failed: apply \"b\": "), "{seen:?}");
        // The next run continues from there.
        let rest = client.ensure(&wanted(&xen, &["a", "b", "c"]), |_| ()).unwrap().plan;
        assert_eq!(rest.steps().len(), 2, "{rest}");
    }
}

#[test]
fn another_tool_stops_it_before_the_next_step() {
    for release in Release::ALL {
        for (what, applied) in [("applied", 1), ("uploaded", 0), ("took another for it", 0)] {
            let xen = SimulatedXen::new(release);
            let client = connect(&xen);
            let plan = Plan::new(&client.inventory().unwrap(), &wanted(&xen, &["d"])).unwrap();
            let mut steps = 0;
            let failure = client.carry_out(&plan, |event| {
                if let StepEvent::End { .. } = event {
                    steps += 1;
                    match what {
                        "applied" => xen.other_action("d", Action::Apply, Flags::empty()).unwrap(),
                        "uploaded" => xen.other_upload("x", &builder(&xen, "a").build()).unwrap(),
                        // The list then has the same names and states as before.
                        _ => {
                            xen.other_action("d", Action::Unload, Flags::empty()).unwrap();
                            xen.other_upload("d", &builder(&xen, "a").build()).unwrap();
                        }
                    }
                }
            });
            let failure = failure.unwrap_err();
            assert!(matches!(failure.error.kind(), ErrorKind::NotAsPlanned { .. }), "{release} {what}: {failure}");
            assert_eq!((steps, failure.done.len(), failure.left.len()), (1, 1, 1), "{release} {what}");
            assert_eq!((failure.failed.as_ref(), failure.applied().unwrap().len()), (None, applied));
            assert!(failure.to_string().starts_with("stopped after 1 of 2 steps: "), "{failure}");
            assert!(failure.error.is_retryable() && !failure.error.may_have_happened());
        }
    }
}

/// Other threads' operations wait until the plan is done, also between two steps.
#[test]
fn a_plan_has_the_clients_turn_from_beginning_to_end() {
    let xen = SimulatedXen::new(Release::V4_20);
    let client = connect(&xen);
    xen.other_upload("x", &builder(&xen, "d").build()).unwrap();
    let plan = Plan::new(&client.inventory().unwrap(), &wanted(&xen, &["a", "b"]).keep_unapplied()).unwrap();
    let hurried = ActionOptions::new().deadline(Duration::from_millis(20));
    let mut refused = 0;
    client
        .carry_out(&plan, |_| {
            let act = || client.action(Action::Apply, &name("x")).options(hurried).run();
            let error = std::thread::scope(|scope| scope.spawn(act).join().unwrap()).unwrap_err();
            assert_eq!(error.kind(), &ErrorKind::OperationInProgress);
            assert!(client.status(&name("x")).is_ok(), "looking is not held up");
            refused += 1;
        })
        .unwrap();
    assert_eq!(refused, 8);
}

/// Also when it comes after the last step, before which all was well.
#[test]
fn another_tool_is_noticed_at_the_end() {
    let xen = SimulatedXen::new(Release::V4_20);
    let client = connect(&xen);
    let failure = client.ensure(&wanted(&xen, &["d"]), |event| {
        if let StepEvent::End { index: 1, .. } = event {
            xen.other_action("d", Action::Revert, Flags::empty()).unwrap();
        }
    });
    let xen_livepatch::EnsureError::Interrupted(failure) = failure.unwrap_err() else { panic!("it is not as wanted") };
    assert_eq!((failure.done.len(), failure.left.len()), (2, 0));
    assert_eq!(failure.applied(), Some(Vec::new()));
    assert!(failure.to_string().ends_with("; nothing is applied now"), "{failure}");
}

#[test]
fn an_inventory_is_all_that_a_host_costs_that_is_as_wanted() {
    let xen = SimulatedXen::new(Release::V4_20);
    let client = connect(&xen);
    client.ensure(&wanted(&xen, &["a", "b"]), |_| ()).unwrap();
    // For the functions.
    client.inventory().unwrap();
    let calls = |what: &dyn Fn()| {
        let before = xen.calls().total();
        what();
        xen.calls().total() - before
    };
    let inventory = calls(&|| drop(client.inventory().unwrap()));
    let ensured = calls(&|| assert!(client.ensure(&wanted(&xen, &["a", "b"]), |_| ()).unwrap().plan.is_empty()));
    assert_eq!(ensured, inventory);
}

#[test]
fn the_inventory_afterwards_costs_no_list() {
    let cost = |run: &dyn Fn(&LivepatchClient, &Wanted)| {
        let xen = SimulatedXen::new(Release::V4_20);
        run(&connect(&xen), &wanted(&xen, &["a", "b"]));
        (xen.calls().of(Call::List), xen.calls().of(Call::DebugKeys))
    };
    let ensured = cost(&|client, wanted| drop(client.ensure(wanted, |_| ()).unwrap()));
    let in_parts = cost(&|client, wanted| {
        let plan = Plan::new(&client.settled_inventory().unwrap(), wanted).unwrap();
        client.carry_out(&plan, |_| ()).unwrap();
    });
    assert_eq!(ensured, in_parts);
}

#[test]
fn a_failed_last_inventory_hides_no_success() {
    let xen = SimulatedXen::new(Release::V4_20);
    let client = connect(&xen);
    let error = client.ensure(&wanted(&xen, &["a"]), |event| {
        if matches!(event, StepEvent::End { step: Step::Apply { .. }, .. }) {
            xen.on(Call::ExtraVersion).always().fail(Errno::EPERM);
        }
    });
    let error = error.unwrap_err();
    assert_eq!((error.outcome(), xen.applied()), (Outcome::Reached, vec![name("a")]), "{error}");
    let EnsureError::Interrupted(interrupted) = error else { panic!("{error}") };
    assert_eq!((interrupted.done.len(), interrupted.failed, interrupted.left), (2, None, Vec::new()));
}

#[test]
fn nothing_is_done_without_a_plan_or_an_inventory() {
    let xen = SimulatedXen::new(Release::V4_20);
    let client = connect(&xen);
    let calls = xen.calls();
    let foreign = SimulatedXen::builder(Release::V4_20).build_id(Some(xen_livepatch::BuildId::new([0x5a; 20]))).build();
    let no_plan = client.ensure(&wanted(&foreign, &["a"]), |_| ()).unwrap_err();
    assert!(matches!(no_plan, xen_livepatch::EnsureError::NoPlan(_)), "{no_plan}");
    assert_eq!(no_plan.source().map(ToString::to_string), Some(no_plan.to_string()));
    let report = serde_json::to_value(&no_plan).unwrap();
    let (kind, retryable, outcome) = (&report["kind"], &report["retryable"], &report["outcome"]);
    assert_eq!((kind, retryable, outcome), (&"built_for_another_xen".into(), &false.into(), &"unchanged".into()));
    xen.on_list().always().fail(Errno::EPERM);
    let blind = client.ensure(&wanted(&xen, &["a"]), |_| ()).unwrap_err();
    assert!(matches!(blind, xen_livepatch::EnsureError::Operation(_)), "{blind}");
    for outcome in [Outcome::Reached, Outcome::Restored, Outcome::Partial, Outcome::Worse, Outcome::Unknown] {
        assert_eq!(serde_json::to_value(outcome).unwrap(), outcome.word());
    }
    assert_eq!((blind.word(), blind.error().map(Error::to_string)), ("not_permitted", Some(blind.to_string())));
    assert_eq!(xen.loaded(), []);
    assert_eq!(xen.calls().of(xen_livepatch::sim::Call::Upload), calls.of(xen_livepatch::sim::Call::Upload));
}
