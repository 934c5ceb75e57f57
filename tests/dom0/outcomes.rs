//! Outcomes that depend on the processors, and the words of Xen's log, which `tests/fidelity/` does not compare.

use crate::prelude::*;

/// The error of an action without time to quiesce. If the processors are at rest all the same (seen on AArch64), it is undone, and
/// tried again.
fn in_a_hurry(host: &Host, action: Action, name: &PayloadName, retries: u32) -> Error {
    let options = ActionOptions::new().quiesce_timeout(QuiesceTimeout::new(Duration::from_nanos(1)).unwrap());
    for _ in 0..100 {
        match host.client.action(action, name).options(options.quiesce_retries(retries)).run() {
            Err(error) => return error,
            Ok(()) if action == Action::Revert => host.apply(name),
            Ok(()) => host.revert(name),
        }
    }
    panic!("{action} is always quick enough");
}

#[test]
#[ignore = "needs a real Xen"]
fn a_quiesce_timeout_is_reported_and_changes_nothing() {
    let host = host();
    let hello = host.upload("hello", &host.payload("hello", "-hello"));
    for (retries, action) in [(0, Action::Apply), (3, Action::Apply), (0, Action::Replace)] {
        let error = in_a_hurry(&host, action, &hello, retries);
        assert_eq!((error.kind(), error.raw_errno()), (&ErrorKind::QuiesceTimeout, Some(Errno::EBUSY)), "{action}");
        let status = host.client.status(&hello).unwrap();
        assert_eq!((status.state, status.error()), (State::Checked, Some(Errno::EBUSY)));
        host.expect_shown(&host.original);
    }
    host.apply(&hello);
    host.expect_shown("-hello");
    let error = in_a_hurry(&host, Action::Revert, &hello, 0);
    assert_eq!(error.kind(), &ErrorKind::QuiesceTimeout);
    host.expect_shown("-hello");
    host.remove(&hello);
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
fn the_reason_why_garbage_is_refused_is_in_the_log() {
    let host = host();
    let good = host.payload("good", "-good").build();
    let mut not_elf = good.clone();
    not_elf[0] = 0;
    let mut other_machine = good.clone();
    other_machine[18] = 3;
    let cut = good[..good.len() / 2].to_vec();
    for (what, bytes) in [
        ("noise", vec![0x5a; 4096]),
        ("no magic", not_elf),
        ("other machine", other_machine),
        ("cut in half", cut),
        ("one byte", vec![0x7f]),
    ] {
        let error = host.client.upload_with(&name("garbage"), &bytes, UploadOptions::new().unchecked()).unwrap_err();
        let ErrorKind::InvalidPayload { xen, .. } = error.kind() else { panic!("{what}: {error:?}") };
        assert_eq!(xen.is_some(), host.logs_reasons(), "{what}: {error:?}");
    }
}
