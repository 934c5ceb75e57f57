use super::*;
use crate::sim::Defect;

#[test]
fn the_last_word_of_an_action_is_0() {
    let xen = SimulatedXen::new(Release::V4_17);
    stack(&xen, &["one"]);
    let padded = named(&xen, 3, "one").word(32, APPLY).word(44, 1).result(&xen);
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
fn hooks_in_place_of_an_action_decide_its_result() {
    let xen = SimulatedXen::new(Release::V4_17);
    let load = |name: &str, payload: PayloadBuilder| assert_eq!(upload(&xen, name, &payload.build()), Ok(0));
    load("empty", bare(&xen, "empty").hook(HookKind::Apply, HookCode::returns(0)));
    load("lies", builder(&xen, "lies").hook(HookKind::Apply, HookCode::returns(0)));
    assert_eq!(done(&xen, "empty", APPLY), (2, 0));
    assert_eq!(done(&xen, "empty", REVERT), (1, 0));
    assert_eq!(xen.crashed(), None);
    assert_eq!(action(&xen, "lies", APPLY), Ok(0));
    xen.finish_action();
    assert!(xen.crashed().unwrap().starts_with("lies: a hook reports success"));
    assert_eq!(get(&xen, "lies"), Err(Errno::EIO));
    assert_eq!(xen.other_action("lies", Action::Revert, Flags::empty()), Err(Errno::EIO));
}
