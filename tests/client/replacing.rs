//! REPLACE, and the payloads that remain if it fails half way.

use crate::prelude::*;

/// A host with `bottom`, `stuck` and `top` applied, of which `stuck` can't be reverted, and `new` loaded.
fn with_one_that_stays(release: Release) -> (SimulatedXen, LivepatchClient, PayloadName) {
    let (xen, client) = host(release);
    let bottom = builder(&xen, "bottom");
    let stuck = builder(&xen, "stuck").depends_on(bottom.build_id()).hook(HookKind::Revert, HookCode::returns(-5));
    let top = builder(&xen, "top").depends_on(stuck.build_id());
    for (id, payload) in [("bottom", bottom), ("stuck", stuck), ("top", top)] {
        client.upload(&name(id), &payload.build()).unwrap();
        client.apply(&name(id), Flags::empty()).unwrap();
    }
    client.upload(&name("new"), &builder(&xen, "new").build()).unwrap();
    (xen, client, name("new"))
}

#[test]
fn all_that_is_applied_makes_room() {
    for (xen, client) in hosts(Release::ALL) {
        stack(&xen, ["one", "two"], 2);
        client.upload(&name("new"), &builder(&xen, "new").build()).unwrap();
        client.replace(&name("new"), Flags::empty()).unwrap();
        assert_eq!((xen.applied(), xen.loaded()), (names(["new"]), names(["one", "two", "new"])));
    }
}

/// The list that tells what is applied is not put together from before and after.
#[test]
fn a_replace_that_ends_while_the_list_is_read_in_parts_is_a_success() {
    for release in each(Release::ALL) {
        for nth in 1..=8 {
            for polls in 1..=4 {
                let (xen, client) = host(release);
                stack(&xen, ["old"], 1);
                client.upload(&name("new"), &builder(&xen, "new").build()).unwrap();
                let new = name("new");
                xen.set_pace(Pace::Polls(polls));
                xen.on_list().nth(nth).stop_after(1);
                client.replace(&new, Flags::empty()).unwrap();
                assert_eq!(xen.applied(), [new], "list {nth}, {polls} polls");
            }
        }
    }
}

#[test]
fn a_payload_that_can_not_be_reverted_stays_and_is_named() {
    for release in each(releases(Release::V4_14..)) {
        for fault in [false, true] {
            let (xen, client, new) = with_one_that_stays(release);
            if fault {
                xen.on_replace().fault_after();
            }
            let applied = names(["bottom", "stuck"]);
            let error = error(client.replace(&new, Flags::empty()));
            let expected = ErrorKind::ReplaceFailed { code: Errno::EINVAL, applied: Some(applied.clone()) };
            assert_eq!(error.kind(), &expected);
            assert_eq!(error.raw_errno(), Some(Errno::EINVAL));
            assert_eq!(xen.applied(), applied);
        }
    }
}

#[test]
fn an_expectation_that_is_not_met_leaves_the_host_unpatched() {
    for (xen, client) in hosts(releases(Release::V4_14..)) {
        stack(&xen, ["one", "two"], 2);
        let function = FunctionPatch::returning(PATCHED, "-new").expecting(&[0xff; 8]);
        let new = PayloadBuilder::named("new", &xen.build_id().unwrap()).function(function);
        client.upload(&name("new"), &new.build()).unwrap();
        let error = error(client.replace(&name("new"), Flags::empty()));
        assert_eq!(error.kind(), &ErrorKind::ReplaceFailed { code: Errno::EINVAL, applied: Some(vec![]) });
        assert!(error.to_string().contains("this host is unpatched"), "{error}");
        assert_eq!(xen.applied(), []);
    }
}

#[test]
fn the_remaining_payloads_may_not_be_known() {
    for release in each([Release::V4_14, Release::V4_22]) {
        let (xen, client, new) = with_one_that_stays(release);
        xen.on_replace().after(|xen| xen.on_list().always().fail(Errno::EPERM));
        let failed = ErrorKind::ReplaceFailed { code: Errno::EINVAL, applied: None };
        assert_eq!(kind(client.replace(&new, Flags::empty())), failed, "the failure, not that of the list");
    }
}

#[test]
fn hooks_around_actions_forbid_it() {
    for (xen, client, (old, new)) in
        hosts_for(releases(Release::V4_14..), [(Some(HookKind::PostRevert), None), (None, Some(HookKind::PreApply))])
    {
        for (id, hook) in [("old", old), ("new", new)] {
            let payload = builder(&xen, id);
            let payload = hook.into_iter().fold(payload, |p, hook| p.hook(hook, HookCode::returns(0)));
            client.upload(&name(id), &payload.build()).unwrap();
        }
        client.apply(&name("old"), Flags::empty()).unwrap();
        assert_eq!(kind(client.replace(&name("new"), Flags::empty())), ErrorKind::VetoingHooks);
        assert_eq!(xen.applied(), names(["old"]));
    }
}

#[test]
fn the_reapply_rule_is_not_looked_at() {
    for (xen, client) in hosts(Release::ALL) {
        let one = name("one");
        client.upload(&one, &builder(&xen, "one").writable_data([1]).build()).unwrap();
        client.apply(&one, Flags::empty()).unwrap();
        client.revert(&one, Flags::empty()).unwrap();
        client.replace(&one, Flags::empty()).unwrap();
        assert_eq!(xen.applied(), [one]);
    }
}
