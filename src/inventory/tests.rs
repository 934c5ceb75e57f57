//! Conclusions from identified payloads.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use super::*;
use crate::types::State;

/// A payload in short: its name, after `/` the one that it depends on (Xen itself otherwise), and after `=` its identity if
/// that is not its name. `?` stands for one that is not known.
pub(crate) struct Short<'a> {
    pub(crate) name: &'a str,
    pub(crate) id: &'a str,
    pub(crate) below: &'a str,
}

pub(crate) const XEN: &str = "Xen";

impl<'a> Short<'a> {
    pub(crate) fn of(word: &'a str) -> Self {
        let (rest, id) = word.split_once('=').map_or((word, None), |(rest, id)| (rest, Some(id)));
        let (name, below) = rest.split_once('/').unwrap_or((rest, XEN));
        Self { name, id: id.unwrap_or(name), below }
    }
}

pub(crate) fn id(of: &str) -> BuildId {
    BuildId::new(of.as_bytes().iter().copied().cycle().take(20).collect::<Vec<_>>())
}

/// A Xen 4.17.7 with these payloads in the order of upload: `+` in front of those that are applied.
pub(crate) fn host(loaded: &str) -> Inventory {
    let known = |of: &str| (of != "?").then(|| id(of));
    let entry = |word: &str| {
        let (state, word) = match word.strip_prefix('+') {
            Some(word) => (State::Applied, word),
            None => (State::Checked, word),
        };
        let Short { name, id: own, below } = Short::of(word);
        InventoryEntry {
            name: PayloadName::new(name).unwrap(),
            status: Status { state, rc: 0 },
            metadata: Metadata::default(),
            build_id: known(own),
            depends: known(below).filter(|_| own != "?"),
            functions: None,
            unidentified: None,
            footprint: None,
        }
    };
    Inventory {
        xen: XenVersion { major: 4, minor: 17, extra: ".7".into() },
        build_id: Some(id(XEN)),
        no_build_id: None,
        payloads: loaded.split_whitespace().map(entry).collect(),
        version: 1,
        order: None,
        target: Target::new((4, 17)).build_id(id(XEN)),
    }
}

#[test]
fn one_line_tells_what_runs() {
    let rows = include_str!("effective.txt").lines().filter(|row| !row.is_empty() && !row.starts_with('#'));
    for row in rows {
        let (loaded, expected) = row.split_once(';').unwrap();
        let inventory = host(loaded);
        assert_eq!(inventory.to_string(), expected.trim(), "{row}");
        assert_eq!(inventory.stack().len() + inventory.off_chain().len(), inventory.applied().count());
    }
    let mut quoted = host("+a +d/x");
    for (entry, name) in quoted.payloads.iter_mut().zip(["a + b", "c, d"]) {
        entry.name = PayloadName::new(name).unwrap();
    }
    assert_eq!(quoted.to_string(), "Xen 4.17.7 + \"a + b\" (+ \"c, d\", off the chain)");
    let unknown = Inventory { build_id: None, ..host("+a") };
    assert_eq!(unknown.to_string(), "Xen 4.17.7 (+ a, off the chain)");
}

#[test]
fn functions_that_two_replace() {
    let function = |old_address: &u64| ReplacedFunction {
        name: SymbolName::new(format!("f{old_address}")),
        old_address: *old_address,
        old_size: 16,
        new_address: 1,
        new_size: 8,
    };
    let mut both = host("+a +b/a +u=?");
    for (entry, addresses) in both.payloads.iter_mut().zip([&[10, 20][..], &[20, 20, 30]]) {
        entry.functions = Some(addresses.iter().map(function).collect());
    }
    let conflicts = both.conflicts();
    assert_eq!(conflicts.len(), 1);
    assert_eq!((conflicts[0].function.as_bytes(), conflicts[0].old_address), (&b"f20"[..], 20));
    assert_eq!(conflicts[0].payloads, [both.payloads[0].name.clone(), both.payloads[1].name.clone()]);
}
