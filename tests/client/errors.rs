//! The kinds of errors that no other module of this suite provokes.
//!
//! Others are in `open` (interface, privileges), `flags`, `waiting` (time, marks), `faulted`, `replacing`, `listing`,
//! `files`, and in `tests/device.rs` those of the device.

use crate::prelude::*;

#[test]
fn values_are_checked_when_they_are_made() {
    assert!(matches!(kind(PayloadName::new("").map_err(Error::from)), ErrorKind::InvalidName(_)));
    assert!(matches!(kind("xyz".parse::<BuildId>().map_err(Error::from)), ErrorKind::InvalidBuildId(_)));
    assert!(matches!(kind(QuiesceTimeout::new(Duration::ZERO)), ErrorKind::InvalidTimeout { nanoseconds: 0 }));
}

#[test]
fn an_error_names_the_operation_and_the_payload() {
    for (_, client) in hosts(Release::ALL) {
        let nobody = name("nobody");
        let error = error(client.apply(&nobody, Flags::empty()));
        assert_eq!((error.kind(), error.raw_errno()), (&ErrorKind::NoSuchPayload, Some(Errno::ENOENT)));
        assert_eq!((error.operation(), error.payload()), (Some(Operation::Action(Action::Apply)), Some(&nobody)));
        assert!(error.to_string().starts_with("apply \"nobody\": no payload of this name"), "{error}");
        assert_eq!(kind(client.status(&nobody)), ErrorKind::NoSuchPayload);
    }
}

/// An inventory shows it, for which a key is pressed once.
#[test]
fn a_payload_that_another_tool_has_loaded() {
    type Way = (&'static str, fn(&SimulatedXen), Duplicate, u64);
    let open = Duplicate::BuildIdOrSymbol;
    let shown = Duplicate::Payload { name: name("theirs"), state: State::Checked };
    let busy = |xen: &SimulatedXen| xen.on_debug_keys().always().after(|xen| xen.print("(XEN) build-id=5a5a"));
    let ways: [Way; 4] = [
        ("nothing", |_| {}, shown, 1),
        ("no debug keys", |xen| xen.on_debug_keys().always().fail(Errno::EPERM), open.clone(), 1),
        ("a line in between", busy, open.clone(), 1),
        ("no list", |xen| xen.on_upload().after(|xen| xen.on_list().always().fail(Errno::EPERM)), open, 0),
    ];
    for (xen, client, (_, fault, expected, pressed)) in hosts_for(Release::ALL, ways) {
        // The Xen that payloads are checked for is found out before.
        let _target = client.target().unwrap();
        let twin = builder(&xen, "theirs").defines("fresh").build();
        xen.other_upload("theirs", &twin).unwrap();
        fault(&xen);
        let keys = xen.calls().of(Call::DebugKeys);
        let error = error(client.upload(&name("mine"), &twin));
        assert_eq!(error.kind(), &ErrorKind::AlreadyLoaded { by: expected });
        assert_eq!(xen.calls().of(Call::DebugKeys) - keys, pressed);
        assert!(error.xen_log().is_empty(), "{:?}", error.xen_log());
    }
}

#[test]
fn a_payload_that_is_loaded_already() {
    for (xen, client) in hosts(Release::ALL) {
        let one = builder(&xen, "one").defines("fresh");
        upload(&client, "one", &one);
        let another = builder(&xen, "another");
        // An inventory shows the build-id, unless the client is to leave Xen's log alone.
        let same = Duplicate::Payload { name: name("one"), state: State::Checked };
        // From 4.13 on Xen names a symbol. No release build names a build-id, and silence may mean anything.
        let named = Duplicate::Symbol("fresh".into());
        let symbol = if xen.release() >= Release::V4_13 { named } else { Duplicate::SomeSymbol };
        let either = Duplicate::BuildIdOrSymbol;
        for (client, same_name, same_id, same_symbol) in
            [(client, same.clone(), same, symbol), (without_log(&xen), Duplicate::Name, either.clone(), either)]
        {
            for (id, payload, by) in [
                ("one", &another, Duplicate::Name),
                ("two", &one, same_id),
                ("one", &one, same_name),
                ("two", &another.clone().defines("fresh"), same_symbol),
            ] {
                let uploaded = client.upload(&name(id), &payload.build());
                assert_eq!(kind(uploaded), ErrorKind::AlreadyLoaded { by });
            }
        }
        assert_eq!(xen.loaded(), names(["one"]));
    }
}

#[test]
fn payloads_that_xen_can_not_use() {
    for (xen, client) in hosts(Release::ALL) {
        let uploaded = |payload: &[u8]| kind_and_errno(unchecked(&client, &name("one"), payload));
        assert_eq!(uploaded(b""), (ErrorKind::EmptyPayload, None));
        let large = vec![0; (2 << 20) + 1];
        assert_eq!(uploaded(&large), (ErrorKind::PayloadTooLarge { size: (2 << 20) + 1, without_debug: None }, None));
        assert_eq!(xen.calls().of(Call::Upload), 0, "Xen isn't asked");
        for (payload, errno) in [
            (b"no ELF file".to_vec(), Errno::EINVAL),
            (large[1..].to_vec(), Errno::EINVAL),
            (builder(&xen, "one").needs("nobody_has_it").build(), Errno::ENOENT),
            (builder(&xen, "one").defect(".text", Defect::Flags(7)).build(), Errno::EOPNOTSUPP),
        ] {
            let (kind, raw) = uploaded(&payload);
            assert!(matches!(kind, ErrorKind::InvalidPayload { .. }), "{kind:?}");
            assert_eq!(raw, Some(errno));
        }
        assert_eq!(xen.loaded(), []);
    }
}

#[test]
fn a_xen_without_a_build_id_takes_no_payload() {
    for release in each(Release::ALL) {
        let client = connect(&SimulatedXen::builder(release).build_id(None).build());
        let uploaded = client.upload(&name("one"), &builder(&SimulatedXen::new(release), "one").build());
        if release >= Release::V4_14 {
            assert_eq!(kind(uploaded), ErrorKind::NoBuildId);
        } else {
            uploaded.unwrap();
            assert_eq!(kind(client.apply(&name("one"), Flags::empty())), ErrorKind::NoBuildId);
            assert_eq!(kind(client.replace(&name("one"), Flags::empty())), ErrorKind::NoBuildId);
        }
    }
}

#[test]
fn the_wrong_place_on_the_stack() {
    for (xen, _) in hosts(Release::ALL) {
        let client = without_log(&xen);
        let [one, two, three] = stack(&xen, ["one", "two", "three"], 2);
        let top = load(&xen, "top");
        let depends = |action, found| ErrorKind::DependsOnAnother { action, expected: None, found, on: None };
        let either = xen.release() >= Release::V4_14;
        let alone = depends(Action::Apply, None);
        let refused = if either { ErrorKind::DependencyOrExpectation } else { alone };
        assert_eq!(kind(client.apply(&top, Flags::empty())), refused);
        assert_eq!(kind(client.replace(&three, Flags::empty())), depends(Action::Replace, xen.build_id()));
        assert_eq!(kind(client.revert(&one, Flags::empty())), ErrorKind::NotOnTop { top: None });
        assert_eq!(xen.applied(), [one, two]);
    }
}

#[test]
fn code_that_is_not_what_was_expected() {
    for (xen, client) in hosts(releases(Release::V4_14..)) {
        let at = FunctionPatch::returning(PATCHED, "-x");
        let of = |id, function| PayloadBuilder::named(id, &xen.build_id().unwrap()).function(function);
        let differs = upload(&client, "differs", &of("differs", at.clone().expecting(&[0xff; 8])));
        let long = name("long");
        unchecked(&client, &long, &of("long", at.expecting(&[0xff; 31])).build()).unwrap();
        let not_met = ErrorKind::ExpectationNotMet { function: Some(PATCHED.into()) };
        assert_eq!(kind(client.apply(&differs, Flags::NODEPS)), not_met);
        assert_eq!(kind(client.apply(&differs, Flags::empty())), not_met);
        let deaf = without_log(&xen);
        assert_eq!(kind(deaf.apply(&differs, Flags::empty())), ErrorKind::DependencyOrExpectation);
        assert_eq!(kind(deaf.apply(&differs, Flags::NODEPS)), ErrorKind::ExpectationNotMet { function: None });
        assert_eq!(kind_and_errno(client.apply(&long, Flags::empty())), (not_met, Some(Errno::ERANGE)));
    }
}

#[test]
fn hooks_that_refuse() {
    let codes = [1, 22, 16, 11, 12, 14, 1000, -7].map(Errno::new);
    for (xen, client, code) in hosts_for(releases(Release::V4_14..), codes) {
        let refused = ErrorKind::HookRefused { code };
        let one = upload(&client, "one", &with_hook(&xen, "one", HookKind::PreApply, -code.number()));
        for _ in 0..2 {
            assert_eq!(kind(client.apply(&one, Flags::empty())), refused);
        }
        let two = upload_and_apply(&client, "two", &with_hook(&xen, "two", HookKind::PreRevert, -code.number()));
        assert_eq!(kind(client.revert(&two, Flags::empty())), refused);
        assert_eq!(xen.applied(), [two]);
    }
}

#[test]
fn a_hook_that_refuses_without_a_log_is_named_if_no_other_cause_exists() {
    let codes = [(Errno::EIO, true), (Errno::EBUSY, false), (Errno::EINVAL, false), (Errno::EFAULT, false)];
    for (xen, _, (code, known)) in hosts_for(releases(Release::V4_14..), codes) {
        let client = without_log(&xen);
        let id = upload(&client, "refuses", &with_hook(&xen, "refuses", HookKind::PreApply, -code.number()));
        for attempt in [1, 2] {
            let error = error(client.apply(&id, Flags::empty()));
            let told = match error.kind() {
                ErrorKind::HookRefused { code: told, .. } => known && attempt == 1 && *told == code,
                ErrorKind::Unexplained { code: told, .. } => (!known || attempt == 2) && *told == code,
                _ => false,
            };
            assert!(told, "{attempt}: {error:?}");
            assert_eq!(error.raw_errno(), Some(code));
            assert_eq!(xen.calls().of(Call::Apply), attempt, "it is not run again to find out");
        }
    }
}

#[test]
fn hooks_in_place_of_an_action_that_fail() {
    let codes = [Errno::EIO, Errno::EBUSY, Errno::EAGAIN, Errno::EINVAL];
    for (xen, client, code) in hosts_for(releases(Release::V4_14..), codes) {
        let failed = |state| ErrorKind::ActionFailed { code, state };
        let one = upload(&client, "one", &with_hook(&xen, "one", HookKind::Apply, -code.number()));
        let result = client.action(Action::Apply, &one).quiesce_retries(5).run();
        assert_eq!(kind(result), failed(State::Checked));
        assert_eq!(xen.calls().of(Call::Apply), 1, "once");
        let two = upload_and_apply(&client, "two", &with_hook(&xen, "two", HookKind::Revert, -code.number()));
        assert_eq!(kind(client.revert(&two, Flags::empty())), failed(State::Applied));
        assert_eq!(xen.applied(), [two]);
    }
}

#[test]
fn data_that_may_have_changed_must_be_uploaded_again() {
    for (xen, client) in hosts(releases(Release::V4_8..)) {
        let payload = builder(&xen, "one").writable_data([1, 2, 3]);
        let one = upload(&client, "one", &payload);
        apply_and_revert(&client, &one);
        let again = kind_and_errno(client.apply(&one, Flags::empty()));
        assert_eq!(again, (ErrorKind::ReapplyNeedsReupload, Some(Errno::EINVAL)));
        assert_eq!(xen.applied(), []);
        client.unload(&one, Flags::empty()).unwrap();
        upload_and_apply(&client, "one", &payload);
    }
}

#[test]
fn memory_that_is_not_there() {
    for (xen, client) in hosts(Release::ALL) {
        let payload = builder(&xen, "one");
        xen.on_upload().fail(Errno::ENOMEM);
        assert_eq!(kind(client.upload(&name("one"), &payload.build())), ErrorKind::XenOutOfMemory);
        xen.limit_buffers(Some(100 * 1024));
        let large = builder(&xen, "one").padded_to(200 * 1024).build();
        let no_room = (ErrorKind::BufferMemory { bytes: large.len() }, Some(Errno::ENOMEM));
        assert_eq!(kind_and_errno(client.upload(&name("one"), &large)), no_room);
        upload(&client, "one", &payload);
        xen.limit_buffers(None);
        upload(&client, "two", &builder(&xen, "two").padded_to(200 * 1024));
    }
}

#[test]
fn an_unexpected_number_is_passed_on() {
    for call in each([Call::Upload, Call::Get, Call::List, Call::Apply, Call::BuildId, Call::ExtraVersion]) {
        let (xen, client) = host(Release::V4_17);
        let one = load(&xen, "one");
        let odd = Errno::new(4095);
        xen.on(call).fail(odd);
        let (kind, errno) = kind_and_errno(match call {
            Call::Upload => unchecked(&client, &name("two"), b"payload"),
            Call::Get => client.status(&one).map(drop),
            Call::List => client.list().map(drop),
            Call::Apply => client.apply(&one, Flags::empty()),
            Call::BuildId => client.build_id().map(drop),
            _ => client.xen_version().map(drop),
        });
        assert!(matches!(kind, ErrorKind::UnexpectedAnswer { .. }), "{kind:?}");
        assert_eq!(errno, Some(odd));
    }
}

#[test]
fn a_host_that_goes_down_is_an_error_too() {
    let (xen, client) = host(Release::V4_17);
    let kills = upload(&client, "one", &with_hook(&xen, "one", HookKind::Apply, 0));
    assert_eq!(error(client.apply(&kills, Flags::empty())).raw_errno(), Some(Errno::EIO));
    assert!(xen.crashed().is_some());
}

#[test]
fn the_identity_of_a_payload_that_is_gone_is_forgotten_whatever_saw_that_first() {
    for (xen, client) in hosts(releases(Release::V4_14..)) {
        let gone = upload(&client, "gone", &builder(&xen, "gone"));
        xen.other_action("gone", Action::Unload, Flags::empty()).unwrap();
        // Where UNLOAD does not wait for hooks, this looks at the version of the list, and the apply sees the same one.
        let lowest = builder(&xen, "below");
        upload_and_apply(&client, "below", &lowest);
        other_load(&xen, "gone", &builder(&xen, "another").depends_on(lowest.build_id()));
        let id = BuildId::new([0x77; 20]);
        let top = upload(&client, "top", &builder(&xen, "top").depends_on(&id));
        let (action, expected, on) = (Action::Apply, Some(id), Some(gone));
        let told = ErrorKind::DependsOnAnother { action, expected, found: None, on };
        assert_eq!(kind(client.apply(&top, Flags::empty())), told);
    }
}
