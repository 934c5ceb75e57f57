//! The kinds of errors that no other module of this suite provokes.
//!
//! Others are in `open` (interface, privileges), `flags`, `waiting` (time, marks), `faulted`, `replacing`, `listing`,
//! `files`, and in `tests/device.rs` those of the device.

use std::time::Duration;

use xen_livepatch::payload::HookKind;
use xen_livepatch::sim::{Call, Defect, FunctionPatch, HookCode, PayloadBuilder, SimulatedXen};
use xen_livepatch::{
    Action, BuildId, Duplicate, Errno, Error, ErrorKind as K, Flags, Operation, PayloadName, QuiesceTimeout, Release,
    State,
};

use crate::host::{PATCHED, builder, error, host, kind, load, name, quick, releases, stack, unchecked};

#[test]
fn values_are_checked_when_they_are_made() {
    assert!(matches!(kind(PayloadName::new("").map_err(Error::from)), K::InvalidName(_)));
    assert!(matches!(kind("xyz".parse::<BuildId>().map_err(Error::from)), K::InvalidBuildId(_)));
    assert!(matches!(kind(QuiesceTimeout::new(Duration::ZERO)), K::InvalidTimeout { nanoseconds: 0 }));
}

#[test]
fn an_error_names_the_operation_and_the_payload() {
    for release in Release::ALL {
        let (_, client) = host(release);
        let nobody = name("nobody");
        let error = error(client.apply(&nobody, Flags::empty()));
        assert_eq!((error.kind(), error.raw_errno()), (&K::NoSuchPayload, Some(Errno::ENOENT)), "{release}");
        assert_eq!((error.operation(), error.payload()), (Some(Operation::Action(Action::Apply)), Some(&nobody)));
        assert!(error.to_string().starts_with("apply \"nobody\": no payload of this name"), "{error}");
        assert_eq!(kind(client.status(&nobody)), K::NoSuchPayload);
    }
}

/// An inventory shows it, for which a key is pressed once.
#[test]
fn a_payload_that_another_tool_has_loaded() {
    type Way = (&'static str, fn(&SimulatedXen), Duplicate, u64);
    for release in Release::ALL {
        let twin = |xen: &SimulatedXen| builder(xen, "theirs").defines("fresh").build();
        let open = Duplicate::BuildIdOrSymbol;
        let shown = Duplicate::Payload { name: name("theirs"), state: State::Checked };
        let busy = |xen: &SimulatedXen| xen.on_debug_keys().always().after(|xen| xen.print("(XEN) build-id=5a5a"));
        let ways: [Way; 4] = [
            ("nothing", |_| {}, shown, 1),
            ("no debug keys", |xen| xen.on_debug_keys().always().fail(Errno::EPERM), open.clone(), 1),
            ("a line in between", busy, open.clone(), 1),
            ("no list", |xen| xen.on_upload().after(|xen| xen.on_list().always().fail(Errno::EPERM)), open, 0),
        ];
        for (what, fault, expected, pressed) in ways {
            let (xen, client) = host(release);
            // The Xen that payloads are checked for is found out before.
            let _target = client.target().unwrap();
            xen.other_upload("theirs", &twin(&xen)).unwrap();
            fault(&xen);
            let keys = xen.calls().of(Call::DebugKeys);
            let error = error(client.upload(&name("mine"), &twin(&xen)));
            let K::AlreadyLoaded { by, .. } = error.kind() else { panic!("{error:?}") };
            assert_eq!(*by, expected, "{release}: {what}");
            assert_eq!(xen.calls().of(Call::DebugKeys) - keys, pressed, "{release}: {what}");
            assert!(error.xen_log().is_empty(), "{release}: {what}: {:?}", error.xen_log());
        }
    }
}

#[test]
fn a_payload_that_is_loaded_already() {
    for release in Release::ALL {
        let xen = SimulatedXen::new(release);
        let log = quick().connect(xen.clone()).unwrap();
        let no_log = quick().without_xen_log().connect(xen.clone()).unwrap();
        let one = builder(&xen, "one").defines("fresh");
        log.upload(&name("one"), &one.build()).unwrap();
        let same_symbol = builder(&xen, "another").defines("fresh").build();
        for (client, logged) in [(&log, true), (&no_log, false)] {
            let by = |id: &str, payload: &[u8]| match kind(client.upload(&name(id), payload)) {
                K::AlreadyLoaded { by, .. } => by,
                other => panic!("{other:?}"),
            };
            // From 4.13 on Xen names a symbol. No release build names a build-id, and silence may mean anything.
            let told = logged && release >= Release::V4_13;
            assert_eq!(by("one", &builder(&xen, "another").build()), Duplicate::Name, "{release}");
            // An inventory shows the build-id, unless the client is to leave Xen's log alone.
            let same = Duplicate::Payload { name: name("one"), state: State::Checked };
            let either = || Duplicate::BuildIdOrSymbol;
            assert_eq!(by("two", &one.build()), if logged { same.clone() } else { either() }, "{release}");
            assert_eq!(by("one", &one.build()), if logged { same } else { Duplicate::Name }, "{release}");
            let symbol = match (told, logged) {
                (true, _) => Duplicate::Symbol("fresh".into()),
                (false, true) => Duplicate::SomeSymbol,
                (false, false) => either(),
            };
            assert_eq!(by("two", &same_symbol), symbol, "{release}");
        }
        assert_eq!(xen.loaded(), [name("one")]);
    }
}

#[test]
fn payloads_that_xen_can_not_use() {
    for release in Release::ALL {
        let (xen, client) = host(release);
        let uploaded = |payload: &[u8]| {
            let error = error(unchecked(&client, &name("one"), payload));
            (error.kind().clone(), error.raw_errno())
        };
        assert_eq!(uploaded(b""), (K::EmptyPayload, None));
        let large = vec![0; (2 << 20) + 1];
        assert_eq!(uploaded(&large), (K::PayloadTooLarge { size: (2 << 20) + 1, without_debug: None }, None));
        assert_eq!(xen.calls().of(Call::Upload), 0, "Xen isn't asked");
        for (payload, errno) in [
            (b"no ELF file".to_vec(), Errno::EINVAL),
            (large[1..].to_vec(), Errno::EINVAL),
            (builder(&xen, "one").needs("nobody_has_it").build(), Errno::ENOENT),
            (builder(&xen, "one").defect(".text", Defect::Flags(7)).build(), Errno::EOPNOTSUPP),
        ] {
            let (kind, raw) = uploaded(&payload);
            assert!(matches!(kind, K::InvalidPayload { .. }), "{release}: {kind:?}");
            assert_eq!(raw, Some(errno), "{release}");
        }
        assert_eq!(xen.loaded(), []);
    }
}

#[test]
fn a_xen_without_a_build_id_takes_no_payload() {
    for release in Release::ALL {
        let xen = SimulatedXen::builder(release).build_id(None).build();
        let client = quick().connect(xen.clone()).unwrap();
        let version = builder(&SimulatedXen::new(release), "one").build();
        let uploaded = client.upload(&name("one"), &version);
        if release >= Release::V4_14 {
            assert_eq!(kind(uploaded), K::NoBuildId, "{release}");
        } else {
            uploaded.unwrap();
            for action in [Action::Apply, Action::Replace] {
                let result = client.action(action, &name("one")).run();
                assert_eq!(kind(result), K::NoBuildId, "{release}");
            }
        }
    }
}

#[test]
fn the_wrong_place_on_the_stack() {
    for release in Release::ALL {
        let xen = SimulatedXen::new(release);
        let client = quick().without_xen_log().connect(xen.clone()).unwrap();
        let [one, two, three] = stack(&xen, ["one", "two", "three"], 2);
        let top = load(&xen, "top");
        let depends = |action, found| K::DependsOnAnother { action, expected: None, found, on: None };
        let either = release >= Release::V4_14;
        let applied = kind(client.apply(&top, Flags::empty()));
        let alone = depends(Action::Apply, None);
        assert_eq!(applied, if either { K::DependencyOrExpectation } else { alone }, "{release}");
        assert_eq!(kind(client.replace(&three, Flags::empty())), depends(Action::Replace, xen.build_id()));
        assert_eq!(kind(client.revert(&one, Flags::empty())), K::NotOnTop { top: None });
        assert_eq!(xen.applied(), [one, two]);
    }
}

#[test]
fn code_that_is_not_what_was_expected() {
    for release in releases(Release::V4_14..) {
        let (xen, client) = host(release);
        let at = FunctionPatch::returning(PATCHED, "-x");
        let of = |id: &str, function: FunctionPatch| {
            let xen = PayloadBuilder::named(id, &xen.build_id().unwrap());
            xen.function(function).build()
        };
        client.upload(&name("differs"), &of("differs", at.clone().expecting(&[0xff; 8]))).unwrap();
        unchecked(&client, &name("long"), &of("long", at.expecting(&[0xff; 31]))).unwrap();
        let not_met = K::ExpectationNotMet { function: Some(PATCHED.into()) };
        assert_eq!(kind(client.apply(&name("differs"), Flags::NODEPS)), not_met, "{release}");
        assert_eq!(kind(client.apply(&name("differs"), Flags::empty())), not_met);
        let deaf = quick().without_xen_log().connect(xen.clone()).unwrap();
        assert_eq!(kind(deaf.apply(&name("differs"), Flags::empty())), K::DependencyOrExpectation);
        let not_said = K::ExpectationNotMet { function: None };
        assert_eq!(kind(deaf.apply(&name("differs"), Flags::NODEPS)), not_said);
        let error = error(client.apply(&name("long"), Flags::empty()));
        assert_eq!(error.kind(), &not_met);
        assert_eq!(error.raw_errno(), Some(Errno::ERANGE));
    }
}

#[test]
fn hooks_that_refuse() {
    for release in releases(Release::V4_14..) {
        let numbers = [1, 22, 16, 11, 12, 14, 1000, -7];
        for code in numbers.map(Errno::new) {
            let (xen, client) = host(release);
            let refuses = HookCode::returns(-code.number());
            let one = builder(&xen, "one").hook(HookKind::PreApply, refuses.clone()).build();
            client.upload(&name("one"), &one).unwrap();
            for _ in 0..2 {
                assert_eq!(kind(client.apply(&name("one"), Flags::empty())), K::HookRefused { code }, "{release}");
            }
            let two = builder(&xen, "two").hook(HookKind::PreRevert, refuses).build();
            client.upload(&name("two"), &two).unwrap();
            client.apply(&name("two"), Flags::empty()).unwrap();
            assert_eq!(kind(client.revert(&name("two"), Flags::empty())), K::HookRefused { code }, "{release}");
            assert_eq!(xen.applied(), [name("two")]);
        }
    }
}

#[test]
fn a_hook_that_refuses_without_a_log_is_named_if_no_other_cause_exists() {
    for release in releases(Release::V4_14..) {
        let xen = SimulatedXen::new(release);
        let client = quick().without_xen_log().connect(xen.clone()).unwrap();
        for (code, known) in [(Errno::EIO, true), (Errno::EBUSY, false), (Errno::EINVAL, false), (Errno::EFAULT, false)]
        {
            let id = name(format!("returns{}", code.number()));
            let refuses = builder(&xen, &id.to_string()).hook(HookKind::PreApply, HookCode::returns(-code.number()));
            client.upload(&id, &refuses.build()).unwrap();
            let before = xen.calls().of(Call::Apply);
            for attempt in [1, 2] {
                let error = error(client.apply(&id, Flags::empty()));
                let told = match error.kind() {
                    K::HookRefused { code: told, .. } => known && attempt == 1 && *told == code,
                    K::Unexplained { code: told, .. } => (!known || attempt == 2) && *told == code,
                    _ => false,
                };
                assert!(told, "{release} {attempt}: {error:?}");
                assert_eq!(error.raw_errno(), Some(code));
                assert_eq!(xen.calls().of(Call::Apply) - before, attempt, "it is not run again to find out");
            }
        }
    }
}

#[test]
fn hooks_in_place_of_an_action_that_fail() {
    for release in releases(Release::V4_14..) {
        for code in [Errno::EIO, Errno::EBUSY, Errno::EAGAIN, Errno::EINVAL] {
            let (xen, client) = host(release);
            let fails = HookCode::returns(-code.number());
            let one = builder(&xen, "one").hook(HookKind::Apply, fails.clone()).build();
            client.upload(&name("one"), &one).unwrap();
            let failed = |state| K::ActionFailed { code, state };
            let result = client.action(Action::Apply, &name("one")).quiesce_retries(5).run();
            assert_eq!(kind(result), failed(State::Checked), "{release}");
            assert_eq!(xen.calls().of(Call::Apply), 1, "once");
            let two = builder(&xen, "two").hook(HookKind::Revert, fails).build();
            client.upload(&name("two"), &two).unwrap();
            client.apply(&name("two"), Flags::empty()).unwrap();
            assert_eq!(kind(client.revert(&name("two"), Flags::empty())), failed(State::Applied));
            assert_eq!(xen.applied(), [name("two")]);
        }
    }
}

#[test]
fn data_that_may_have_changed_must_be_uploaded_again() {
    for release in releases(Release::V4_8..) {
        let (xen, client) = host(release);
        let payload = builder(&xen, "one").writable_data([1, 2, 3]).build();
        let one = name("one");
        client.upload(&one, &payload).unwrap();
        client.apply(&one, Flags::empty()).unwrap();
        client.revert(&one, Flags::empty()).unwrap();
        let error = error(client.apply(&one, Flags::empty()));
        assert_eq!((error.kind(), error.raw_errno()), (&K::ReapplyNeedsReupload, Some(Errno::EINVAL)), "{release}");
        assert_eq!(xen.applied(), []);
        client.unload(&one, Flags::empty()).unwrap();
        client.upload(&one, &payload).unwrap();
        client.apply(&one, Flags::empty()).unwrap();
    }
}

#[test]
fn memory_that_is_not_there() {
    for release in Release::ALL {
        let (xen, client) = host(release);
        let payload = builder(&xen, "one").build();
        xen.on_upload().fail(Errno::ENOMEM);
        assert_eq!(kind(client.upload(&name("one"), &payload)), K::XenOutOfMemory, "{release}");
        xen.limit_buffers(Some(100 * 1024));
        let large = builder(&xen, "one").padded_to(200 * 1024).build();
        let error = error(client.upload(&name("one"), &large));
        assert_eq!((error.kind(), error.raw_errno()), (&K::BufferMemory { bytes: large.len() }, Some(Errno::ENOMEM)));
        client.upload(&name("one"), &payload).unwrap();
        xen.limit_buffers(None);
        client.upload(&name("two"), &builder(&xen, "two").padded_to(200 * 1024).build()).unwrap();
    }
}

#[test]
fn an_unexpected_number_is_passed_on() {
    for call in [Call::Upload, Call::Get, Call::List, Call::Apply, Call::BuildId, Call::ExtraVersion] {
        let (xen, client) = host(Release::V4_17);
        let one = load(&xen, "one");
        let odd = Errno::new(4095);
        xen.on(call).fail(odd);
        let error = match call {
            Call::Upload => error(unchecked(&client, &name("two"), b"payload")),
            Call::Get => error(client.status(&one)),
            Call::List => error(client.list()),
            Call::Apply => error(client.apply(&one, Flags::empty())),
            Call::BuildId => error(client.build_id()),
            _ => error(client.xen_version()),
        };
        assert!(matches!(error.kind(), K::UnexpectedAnswer { .. }), "{error:?}");
        assert_eq!(error.raw_errno(), Some(odd));
    }
}

#[test]
fn a_host_that_goes_down_is_an_error_too() {
    let (xen, client) = host(Release::V4_17);
    let kills = builder(&xen, "one").hook(HookKind::Apply, HookCode::returns(0)).build();
    client.upload(&name("one"), &kills).unwrap();
    let error = error(client.apply(&name("one"), Flags::empty()));
    assert_eq!(error.raw_errno(), Some(Errno::EIO));
    assert!(xen.crashed().is_some());
}

#[test]
fn the_identity_of_a_payload_that_is_gone_is_forgotten_whatever_saw_that_first() {
    for release in releases(Release::V4_14..) {
        let (xen, client) = host(release);
        let (gone, below, top) = (name("gone"), name("below"), name("top"));
        client.upload(&gone, &builder(&xen, "gone").build()).unwrap();
        xen.other_action("gone", Action::Unload, Flags::empty()).unwrap();
        // Where UNLOAD does not wait for hooks, this looks at the version of the list, and the apply sees the same one.
        let lowest = builder(&xen, "below");
        client.upload(&below, &lowest.build()).unwrap();
        client.apply(&below, Flags::empty()).unwrap();
        let another = builder(&xen, "another").depends_on(lowest.build_id()).build();
        xen.other_upload("gone", &another).unwrap();
        xen.other_action("gone", Action::Apply, Flags::empty()).unwrap();
        let expected = BuildId::new([0x77; 20]);
        client.upload(&top, &builder(&xen, "top").depends_on(&expected).build()).unwrap();
        let told = K::DependsOnAnother { action: Action::Apply, expected: Some(expected), found: None, on: Some(gone) };
        assert_eq!(kind(client.apply(&top, Flags::empty())), told, "{release}");
    }
}
