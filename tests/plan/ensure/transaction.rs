//! A gap, and the way back from it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use super::host::{builder, connect, level, name, payload, wanted, wanted_with_files};
use crate::prelude::*;

/// The error of a run that ends with this outcome, and leaves this level.
#[track_caller]
fn fails(client: &LivepatchClient, goal: &Wanted, xen: &SimulatedXen, outcome: Outcome, left: &[&str]) -> Interrupted {
    let error = client.ensure(goal, |_| ()).unwrap_err();
    let EnsureError::Interrupted(failure) = error else { panic!("{error}") };
    assert_eq!((failure.outcome, level(xen)), (outcome, left.to_vec()), "{}: {failure}", xen.release());
    *failure
}

/// Runs to this level.
#[track_caller]
fn reaches(client: &LivepatchClient, goal: &Wanted, xen: &SimulatedXen, stack: &[&str]) -> Plan {
    let Ensured { plan, inventory, .. } = client.ensure(goal, |_| ()).unwrap();
    assert_eq!(level(xen), stack, "{}", xen.release());
    let after = client.inventory().unwrap();
    assert_eq!((inventory.to_string(), inventory.payloads.len()), (after.to_string(), after.payloads.len()));
    for (one, other) in inventory.payloads.iter().zip(&after.payloads) {
        assert_eq!((&one.name, &one.status, &one.build_id), (&other.name, &other.status, &other.build_id));
    }
    plan
}

/// A host on which this level is applied, and a client that did not upload it.
fn host(release: Release, stack: &[&str]) -> (SimulatedXen, LivepatchClient) {
    let xen = SimulatedXen::new(release);
    connect(&xen).ensure(&wanted(&xen, stack), |_| ()).unwrap();
    let client = connect(&xen);
    (xen, client)
}

/// A client whose actions have this deadline, in milliseconds.
fn hurried(xen: &SimulatedXen, deadline: u64) -> LivepatchClient {
    let options = ActionOptions::new().deadline(Duration::from_millis(deadline));
    let client = LivepatchClient::builder().settle_time(Duration::ZERO).hook_time(Duration::ZERO);
    client.action_defaults(options).connect(xen.clone()).unwrap()
}

/// A file that the check refuses is refused before anything is done.
#[test]
fn a_file_that_is_unfit_is_refused_by_the_plan() {
    let (xen, client) = host(Release::V4_20, &["a"]);
    let bytes = builder(&xen, "new a").section(".livepatch.hooks.load", vec![0; 3]).build();
    let unfit = Wanted::only(name("a"), Payload::parse(&bytes).unwrap());
    let error = Plan::new(&client.inventory().unwrap(), &unfit).unwrap_err();
    assert!(matches!(error, PlanError::Unfit { .. }), "{error}");
    let uploads = xen.calls().of(Call::Upload);
    client.ensure(&unfit, |_| ()).unwrap_err();
    assert_eq!((xen.calls().of(Call::Upload), level(&xen)), (uploads, vec!["a"]));
}

/// One timeout, or one full memory, in the middle of a gap is not the end.
#[test]
fn a_busy_host_is_tried_again_inside_a_gap() {
    for release in [Release::V4_14, Release::V4_17, Release::V4_22] {
        let (xen, client) = host(release, &["a"]);
        xen.on_apply().time_out();
        xen.on_apply().nth(2).before(|xen| xen.on_apply().fail(Errno::EBUSY));
        reaches(&client, &wanted(&xen, &["hooked"]), &xen, &["hooked"]);
    }
}

/// If the way forward ends in a gap, the level from before is put back, and the error reports it.
#[test]
fn the_level_from_before_is_put_back() {
    for release in [Release::V4_14, Release::V4_17, Release::V4_22] {
        for (before, stack) in [
            (&["a", "b"][..], &["d", "refusing"][..]),
            (&["hooked"], &["d", "refusing"]),
            (&["d", "e"], &["d", "refusing"]),
        ] {
            let (xen, client) = host(release, before);
            let mut events = Vec::new();
            let error = client.ensure(&wanted_with_files(&xen, stack), |event| {
                events.push(format!("{event:?}").split([' ', '(']).next().unwrap().to_owned());
            });
            let EnsureError::Interrupted(failure) = error.unwrap_err() else { panic!("{release}") };
            assert_eq!((failure.outcome, level(&xen)), (Outcome::Restored, before.to_vec()), "{release}: {failure}");
            assert!(matches!(failure.error.kind(), ErrorKind::HookRefused { .. }), "{failure}");
            assert!(failure.may_have_happened() && !failure.back.is_empty() && failure.back_error.is_none());
            assert!(
                failure.to_string().contains("; the payloads that had been taken out were applied again; "),
                "{failure}"
            );
            let opens = events.iter().position(|event| event == "GapOpens").unwrap();
            assert_eq!(events[opens + 1], "GapCloses", "nothing is reported in a gap: {events:?}");
        }
    }
}

/// A payload that Xen does not apply again is uploaded again, if its file is at hand; otherwise the plan announces it, and the
/// outcome is `worse`.
#[test]
fn a_payload_that_can_not_be_put_back_is_announced() {
    let release = Release::V4_17;
    for files in [true, false] {
        let xen = SimulatedXen::new(release);
        // This client uploads the payload itself, and so has its footprint.
        let client = connect(&xen);
        client.ensure(&wanted(&xen, &["data"]), |_| ()).unwrap();
        let stack = ["d", "refusing"];
        let goal = if files { wanted_with_files(&xen, &stack) } else { wanted(&xen, &stack) };
        let plan = Plan::new(&client.inventory().unwrap(), &goal).unwrap();
        let gaps: Vec<_> = plan.gaps().iter().map(|gap| gap.recoverable).collect();
        assert_eq!(gaps, [files], "{plan}");
        let failure = client.carry_out(&plan, |_| ()).unwrap_err();
        let expected = if files { (Outcome::Restored, vec!["data"]) } else { (Outcome::Worse, vec!["d"]) };
        assert_eq!((failure.outcome, level(&xen)), expected, "{failure}");
        if !files {
            assert!(failure.to_string().contains("THE HOST RUNS WITHOUT PAYLOADS"), "{failure}");
        }
    }
}

/// Two versions that define the same symbol can't be loaded at once. With the file of the old one that is planned; without,
/// Xen shows it.
#[test]
fn two_versions_of_a_fix_may_share_a_symbol() {
    for release in Release::ALL {
        for files in [true, false] {
            let (xen, client) = host(release, &["helper 1"]);
            let goal = if files { wanted_with_files(&xen, &["helper 2"]) } else { wanted(&xen, &["helper 2"]) };
            let mut opened = 0;
            let plan = client.ensure(&goal, |event| opened += u32::from(matches!(event, StepEvent::GapOpens { .. })));
            plan.unwrap();
            assert_eq!((level(&xen), opened), (vec!["helper 2"], 1), "{release}");
            assert_eq!(xen.loaded(), [name("helper")]);
        }
    }
}

/// A caller that refuses gaps gets none, also where Xen shows only on the way that there is one.
#[test]
fn a_gap_can_be_refused() {
    for (before, stack) in [("a", "hooked"), ("helper 1", "helper 2"), ("hooked", "d")] {
        let (xen, client) = host(Release::V4_17, &[before]);
        let error = client.ensure(&wanted(&xen, &[stack]).no_gap(), |_| ()).unwrap_err();
        assert_eq!((error.outcome(), level(&xen)), (Outcome::Unchanged, vec![before]), "{error}");
    }
}

/// Hooks of an applied payload keep Xen from replacing it: that is learned from the refusal.
#[test]
fn hooks_that_veto_lead_to_another_plan() {
    for release in [Release::V4_14, Release::V4_20] {
        let (xen, client) = host(release, &["hooked"]);
        let mut plans = Vec::new();
        client
            .ensure(&wanted(&xen, &["d"]), |event| {
                if let StepEvent::Replanned { plan, .. } = event {
                    plans.push(plan.to_string());
                }
            })
            .unwrap();
        assert_eq!(level(&xen), ["d"]);
        assert_eq!(plans.len(), 1, "{release}: {plans:?}");
        assert!(plans[0].contains("the host runs without hooked"), "{plans:?}");
    }
}

/// With NODEPS the order does not follow from dependencies. Xen's log shows it, or its refusals do.
#[test]
fn the_order_that_nodeps_made_is_found_out() {
    for release in [Release::V4_14, Release::V4_17, Release::V4_22] {
        for log in [true, false] {
            let xen = SimulatedXen::new(release);
            for id in ["a", "b"] {
                xen.other_upload(id, &builder(&xen, id).build()).unwrap();
            }
            for id in ["b", "a"] {
                xen.other_action(id, Action::Apply, Flags::NODEPS).unwrap();
            }
            assert_eq!(level(&xen), ["b", "a"]);
            let client = connect(&xen);
            if log {
                // The upper one is in effect.
                reaches(&client, &wanted(&xen, &["a", "b"]), &xen, &["a", "b"]);
            } else {
                // Whatever the order, it can be reverted.
                xen.on_console().always().fail(Errno::EPERM);
                reaches(&client, &Wanted::nothing(), &xen, &[]);
            }
        }
    }
}

/// Nothing is unloaded that an applied payload is linked with.
#[test]
fn a_payload_that_another_is_linked_with_stays() {
    let xen = SimulatedXen::new(Release::V4_17);
    for id in ["lib", "user"] {
        xen.other_upload(id, &builder(&xen, id).build()).unwrap();
    }
    xen.other_action("user", Action::Apply, Flags::empty()).unwrap();
    for files in [true, false] {
        let goal = if files { wanted_with_files(&xen, &["user"]) } else { wanted(&xen, &["user"]) };
        let Ensured { plan, .. } = connect(&xen).ensure(&goal, |_| ()).unwrap();
        assert!(plan.is_empty(), "{plan}");
        assert_eq!(plan.leftovers(), [name("lib")]);
        assert_eq!(xen.loaded(), [name("lib"), name("user")]);
    }
}

/// Uploads come first: one that Xen has no memory for changes nothing, and nothing is unloaded for it.
#[test]
fn an_upload_without_memory_changes_nothing() {
    let (xen, client) = host(Release::V4_17, &["a"]);
    xen.other_upload("rollback", &builder(&xen, "d").build()).unwrap();
    xen.on_upload().fail(Errno::ENOMEM);
    fails(&client, &wanted(&xen, &["new a"]), &xen, Outcome::Unchanged, &["a"]);
    assert_eq!(xen.loaded(), [name("a"), name("rollback")]);
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
    reaches(&client, &wanted(&xen, &["a"]), &xen, &["a"]);
}

/// An observer may take an inventory; that does not wait for the plan that calls the observer.
#[test]
fn an_observer_may_take_an_inventory() {
    let (xen, client) = host(Release::V4_17, &["a"]);
    let start = Instant::now();
    client.ensure(&wanted(&xen, &["hooked"]), |_| drop(client.inventory().unwrap())).unwrap();
    assert!(start.elapsed() < Duration::from_secs(15), "{:?}", start.elapsed());
}

/// Another tool in the middle of a gap: the host still becomes what is wanted.
#[test]
fn another_tool_in_a_gap_does_not_stop_it() {
    let (xen, client) = host(Release::V4_17, &["a"]);
    xen.on_revert().nth(1).before(|xen| {
        xen.on_list().nth(2).before(|xen| {
            xen.other_upload("x", &builder(xen, "d").build()).unwrap();
            let _ = xen.other_action("x", Action::Apply, Flags::empty());
        });
    });
    reaches(&client, &wanted(&xen, &["hooked"]), &xen, &["hooked"]);
}

/// Xen looks for waiting virtual CPUs when REPLACE has reverted the others already.
#[test]
fn a_waiting_guest_takes_a_replacement_apart_and_it_is_put_back() {
    for release in [Release::V4_13, Release::V4_17, Release::V4_22] {
        let (xen, client) = host(release, &["a"]);
        // The ring drains after a while.
        xen.set_waiting_domain(Some(3));
        let drained = xen.clone();
        xen.on_apply().nth(3).before(move |_| drained.set_waiting_domain(None));
        let failure = fails(&client, &wanted(&xen, &["d"]), &xen, Outcome::Restored, &["a"]);
        let log = failure.error.xen_log().join("\n");
        assert!(log.contains("d3 found with active waitqueue"), "{release}: {log}");

        // Where nothing is reverted, nothing has changed, and it is not one of the retries after a timeout.
        xen.set_waiting_domain(Some(3));
        // Nor is anything replaced, or taken out, as long as that was a moment ago.
        for (stack, met) in [(&["a", "b"][..], Some(3)), (&["d"], None), (&["hooked"], None)] {
            let failure = fails(&client, &wanted(&xen, stack), &xen, Outcome::Unchanged, &["a"]);
            let ErrorKind::ActiveWaitqueue { domain, .. } = failure.error.kind() else { panic!("{failure}") };
            assert!(failure.error.is_retryable() && met.is_none_or(|met| *domain == Some(met)), "{failure}");
        }
    }
}

/// An apply that succeeded shows that no guest waits any longer, also if its end was seen by a wait.
#[test]
fn a_guest_that_waited_before_an_apply_is_forgotten() {
    for waited in [false, true] {
        let (xen, client) = host(Release::V4_17, &["a"]);
        xen.set_waiting_domain(Some(3));
        client.ensure(&wanted(&xen, &["a", "b"]), |_| ()).unwrap_err();
        xen.set_waiting_domain(None);
        let it = name("b");
        if waited {
            xen.set_pace(Pace::Held);
            let error = client.action(Action::Apply, &it).deadline(Duration::from_millis(200)).run().unwrap_err();
            assert_eq!(error.kind(), &ErrorKind::Unfinished);
            xen.set_pace(Pace::default());
            xen.finish_action();
            client.wait(&it, Action::Apply, Duration::from_secs(20)).unwrap();
        } else {
            client.apply(&it, Flags::empty()).unwrap();
        }
        reaches(&client, &wanted(&xen, &["hooked"]), &xen, &["hooked"]);
    }
}

/// A guest that never lets go leaves the host without the payload: that is announced, after ten seconds at the least.
#[test]
fn a_guest_that_waits_for_ever_leaves_a_host_worse_off() {
    let (xen, _) = host(Release::V4_17, &["a"]);
    xen.set_waiting_domain(Some(3));
    fails(&hurried(&xen, 200), &wanted(&xen, &["d"]), &xen, Outcome::Worse, &[]);
}

/// The deadline of a caller in a hurry ends the way forward, and not the way back: that waits for what Xen is still doing.
#[test]
fn a_short_deadline_leaves_no_host_worse_off() {
    let (xen, _) = host(Release::V4_17, &["a"]);
    xen.on_apply().always().take(Pace::Time(Duration::from_millis(400)));
    fails(&hurried(&xen, 200), &wanted(&xen, &["hooked"]), &xen, Outcome::Reached, &["hooked"]);
    // None is left for the apply.
    let (xen, _) = host(Release::V4_17, &["a"]);
    xen.on_revert().take(Pace::Time(Duration::from_millis(150)));
    xen.on_apply().always().fail(Errno::EBUSY);
    let freed = xen.clone();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            std::thread::sleep(Duration::from_millis(600));
            freed.forget_orders();
        });
        fails(&hurried(&xen, 200), &wanted(&xen, &["hooked"]), &xen, Outcome::Restored, &["a"]);
    });
}

/// On Arm, and before 4.11.3, Xen does not look.
#[test]
fn older_releases_do_not_look_for_waiting_guests() {
    for release in [Release::V4_7, Release::V4_10, Release::V4_12.at(1)] {
        let (xen, client) = host(release, &["a"]);
        xen.set_waiting_domain(Some(3));
        reaches(&client, &wanted(&xen, &["d"]), &xen, &["d"]);
    }
}

/// The error of a list that is never read again does not hide that the level is not known.
#[test]
fn a_level_that_can_not_be_read_is_unknown() {
    let (xen, client) = host(Release::V4_17, &["a"]);
    let plan = Plan::new(&client.inventory().unwrap(), &wanted(&xen, &["hooked"])).unwrap();
    xen.on_revert().nth(1).before(|xen| xen.on_list().always().fail(Errno::EPERM));
    let failure = hurried(&xen, 200).carry_out(&plan, |_| ()).unwrap_err();
    assert_eq!(failure.outcome, Outcome::Unknown, "{failure}");
    assert!(failure.may_have_happened());
    assert_eq!(failure.applied(), None);
}

/// Another tool's upload is not taken for the one that failed because of it, also where the names are the same.
#[test]
fn an_upload_of_another_tool_is_not_taken_for_its_own() {
    for release in Release::ALL {
        let (xen, client) = host(release, &["helper 1"]);
        xen.on_upload().before(|xen| xen.other_upload("helper", &builder(xen, "d").build()).unwrap());
        reaches(&client, &wanted_with_files(&xen, &["helper 2"]), &xen, &["helper 2"]);
    }
}

/// A deadline that passes while Xen is still at work does not decide about the outcome, nor about the way back.
#[test]
fn an_action_that_outlives_the_deadline_is_waited_for() {
    let (xen, _) = host(Release::V4_17, &["a", "b"]);
    xen.set_pace(Pace::Time(Duration::from_millis(250)));
    let goal = wanted_with_files(&xen, &["hooked"]);
    let failure = fails(&hurried(&xen, 50), &goal, &xen, Outcome::Restored, &["a", "b"]);
    assert!(failure.is_retryable(), "{failure}");
    // An action that takes longer than that may still succeed.
    for (pace, outcome, left) in
        [(Pace::Time(Duration::from_millis(250)), Outcome::Reached, &["a"][..]), (Pace::Held, Outcome::Unknown, &[])]
    {
        let xen = SimulatedXen::new(Release::V4_17);
        xen.set_pace(pace);
        fails(&hurried(&xen, 50), &wanted(&xen, &["a"]), &xen, outcome, left);
    }
}

/// Memory that Xen does not have for a moment is waited for, above all on the way back.
#[test]
fn a_host_without_memory_is_tried_again_inside_a_gap() {
    let (xen, client) = host(Release::V4_17, &["helper 1"]);
    xen.on_upload().fail(Errno::ENOMEM);
    reaches(&client, &wanted_with_files(&xen, &["helper 2"]), &xen, &["helper 2"]);

    let (xen, client) = host(Release::V4_17, &["data"]);
    for nth in 3..9 {
        xen.on_upload().nth(nth).fail(Errno::ENOMEM);
    }
    fails(&client, &wanted_with_files(&xen, &["d", "refusing"]), &xen, Outcome::Restored, &["data"]);
}

/// A payload that ran on this Xen is put back with the findings that were accepted for it then; where they are certain, the
/// plan announces that it can't be.
#[test]
fn a_payload_with_findings_is_put_back() {
    // The first text leaves open which point release it is, and some die of read-only functions.
    for (extra, is_possible) in [("-custom", true), (".1", false)] {
        let xen = SimulatedXen::builder(Release::V4_17).extra_version(extra).build();
        let old = Payload::parse(&builder(&xen, "data").read_only_funcs().build()).unwrap();
        let client = connect(&xen);
        client.upload(&name("data"), old.bytes()).unwrap_err();
        client.upload_with(&name("data"), old.bytes(), UploadOptions::new().unchecked()).unwrap();
        client.apply(&name("data"), Flags::empty()).unwrap();
        let goal = wanted(&xen, &["d", "refusing"]).at_hand([old]);
        let plan = Plan::new(&client.inventory().unwrap(), &goal).unwrap();
        let recoverable: Vec<_> = plan.gaps().iter().map(|gap| gap.recoverable).collect();
        assert_eq!(recoverable, [is_possible], "{plan}");
        let failure = client.carry_out(&plan, |_| ()).unwrap_err();
        let expected = if is_possible { (Outcome::Restored, ["data"]) } else { (Outcome::Worse, ["d"]) };
        assert_eq!((failure.outcome, &*level(&xen)), (expected.0, &expected.1[..]), "{failure}");
    }
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

/// A payload that could not be identified, and was applied with NODEPS, is put back so.
#[test]
fn an_unidentified_payload_off_the_chain_is_put_back() {
    for release in [Release::V4_14, Release::V4_22] {
        let xen = SimulatedXen::new(release);
        for id in ["b", "e"] {
            xen.other_upload(id, &builder(&xen, id).build()).unwrap();
            xen.other_action(id, Action::Apply, Flags::NODEPS).unwrap();
        }
        xen.on_debug_keys().always().fail(Errno::EPERM);
        let failure = connect(&xen).ensure(&wanted(&xen, &["d", "refusing"]), |_| ()).unwrap_err();
        let restored = (Outcome::Restored, vec![name("b"), name("e")]);
        assert_eq!((failure.outcome(), xen.applied()), restored, "{release}: {failure}");
    }
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

/// An action of a killed process, or of another tool, is not taken for an interference with the plan.
#[test]
fn an_action_that_is_under_way_is_waited_for() {
    for (id, action) in [("b", Action::Revert), ("d", Action::Replace)] {
        let (xen, client) = host(Release::V4_17, &["a", "b"]);
        xen.other_upload("d", &builder(&xen, "d").build()).unwrap();
        xen.set_pace(Pace::Time(Duration::from_millis(5)));
        xen.other_start(id, action, Flags::empty()).unwrap();
        reaches(&client, &wanted_with_files(&xen, &["hooked"]), &xen, &["hooked"]);
    }
    // One that does not end is no reason to begin.
    let (xen, _) = host(Release::V4_17, &["a"]);
    let client = hurried(&xen, 200);
    xen.set_pace(Pace::Held);
    xen.other_start("a", Action::Revert, Flags::empty()).unwrap();
    let error = client.ensure(&wanted(&xen, &["d"]), |_| ()).unwrap_err();
    assert!(matches!(error, EnsureError::Operation(_)) && error.is_retryable(), "{error}");
}
