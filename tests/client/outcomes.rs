//! Outcomes that are hard to judge: other tools act at the same moment, hooks return numbers that Xen uses itself, or Xen
//! does not report a result.

use std::time::{Duration, Instant};

use xen_livepatch::payload::HookKind;
use xen_livepatch::sim::{Call, HookCode, LogLevel, Pace, PayloadBuilder, SimulatedXen};
use xen_livepatch::{
    Action, Cleanup, Duplicate, Errno, ErrorKind, Flags, LivepatchClient, LoadOptions, Payload, PayloadName, Release,
    State,
};

use crate::host::{
    act_within, builder, busy, connect, error, host, kind, leave, load, name, names, quick, releases, stack,
};

fn upload(client: &LivepatchClient, id: &str, payload: &PayloadBuilder) -> PayloadName {
    client.upload(&name(id), &payload.build()).unwrap();
    name(id)
}

fn overtaken(state: State) -> ErrorKind {
    ErrorKind::Overtaken { state: Some(state), applied: None }
}

#[test]
fn a_replace_that_xen_skips_reports_the_applied_payloads() {
    for release in Release::ALL {
        let (xen, client) = host(release);
        let [new, top] = stack(&xen, ["new", "top"], 0);
        // Another tool applies it between our look and our action, and something on top of it.
        xen.on_replace().before(|xen| {
            for id in ["new", "top"] {
                xen.other_action(id, Action::Apply, Flags::empty()).unwrap();
            }
        });
        let error = error(client.replace(&new, Flags::empty()));
        let both = vec![new, top];
        let expected = ErrorKind::Overtaken { state: Some(State::Applied), applied: Some(both.clone()) };
        assert_eq!(error.kind(), &expected, "{release}");
        assert_eq!(xen.applied(), both);
        assert!(error.may_have_happened());
    }
}

#[test]
fn a_replace_whose_hook_returns_busy_is_not_repeated() {
    for release in releases(Release::V4_14..) {
        for code in [Errno::EBUSY, Errno::EAGAIN] {
            for log in [LogLevel::All, LogLevel::None] {
                let (xen, client) = host(release);
                xen.set_log_level(log);
                stack(&xen, ["old", "older"], 2);
                let hook = HookCode::returns(-code.number());
                let new = upload(&client, "new", &builder(&xen, "new").hook(HookKind::Apply, hook));
                let failed = kind(client.action(Action::Replace, &new).quiesce_retries(5).run());
                assert_eq!(failed, ErrorKind::ReplaceFailed { code, applied: Some(vec![]) }, "{release} {log:?}");
                assert_eq!((xen.applied(), xen.calls().of(Call::Replace)), (vec![], 1), "once");
            }
        }
    }
}

#[test]
fn einval_is_not_an_earlier_revert_unless_xen_logs_it() {
    for release in releases(Release::V4_14..) {
        let (xen, client) = host(release);
        xen.set_log_level(LogLevel::None);
        let hook = HookCode::returns(-Errno::EINVAL.number());
        let one = upload(&client, "one", &builder(&xen, "one").hook(HookKind::Apply, hook));
        let failed = ErrorKind::ActionFailed { code: Errno::EINVAL, state: State::Checked };
        assert_eq!(kind(client.apply(&one, Flags::empty())), failed, "{release}");
        // It may be: the text says so.
        let data = upload(&client, "data", &builder(&xen, "data").writable_data([1]));
        client.apply(&data, Flags::empty()).unwrap();
        client.revert(&data, Flags::empty()).unwrap();
        let error = error(client.apply(&data, Flags::empty()));
        assert_eq!(error.kind(), &failed, "{release}");
        assert!(error.to_string().contains("or it was reverted before"), "{error}");
        xen.set_log_level(LogLevel::Errors);
        assert_eq!(kind(client.apply(&data, Flags::empty())), ErrorKind::ReapplyNeedsReupload, "{release}");
    }
}

#[test]
fn while_another_action_is_pending_nothing_is_sent() {
    for release in Release::ALL {
        wait_for_another_action(release, false, Duration::from_millis(20));
        if release >= Release::V4_14 {
            let waited = Duration::from_millis(if release == Release::V4_17 { 2000 } else { 50 });
            wait_for_another_action(release, true, waited);
        }
    }
}

/// Applies a payload while another tool's action on another payload takes this long. `hooked`: the payload has a hook, and
/// is applied whatever is on top.
fn wait_for_another_action(release: Release, hooked: bool, time: Duration) {
    let (xen, client) = host(release);
    let one = if hooked {
        upload(&client, "one", &builder(&xen, "one").hook(HookKind::PreApply, HookCode::returns(0)))
    } else {
        load(&xen, "one")
    };
    busy(&xen, "other");
    let other = xen.clone();
    let done = std::thread::spawn(move || {
        std::thread::sleep(time);
        assert_eq!(other.calls().of(Call::Apply), 0, "{release} {hooked}: nothing is sent meanwhile");
        other.other_upload("third", b"").unwrap_err();
        other.finish_action();
        other.other_action("other", Action::Revert, Flags::empty())
    });
    let result = client.apply(&one, if hooked { Flags::NODEPS } else { Flags::empty() });
    let reverted = done.join().unwrap();
    let runs = xen.console().matches("Calling pre-apply hook function").count();
    assert!(runs <= 1, "{release}: the hook ran {runs} times");
    // Its revert may have come first, or second: then it is no longer on top.
    let below = name("other");
    assert_eq!(reverted.is_err(), xen.applied() == [below.clone(), one.clone()], "{release}: {reverted:?}");
    match result {
        Ok(()) => {
            assert_eq!(xen.calls().of(Call::Apply), 1, "{release}");
            assert!(xen.applied().contains(&one), "{release}");
        }
        Err(error) => {
            assert!(matches!(error.kind(), ErrorKind::DependsOnAnother { .. }), "{error:?}");
            assert!(error.to_string().contains("depends on"), "{error}");
            assert!(!xen.applied().contains(&one), "{release}");
        }
    }
}

#[test]
fn cpus_that_come_and_go_are_waited_for_with_few_attempts() {
    let (xen, client) = host(Release::V4_20);
    let one = upload(&client, "one", &builder(&xen, "one").hook(HookKind::PreApply, HookCode::returns(0)));
    xen.set_cpu_hotplug(true);
    let busy = error(act_within(&client, Action::Apply, &one, Duration::from_secs(1)));
    assert_eq!(busy.kind(), &ErrorKind::OperationInProgress);
    assert!(busy.is_retryable() && !busy.may_have_happened());
    assert!(xen.calls().of(Call::Apply) <= 15, "{:?}", xen.calls());
}

#[test]
fn an_action_of_another_tool_meanwhile_is_reported_with_the_state_found() {
    for release in Release::ALL {
        // Its revert was pending when ours was refused, and then succeeded or timed out.
        for (late, state) in [(false, State::Checked), (true, State::Applied)] {
            let (xen, client) = host(release);
            let [one] = stack(&xen, ["one"], 1);
            xen.on_revert().before(|xen| {
                xen.set_pace(Pace::Held);
                xen.other_start("one", Action::Revert, Flags::empty()).unwrap();
                xen.set_pace(Pace::default());
            });
            xen.on_revert().after(move |xen| {
                xen.set_quiesce_time(Duration::from_millis(if late { 100 } else { 0 }));
                xen.finish_action();
            });
            let error = error(client.revert(&one, Flags::empty()));
            assert_eq!(error.kind(), &overtaken(state), "{release}");
            assert!(error.may_have_happened());
        }
    }
}

#[test]
fn silence_names_no_build_id() {
    for release in Release::ALL {
        let either = ErrorKind::AlreadyLoaded { by: Duplicate::BuildIdOrSymbol };
        for way in 0..3 {
            let (xen, client) = host(release);
            let one = builder(&xen, "one").defines("fresh");
            upload(&client, "one", &one);
            let twin = builder(&xen, "two").defines("fresh");
            match way {
                0 => xen.set_log_level(LogLevel::None),
                // The second read of the log fails, as often as it is tried.
                1 => (2..7).for_each(|nth| xen.on_console().nth(nth).fail(Errno::EFAULT)),
                _ => xen.on_upload().after(|xen| xen.on_console().always().fail(Errno::EPERM)),
            }
            let error = kind(client.upload(&name("two"), &twin.build()));
            // An inventory is printed at any level.
            let known = ErrorKind::AlreadyLoaded { by: Duplicate::SomeSymbol };
            assert_eq!(error, if way < 2 { known } else { either.clone() }, "{release} {way}");
        }
    }
}

#[test]
fn a_status_that_can_not_be_read_leaves_the_name_open() {
    let (xen, client) = host(Release::V4_12);
    let one = load(&xen, "one");
    xen.on_get().always().fail(Errno::EPERM);
    let open = ErrorKind::AlreadyLoaded { by: Duplicate::Unknown };
    assert_eq!(kind(client.upload(&one, &builder(&xen, "another").build())), open);
}

#[test]
fn build_ids_in_errors_are_those_that_this_client_uploaded() {
    let (xen, client) = host(Release::V4_17);
    let (mine, wrong) = (builder(&xen, "mine"), builder(&xen, "wrong"));
    let one = upload(&client, "one", &mine);
    upload(&client, "wrong", &wrong.depends_on(builder(&xen, "nobody").build_id()));
    // Another tool has put its own payload under that name.
    xen.other_action("one", Action::Unload, Flags::empty()).unwrap();
    xen.other_upload("one", &builder(&xen, "theirs").build()).unwrap();
    xen.other_action("one", Action::Apply, Flags::empty()).unwrap();
    let said = error(client.apply(&name("wrong"), Flags::empty()));
    let ErrorKind::DependsOnAnother { found, on, .. } = said.kind() else { panic!("{said:?}") };
    assert_eq!((found.as_ref(), on.as_ref()), (Some(mine.build_id()), Some(&one)));
    assert!(said.to_string().contains("(both as uploaded by this client)"), "{said}");

    // Once it was seen to be gone, nothing is known about its name.
    xen.other_action("one", Action::Revert, Flags::empty()).unwrap();
    xen.other_action("one", Action::Unload, Flags::empty()).unwrap();
    error(client.apply(&name("wrong"), Flags::empty()));
    xen.other_upload("one", &builder(&xen, "theirs").build()).unwrap();
    xen.other_action("one", Action::Apply, Flags::empty()).unwrap();
    let said = error(client.apply(&name("wrong"), Flags::empty()));
    assert!(matches!(said.kind(), ErrorKind::DependsOnAnother { found: None, .. }), "{said:?}");

    // Nor once this client unloaded it, where nobody looked before the name had another payload.
    let two = upload(&client, "two", &builder(&xen, "two").depends_on(builder(&xen, "theirs").build_id()));
    client.unload(&two, Flags::empty()).unwrap();
    let theirs = builder(&xen, "their two").depends_on(builder(&xen, "theirs").build_id());
    xen.other_upload("two", &theirs.build()).unwrap();
    xen.other_action("two", Action::Apply, Flags::empty()).unwrap();
    let said = error(client.apply(&name("wrong"), Flags::empty()));
    assert!(matches!(said.kind(), ErrorKind::DependsOnAnother { found: None, .. }), "{said:?}");
}

#[test]
fn nothing_is_sent_after_the_deadline() {
    for release in Release::ALL {
        let (xen, client) = host(release);
        let one = load(&xen, "one");
        // Reading the log, or the list, takes longer than there is time.
        for slow in [Call::Console, Call::List] {
            xen.on(slow).before(|_| std::thread::sleep(Duration::from_millis(30)));
            let late = kind(act_within(&client, Action::Apply, &one, Duration::from_millis(10)));
            assert_eq!(late, ErrorKind::DeadlinePassed, "{release} {slow:?}");
            xen.forget_orders();
        }
        assert_eq!((xen.calls().of(Call::Apply), xen.applied()), (0, vec![]), "{release}");
    }
}

#[test]
fn xen_settles_from_when_it_finished() {
    const SETTLE: Duration = Duration::from_millis(150);
    for release in [Release::V4_7, Release::V4_17, Release::V4_22] {
        // Whether it finishes before the next call, or while that waits, and whoever asked for it.
        for (own, in_between) in [(true, true), (true, false), (false, false)] {
            let xen = SimulatedXen::new(release);
            let client = LivepatchClient::builder().settle_time(SETTLE).connect(xen.clone()).unwrap();
            let (one, two) = (load(&xen, "one"), load(&xen, "two"));
            xen.set_pace(Pace::Held);
            if own {
                leave(&client, Action::Apply, &one);
            } else {
                xen.other_start(&one, Action::Apply, Flags::empty()).unwrap();
            }
            // Longer than it takes to settle.
            std::thread::sleep(SETTLE * 2);
            let other = xen.clone();
            let finish = move || {
                other.finish_action();
                Instant::now()
            };
            let finished = if in_between {
                Err(finish())
            } else {
                Ok(std::thread::spawn(move || {
                    std::thread::sleep(Duration::from_millis(30));
                    finish()
                }))
            };
            client.unload(&two, Flags::empty()).unwrap();
            let now = Instant::now();
            let finished = finished.map_or_else(|at| at, |thread| thread.join().unwrap());
            assert!(now - finished >= SETTLE, "{release} {own} {in_between}: {:?}", now - finished);
        }
    }
}

#[test]
fn uploads_wait_for_this_clients_actions() {
    for release in [Release::V4_7, Release::V4_17, Release::V4_22] {
        // One that it waits for, and one that it has left.
        for left in [false, true] {
            let xen = SimulatedXen::new(release);
            let client = connect(&xen);
            let (one, payload) = (load(&xen, "one"), builder(&xen, "two").build());
            xen.set_pace(Pace::Held);
            let deadline = Duration::from_millis(if left { 100 } else { 10_000 });
            std::thread::scope(|scope| {
                let action = scope.spawn(|| act_within(&client, Action::Apply, &one, deadline));
                while xen.calls().of(Call::Apply) == 0 {
                    std::thread::yield_now();
                }
                if left {
                    std::thread::sleep(Duration::from_millis(200));
                }
                let upload = scope.spawn(|| client.upload(&name("two"), &payload));
                std::thread::sleep(Duration::from_millis(50));
                assert_eq!(xen.calls().of(Call::Upload), 0, "{release} {left}");
                xen.finish_action();
                upload.join().unwrap().unwrap();
                assert_eq!(action.join().unwrap().is_ok(), !left);
            });
            assert_eq!(xen.loaded(), names(["one", "two"]));
        }
    }
}

#[test]
fn a_failed_load_reports_what_it_leaves() {
    let (xen, client) = host(Release::V4_17);
    let payload = Payload::parse(&builder(&xen, "one").build()).unwrap();
    let loaded = |what: fn(&SimulatedXen)| {
        what(&xen);
        let error = error(client.load_as(&name("one"), &payload, LoadOptions::new()));
        xen.forget_orders();
        let text = error.to_string();
        (error.cleanup().cloned().unwrap(), text)
    };
    // Another tool unloads it before we do.
    let (cleanup, text) = loaded(|xen| {
        xen.on_apply().time_out();
        xen.on_unload().before(|xen| xen.other_action("one", Action::Unload, Flags::empty()).unwrap());
    });
    assert!(matches!(cleanup, Cleanup::Gone), "{cleanup:?}");
    assert!(text.ends_with("; another tool has unloaded it"), "{text}");
    // … or even before the apply.
    let (cleanup, _) = loaded(|xen| {
        xen.on_apply().before(|xen| xen.other_action("one", Action::Unload, Flags::empty()).unwrap());
    });
    assert!(matches!(cleanup, Cleanup::Gone), "{cleanup:?}");
    // What can't be unloaded may be there.
    let (cleanup, text) = loaded(|xen| {
        xen.on_apply().time_out();
        xen.on_unload().fail(Errno::EPERM);
    });
    assert!(matches!(cleanup, Cleanup::Failed(_)), "{cleanup:?}");
    assert!(text.contains("it may still be loaded, since unloading it failed: "), "{text}");
}

#[test]
fn options_of_a_load_reach_all_of_its_parts() {
    let (xen, client) = host(Release::V4_20);
    let foreign = builder(&xen, "one").depends_on(builder(&xen, "nobody").build_id());
    let payload = Payload::parse(&foreign.build()).unwrap();
    let hurried = xen_livepatch::ActionOptions::new().deadline(Duration::from_millis(100));
    let forced = xen_livepatch::UploadOptions::new().force();
    let options = LoadOptions::new().flags(Flags::NODEPS).action(hurried).upload(forced);
    xen.set_pace(Pace::Held);
    let error = error(client.load_as(&name("one"), &payload, options));
    assert_eq!(error.kind(), &ErrorKind::Unfinished, "with NODEPS, and within 100 ms");
    assert!(matches!(error.cleanup(), Some(Cleanup::Left)));
    xen.finish_action();
    let (old, client) = host(Release::V4_17);
    let payload = Payload::parse(&builder(&old, "one").build()).unwrap();
    let forced = LoadOptions::new().upload(forced);
    assert_eq!(kind(client.load_as(&name("one"), &payload, forced)), ErrorKind::UnsupportedForce);
}

#[test]
fn a_xen_is_asked_what_it_understands() {
    for release in Release::ALL {
        let (_, client) = host(release);
        let capabilities = client.capabilities().unwrap();
        let packed = release >= Release::V4_14;
        assert_eq!(capabilities.interface_version, release.interface_version());
        assert_eq!(capabilities.apply_flags.contains(Flags::NODEPS), packed, "{release}");
        assert_eq!((capabilities.metadata, capabilities.action_hooks), (packed, packed), "{release}");
        assert_eq!(capabilities.force, release >= Release::V4_19, "{release}");
    }
}

#[test]
#[allow(unsafe_code, reason = "the layout of an unknown version is the caller's promise")]
fn an_interface_version_can_be_pinned() {
    let [.., newest] = Release::ALL.map(Release::interface_version);
    for release in Release::ALL {
        let version = release.interface_version();
        // SAFETY: a simulated Xen has none of the unknown versions.
        let connect = |pinned| unsafe { quick().interface_version(pinned) }.connect(SimulatedXen::new(release));
        let client = connect(version).unwrap();
        assert_eq!(client.capabilities().unwrap().interface_version, version, "{release}");
        // No other is tried, known or not.
        for wrong in [0, 0x0c, newest + 1, u32::MAX, if version == 0x12 { 0x13 } else { 0x12 }] {
            let error = error(connect(wrong));
            let ErrorKind::InterfaceNotSupported { pinned, .. } = error.kind() else { panic!("{error:?}") };
            assert_eq!(*pinned, Some(wrong), "{release}");
        }
    }
}
