//! The uses of live patching: a patch, one stacked on it, a debug patch at any time, and one to replace them all.

use crate::prelude::*;

/// `hello` on Xen, `bye` on `hello`, both applied.
fn hello_and_bye(host: &Host) -> (PayloadName, PayloadName) {
    let payload = host.payload("hello", "-hello");
    let bye = host.payload("bye", "-bye").depends_on(payload.build_id());
    let (hello, bye) = (host.upload("hello", &payload), host.upload("bye", &bye));
    host.apply(&hello);
    host.expect_shown("-hello");
    host.apply(&bye);
    host.expect_shown("-bye");
    (hello, bye)
}

#[test]
#[ignore = "needs a real Xen"]
fn the_version_and_the_build_id_are_the_running_ones() {
    let host = host();
    let version = host.client.xen_version().unwrap();
    assert_eq!(version.major, 4);
    // Set by the runner, except for a hypervisor of the user's own.
    if let Ok(wanted) = std::env::var("XEN") {
        let wanted = if wanted == "arm64" { "4.17" } else { &wanted };
        assert_eq!(format!("{}.{}", version.major, version.minor), wanted);
    }
    // The kernel prints the bytes up to the first NUL.
    let shown = std::fs::read("/sys/hypervisor/properties/buildid").unwrap();
    let until_nul: Vec<u8> = host.xen.as_bytes().iter().copied().take_while(|byte| *byte != 0).collect();
    assert!(shown.starts_with(&until_nul) && host.xen.as_bytes().len() == 20, "{shown:x?} {}", host.xen);
}

#[test]
#[ignore = "needs a real Xen"]
fn patches_stack_and_come_off_from_the_top() {
    let host = host();
    let (hello, bye) = hello_and_bye(&host);
    assert_eq!(host.names(), ["hello", "bye"], "in the order of upload");

    let error = host.client.revert(&hello, Flags::empty()).unwrap_err();
    assert_eq!(error.kind(), &ErrorKind::NotOnTop { top: host.logs_reasons().then(|| bye.clone()) });
    host.expect_shown("-bye");

    host.revert(&bye);
    host.expect_shown("-hello");
    host.revert(&hello);
    host.expect_shown(&host.original);
    host.unload(&hello);
    host.unload(&bye);
}

#[test]
#[ignore = "needs a real Xen"]
fn a_debug_patch_goes_in_at_any_time_with_nodeps() {
    let host = host();
    let (hello, bye) = hello_and_bye(&host);
    let debug = host.upload("debug", &host.payload("debug", "-debug"));

    let error = host.client.apply(&debug, Flags::empty()).unwrap_err();
    let ErrorKind::DependsOnAnother { action: Action::Apply, on, .. } = error.kind() else { panic!("{error:?}") };
    assert_eq!(on.as_ref(), host.logs_reasons().then_some(&bye));
    host.expect(&debug, State::Checked);
    host.expect_shown("-bye");

    if host.since(14) {
        host.client.apply(&debug, Flags::NODEPS).unwrap();
        host.expect(&debug, State::Applied);
        host.expect_shown("-debug");
        host.revert(&debug);
    } else {
        let error = host.client.apply(&debug, Flags::NODEPS).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::UnsupportedFlag { .. }), "{error:?}");
    }
    host.expect_shown("-bye");
    for payload in [&bye, &hello] {
        host.revert(payload);
    }
    for payload in [&debug, &bye, &hello] {
        host.unload(payload);
    }
}

#[test]
#[ignore = "needs a real Xen"]
fn replace_reverts_all_others() {
    let host = host();
    let (hello, bye) = hello_and_bye(&host);
    let all = host.upload("all", &host.payload("all", "-all"));
    host.client.replace(&all, Flags::empty()).unwrap();
    host.expect(&all, State::Applied);
    host.expect_shown("-all");
    for payload in [&hello, &bye] {
        host.expect(payload, State::Checked);
        host.unload(payload);
    }
    host.remove(&all);
}

#[test]
#[ignore = "needs a real Xen"]
fn a_stacked_payload_cannot_replace() {
    let host = host();
    let payload = host.payload("hello", "-hello");
    let hello = host.upload("hello", &payload);
    let bye = host.upload("bye", &host.payload("bye", "-bye").depends_on(payload.build_id()));
    host.apply(&hello);
    let error = host.client.replace(&bye, Flags::empty()).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::DependsOnAnother { action: Action::Replace, .. }), "{error:?}");
    host.expect_shown("-hello");
    host.remove(&hello);
    host.unload(&bye);
}

#[test]
#[ignore = "needs a real Xen"]
fn a_reverted_patch_may_be_applied_again_unless_it_has_data() {
    let host = host();
    let reapply = |payload: &PayloadBuilder| Payload::parse(&payload.build()).unwrap().reapply(host.release());
    let payload = host.payload("clean", "-clean");
    assert_eq!(reapply(&payload), Reapply::Allowed);
    let clean = host.upload("clean", &payload);
    for _ in 0..3 {
        host.apply(&clean);
        host.expect_shown("-clean");
        host.revert(&clean);
        host.expect_shown(&host.original);
    }
    host.unload(&clean);

    let payload = host.payload("data", "-data").writable_data([1; 8]);
    let data = host.upload("data", &payload);
    host.apply(&data);
    host.revert(&data);
    if reapply(&payload) == Reapply::Unguarded {
        // 4.7 does not check that.
        host.apply(&data);
        return host.remove(&data);
    }
    let error = host.client.apply(&data, Flags::empty()).unwrap_err();
    assert_eq!(error.kind(), &ErrorKind::ReapplyNeedsReupload);
    assert_eq!(host.client.status(&data).unwrap().state, State::Checked);
    host.expect_shown(&host.original);
    // Without Xen's log, hooks may be the cause as well, which there are from 4.14 on.
    let error = patient().without_xen_log().open().unwrap().apply(&data, Flags::empty()).unwrap_err();
    if host.since(14) {
        let failed = ErrorKind::ActionFailed { code: Errno::EINVAL, state: State::Checked };
        assert_eq!(error.kind(), &failed, "{error:?}");
        assert!(error.to_string().contains("or it was reverted before"), "{error}");
    } else {
        assert_eq!(error.kind(), &ErrorKind::ReapplyNeedsReupload, "{error:?}");
    }
    host.unload(&data);
    let data = host.upload("data", &payload);
    host.apply(&data);
    host.expect_shown("-data");
    host.remove(&data);
}

#[test]
#[ignore = "needs a real Xen"]
fn names_are_bytes() {
    let host = host();
    let longest = name([b'n'; 127]);
    let odd = name(b"\xff\x01 \n\xc3\xa9");
    host.client.upload(&longest, &host.payload("longest", "-longest").build()).unwrap();
    host.client.upload(&odd, &host.payload("odd", "-odd").build()).unwrap();
    let rows = host.client.list().unwrap();
    assert_eq!(rows.iter().map(|row| row.name.clone()).collect::<Vec<_>>(), [longest.clone(), odd.clone()]);
    host.apply(&odd);
    assert_eq!(shown(), "-odd");
    host.revert(&odd);
    host.unload(&longest);
    host.unload(&odd);
}
