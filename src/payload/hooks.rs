//! The hooks of a payload: its own code that Xen runs around actions.

use super::funcs::{Address, Pointers};
use crate::xen::elf::{Elf, RELOCATION_SIZE};
use crate::xen::format::HookKind;

/// The bytes of a pointer to a hook.
const POINTER: usize = 8;

/// A hook of a payload.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Hook {
    /// The kind, which decides when Xen runs it.
    pub kind: HookKind,
    /// The address of its code; `None` for a NULL pointer.
    pub address: Option<Address>,
}

/// The hooks, at most as many as fit into the file with a relocation each, since sections may overlap.
pub(super) fn hooks(elf: &Elf<'_>) -> Vec<Hook> {
    let most = elf.data.len() / (RELOCATION_SIZE + POINTER);
    let mut hooks = Vec::new();
    for kind in HookKind::ALL {
        if let Some(section) = elf.section(kind.section_name()).filter(|section| !elf.bytes(section).is_empty()) {
            let pointers = Pointers::of(elf, kind.section_name());
            let addresses = pointers.addresses(elf, elf.bytes(section)).take(most.saturating_sub(hooks.len()));
            hooks.extend(addresses.map(|address| Hook { kind, address }));
        }
    }
    hooks
}

/// Returns true if there is a hook that makes Xen refuse REPLACE.
pub(super) fn forbid_replace(elf: &Elf<'_>) -> bool {
    let kinds = HookKind::ALL.into_iter().filter(|kind| kind.forbids_replace());
    let mut sections = kinds.filter_map(|kind| elf.section(kind.section_name()));
    sections.any(|section| elf.bytes(section).len() >= POINTER)
}
