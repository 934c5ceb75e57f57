//! Files for this Xen, for another one, and for none.

use std::sync::Arc;

use super::directory::{Directory, id, old_payload, payload, payload_for, xen};
use crate::prelude::*;

#[test]
fn stories() {
    super::story::run(include_str!("membership.txt"));
}

/// The files of payloads that are loaded, but not wanted, are at hand, and no file is in memory twice.
#[test]
fn all_whole_payloads_are_shared_and_not_copied() {
    let directory = Directory::of([("a", payload(1, 0xa0)), ("b", old_payload(2, 9)), ("c", payload(3, 0xa0))]);
    directory.link("livepatch.livepatch", "c.livepatch");
    let store = directory.read();
    let [a, b, c] = store.payloads() else { panic!("{:?}", store.payloads()) };
    assert_eq!(a.payload().bytes(), Payload::parse(&payload(1, 0xa0)).unwrap().bytes());
    assert_eq!(directory.summary(&xen(0xa0)), "c", "no 4.20 takes b, which names no Xen");
    let wanted = store.wanted_for(&xen(0xa0)).unwrap();
    let all: Vec<_> = wanted.payloads().map(|(_, payload)| payload).chain(wanted.payloads_at_hand()).collect();
    assert!(all.len() == 3 && all.iter().zip([c, a, c]).all(|(one, stored)| Arc::ptr_eq(one, stored.payload())));
    assert!(!all.iter().any(|payload| Arc::ptr_eq(payload, b.payload())));
}

/// Neither the payload, nor a link to it, nor one for another Xen is used; and nothing that it claims counts.
#[test]
fn payloads_that_the_caller_does_not_trust_are_damaged() {
    let directory = Directory::of([
        ("a", payload(1, 0xa0)),
        ("b", payload(2, 1)),
        ("c", payload(3, 2)),
        ("foreign", payload_for(4, 0xc0, 0xc0)),
    ]);
    directory.put("copy.livepatch", &payload(2, 1));
    directory.link("livepatch.livepatch", "c.livepatch");
    let without = |untrusted: &[u8]| {
        let is_trusted =
            |stored: &StoredPayload| !untrusted.iter().any(|byte| stored.payload().build_id() == Some(&id(*byte)));
        let mut copies = Vec::new();
        let store = directory.read().verified_by(|stored| {
            copies.push(stored.paths().count());
            if is_trusted(stored) { Ok(()) } else { Err("nobody signed it".into()) }
        });
        assert_eq!(copies, [1, 2, 1, 1]);
        for target in [xen(0xa0), xen(0xc0)] {
            let used = [store.for_target(&target), store.for_another(&target)].concat();
            assert!(used.into_iter().chain(store.payloads()).all(is_trusted));
            let wanted = store.wanted_for(&target).unwrap();
            let problems = wanted.problems().iter().filter(|problem| problem.fault().word() == "untrusted");
            assert_eq!(problems.count(), untrusted.len());
        }
        let wanted = store.wanted_for(&xen(0xa0)).unwrap();
        let problems: Vec<_> = wanted.problems().iter().map(|problem| directory.relative(problem.path())).collect();
        (wanted.names().map(ToString::to_string).collect::<Vec<_>>().join(" "), problems.join(" "))
    };
    let (b, c, link) = ("b.livepatch", "c.livepatch", "livepatch.livepatch");
    for (untrusted, stack, problems) in [
        (&[][..], "a b c", String::new()),
        (&[4], "a b c", "foreign.livepatch".into()),
        (&[3], "a b", format!("{c} {link}")),
        (&[2], "a", format!("{b} {c}")),
        (&[1, 2, 3, 4], "", format!("a.livepatch {b} {c} foreign.livepatch {link}")),
    ] {
        assert_eq!(without(untrusted), (stack.to_owned(), problems), "{untrusted:?}");
    }
    let error = directory.read().verified_by(|_| Err("nobody signed it".into())).problems()[0].to_string();
    assert!(error.ends_with("/a.livepatch: it is not trusted: nobody signed it"), "{error}");
}
