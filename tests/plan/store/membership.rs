//! Files for this Xen, for another one, and for none.

use std::sync::Arc;

use super::directory::{Directory, old_payload, payload, xen};
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
    assert_eq!(directory.summary(&directory.wanted(&xen(0xa0))), "c", "no 4.20 takes b, which names no Xen");
    let wanted = store.wanted_for(&xen(0xa0)).unwrap();
    let all: Vec<_> = wanted.payloads().map(|(_, payload)| payload).chain(wanted.payloads_at_hand()).collect();
    assert!(all.len() == 3 && all.iter().zip([c, a, c]).all(|(one, stored)| Arc::ptr_eq(one, stored.payload())));
    assert!(!all.iter().any(|payload| Arc::ptr_eq(payload, b.payload())));
}
