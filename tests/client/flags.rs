//! Flags that Xen would ignore or reject, which are errors before anything is sent.

use crate::prelude::*;

const ACTIONS: [Action; 4] = [Action::Apply, Action::Revert, Action::Replace, Action::Unload];

#[test]
fn a_flag_without_a_meaning_is_refused_without_a_hypercall() {
    for (xen, client, one) in hosts_with_one(Release::ALL) {
        let before = xen.calls().total();
        for (action, bits) in pairs(ACTIONS, [1, 2, 3, 1 << 31, u32::MAX]) {
            let flags = Flags::from_bits_retain(bits);
            let bad = if action == Action::Apply { flags - Flags::NODEPS } else { flags };
            if bad.is_empty() {
                continue;
            }
            let error = error(client.action(action, &one).flags(flags).run());
            let ErrorKind::UnsupportedFlag { flags, .. } = error.kind() else { panic!("{error:?}") };
            assert_eq!((*flags, error.raw_errno()), (bad, None), "the offending bits alone");
            assert!(error.to_string().contains(&bad.to_string()), "by name: {error}");
        }
        assert_eq!(xen.calls().total(), before);
    }
}

#[test]
fn nodeps_is_from_4_14_on() {
    for (xen, client, one) in hosts_with_one(Release::ALL) {
        let foreign = builder(&xen, "foreign").depends_on(builder(&xen, "unknown").build_id());
        xen.other_upload("foreign", &foreign.build()).unwrap();
        let before = xen.calls().total();
        let applied = client.apply(&name("foreign"), Flags::NODEPS);
        if xen.release() >= Release::V4_14 {
            applied.unwrap();
            client.apply(&one, Flags::NODEPS).unwrap();
            assert_eq!(xen.applied(), [name("foreign"), one]);
        } else {
            let error = error(applied);
            assert!(matches!(error.kind(), ErrorKind::UnsupportedFlag { flags: Flags::NODEPS, .. }), "{error:?}");
            assert!(error.to_string().contains(&format!("Xen 4.{} ", xen.release().minor())), "{error}");
            assert_eq!((xen.calls().total(), xen.applied()), (before, vec![]));
        }
    }
}

#[test]
fn force_is_from_4_19_on_and_where_the_version_does_not_tell_xen_is_asked_once() {
    for (xen, client) in hosts(Release::ALL) {
        let probed = (Release::V4_17..=Release::V4_20).contains(&xen.release());
        let known = xen.release() >= Release::V4_19;
        // The Xen that payloads are checked for is found out before.
        let _target = client.target().unwrap();
        let lists = xen.calls().of(Call::List);
        for id in ["one", "two"] {
            let uploaded = client.upload_with(&name(id), &builder(&xen, id).build(), UploadOptions::new().force());
            let refused = uploaded.map_err(|error| error.kind().clone()).err();
            assert_eq!(refused, (!known).then_some(ErrorKind::UnsupportedForce));
            // Before its first upload the client looks at the version of the list.
            assert_eq!(xen.calls().of(Call::List) - lists, u64::from(probed) + u64::from(known));
        }
        assert_eq!(xen.calls().of(Call::Upload), if known { 2 } else { 0 });
        assert_eq!(xen.calls().of(Call::Get) + xen.calls().of(Call::Apply), 0);
    }
}

#[test]
fn force_skips_no_check() {
    let (xen, client) = host(Release::V4_22);
    load(&xen, "one");
    let again = client.upload_with(&name("one"), &builder(&xen, "other").build(), UploadOptions::new().force());
    assert!(matches!(kind(again), ErrorKind::AlreadyLoaded { .. }));
}
