//! The hooks of a payload: code of its own that Xen runs around an action.

use super::funcs::{Address, Pointers};
use crate::elf::{Elf, RELOCATION_SIZE};
use crate::format::HookKind;

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
    let most = elf.data.len() / (RELOCATION_SIZE + 8);
    let mut hooks = Vec::new();
    for kind in HookKind::ALL {
        if let Some(section) = elf.section(kind.section()).filter(|section| !section.data.is_empty()) {
            let pointers = Pointers::of(elf, kind.section());
            let addresses = pointers.addresses(elf, section.data).take(most.saturating_sub(hooks.len()));
            hooks.extend(addresses.map(|address| Hook { kind, address }));
        }
    }
    hooks
}
