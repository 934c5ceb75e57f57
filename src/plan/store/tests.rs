//! The parts of a store that a plan works with.

use std::sync::Arc;

use super::*;
use crate::sim::{FunctionPatch, PayloadBuilder};
use crate::types::build_id::BuildId;

/// The files of payloads that are loaded, but not wanted, are at hand, and no file is in memory twice.
#[test]
fn all_whole_payloads_for_a_xen_are_at_hand() {
    let directory = std::env::temp_dir().join(format!("xen-livepatch-at-hand-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let xen = BuildId::new([0xa0; 20]);
    let named = |name: &str, xen: &BuildId| {
        let function = FunctionPatch::returning("xen_extra_version", format!("-{name}"));
        let bytes = PayloadBuilder::named(name, xen).function(function).build();
        std::fs::write(directory.join(format!("{name}.livepatch")), bytes).unwrap();
    };
    named("v1", &xen);
    named("v2", &xen);
    named("foreign", &BuildId::new([0xb0; 20]));
    std::os::unix::fs::symlink("v2.livepatch", directory.join("livepatch.livepatch")).unwrap();
    let store = PayloadStore::read(&directory).unwrap();
    std::fs::remove_dir_all(directory).unwrap();
    let wanted = store.wanted_for(&Target::new((4, 20)).build_id(xen)).unwrap();
    let (of_store, of_wanted) = (&store.payloads, &wanted.payloads);
    assert_eq!((of_store.len(), of_wanted.len(), wanted.at_hand.len()), (3, 1, 2));
    assert!(Arc::ptr_eq(&of_store[2].payload, &of_wanted[0].payload));
    assert!(wanted.at_hand.iter().zip([1, 2]).all(|(at_hand, at)| Arc::ptr_eq(at_hand, &of_store[at].payload)));
}
