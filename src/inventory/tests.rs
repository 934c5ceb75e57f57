//! Conclusions from identified payloads.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use super::*;
use crate::types::State;

fn id(byte: u8) -> BuildId {
    BuildId::new([byte; 20])
}

/// An applied payload: its name, its own build-id and the one that it depends on (0 is Xen), and the addresses that it replaces.
type Short<'a> = (&'a str, Option<(u8, u8)>, &'a [u64]);

/// A loaded payload with its build-id and the one that it depends on.
pub(crate) fn entry(name: &str, state: State, [build_id, depends]: [Option<BuildId>; 2]) -> InventoryEntry {
    InventoryEntry {
        name: PayloadName::new(name).unwrap(),
        status: Status { state, rc: 0 },
        metadata: Metadata::default(),
        build_id,
        depends,
        functions: None,
        unidentified: None,
        footprint: None,
    }
}

/// A Xen 4.17.7 with this build-id and these payloads.
pub(crate) fn host(xen: BuildId, payloads: Vec<InventoryEntry>) -> Inventory {
    Inventory {
        xen: XenVersion { major: 4, minor: 17, extra: ".7".into() },
        build_id: Some(xen.clone()),
        no_build_id: None,
        payloads,
        version: 1,
        order: None,
        target: Target::new((4, 17)).build_id(xen),
    }
}

fn inventory(payloads: &[Short<'_>]) -> Inventory {
    let function = |old_address: &u64| ReplacedFunction {
        name: SymbolName::new(format!("f{old_address}")),
        old_address: *old_address,
        old_size: 16,
        new_address: 1,
        new_size: 8,
    };
    let applied = |(name, ids, addresses): &Short<'_>| InventoryEntry {
        functions: ids.map(|_| addresses.iter().map(function).collect()),
        ..entry(name, State::Applied, [ids.map(|(own, _)| id(own)), ids.map(|(_, below)| id(below))])
    };
    host(id(0), payloads.iter().map(applied).collect())
}

#[test]
fn one_line_tells_what_runs() {
    for (payloads, expected) in [
        (&[][..], "Xen 4.17.7"),
        (&[("a", Some((1, 0)), &[][..])], "Xen 4.17.7 + a"),
        (&[("b", Some((2, 1)), &[]), ("a", Some((1, 0)), &[])], "Xen 4.17.7 + a + b"),
        (&[("a", Some((1, 0)), &[]), ("debug", Some((3, 9)), &[])], "Xen 4.17.7 + a (+ debug, off the chain)"),
        (&[("a", Some((1, 0)), &[]), ("b", Some((2, 0)), &[])], "Xen 4.17.7 (+ a, b, order unknown)"),
        (
            &[("a", Some((1, 0)), &[]), ("b", Some((2, 1)), &[]), ("c", Some((3, 1)), &[])],
            "Xen 4.17.7 + a (+ b, c, order unknown)",
        ),
        (&[("a", Some((1, 0)), &[]), ("u", None, &[])], "Xen 4.17.7 + a (+ u, not identified)"),
        (
            &[("d", Some((3, 9)), &[]), ("u", None, &[]), ("a", Some((1, 0)), &[]), ("e", Some((4, 9)), &[])],
            "Xen 4.17.7 + a (+ d, e, off the chain) (+ u, not identified)",
        ),
        (
            &[("a + b", Some((1, 0)), &[]), ("c, d", Some((3, 9)), &[])],
            "Xen 4.17.7 + \"a + b\" (+ \"c, d\", off the chain)",
        ),
        // One that claims to depend on itself, and two that depend on each other.
        (&[("a", Some((1, 1)), &[])], "Xen 4.17.7 (+ a, order unknown)"),
        (&[("a", Some((1, 2)), &[]), ("b", Some((2, 1)), &[])], "Xen 4.17.7 (+ a, b, order unknown)"),
        (&[("a", Some((0, 0)), &[])], "Xen 4.17.7 + a"),
        // Nothing is listed twice, even one that claims the build-id of Xen.
        (&[("a", Some((0, 0)), &[]), ("b", Some((2, 9)), &[])], "Xen 4.17.7 + a (+ b, off the chain)"),
    ] {
        let inventory = inventory(payloads);
        assert_eq!(inventory.to_string(), expected);
        assert_eq!(inventory.stack().len() + inventory.off_chain().len(), payloads.len());
    }
    let mut checked = inventory(&[("a", Some((1, 0)), &[])]);
    checked.payloads[0].status.state = State::Checked;
    assert_eq!(checked.to_string(), "Xen 4.17.7");
    let mut unknown = inventory(&[("a", Some((1, 0)), &[])]);
    unknown.build_id = None;
    assert_eq!(unknown.to_string(), "Xen 4.17.7 (+ a, off the chain)");
}

#[test]
fn functions_that_two_replace() {
    let both = inventory(&[("a", Some((1, 0)), &[10, 20]), ("b", Some((2, 1)), &[20, 20, 30]), ("u", None, &[10])]);
    let conflicts = both.conflicts();
    assert_eq!(conflicts.len(), 1);
    assert_eq!((conflicts[0].function.as_bytes(), conflicts[0].old_address), (&b"f20"[..], 20));
    assert_eq!(conflicts[0].payloads, [both.payloads[0].name.clone(), both.payloads[1].name.clone()]);
}
