//! Waiting for hooks that still run when Xen has reported their action as finished.

use std::thread::sleep;

use crate::prelude::*;

/// The time that hooks take here, and the time that a client waits if nothing shows their end.
const HOOK: Duration = Duration::from_millis(100);
const WAIT: Duration = Duration::from_millis(300);

/// Releases with such hooks; UNLOAD waits for them in the second half.
const RELEASES: [Release; 4] = [Release::V4_14, Release::V4_16, Release::V4_17, Release::V4_22];

/// At the first level the log shows the end of a hook.
const LEVELS: [LogLevel; 2] = [LogLevel::All, LogLevel::Errors];

/// A host whose hooks are slow, and a client that reads its log or does not.
fn slow_host(release: Release, level: LogLevel, with_log: bool) -> (SimulatedXen, LivepatchClient) {
    let xen = SimulatedXen::new(release);
    xen.set_hook_time(HOOK);
    xen.set_log_level(level);
    let client = patient(&xen, with_log);
    (xen, client)
}

fn patient(xen: &SimulatedXen, with_log: bool) -> LivepatchClient {
    let patient = LivepatchClient::builder().settle_time(Duration::ZERO).hook_time(WAIT);
    if with_log { patient } else { patient.without_xen_log() }.connect(xen.clone()).unwrap()
}

fn hooked(xen: &SimulatedXen, id: &str) -> PayloadBuilder {
    let nothing = || HookCode::returns(0);
    builder(xen, id).hook(HookKind::PostApply, nothing()).hook(HookKind::PostRevert, nothing())
}

/// Has another process load such a payload, and apply it until its hook has ended.
fn other_applies(xen: &SimulatedXen, id: &str) {
    other_load(xen, id, &hooked(xen, id));
    sleep(HOOK * 2);
}

/// Has another process revert such a payload, so that its hook is running.
fn other_reverts(xen: &SimulatedXen, id: &str) {
    other_applies(xen, id);
    xen.other_action(id, Action::Revert, Flags::empty()).unwrap();
}

#[track_caller]
fn assert_empty(xen: &SimulatedXen) {
    assert_eq!((xen.crashed(), xen.loaded()), (None, vec![]));
}

#[test]
fn nothing_is_done_while_a_hook_of_ones_own_runs() {
    for (release, (level, with_log)) in each(pairs(RELEASES, pairs(LEVELS, [true, false]))) {
        let (xen, client) = slow_host(release, level, with_log);
        let name = upload(&client, "slow", &hooked(&xen, "slow"));
        let times = [Action::Apply, Action::Revert, Action::Unload]
            .map(|action| timed(|| client.action(action, &name).run().unwrap()));
        assert_empty(&xen);
        let shown = with_log && level == LogLevel::All;
        let expected = if shown { HOOK } else { WAIT };
        assert!(times[0] < HOOK, "the call that finished does not wait for the hook: {times:?}");
        assert!(times[1] >= expected * 9 / 10 && (!shown || times[1] < WAIT), "{times:?}");
        // Nor does it rely on an UNLOAD that waits, which some hooks escape.
        assert!(times[2] >= expected * 9 / 10, "{times:?}");
    }
}

/// One process reverts, and another one unloads.
#[test]
fn a_payload_of_another_process_is_unloaded_when_no_hook_can_be_running() {
    for (release, level) in each(pairs(RELEASES, LEVELS)) {
        let (xen, _) = slow_host(release, level, true);
        other_reverts(&xen, "slow");
        let client = patient(&xen, true);
        let waited = timed(|| client.unload(&name("slow"), Flags::empty()).unwrap());
        assert_empty(&xen);
        let xen_waits = release >= Release::V4_17;
        assert_eq!(waited >= WAIT, level != LogLevel::All && !xen_waits, "{waited:?}");
    }
}

/// Xen replaces only payloads that have no such hooks, also if the end of the action was seen by a wait.
#[test]
fn payloads_that_were_replaced_are_unloaded_at_once() {
    for (release, waited) in each(pairs(RELEASES, [false, true])) {
        let (xen, client) = slow_host(release, LogLevel::All, false);
        let [old] = stack(&xen, ["old"], 1);
        let new = load(&xen, "new");
        if waited {
            xen.set_pace(Pace::Held);
            leave(&client, Action::Replace, &new);
            xen.finish_action();
            client.wait(&new, Action::Replace, Duration::from_secs(20)).unwrap();
        } else {
            client.replace(&new, Flags::empty()).unwrap();
        }
        let took = timed(|| client.unload(&old, Flags::empty()).unwrap());
        assert!(took < WAIT, "{took:?}");
        assert_eq!((xen.crashed(), xen.loaded()), (None, vec![new]));
    }
}

#[test]
fn a_deadline_that_is_too_short_leaves_the_payload_loaded() {
    for with_log in each([true, false]) {
        let (xen, client) = slow_host(Release::V4_16, LogLevel::All, with_log);
        let name = upload(&client, "slow", &hooked(&xen, "slow"));
        apply_and_revert(&client, &name);
        let error = act_within(&client, Action::Unload, &name, HOOK / 4).unwrap_err();
        assert_eq!(error.kind(), &ErrorKind::HookMayBeRunning);
        assert!(error.is_retryable() && !error.may_have_happened());
        assert_eq!((xen.calls().of(Call::Unload), xen.loaded().len()), (0, 1));
        client.unload(&name, Flags::empty()).unwrap();
        assert_empty(&xen);
    }
}

/// Xen's log shows that it goes on, so no time is long enough.
#[test]
fn a_hook_that_runs_on_is_not_unloaded_whatever_the_time() {
    let (xen, client) = slow_host(Release::V4_16, LogLevel::All, true);
    xen.set_hook_time(WAIT * 3);
    let name = upload(&client, "slow", &builder(&xen, "slow").hook(HookKind::PostRevert, HookCode::returns(0)));
    apply_and_revert(&client, &name);
    assert_eq!(kind(act_within(&client, Action::Unload, &name, WAIT * 2)), ErrorKind::HookMayBeRunning);
    client.unload(&name, Flags::empty()).unwrap();
    assert_eq!(xen.crashed(), None);
}

#[test]
fn payloads_without_such_hooks_do_not_wait() {
    for (release, level) in each(pairs(RELEASES, LEVELS)) {
        let (xen, client) = slow_host(release, level, false);
        let (payload, name) = (parse(&builder(&xen, "quick")), name("quick"));
        let quick = timed(|| {
            for _ in 0..3 {
                client.load_as(&name, &payload, Flags::empty()).unwrap();
                client.revert(&name, Flags::empty()).unwrap();
                client.unload(&name, Flags::empty()).unwrap();
            }
        });
        assert!(quick < WAIT, "{quick:?}");
    }
}

/// Of payloads of another process nothing is known, until Xen has let one replace the others.
#[test]
fn payloads_that_took_part_in_a_replace_have_no_such_hooks() {
    for with_plan in each([true, false]) {
        let (xen, _) = slow_host(Release::V4_16, LogLevel::Errors, true);
        let [one] = stack(&xen, ["one"], 1);
        let client = patient(&xen, true);
        let inventory = client.inventory().unwrap();
        let quick = timed(|| {
            if with_plan {
                let wanted = Wanted::only(name("all"), parse(&builder(&xen, "all")));
                client.carry_out(&Plan::new(&inventory, &wanted).unwrap(), |_| ()).unwrap();
                assert_eq!(xen.loaded(), names(["all"]));
            } else {
                let two = load(&xen, "two");
                client.replace(&two, Flags::empty()).unwrap();
                client.unload(&one, Flags::empty()).unwrap();
                client.revert(&two, Flags::empty()).unwrap();
                client.unload(&two, Flags::empty()).unwrap();
            }
        });
        assert_eq!(xen.crashed(), None);
        assert!(quick < WAIT, "{quick:?}");
    }
}

/// A plan that takes off and away what another process left waits once, and not for each.
#[test]
fn a_plan_waits_once() {
    let (xen, _) = slow_host(Release::V4_16, LogLevel::Errors, true);
    let mut below = xen.build_id().unwrap();
    for id in ["one", "two", "three"] {
        let payload = hooked(&xen, id).depends_on(&below);
        below = payload.build_id().clone();
        other_load(&xen, id, &payload);
        sleep(HOOK * 2);
    }
    xen.set_hook_time(Duration::ZERO);
    let client = patient(&xen, true);
    let plan = Plan::new(&client.inventory().unwrap(), &Wanted::nothing()).unwrap();
    let took = timed(|| client.carry_out(&plan, |_| ()).unwrap());
    assert_empty(&xen);
    assert!(took >= WAIT && took < WAIT * 2, "{took:?}");
}

/// An apply that fails is followed by its hook as well.
#[test]
fn the_cleanup_of_a_load_lets_the_hook_return() {
    for (release, level) in each(pairs(RELEASES, LEVELS)) {
        let (xen, client) = slow_host(release, level, true);
        let fails = hooked(&xen, "fails").hook(HookKind::Apply, HookCode::returns(-22));
        let failed = kind(client.load_as(&name("fails"), &parse(&fails), Flags::empty()));
        assert!(matches!(failed, ErrorKind::ActionFailed { .. }), "{failed:?}");
        assert_empty(&xen);
    }
}

#[test]
fn another_payload_under_the_same_name_is_not_trusted() {
    let (xen, client) = slow_host(Release::V4_16, LogLevel::Errors, true);
    let same = upload(&client, "same", &builder(&xen, "same"));
    xen.other_action("same", Action::Unload, Flags::empty()).unwrap();
    other_reverts(&xen, "same");
    client.unload(&same, Flags::empty()).unwrap();
    assert_empty(&xen);
}

/// The simulated Xen dies of what the client avoids.
#[test]
fn without_the_wait_the_host_goes_down() {
    for (release, then, dies) in each([
        (Release::V4_14, Action::Unload, true),
        (Release::V4_17, Action::Unload, false),
        (Release::V4_22, Action::Unload, false),
        (Release::V4_14, Action::Apply, true),
        (Release::V4_22, Action::Apply, true),
    ]) {
        let (xen, _) = slow_host(release, LogLevel::All, true);
        other_reverts(&xen, "slow");
        assert!(xen.console().contains("slow: Calling post-revert hook function with rc=0"));
        assert!(!xen.console().contains("slow finished REVERT"));
        let _ = xen.other_action("slow", then, Flags::empty());
        assert_eq!(xen.crashed().is_some(), dies, "{:?}", xen.crashed());
    }
}

#[test]
fn a_deadline_is_no_reason_to_forget_the_hook() {
    let (xen, client) = slow_host(Release::V4_16, LogLevel::Errors, true);
    let name = upload(&client, "slow", &hooked(&xen, "slow"));
    client.apply(&name, Flags::empty()).unwrap();
    sleep(HOOK * 2);
    xen.on_revert().take(Pace::Held);
    assert_eq!(kind(act_within(&client, Action::Revert, &name, WAIT + HOOK)), ErrorKind::Unfinished);
    xen.finish_action();
    client.unload(&name, Flags::empty()).unwrap();
    assert_empty(&xen);
}
