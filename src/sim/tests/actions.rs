use super::*;
use crate::sim::Defect;

#[test]
fn payloads_go_on_and_off_the_stack_and_show_in_the_version() {
    for (xen, _) in since(Release::V4_7) {
        stack(&xen, &["one", "two"]);
        assert_eq!(action(&xen, "two", APPLY), Err(Errno::EINVAL), "not on Xen itself");
        assert_eq!(get(&xen, "two"), Ok((1, 0)), "the result is untouched");
        assert_eq!(done(&xen, "one", APPLY), (2, 0), "{} {:?}", xen.release(), xen.architecture());
        assert_eq!(extra_version(&xen), "-one");
        assert_eq!(done(&xen, "two", APPLY), (2, 0));
        assert_eq!(extra_version(&xen), "-two");
        assert_eq!(names(&xen.applied()), ["one", "two"]);
        assert_eq!(action(&xen, "one", REVERT), Err(Errno::EBUSY), "not on top");
        assert_eq!(action(&xen, "two", UNLOAD), Err(Errno::EINVAL), "applied");
        assert_eq!(done(&xen, "two", REVERT), (1, 0));
        assert_eq!(extra_version(&xen), "-one");
        assert_eq!(action(&xen, "two", UNLOAD), Ok(0));
        assert_eq!(action(&xen, "two", UNLOAD), Err(Errno::ENOENT));
        assert_eq!(done(&xen, "one", REVERT), (1, 0));
        assert_eq!(extra_version(&xen), xen.release().extra_version());
        assert_eq!(xen.crashed(), None);
    }
}

#[test]
fn what_is_so_already_is_silently_skipped() {
    for release in Release::ALL {
        let xen = SimulatedXen::new(release);
        stack(&xen, &["one", "two"]);
        assert_eq!(action(&xen, "one", REVERT), Ok(0));
        assert_eq!(get(&xen, "one"), Ok((1, 0)));
        done(&xen, "one", APPLY);
        done(&xen, "two", APPLY);
        assert_eq!(action(&xen, "one", APPLY), Ok(0));
        assert_eq!(action(&xen, "one", REPLACE), Ok(0));
        assert_eq!(get(&xen, "one"), Ok((2, 0)), "nothing was started");
        assert_eq!(names(&xen.applied()), ["one", "two"], "{release}");
    }
}

#[test]
fn dependencies_can_be_left_out_from_4_14_on_by_apply_alone() {
    for (xen, flags) in since(Release::V4_14) {
        stack(&xen, &["one", "two"]);
        let nodeps = |command| action_with(&xen, "two", command, 0, NODEPS);
        assert_eq!(nodeps(REPLACE), Err(Errno::EINVAL), "replace always looks at Xen");
        assert_eq!(nodeps(APPLY), if flags { Ok(0) } else { Err(Errno::EINVAL) }, "{}", xen.release());
        let unknown = action_with(&xen, "one", APPLY, 0, 0xf0);
        assert_eq!(unknown.is_ok(), !flags, "unknown bits are ignored, the dependency is not");
    }
    let xen = SimulatedXen::new(Release::V4_17);
    stack(&xen, &["one", "two"]);
    done(&xen, "one", APPLY);
    assert_eq!(upload(&xen, "x", &builder(&xen, "x").build()), Ok(0));
    assert_eq!(action(&xen, "x", APPLY), Err(Errno::EINVAL));
    assert!(xen.console().contains("livepatch: x: check against one build-id failed"), "{}", xen.console());
    let padded = named(&xen, 3, "x").word(32, APPLY).word(44, 1).result(&xen);
    assert_eq!(padded, Err(Errno::EINVAL));
}

#[test]
fn reverted_payloads_with_data_of_their_own_stay_reverted() {
    for (xen, guarded) in since(Release::V4_8) {
        let data = builder(&xen, "data").writable_data([1, 2, 3]).build();
        assert_eq!(upload(&xen, "data", &data), Ok(0));
        // An empty section can't change.
        let plain = builder(&xen, "plain").section(".empty", vec![]).defect(".empty", Defect::Flags(3));
        assert_eq!(upload(&xen, "plain", &plain.build()), Ok(0));
        for name in ["data", "plain"] {
            assert_eq!((done(&xen, name, APPLY), done(&xen, name, REVERT)), ((2, 0), (1, 0)));
        }
        assert_eq!(done(&xen, "plain", APPLY), (2, 0));
        done(&xen, "plain", REVERT);
        // The hypercall's own result is 0.
        let expected = if guarded { (1, -22) } else { (2, 0) };
        assert_eq!(done(&xen, "data", APPLY), expected, "{}", xen.release());
        if guarded {
            assert_eq!(done(&xen, "data", REPLACE), (2, 0), "replace doesn't look");
        }
    }
}

#[test]
fn a_payload_without_writable_data_applies_again_from_4_10_on() {
    for (xen, again) in since(Release::V4_10) {
        let uploaded = upload(&xen, "p", &builder(&xen, "p").read_only_funcs().build());
        let keeps_state = match xen.architecture() {
            Architecture::AArch64 => xen.release() < Release::V4_17,
            _ => xen.release() == Release::V4_16,
        };
        if keeps_state {
            // In that section, and has only code writable while it patches.
            assert_eq!(uploaded, Err(Errno::EIO));
            continue;
        }
        assert_eq!(uploaded, Ok(0));
        assert_eq!((done(&xen, "p", APPLY), done(&xen, "p", REVERT)), ((2, 0), (1, 0)));
        let expected = if again || xen.release() == Release::V4_7 { (2, 0) } else { (1, -22) };
        assert_eq!(done(&xen, "p", APPLY), expected, "{}", xen.release());
    }
}

#[test]
fn work_is_pending_for_so_many_looks() {
    for release in [Release::V4_7, Release::V4_22] {
        let xen = SimulatedXen::new(release);
        stack(&xen, &["one", "two"]);
        xen.set_pace(Pace::Polls(3));
        assert_eq!(action(&xen, "one", APPLY), Ok(0));
        assert_eq!(get(&xen, "one"), Ok((1, -11)));
        assert_eq!(action(&xen, "one", 0), Err(Errno::EBUSY), "pending");
        assert_eq!(action(&xen, "two", 0), Err(Errno::EOPNOTSUPP), "not pending");
        assert_eq!(get(&xen, "one"), Ok((2, 0)));
        assert_eq!(action(&xen, "one", 0), Err(Errno::EOPNOTSUPP));
        assert_eq!(action(&xen, "none", 0), Err(Errno::ENOENT));
    }
}

#[test]
fn a_busy_host_leaves_a_stale_mark_behind() {
    for release in Release::ALL {
        let xen = SimulatedXen::new(release);
        for name in ["one", "two"] {
            assert_eq!(upload(&xen, name, &builder(&xen, name).build()), Ok(0));
        }
        xen.set_pace(Pace::Held);
        assert_eq!(action(&xen, "one", APPLY), Ok(0));
        assert_eq!(action(&xen, "two", APPLY), Err(Errno::EBUSY), "{release}");
        xen.finish_action();
        assert_eq!(get(&xen, "one"), Ok((2, 0)));
        assert_eq!(get(&xen, "two"), Ok((1, -11)), "for ever");
        assert_eq!(action(&xen, "two", 0), Err(Errno::EOPNOTSUPP), "but nothing is pending");
        assert_eq!(done(&xen, "two", REPLACE), (2, 0));
        xen.set_cpu_hotplug(true);
        assert_eq!(action(&xen, "two", REVERT), Err(Errno::EBUSY));
        xen.set_cpu_hotplug(false);
        assert_eq!(get(&xen, "two"), Ok((2, -11)));
        assert_eq!(done(&xen, "two", REVERT), (1, 0));
    }
}

#[test]
fn a_rendezvous_can_come_too_late() {
    let xen = SimulatedXen::new(Release::V4_17);
    stack(&xen, &["one", "two"]);
    assert_eq!(action_with(&xen, "one", APPLY, 1, 0), Ok(0), "one nanosecond");
    xen.finish_action();
    assert_eq!(get(&xen, "one"), Ok((1, -16)));
    xen.set_quiesce_time(Duration::from_millis(31));
    assert_eq!(done(&xen, "one", APPLY), (1, -16), "0 is 30 ms");
    assert_eq!(action_with(&xen, "one", APPLY, 32_000_000, 0), Ok(0));
    xen.finish_action();
    assert_eq!(get(&xen, "one"), Ok((2, 0)));
    xen.set_quiesce_time(Duration::ZERO);
    xen.on_revert().time_out();
    assert_eq!(done(&xen, "one", REVERT), (2, -16));
    assert_eq!(done(&xen, "one", REVERT), (1, 0));
}

#[test]
fn an_unload_beside_pending_work_spoils_it_where_it_waits_for_all_cpus() {
    for (xen, waits) in since(Release::V4_17) {
        stack(&xen, &["one", "two"]);
        xen.set_pace(Pace::Held);
        assert_eq!(action(&xen, "one", APPLY), Ok(0));
        assert_eq!(action(&xen, "two", UNLOAD), Ok(0));
        xen.finish_action();
        assert_eq!(get(&xen, "one"), Ok(if waits { (1, -16) } else { (2, 0) }), "{}", xen.release());
    }
}

#[test]
fn replace_takes_the_whole_stack_away() {
    let xen = SimulatedXen::new(Release::V4_20);
    stack(&xen, &["one", "two"]);
    done(&xen, "one", APPLY);
    done(&xen, "two", APPLY);
    assert_eq!(upload(&xen, "all", &builder(&xen, "all").build()), Ok(0));
    assert_eq!(done(&xen, "all", REPLACE), (2, 0));
    assert_eq!((names(&xen.applied()), extra_version(&xen)), (vec!["all"], "-all".into()));
    assert_eq!((get(&xen, "one"), get(&xen, "two")), (Ok((1, 0)), Ok((1, 0))));
    assert_eq!(done(&xen, "all", REVERT), (1, 0));
    assert_eq!(extra_version(&xen), ".4");
}

#[test]
fn replace_stops_at_a_payload_that_does_not_let_go() {
    let xen = SimulatedXen::new(Release::V4_17);
    let stubborn = builder(&xen, "stubborn").hook(HookKind::Revert, HookCode::returns(-5));
    let top = builder(&xen, "top").depends_on(stubborn.build_id());
    for (name, payload) in [("stubborn", &stubborn), ("top", &top), ("new", &builder(&xen, "new"))] {
        assert_eq!(upload(&xen, name, &payload.build()), Ok(0));
    }
    done(&xen, "stubborn", APPLY);
    done(&xen, "top", APPLY);
    assert_eq!(done(&xen, "new", REPLACE), (1, -22));
    assert_eq!((get(&xen, "stubborn"), get(&xen, "top")), (Ok((2, -5)), Ok((1, 0))));
    assert_eq!(names(&xen.applied()), ["stubborn"]);
}

#[test]
fn hooks_veto_and_forbid_replace_from_4_14_on() {
    for (xen, hooks) in since(Release::V4_14) {
        let veto = |name: &str, hook, rc| {
            let payload = builder(&xen, name).hook(hook, HookCode::returns(rc)).build();
            assert_eq!(upload(&xen, name, &payload), Ok(0), "{}", xen.release());
        };
        veto("pre", HookKind::PreApply, -7);
        veto("plus", HookKind::PreApply, 7);
        veto("post", HookKind::PostRevert, -1);
        veto("revert", HookKind::PreRevert, -9);
        if !hooks {
            assert_eq!(done(&xen, "pre", APPLY), (2, 0), "sections that no one knows");
            continue;
        }
        assert_eq!(action(&xen, "pre", APPLY), Err(Errno::E2BIG));
        assert_eq!(get(&xen, "pre"), Ok((1, -7)));
        assert_eq!(action(&xen, "plus", APPLY), Ok(7), "what isn't negative is no error");
        assert_eq!(get(&xen, "plus"), Ok((1, 7)));
        assert_eq!(action(&xen, "post", REPLACE), Err(Errno::EOPNOTSUPP));
        assert_eq!(done(&xen, "revert", APPLY), (2, 0));
        assert_eq!(upload(&xen, "new", &builder(&xen, "new").build()), Ok(0));
        assert_eq!(action(&xen, "new", REPLACE), Err(Errno::EOPNOTSUPP), "because of one that is applied");
        assert_eq!(action(&xen, "revert", REVERT), Err(Errno::EBADF));
        assert_eq!(get(&xen, "revert"), Ok((2, -9)));
    }
}

#[test]
fn hooks_in_place_of_an_action_decide_its_result() {
    let xen = SimulatedXen::new(Release::V4_17);
    let load = |name: &str, payload: PayloadBuilder| assert_eq!(upload(&xen, name, &payload.build()), Ok(0));
    load("fails", builder(&xen, "fails").hook(HookKind::Apply, HookCode::returns(-5)));
    load("empty", bare(&xen, "empty").hook(HookKind::Apply, HookCode::returns(0)));
    load("lies", builder(&xen, "lies").hook(HookKind::Apply, HookCode::returns(0)));
    assert_eq!(done(&xen, "fails", APPLY), (1, -5));
    assert_eq!(done(&xen, "empty", APPLY), (2, 0));
    assert_eq!(done(&xen, "empty", REVERT), (1, 0));
    assert_eq!(xen.crashed(), None);
    assert_eq!(action(&xen, "lies", APPLY), Ok(0));
    xen.finish_action();
    assert!(xen.crashed().unwrap().starts_with("lies: a hook reports success"));
    assert_eq!(get(&xen, "lies"), Err(Errno::EIO));
    assert_eq!(xen.other_action("lies", Action::Revert, Flags::empty()), Err(Errno::EIO));
}

#[test]
fn expectations_are_checked_against_what_is_there() {
    let functions = |xen: &SimulatedXen, name: &str, function: FunctionPatch| {
        assert_eq!(upload(xen, name, &bare(xen, name).function(function).build()), Ok(0));
    };
    let xen = SimulatedXen::builder(Release::V4_17).symbol("victim", *b"0123456789abcdef").build();
    let new = || FunctionPatch::with_code("victim", [0xc3]);
    functions(&xen, "met", new().expecting(b"01234"));
    functions(&xen, "not", new().expecting(b"x1234"));
    functions(&xen, "long", new().old_size(5).expecting(b"012345"));
    assert_eq!(action(&xen, "not", APPLY), Err(Errno::EINVAL));
    assert_eq!(get(&xen, "not"), Ok((1, 0)));
    assert_eq!(action(&xen, "long", APPLY), Err(Errno::ERANGE));
    assert_eq!(done(&xen, "met", APPLY), (2, 0));
    assert_eq!(done(&xen, "not", REPLACE), (1, -22), "found out too late");
    assert!(xen.applied().is_empty(), "Xen is left unpatched");
    done(&xen, "met", APPLY);
    assert_eq!(action_with(&xen, "not", APPLY, 0, NODEPS), Err(Errno::EINVAL));
}
