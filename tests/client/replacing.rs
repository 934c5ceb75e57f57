//! REPLACE, and the payloads that remain if it fails half way.

use crate::prelude::*;

/// Applies `bottom`, `stuck` and `top`, of which `stuck` can't be reverted, and uploads `new`.
fn load_one_that_stays(xen: &SimulatedXen, client: &LivepatchClient) -> PayloadName {
    let bottom = builder(xen, "bottom");
    let stuck = with_hook(xen, "stuck", HookKind::Revert, -5).depends_on(bottom.build_id());
    let top = builder(xen, "top").depends_on(stuck.build_id());
    for (id, payload) in [("bottom", bottom), ("stuck", stuck), ("top", top)] {
        upload_and_apply(client, id, &payload);
    }
    upload(client, "new", &builder(xen, "new"))
}

/// The list that tells what is applied is not put together from before and after.
#[test]
fn a_replace_that_ends_while_the_list_is_read_in_parts_is_a_success() {
    for (xen, client, (nth, polls)) in hosts_for(Release::ALL, pairs(1..=8, 1..=4)) {
        stack(&xen, ["old"], 1);
        let new = upload(&client, "new", &builder(&xen, "new"));
        xen.set_pace(Pace::Polls(polls));
        xen.on_list().nth(nth).stop_after(1);
        client.replace(&new, Flags::empty()).unwrap();
        assert_eq!(xen.applied(), [new]);
    }
}

#[test]
fn a_payload_that_can_not_be_reverted_stays_and_is_named() {
    for (xen, client, fault) in hosts_for(releases(Release::V4_14..), [false, true]) {
        let new = load_one_that_stays(&xen, &client);
        if fault {
            xen.on_replace().fault_after();
        }
        let applied = names(["bottom", "stuck"]);
        let failed = ErrorKind::ReplaceFailed { code: Errno::EINVAL, applied: Some(applied.clone()) };
        assert_eq!(kind_and_errno(client.replace(&new, Flags::empty())), (failed, Some(Errno::EINVAL)));
        assert_eq!(xen.applied(), applied);
    }
}

#[test]
fn an_expectation_that_is_not_met_leaves_the_host_unpatched() {
    for (xen, client) in hosts(releases(Release::V4_14..)) {
        stack(&xen, ["one", "two"], 2);
        let function = FunctionPatch::returning(PATCHED, "-new").expecting(&[0xff; 8]);
        let new = PayloadBuilder::named("new", &xen.build_id().unwrap()).function(function);
        let new = upload(&client, "new", &new);
        let error = error(client.replace(&new, Flags::empty()));
        assert_eq!(error.kind(), &ErrorKind::ReplaceFailed { code: Errno::EINVAL, applied: Some(vec![]) });
        assert!(error.to_string().contains("this host is unpatched"), "{error}");
        assert_eq!(xen.applied(), []);
    }
}

#[test]
fn the_remaining_payloads_may_not_be_known() {
    for (xen, client) in hosts([Release::V4_14, Release::V4_22]) {
        let new = load_one_that_stays(&xen, &client);
        xen.on_replace().after(|xen| xen.on_list().always().fail(Errno::EPERM));
        let failed = ErrorKind::ReplaceFailed { code: Errno::EINVAL, applied: None };
        assert_eq!(kind(client.replace(&new, Flags::empty())), failed, "the failure, not that of the list");
    }
}

#[test]
fn hooks_around_actions_forbid_it() {
    let hooks = [("old", HookKind::PostRevert), ("new", HookKind::PreApply)];
    for (xen, client, (hooked, hook)) in hosts_for(releases(Release::V4_14..), hooks) {
        let of = |id| if id == hooked { with_hook(&xen, id, hook, 0) } else { builder(&xen, id) };
        let old = upload_and_apply(&client, "old", &of("old"));
        let new = upload(&client, "new", &of("new"));
        assert_eq!(kind(client.replace(&new, Flags::empty())), ErrorKind::VetoingHooks);
        assert_eq!(xen.applied(), [old]);
    }
}

#[test]
fn the_reapply_rule_is_not_looked_at() {
    for (xen, client) in hosts(Release::ALL) {
        let one = upload(&client, "one", &builder(&xen, "one").writable_data([1]));
        apply_and_revert(&client, &one);
        client.replace(&one, Flags::empty()).unwrap();
        assert_eq!(xen.applied(), [one]);
    }
}
