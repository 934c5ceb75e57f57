//! The life of payloads from upload to unload, on every release.

use crate::prelude::*;

fn extra(client: &LivepatchClient) -> String {
    client.xen_version().unwrap().extra
}

#[test]
fn patches_go_in_stack_and_go_out_again() {
    for (xen, client) in hosts(Release::ALL) {
        xen.set_pace(Pace::Polls(3));
        let none = Flags::empty();

        let payload = builder(&xen, "first");
        let first = upload(&client, "first", &payload);
        assert_eq!(client.status(&first).unwrap().state, State::Checked);
        assert_eq!(kind(client.revert(&first, none)), wrong(State::Checked, State::Applied));
        client.apply(&first, none).unwrap();
        assert_eq!(extra(&client), "-first");
        assert_eq!(kind(client.apply(&first, none)), wrong(State::Applied, State::Checked));
        assert_eq!(kind(client.unload(&first, none)), wrong(State::Applied, State::Checked));

        let second = upload_and_apply(&client, "second", &builder(&xen, "second").depends_on(payload.build_id()));
        assert_eq!(extra(&client), "-second");

        // Built on Xen itself, and yet it goes on top.
        let debug = upload(&client, "debug", &builder(&xen, "debug"));
        let refused = kind(client.apply(&debug, none));
        if xen.release() < Release::V4_13 {
            let (action, expected) = (Action::Apply, xen.build_id());
            assert_eq!(refused, ErrorKind::DependsOnAnother { action, expected, found: None, on: None });
        } else {
            let ErrorKind::DependsOnAnother { on, .. } = refused else { panic!("{refused:?}") };
            assert_eq!(on, Some(second.clone()), "as Xen's log says");
        }
        let mut top = names(["first", "second"]);
        if xen.release() >= Release::V4_14 {
            client.apply(&debug, Flags::NODEPS).unwrap();
            assert_eq!(extra(&client), "-debug");
            top.push(debug.clone());
        } else {
            assert!(matches!(kind(client.apply(&debug, Flags::NODEPS)), ErrorKind::UnsupportedFlag { .. }));
        }
        assert_eq!(xen.applied(), top);

        // Xen says which is, from 4.13 on.
        let on_top = top.last().cloned().filter(|_| xen.release() >= Release::V4_13);
        assert_eq!(kind(client.revert(&first, none)), ErrorKind::NotOnTop { top: on_top });
        assert_eq!(xen.applied(), top);

        let new = upload(&client, "new", &builder(&xen, "new"));
        client.replace(&new, none).unwrap();
        assert_eq!((xen.applied(), extra(&client)), (vec![new.clone()], "-new".into()));
        assert_eq!(kind(client.replace(&new, none)), wrong(State::Applied, State::Checked));
        let (action, expected, found) = (Action::Replace, Some(payload.build_id().clone()), xen.build_id());
        let not_on_xen = ErrorKind::DependsOnAnother { action, expected, found, on: None };
        assert_eq!(kind(client.replace(&second, none)), not_on_xen, "Xen itself has no name");

        client.revert(&new, none).unwrap();
        assert_eq!(extra(&client), xen.release().extra_version());
        apply_and_revert(&client, &first);
        for payload in [&second, &debug, &new, &first] {
            client.unload(payload, none).unwrap();
            assert_eq!(kind(client.unload(payload, none)), ErrorKind::NoSuchPayload);
            assert_eq!(kind(client.status(payload)), ErrorKind::NoSuchPayload);
        }
        assert_eq!((client.list().unwrap(), xen.loaded()), (vec![], vec![]));
        assert_eq!((xen.crashed(), xen.calls().of(Call::OtherAction)), (None, 0));
    }
}

#[test]
fn states_and_metadata_are_listed_in_the_order_of_upload() {
    for (xen, client) in hosts(Release::ALL) {
        for id in ["b", "a", "c"] {
            upload(&client, id, &builder(&xen, id).metadata("id", Some(id)).metadata("urgent", None));
        }
        client.apply(&name("a"), Flags::empty()).unwrap();
        let rows = client.list().unwrap();
        assert_eq!(rows.iter().map(|row| row.name.clone()).collect::<Vec<_>>(), xen.loaded());
        assert_eq!(xen.loaded(), names(["b", "a", "c"]));
        for row in rows {
            let applied = row.name == name("a");
            assert_eq!(row.status.state, if applied { State::Applied } else { State::Checked });
            let id = (xen.release() >= Release::V4_14).then(|| row.name.as_bytes());
            assert_eq!(row.metadata.get("id"), id);
            assert_eq!(client.status(&row.name).unwrap(), row.status);
        }
    }
}
