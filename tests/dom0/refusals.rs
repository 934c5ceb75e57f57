//! Refusals, and actions without effect that Xen reports as a success: each has an error of its own.

use crate::prelude::*;

#[test]
#[ignore = "needs a real Xen"]
fn silent_no_ops_are_a_wrong_state() {
    let host = host();
    let hello = host.upload("hello", &host.payload("hello", "-hello"));
    let wrong = |action| host.client.action(action, &hello).run().unwrap_err();
    let is = |found, needed| ErrorKind::WrongState { found, needed };

    assert_eq!(wrong(Action::Revert).kind(), &is(State::Checked, State::Applied));
    host.apply(&hello);
    for action in [Action::Apply, Action::Replace, Action::Unload] {
        assert_eq!(wrong(action).kind(), &is(State::Applied, State::Checked), "{action}");
    }
    host.expect_shown("-hello");
    host.remove(&hello);
}

#[test]
#[ignore = "needs a real Xen"]
fn an_unknown_name_is_no_such_payload() {
    let host = host();
    let nobody = name("nobody");
    assert_eq!(host.client.status(&nobody).unwrap_err().kind(), &ErrorKind::NoSuchPayload);
    for action in [Action::Apply, Action::Revert, Action::Replace, Action::Unload] {
        let error = host.client.action(action, &nobody).run().unwrap_err();
        assert_eq!((error.kind(), error.raw_errno()), (&ErrorKind::NoSuchPayload, Some(Errno::ENOENT)), "{action}");
    }
}

#[test]
#[ignore = "needs a real Xen"]
fn a_name_a_build_id_and_a_symbol_are_loaded_once() {
    let host = host();
    let payload = host.payload("hello", "-hello").defines("new_symbol");
    let hello = host.upload("hello", &payload);
    let twice = |name: &PayloadName, payload: PayloadBuilder| {
        let error = host.client.upload(name, &payload.build()).unwrap_err();
        assert_eq!(error.raw_errno(), Some(Errno::EEXIST));
        error.kind().clone()
    };
    let other = host.payload("other", "-other");
    let by = |by| ErrorKind::AlreadyLoaded { by };
    assert_eq!(twice(&hello, other.clone()), by(Duplicate::Name));
    let by_build_id = twice(&name("twin"), host.payload("hello", "-twin"));
    let by_symbol = twice(&name("other"), other.defines("new_symbol"));
    // Xen's log names a symbol, but not a build-id, which the inventory shows.
    assert_eq!(by_build_id, by(Duplicate::Payload { name: hello.clone(), state: State::Checked }));
    let symbol = Duplicate::Symbol("new_symbol".into());
    assert_eq!(by_symbol, by(if host.logs_reasons() { symbol } else { Duplicate::SomeSymbol }));
    assert_eq!(twice(&hello, payload), by(Duplicate::Payload { name: hello.clone(), state: State::Checked }));
    assert_eq!(host.names(), ["hello"]);
    host.unload(&hello);
}

#[test]
#[ignore = "needs a real Xen"]
fn garbage_is_refused() {
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
        let error = host.client.upload(&name("garbage"), &bytes).unwrap_err();
        assert_eq!(error.raw_errno(), None, "{what}: Xen was not asked");
        let refused = matches!(error.kind(), ErrorKind::InvalidPayload { .. } | ErrorKind::UnfitPayload { .. });
        assert!(refused, "{what}: {error:?}");
        // Xen refuses it too, with a reason in its log.
        let error = host.client.upload_with(&name("garbage"), &bytes, UploadOptions::new().unchecked()).unwrap_err();
        let ErrorKind::InvalidPayload { xen, .. } = error.kind() else { panic!("{what}: {error:?}") };
        assert_eq!(xen.is_some(), host.logs_reasons(), "{what}: {error:?}");
        assert_eq!(host.names(), Vec::<String>::new(), "{what}");
    }
    let unknown = host.payload("unknown", "-unknown").needs("no_such_symbol_in_any_xen").build();
    let error = host.client.upload(&name("unknown"), &unknown).unwrap_err();
    assert_eq!(error.raw_errno(), Some(Errno::ENOENT), "{error:?}");
}

#[test]
#[ignore = "needs a real Xen"]
fn sizes_end_at_two_mebibytes() {
    let host = host();
    let largest = host.payload("largest", "-largest").padded_to(2 << 20);
    let largest = host.upload("largest", &largest);
    host.apply(&largest);
    host.expect_shown("-largest");
    host.remove(&largest);

    let too_large = host.payload("larger", "-larger").padded_to((2 << 20) + 1).build();
    let larger = name("larger");
    let kind = |result: xen_livepatch::Result<()>| result.unwrap_err().kind().clone();
    let refused = ErrorKind::PayloadTooLarge { size: 2_097_153, without_debug: None };
    assert_eq!(kind(host.client.upload(&larger, &too_large)), refused);
    assert_eq!(kind(host.client.upload(&larger, &[])), ErrorKind::EmptyPayload);
    std::fs::write("/tmp/larger", &too_large).unwrap();
    std::fs::write("/tmp/empty", []).unwrap();
    assert_eq!(kind(host.client.upload_file(&larger, "/tmp/larger")), refused);
    assert_eq!(kind(host.client.upload_file(&larger, "/tmp/empty")), ErrorKind::EmptyPayload);
    assert!(matches!(kind(host.client.upload_file(&larger, "/tmp/none")), ErrorKind::File { .. }));
    assert!(matches!(kind(host.client.upload_file(&larger, "/tmp")), ErrorKind::File { .. }));
}

#[test]
#[ignore = "needs a real Xen"]
fn a_file_is_uploaded_as_it_is() {
    let host = host();
    let payload = host.payload("file", "-file").padded_to(300_001);
    std::fs::write("/tmp/payload", payload.build()).unwrap();
    let file = name("file");
    host.client.upload_file(&file, "/tmp/payload").unwrap();
    host.apply(&file);
    host.expect_shown("-file");
    host.remove(&file);
}

#[test]
#[ignore = "needs a real Xen"]
fn flags_without_a_meaning_are_refused_by_name() {
    let host = host();
    let hello = host.upload("hello", &host.payload("hello", "-hello"));
    for action in [Action::Apply, Action::Revert, Action::Replace, Action::Unload] {
        let meaningless = if action == Action::Apply { 1..32 } else { 0..32 };
        for bit in meaningless {
            let flags = Flags::from_bits_retain(1 << bit);
            let error = host.client.action(action, &hello).flags(flags).run().unwrap_err();
            assert!(matches!(error.kind(), ErrorKind::UnsupportedFlag { flags: f, .. } if *f == flags), "{error:?}");
        }
    }
    host.expect(&hello, State::Checked);
    host.expect_shown(&host.original);
    host.unload(&hello);
}

#[test]
#[ignore = "needs a real Xen"]
fn force_is_taken_where_xen_understands_it() {
    let host = host();
    let forced = name("forced");
    let payload = host.payload("forced", "-forced").build();
    let result = host.client.upload_with(&forced, &payload, UploadOptions::new().force());
    if host.client.xen_version().unwrap().release() >= (4, 19) {
        result.unwrap();
        host.unload(&forced);
    } else {
        assert_eq!(result.unwrap_err().kind(), &ErrorKind::UnsupportedForce);
    }
}

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
fn an_unmet_expectation_is_reported() {
    let host = host();
    let function = FunctionPatch::returning(PATCHED, "-expect").expecting(&[0xcc; 4]);
    let expect = host.upload("expect", &bare(&host.client, "expect").function(function));
    if !host.since(14) {
        // Its payloads have no field for one.
        host.apply(&expect);
        return host.remove(&expect);
    }
    for flags in [Flags::empty(), Flags::NODEPS] {
        let error = host.client.apply(&expect, flags).unwrap_err();
        assert_eq!(error.kind(), &ErrorKind::ExpectationNotMet { function: Some(PATCHED.into()) });
        assert!(error.xen_log().iter().any(|line| line.contains("expected:cccccccc, actual:")), "{error:?}");
    }
    host.expect_shown(&host.original);
    host.unload(&expect);
}

#[test]
#[ignore = "needs a real Xen"]
fn hooks_may_refuse() {
    let host = host();
    let veto = host.upload("veto", &host.payload("veto", "-veto").hook(HookKind::PreApply, HookCode::returns(-77)));
    if !host.since(14) {
        // It has no such hooks, and ignores them.
        host.client.replace(&veto, Flags::empty()).unwrap();
        host.expect_shown("-veto");
        return host.remove(&veto);
    }
    let error = host.client.apply(&veto, Flags::empty()).unwrap_err();
    assert_eq!(error.raw_errno(), Some(Errno::new(77)));
    let error = host.client.replace(&veto, Flags::empty()).unwrap_err();
    assert_eq!(error.kind(), &ErrorKind::VetoingHooks);
    host.expect_shown(&host.original);
    host.unload(&veto);
}
