//! Outcomes of actions, with hooks that return Xen's own error numbers, and after a deadline.

use crate::prelude::*;

#[test]
#[ignore = "needs a real Xen"]
fn error_numbers_of_hooks_are_attributed_to_them() {
    let host = host();
    // There are no such hooks before.
    if !host.since(14) {
        return;
    }
    // At its usual log level Xen does not log the hook in place of an action; these tests run with all levels.
    for rc in [-22, -16, -11, -14, -95, -2, -77, 7] {
        let code = Errno::new(-rc);
        let instead =
            host.upload("instead", &host.payload("instead", "-x").hook(HookKind::Apply, HookCode::returns(rc)));
        let before =
            host.upload("before", &host.payload("before", "-y").hook(HookKind::PreApply, HookCode::returns(rc)));
        for _ in 0..2 {
            let error = host.client.apply(&instead, Flags::empty()).unwrap_err();
            assert_eq!(error.kind(), &ErrorKind::ActionFailed { code, state: State::Checked }, "{error:?}");
            let error = host.client.apply(&before, Flags::empty()).unwrap_err();
            assert_eq!(error.kind(), &ErrorKind::HookRefused { code }, "{error:?}");
        }
        host.unload(&instead);
        host.unload(&before);
    }
    host.expect_shown(&host.original);
}

#[test]
#[ignore = "needs a real Xen"]
fn a_replace_with_a_busy_hook_leaves_the_host_unpatched() {
    let host = host();
    // There are no such hooks before.
    if !host.since(14) {
        return;
    }
    for code in [Errno::EBUSY, Errno::EAGAIN] {
        let old = host.upload("old", &host.payload("old", "-old"));
        let hook = HookCode::returns(-code.number());
        let new = host.upload("new", &host.payload("new", "-new").hook(HookKind::Apply, hook));
        host.apply(&old);
        let error = host.client.replace(&new, Flags::empty()).unwrap_err();
        assert_eq!(error.kind(), &ErrorKind::ReplaceFailed { code, applied: Some(vec![]) }, "{error:?}");
        host.expect_shown(&host.original);
        host.unload(&new);
        host.unload(&old);
    }
}

#[test]
#[ignore = "needs a real Xen"]
fn nothing_is_sent_without_time() {
    let host = host();
    let hello = host.upload("hello", &host.payload("hello", "-hello"));
    let error = host.client.action(Action::Apply, &hello).deadline(Duration::ZERO).run().unwrap_err();
    assert_eq!(error.kind(), &ErrorKind::DeadlinePassed);
    let never = host.client.wait(&hello, Action::Apply, Duration::ZERO).unwrap_err();
    assert_eq!(never.kind(), &ErrorKind::NotDone { found: State::Checked, expected: State::Applied });
    host.unload(&hello);
}

#[test]
#[ignore = "needs a real Xen"]
fn unfinished_actions_can_be_waited_for() {
    let host = host();
    let hello = host.upload("hello", &host.payload("hello", "-hello"));
    // It may or may not finish in that time; either way its end is known after the wait.
    let hurried = host.client.action(Action::Apply, &hello).deadline(Duration::from_micros(700)).run();
    let applied = match hurried.map_err(|error| (error.may_have_happened(), error)) {
        Ok(()) => true,
        Err((true, _)) => {
            let ended = host.client.wait(&hello, Action::Apply, Duration::from_secs(30));
            let applied = host.client.status(&hello).unwrap().state == State::Applied;
            assert_eq!(ended.is_ok(), applied, "{ended:?}");
            applied
        }
        Err((false, error)) => {
            assert!(error.is_retryable(), "{error:?}");
            false
        }
    };
    host.expect_shown(if applied { "-hello" } else { &host.original });
    if applied {
        host.revert(&hello);
    }
    host.unload(&hello);
}

#[test]
#[ignore = "needs a real Xen"]
#[allow(unsafe_code, reason = "the layout of an unknown version is the caller's promise")]
fn capabilities_match_the_release_and_its_version_can_be_pinned() {
    let host = host();
    let capabilities = host.client.capabilities().unwrap();
    let new = host.since(14);
    assert_eq!(capabilities.apply_flags, if new { Flags::NODEPS } else { Flags::empty() });
    assert_eq!((capabilities.metadata, capabilities.action_hooks), (new, new));
    assert_eq!(capabilities.force, host.client.xen_version().unwrap().release() >= (4, 19));
    let version = capabilities.interface_version;
    // SAFETY: this is its own version, and that after it belongs to another release or to none.
    let open = |version| unsafe { LivepatchClient::builder().interface_version(version) }.open();
    let pinned = open(version).unwrap();
    assert_eq!(pinned.capabilities().unwrap(), capabilities);
    let error = open(version + 1).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::InterfaceNotSupported { .. }), "{error:?}");
}
