//! Outcomes that are hard to judge: other tools act at the same moment, hooks return numbers that Xen uses itself, or Xen
//! does not report a result.

use std::thread;
use std::time::Instant;

use crate::prelude::*;

#[test]
fn a_replace_that_xen_skips_reports_the_applied_payloads() {
    for (xen, client) in hosts(Release::ALL) {
        let both = stack(&xen, ["new", "top"], 0);
        // Another tool applies it between our look and our action, and something on top of it.
        xen.on_replace().before(|xen| {
            for id in ["new", "top"] {
                xen.other_action(id, Action::Apply, Flags::empty()).unwrap();
            }
        });
        let error = error(client.replace(&both[0], Flags::empty()));
        assert_eq!(xen.applied(), both);
        let expected = ErrorKind::Overtaken { state: Some(State::Applied), applied: Some(both.to_vec()) };
        assert_eq!(error.kind(), &expected);
        assert!(error.may_have_happened());
    }
}

#[test]
fn a_replace_whose_hook_returns_busy_is_not_repeated() {
    let cases = pairs([Errno::EBUSY, Errno::EAGAIN], [LogLevel::All, LogLevel::None]);
    for (xen, client, (code, log)) in hosts_for(releases(Release::V4_14..), cases) {
        xen.set_log_level(log);
        stack(&xen, ["old", "older"], 2);
        let new = upload(&client, "new", &with_hook(&xen, "new", HookKind::Apply, -code.number()));
        let failed = kind(client.action(Action::Replace, &new).quiesce_retries(5).run());
        assert_eq!(failed, ErrorKind::ReplaceFailed { code, applied: Some(vec![]) });
        assert_eq!((xen.applied(), xen.calls().of(Call::Replace)), (vec![], 1), "once");
    }
}

#[test]
fn einval_is_not_an_earlier_revert_unless_xen_logs_it() {
    for (xen, client) in hosts(releases(Release::V4_14..)) {
        xen.set_log_level(LogLevel::None);
        let one = upload(&client, "one", &with_hook(&xen, "one", HookKind::Apply, -Errno::EINVAL.number()));
        let failed = ErrorKind::ActionFailed { code: Errno::EINVAL, state: State::Checked };
        assert_eq!(kind(client.apply(&one, Flags::empty())), failed);
        // It may be: the text says so.
        let data = upload(&client, "data", &builder(&xen, "data").writable_data([1]));
        apply_and_revert(&client, &data);
        let error = error(client.apply(&data, Flags::empty()));
        assert_eq!(error.kind(), &failed);
        assert!(error.to_string().contains("or it was reverted before"), "{error}");
        xen.set_log_level(LogLevel::Errors);
        assert_eq!(kind(client.apply(&data, Flags::empty())), ErrorKind::ReapplyNeedsReupload);
    }
}

/// Also of a payload that has a hook, and is applied whatever is on top.
#[test]
fn while_another_action_is_pending_nothing_is_sent() {
    for (release, hooked) in each(pairs(Release::ALL, [false, true])) {
        if hooked && release < Release::V4_14 {
            continue;
        }
        let time = match (hooked, release) {
            (false, _) => 20,
            (true, Release::V4_17) => 2000,
            (true, _) => 50,
        };
        let (xen, client) = host(release);
        let one = if hooked {
            upload(&client, "one", &with_hook(&xen, "one", HookKind::PreApply, 0))
        } else {
            load(&xen, "one")
        };
        busy(&xen, "other");
        let other = xen.clone();
        let done = thread::spawn(move || {
            thread::sleep(Duration::from_millis(time));
            assert_eq!(other.calls().of(Call::Apply), 0, "nothing is sent meanwhile");
            other.other_upload("third", b"").unwrap_err();
            other.finish_action();
            other.other_action("other", Action::Revert, Flags::empty())
        });
        let result = client.apply(&one, if hooked { Flags::NODEPS } else { Flags::empty() });
        let reverted = done.join().unwrap();
        let runs = xen.console().matches("Calling pre-apply hook function").count();
        assert!(runs <= 1, "the hook ran {runs} times");
        // Its revert may have come first, or second: then it is no longer on top.
        assert_eq!(reverted.is_err(), xen.applied() == names(["other", "one"]), "{reverted:?}");
        assert_eq!(result.is_ok(), xen.applied().contains(&one));
        match result {
            Ok(()) => assert_eq!(xen.calls().of(Call::Apply), 1),
            Err(error) => {
                assert!(matches!(error.kind(), ErrorKind::DependsOnAnother { .. }), "{error:?}");
                assert!(error.to_string().contains("depends on"), "{error}");
            }
        }
    }
}

#[test]
fn cpus_that_come_and_go_are_waited_for_with_few_attempts() {
    let (xen, client) = host(Release::V4_20);
    let one = upload(&client, "one", &with_hook(&xen, "one", HookKind::PreApply, 0));
    xen.set_cpu_hotplug(true);
    let busy = error(act_within(&client, Action::Apply, &one, Duration::from_secs(1)));
    assert_eq!(busy.kind(), &ErrorKind::OperationInProgress);
    assert!(busy.is_retryable() && !busy.may_have_happened());
    assert!(xen.calls().of(Call::Apply) <= 15, "{:?}", xen.calls());
}

#[test]
fn an_action_of_another_tool_meanwhile_is_reported_with_the_state_found() {
    // Its revert was pending when ours was refused, and then succeeded or timed out.
    for (xen, client, (quiesce, state)) in hosts_for(Release::ALL, [(0, State::Checked), (100, State::Applied)]) {
        let [one] = stack(&xen, ["one"], 1);
        xen.on_revert().before(|xen| hold(xen, "one", Action::Revert));
        xen.on_revert().after(move |xen| {
            xen.set_quiesce_time(Duration::from_millis(quiesce));
            xen.finish_action();
        });
        let error = error(client.revert(&one, Flags::empty()));
        assert_eq!(error.kind(), &ErrorKind::Overtaken { state: Some(state), applied: None });
        assert!(error.may_have_happened());
    }
}

#[test]
fn silence_names_no_build_id() {
    type Way = (fn(&SimulatedXen), Duplicate);
    let ways: [Way; 3] = [
        // An inventory is printed at any level.
        (|xen| xen.set_log_level(LogLevel::None), Duplicate::SomeSymbol),
        // The second read of the log fails, as often as it is tried.
        (|xen| (2..7).for_each(|nth| xen.on_console().nth(nth).fail(Errno::EFAULT)), Duplicate::SomeSymbol),
        (|xen| xen.on_upload().after(|xen| xen.on_console().always().fail(Errno::EPERM)), Duplicate::BuildIdOrSymbol),
    ];
    for (xen, client, (silence, by)) in hosts_for(Release::ALL, ways) {
        upload(&client, "one", &builder(&xen, "one").defines("fresh"));
        silence(&xen);
        let twin = builder(&xen, "two").defines("fresh");
        assert_eq!(kind(client.upload(&name("two"), &twin.build())), ErrorKind::AlreadyLoaded { by });
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
    let (mine, theirs) = (builder(&xen, "mine"), builder(&xen, "theirs"));
    let one = upload(&client, "one", &mine);
    let wrong = builder(&xen, "wrong").depends_on(builder(&xen, "nobody").build_id());
    let wrong = upload(&client, "wrong", &wrong);
    let refused = || error(client.apply(&wrong, Flags::empty()));
    // Another tool has put its own payload under that name.
    xen.other_action("one", Action::Unload, Flags::empty()).unwrap();
    other_load(&xen, "one", &theirs);
    let said = refused();
    let ErrorKind::DependsOnAnother { found, on, .. } = said.kind() else { panic!("{said:?}") };
    assert_eq!((found.as_ref(), on.as_ref()), (Some(mine.build_id()), Some(&one)));
    assert!(said.to_string().contains("(both as uploaded by this client)"), "{said}");

    // Once it was seen to be gone, nothing is known about its name.
    xen.other_action("one", Action::Revert, Flags::empty()).unwrap();
    xen.other_action("one", Action::Unload, Flags::empty()).unwrap();
    refused();
    other_load(&xen, "one", &theirs);
    let said = refused();
    assert!(matches!(said.kind(), ErrorKind::DependsOnAnother { found: None, .. }), "{said:?}");

    // Nor once this client unloaded it, where nobody looked before the name had another payload.
    let two = upload(&client, "two", &builder(&xen, "two").depends_on(theirs.build_id()));
    client.unload(&two, Flags::empty()).unwrap();
    other_load(&xen, "two", &builder(&xen, "their two").depends_on(theirs.build_id()));
    let said = refused();
    assert!(matches!(said.kind(), ErrorKind::DependsOnAnother { found: None, .. }), "{said:?}");
}

#[test]
fn nothing_is_sent_after_the_deadline() {
    for (xen, client, one) in hosts_with_one(Release::ALL) {
        // Reading the log, or the list, takes longer than there is time.
        for slow in [Call::Console, Call::List] {
            xen.on(slow).before(|_| thread::sleep(Duration::from_millis(30)));
            let late = kind(act_within(&client, Action::Apply, &one, Duration::from_millis(10)));
            assert_eq!(late, ErrorKind::DeadlinePassed, "{slow:?}");
            xen.forget_orders();
        }
        assert_eq!((xen.calls().of(Call::Apply), xen.applied()), (0, vec![]));
    }
}

#[test]
fn xen_settles_from_when_it_finished() {
    const SETTLE: Duration = Duration::from_millis(150);
    // Whether it finishes before the next call, or while that waits, and whoever asked for it.
    let cases = [(true, true), (true, false), (false, false)];
    for (release, (own, in_between)) in each(pairs([Release::V4_7, Release::V4_17, Release::V4_22], cases)) {
        let xen = SimulatedXen::new(release);
        let client = LivepatchClient::builder().settle_time(SETTLE).connect(xen.clone()).unwrap();
        let [one, two] = ["one", "two"].map(|id| load(&xen, id));
        xen.set_pace(Pace::Held);
        if own {
            leave(&client, Action::Apply, &one);
        } else {
            xen.other_start(&one, Action::Apply, Flags::empty()).unwrap();
        }
        // Longer than it takes to settle.
        thread::sleep(SETTLE * 2);
        let finish = || {
            xen.finish_action();
            Instant::now()
        };
        let settled = thread::scope(|scope| {
            let before = in_between.then(finish);
            let meanwhile = scope.spawn(move || {
                before.unwrap_or_else(|| {
                    thread::sleep(Duration::from_millis(30));
                    finish()
                })
            });
            client.unload(&two, Flags::empty()).unwrap();
            let now = Instant::now();
            now - meanwhile.join().unwrap()
        });
        assert!(settled >= SETTLE, "{settled:?}");
    }
}

#[test]
fn uploads_wait_for_this_clients_actions() {
    // One that it waits for, and one that it has left.
    for (xen, client, left) in hosts_for([Release::V4_7, Release::V4_17, Release::V4_22], [false, true]) {
        let (one, payload) = (load(&xen, "one"), builder(&xen, "two").build());
        xen.set_pace(Pace::Held);
        let deadline = Duration::from_millis(if left { 100 } else { 10_000 });
        thread::scope(|scope| {
            let action = scope.spawn(|| act_within(&client, Action::Apply, &one, deadline));
            wait_for_call(&xen, Call::Apply);
            if left {
                thread::sleep(Duration::from_millis(200));
            }
            let upload = scope.spawn(|| client.upload(&name("two"), &payload));
            thread::sleep(Duration::from_millis(50));
            assert_eq!(xen.calls().of(Call::Upload), 0);
            xen.finish_action();
            upload.join().unwrap().unwrap();
            assert_eq!(action.join().unwrap().is_ok(), !left);
        });
        assert_eq!(xen.loaded(), names(["one", "two"]));
    }
}

#[test]
fn options_of_a_load_reach_all_of_its_parts() {
    let (xen, client) = host(Release::V4_20);
    let foreign = builder(&xen, "one").depends_on(builder(&xen, "nobody").build_id());
    let hurried = ActionOptions::new().deadline(Duration::from_millis(100));
    let forced = UploadOptions::new().force();
    let options = LoadOptions::new().flags(Flags::NODEPS).action(hurried).upload(forced);
    xen.set_pace(Pace::Held);
    let error = error(client.load_as(&name("one"), &parse(&foreign), options));
    assert_eq!(error.kind(), &ErrorKind::Unfinished, "with NODEPS, and within 100 ms");
    assert!(matches!(error.cleanup(), Some(Cleanup::Left)));
    xen.finish_action();
    let (old, client) = host(Release::V4_17);
    let forced = client.load_as(&name("one"), &parse(&builder(&old, "one")), LoadOptions::new().upload(forced));
    assert_eq!(kind(forced), ErrorKind::UnsupportedForce);
}

#[test]
fn a_xen_is_asked_what_it_understands() {
    for release in each(Release::ALL) {
        let (_, client) = host(release);
        let capabilities = client.capabilities().unwrap();
        let packed = release >= Release::V4_14;
        assert_eq!(capabilities.interface_version, release.interface_version());
        assert_eq!(capabilities.apply_flags.contains(Flags::NODEPS), packed);
        assert_eq!((capabilities.metadata, capabilities.action_hooks), (packed, packed));
        assert_eq!(capabilities.force, release >= Release::V4_19);
    }
}

#[test]
#[allow(unsafe_code, reason = "the layout of an unknown version is the caller's promise")]
fn an_interface_version_can_be_pinned() {
    let [.., newest] = Release::ALL.map(Release::interface_version);
    for release in each(Release::ALL) {
        let version = release.interface_version();
        // SAFETY: a simulated Xen has none of the unknown versions.
        let connect = |pinned| unsafe { quick().interface_version(pinned) }.connect(SimulatedXen::new(release));
        let client = connect(version).unwrap();
        assert_eq!(client.capabilities().unwrap().interface_version, version);
        // No other is tried, known or not.
        for wrong in [0, 0x0c, newest + 1, u32::MAX, if version == 0x12 { 0x13 } else { 0x12 }] {
            let error = error(connect(wrong));
            let ErrorKind::InterfaceNotSupported { pinned, .. } = error.kind() else { panic!("{error:?}") };
            assert_eq!(*pinned, Some(wrong));
        }
    }
}
