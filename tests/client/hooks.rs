//! Waiting for hooks that still run when Xen has reported their action as finished.

use std::time::{Duration, Instant};

use xen_livepatch::payload::HookKind;
use xen_livepatch::sim::{Call, HookCode, LogLevel, Pace, PayloadBuilder, SimulatedXen};
use xen_livepatch::{
    Action, ClientBuilder, ErrorKind, Flags, LivepatchClient, Payload, PayloadName, Plan, Release, Wanted,
};

use crate::host::{act_within, builder, kind, leave, load, name, names, stack};

/// The time that hooks take here, and the time that a client waits if nothing shows their end.
const HOOK: Duration = Duration::from_millis(100);
const WAIT: Duration = Duration::from_millis(300);

/// Releases with such hooks; UNLOAD waits for them in the second half.
const RELEASES: [Release; 4] = [Release::V4_14, Release::V4_16, Release::V4_17, Release::V4_22];

fn waits_itself(xen: &SimulatedXen) -> bool {
    xen.release() >= Release::V4_17
}

fn patient() -> ClientBuilder {
    LivepatchClient::builder().settle_time(Duration::ZERO).hook_time(WAIT)
}

fn slow_host(release: Release) -> SimulatedXen {
    let xen = SimulatedXen::new(release);
    xen.set_hook_time(HOOK);
    xen
}

fn hooked(xen: &SimulatedXen, id: &str) -> PayloadBuilder {
    let nothing = || HookCode::returns(0);
    builder(xen, id).hook(HookKind::PostApply, nothing()).hook(HookKind::PostRevert, nothing())
}

fn timed(call: impl FnOnce()) -> Duration {
    let start = Instant::now();
    call();
    start.elapsed()
}

#[test]
fn nothing_is_done_while_a_hook_of_ones_own_runs() {
    for release in RELEASES {
        for level in [LogLevel::All, LogLevel::Errors] {
            for with_log in [true, false] {
                let xen = slow_host(release);
                xen.set_log_level(level);
                let client = if with_log { patient() } else { patient().without_xen_log() };
                let client = client.connect(xen.clone()).unwrap();
                let name = name("slow");
                let payload = hooked(&xen, "slow").build();
                let times: Vec<_> = [Action::Apply, Action::Revert, Action::Unload]
                    .into_iter()
                    .map(|action| {
                        if action == Action::Apply {
                            client.upload(&name, &payload).unwrap();
                        }
                        timed(|| client.action(action, &name).run().unwrap())
                    })
                    .collect();
                assert_eq!((xen.crashed(), xen.loaded()), (None, vec![]), "{release} {level:?} {with_log}");
                let shown = with_log && level == LogLevel::All;
                let expected = if shown { HOOK } else { WAIT };
                assert!(times[0] < HOOK, "{release}: the call that finished does not wait for the hook: {times:?}");
                assert!(times[1] >= expected * 9 / 10 && (!shown || times[1] < WAIT), "{release}: {times:?}");
                // Nor does it rely on an UNLOAD that waits, which some hooks escape.
                assert!(times[2] >= expected * 9 / 10, "{release} {level:?} {with_log}: {times:?}");
            }
        }
    }
}

/// One process reverts, and another one unloads.
#[test]
fn a_payload_of_another_process_is_unloaded_when_no_hook_can_be_running() {
    for release in RELEASES {
        for level in [LogLevel::All, LogLevel::Errors] {
            let xen = slow_host(release);
            xen.set_log_level(level);
            let payload = hooked(&xen, "slow").build();
            xen.other_upload("slow", &payload).unwrap();
            xen.other_action("slow", Action::Apply, Flags::empty()).unwrap();
            std::thread::sleep(HOOK * 2);
            xen.other_action("slow", Action::Revert, Flags::empty()).unwrap();
            let client = patient().connect(xen.clone()).unwrap();
            let waited = timed(|| client.unload(&name("slow"), Flags::empty()).unwrap());
            assert_eq!((xen.crashed(), xen.loaded()), (None, vec![]), "{release} {level:?}");
            if level == LogLevel::All {
                assert!(waited < WAIT, "{release}: {waited:?}");
            } else {
                assert_eq!(waited >= WAIT, !waits_itself(&xen), "{release}: {waited:?}");
            }
        }
    }
}

/// Xen replaces only payloads that have no such hooks, also if the end of the action was seen by a wait.
#[test]
fn payloads_that_were_replaced_are_unloaded_at_once() {
    for release in RELEASES {
        for waited in [false, true] {
            let xen = slow_host(release);
            let client = patient().without_xen_log().connect(xen.clone()).unwrap();
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
            assert!(took < WAIT, "{release} {waited}: {took:?}");
            assert_eq!((xen.crashed(), xen.loaded()), (None, vec![new]), "{release}");
        }
    }
}

#[test]
fn a_deadline_that_is_too_short_leaves_the_payload_loaded() {
    for with_log in [true, false] {
        let xen = slow_host(Release::V4_16);
        let client = if with_log { patient() } else { patient().without_xen_log() }.connect(xen.clone()).unwrap();
        let name = name("slow");
        client.upload(&name, &hooked(&xen, "slow").build()).unwrap();
        client.apply(&name, Flags::empty()).unwrap();
        client.revert(&name, Flags::empty()).unwrap();
        let unloads = xen.calls().of(Call::Unload);
        let error = act_within(&client, Action::Unload, &name, HOOK / 4).unwrap_err();
        assert_eq!(error.kind(), &ErrorKind::HookMayBeRunning);
        assert!(error.is_retryable() && !error.may_have_happened());
        assert_eq!((xen.calls().of(Call::Unload), xen.loaded().len()), (unloads, 1));
        client.unload(&name, Flags::empty()).unwrap();
        assert_eq!((xen.crashed(), xen.loaded()), (None, vec![]));
    }
}

/// Xen's log shows that it goes on, so no time is long enough.
#[test]
fn a_hook_that_runs_on_is_not_unloaded_whatever_the_time() {
    let xen = slow_host(Release::V4_16);
    xen.set_hook_time(WAIT * 3);
    let client = patient().connect(xen.clone()).unwrap();
    let name = name("slow");
    client.upload(&name, &builder(&xen, "slow").hook(HookKind::PostRevert, HookCode::returns(0)).build()).unwrap();
    client.apply(&name, Flags::empty()).unwrap();
    client.revert(&name, Flags::empty()).unwrap();
    assert_eq!(kind(act_within(&client, Action::Unload, &name, WAIT * 2)), ErrorKind::HookMayBeRunning);
    client.unload(&name, Flags::empty()).unwrap();
    assert_eq!(xen.crashed(), None);
}

#[test]
fn payloads_without_such_hooks_do_not_wait() {
    for release in RELEASES {
        for level in [LogLevel::All, LogLevel::Errors] {
            let xen = slow_host(release);
            xen.set_log_level(level);
            let client = patient().without_xen_log().connect(xen.clone()).unwrap();
            let load = |id: &str| client.load_as(&name(id), &payload(&builder(&xen, id)), Flags::empty()).unwrap();
            let quick = timed(|| {
                for _ in 0..3 {
                    load("quick");
                    client.revert(&name("quick"), Flags::empty()).unwrap();
                    client.unload(&name("quick"), Flags::empty()).unwrap();
                }
            });
            assert!(quick < WAIT, "{release}: {quick:?}");
        }
    }
}

/// Of payloads of another process nothing is known, until Xen has let one replace the others.
#[test]
fn payloads_that_took_part_in_a_replace_have_no_such_hooks() {
    for with_plan in [true, false] {
        let xen = slow_host(Release::V4_16);
        xen.set_log_level(LogLevel::Errors);
        let load = |id: &str| xen.other_upload(id, &builder(&xen, id).build()).unwrap();
        load("one");
        xen.other_action("one", Action::Apply, Flags::empty()).unwrap();
        let client = patient().connect(xen.clone()).unwrap();
        let inventory = client.inventory().unwrap();
        let quick = timed(|| {
            if with_plan {
                let wanted = Wanted::only(name("all"), payload(&builder(&xen, "all")));
                let plan = Plan::new(&inventory, &wanted).unwrap();
                client.carry_out(&plan, |_| ()).unwrap();
                assert_eq!(xen.loaded(), names(["all"]));
            } else {
                load("two");
                client.replace(&name("two"), Flags::empty()).unwrap();
                client.unload(&name("one"), Flags::empty()).unwrap();
                client.revert(&name("two"), Flags::empty()).unwrap();
                client.unload(&name("two"), Flags::empty()).unwrap();
            }
        });
        assert_eq!(xen.crashed(), None);
        assert!(quick < WAIT, "{with_plan}: {quick:?}");
    }
}

/// A plan that takes off and away what another process left waits once, and not for each.
#[test]
fn a_plan_waits_once() {
    let xen = slow_host(Release::V4_16);
    xen.set_log_level(LogLevel::Errors);
    let ids = ["one", "two", "three"];
    let mut below = xen.build_id().unwrap();
    for id in ids {
        let payload = hooked(&xen, id).depends_on(&below);
        below = payload.build_id().clone();
        xen.other_upload(id, &payload.build()).unwrap();
        xen.other_action(id, Action::Apply, Flags::empty()).unwrap();
        std::thread::sleep(HOOK * 2);
    }
    xen.set_hook_time(Duration::ZERO);
    let client = patient().connect(xen.clone()).unwrap();
    let plan = Plan::new(&client.inventory().unwrap(), &Wanted::nothing()).unwrap();
    let took = timed(|| client.carry_out(&plan, |_| ()).unwrap());
    assert_eq!((xen.crashed(), xen.loaded()), (None, vec![]));
    assert!(took >= WAIT && took < WAIT * 2, "{took:?}");
}

/// An apply that fails is followed by its hook as well.
#[test]
fn the_cleanup_of_a_load_lets_the_hook_return() {
    for release in RELEASES {
        for level in [LogLevel::All, LogLevel::Errors] {
            let xen = slow_host(release);
            xen.set_log_level(level);
            let client = patient().connect(xen.clone()).unwrap();
            let fails = hooked(&xen, "fails").hook(HookKind::Apply, HookCode::returns(-22));
            let error = client.load_as(&name("fails"), &payload(&fails), Flags::empty()).unwrap_err();
            assert!(matches!(error.kind(), ErrorKind::ActionFailed { .. }), "{release}: {error:?}");
            assert_eq!((xen.crashed(), xen.loaded()), (None, vec![]), "{release} {level:?} {error}");
        }
    }
}

#[test]
fn another_payload_under_the_same_name_is_not_trusted() {
    let xen = slow_host(Release::V4_16);
    xen.set_log_level(LogLevel::Errors);
    let client = patient().connect(xen.clone()).unwrap();
    let name = name("same");
    client.upload(&name, &builder(&xen, "same").build()).unwrap();
    xen.other_action("same", Action::Unload, Flags::empty()).unwrap();
    xen.other_upload("same", &hooked(&xen, "same").build()).unwrap();
    xen.other_action("same", Action::Apply, Flags::empty()).unwrap();
    std::thread::sleep(HOOK * 2);
    xen.other_action("same", Action::Revert, Flags::empty()).unwrap();
    client.unload(&name, Flags::empty()).unwrap();
    assert_eq!((xen.crashed(), xen.loaded()), (None, vec![]));
}

/// The simulated Xen dies of what the client avoids.
#[test]
fn without_the_wait_the_host_goes_down() {
    for (release, then, dies) in [
        (Release::V4_14, Action::Unload, true),
        (Release::V4_17, Action::Unload, false),
        (Release::V4_22, Action::Unload, false),
        (Release::V4_14, Action::Apply, true),
        (Release::V4_22, Action::Apply, true),
    ] {
        let xen = slow_host(release);
        xen.other_upload("slow", &hooked(&xen, "slow").build()).unwrap();
        xen.other_action("slow", Action::Apply, Flags::empty()).unwrap();
        std::thread::sleep(HOOK * 2);
        xen.other_action("slow", Action::Revert, Flags::empty()).unwrap();
        assert!(xen.console().contains("slow: Calling post-revert hook function with rc=0"));
        assert!(!xen.console().contains("slow finished REVERT"));
        let _ = xen.other_action("slow", then, Flags::empty());
        assert_eq!(xen.crashed().is_some(), dies, "{release} {then}: {:?}", xen.crashed());
    }
}

fn payload(builder: &PayloadBuilder) -> Payload {
    Payload::parse(&builder.build()).unwrap()
}

#[test]
fn a_deadline_is_no_reason_to_forget_the_hook() {
    let xen = slow_host(Release::V4_16);
    xen.set_log_level(LogLevel::Errors);
    let client = patient().connect(xen.clone()).unwrap();
    let name: PayloadName = name("slow");
    client.upload(&name, &hooked(&xen, "slow").build()).unwrap();
    client.apply(&name, Flags::empty()).unwrap();
    std::thread::sleep(HOOK * 2);
    xen.on_revert().take(xen_livepatch::sim::Pace::Held);
    assert_eq!(kind(act_within(&client, Action::Revert, &name, WAIT + HOOK)), ErrorKind::Unfinished);
    xen.finish_action();
    client.unload(&name, Flags::empty()).unwrap();
    assert_eq!((xen.crashed(), xen.loaded()), (None, vec![]));
}
