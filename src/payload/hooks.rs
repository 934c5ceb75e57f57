//! The hooks of a payload: code of its own that Xen runs around an action.

use super::funcs::{Address, Pointers};
use crate::xen::elf::{Elf, RELOCATION_SIZE};
use crate::xen::format::HookKind;

/// The bytes of a pointer to a hook.
const POINTER: usize = 8;

/// A hook of a payload.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Hook {
    /// When Xen runs it.
    pub kind: HookKind,
    /// Where its code is; `None` for a NULL pointer.
    pub address: Option<Address>,
}

/// The hooks; no more than fit into the file once with a relocation each, for sections may overlap.
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

/// Returns true if there is a hook that keeps Xen from taking the payload by REPLACE.
pub(super) fn forbid_replace(elf: &Elf<'_>) -> bool {
    let kinds = HookKind::ALL.into_iter().filter(|kind| kind.forbids_replace());
    let mut sections = kinds.filter_map(|kind| elf.section(kind.section_name()));
    sections.any(|section| elf.bytes(section).len() >= POINTER)
}
