//! The level of a real host after `ensure`, and after one that fails.

use crate::prelude::*;

fn fix(client: &LivepatchClient, id: &str) -> PayloadBuilder {
    bare(client, id).function(FunctionPatch::returning(PATCHED, format!("-{id}")))
}

/// A stack of these payloads, from the bottom up.
fn stack(payloads: &[(&str, &PayloadBuilder)]) -> Wanted {
    Wanted::stack(payloads.iter().map(|(under, builder)| (name(under), Payload::parse(&builder.build()).unwrap())))
}

fn only(under: &str, builder: &PayloadBuilder) -> Wanted {
    stack(&[(under, builder)])
}

fn applied(host: &Host) -> Vec<String> {
    let rows = host.client.list().unwrap();
    rows.iter().filter(|row| row.status.state == State::Applied).map(|row| row.name.to_string()).collect()
}

/// A payload with a hook that refuses it, on top of one that has replaced the old level.
#[test]
#[ignore = "needs a real Xen"]
fn the_level_from_before_is_put_back() {
    let host = host();
    if !host.since(14) {
        return;
    }
    let client = &host.client;
    let below = fix(client, "below");
    let above = fix(client, "above").depends_on(below.build_id());
    client.ensure(&stack(&[("below", &below), ("above", &above)]), |_| ()).unwrap();
    let new = fix(client, "new");
    let refusing = fix(client, "refusing").depends_on(new.build_id()).hook(HookKind::PreApply, HookCode::returns(-22));
    let mut gaps = 0;
    let error = client.ensure(&stack(&[("new", &new), ("refusing", &refusing)]), |event| {
        gaps += usize::from(matches!(event, StepEvent::GapOpens { .. }));
    });
    let EnsureError::Interrupted(failure) = error.unwrap_err() else { panic!("it was begun") };
    assert!(matches!(failure.error.kind(), ErrorKind::HookRefused { .. }), "{failure}");
    assert_eq!((failure.outcome, gaps), (Outcome::Restored, 1), "{failure}");
    assert_eq!((applied(&host), shown()), (vec!["below".to_owned(), "above".to_owned()], "-above".to_owned()));
    client.ensure(&Wanted::nothing(), |_| ()).unwrap();
}

/// Two versions that define the same symbol, which Xen does not load at the same time. The plan learns it from Xen, or from the
/// file of the old one.
#[test]
#[ignore = "needs a real Xen"]
fn two_versions_of_a_fix_may_share_a_symbol() {
    let host = host();
    let old = fix(&host.client, "old").defines("fix_helper");
    let new = fix(&host.client, "new").defines("fix_helper");
    for files in [false, true] {
        host.client.ensure(&only("fix", &old), |_| ()).unwrap();
        // A client that has not seen the old file.
        let client = connect().unwrap();
        let wanted = only("fix", &new);
        let wanted = if files { wanted.at_hand([Payload::parse(&old.build()).unwrap()]) } else { wanted };
        let mut opened = 0;
        client.ensure(&wanted, |event| opened += usize::from(matches!(event, StepEvent::GapOpens { .. }))).unwrap();
        assert_eq!((applied(&host), shown(), opened), (vec!["fix".to_owned()], "-new".to_owned(), 1));
        assert_eq!(host.client.list().unwrap().len(), 1);
    }
    host.client.ensure(&Wanted::nothing(), |_| ()).unwrap();
}

/// An applied payload with hooks that prevent a REPLACE.
#[test]
#[ignore = "needs a real Xen"]
fn hooks_that_veto_a_replacement_are_found_out() {
    let host = host();
    if !host.since(14) {
        return;
    }
    let hooked = fix(&host.client, "hooked").hook(HookKind::PreApply, HookCode::returns(0));
    host.client.ensure(&only("hooked", &hooked), |_| ()).unwrap();
    let client = connect().unwrap();
    let refused = client.ensure(&only("fix", &fix(&client, "fix")).no_gap(), |_| ()).unwrap_err();
    assert_eq!((refused.outcome(), shown()), (Outcome::Unchanged, "-hooked".to_owned()), "{refused}");
    client.ensure(&only("fix", &fix(&client, "fix")), |_| ()).unwrap();
    assert_eq!((applied(&host), shown()), (vec!["fix".to_owned()], "-fix".to_owned()));
    client.ensure(&Wanted::nothing(), |_| ()).unwrap();
}

/// A wrong order that NODEPS allowed, with the older code in effect: `ensure` corrects it, or removes both.
#[test]
#[ignore = "needs a real Xen"]
fn the_order_that_nodeps_made_is_found_out() {
    let host = host();
    if !host.since(14) {
        return;
    }
    let client = &host.client;
    let old = fix(client, "old");
    let new = fix(client, "new").depends_on(old.build_id());
    let stack = stack(&[("old", &old), ("new", &new)]);
    let upside_down = || {
        host.upload("old", &old);
        host.upload("new", &new);
        client.apply(&name("new"), Flags::NODEPS).unwrap();
        client.apply(&name("old"), Flags::NODEPS).unwrap();
        assert_eq!(shown(), "-old");
    };
    upside_down();
    let plan = client.ensure(&stack, |_| ()).unwrap().plan;
    assert!(plan.is_empty() || shown() == "-new", "{plan}");
    client.ensure(&Wanted::nothing(), |_| ()).unwrap();
    assert_eq!((applied(&host), shown()), (Vec::new(), host.original.clone()));

    upside_down();
    connect().unwrap().ensure(&Wanted::nothing(), |_| ()).unwrap();
    assert_eq!((applied(&host), shown()), (Vec::new(), host.original.clone()));
}

/// An applied payload that is linked with an unwanted one, which stays loaded.
#[test]
#[ignore = "needs a real Xen"]
fn a_payload_that_another_is_linked_with_stays() {
    let host = host();
    host.upload("lib", &fix(&host.client, "lib").defines("lib_table"));
    let user = fix(&host.client, "user").needs("lib_table");
    host.client.ensure(&only("user", &user), |_| ()).unwrap();
    let plan = Plan::new(&connect().unwrap().inventory().unwrap(), &only("user", &user)).unwrap();
    assert_eq!((plan.is_empty(), plan.leftovers()), (true, &[name("lib")][..]), "{plan}");
    assert_eq!((host.client.list().unwrap().len(), shown()), (2, "-user".to_owned()));
    host.client.ensure(&Wanted::nothing(), |_| ()).unwrap();
    assert_eq!(host.client.list().unwrap().len(), 0);
}
