//! The properties of a payload file that still matter once it is loaded, and that Xen does not report.

use std::collections::BTreeSet;

use object::elf::SHN_UNDEF;

use super::{Payload, Reapply};
use crate::elf::{Elf, LE};
use crate::loader;
use crate::release::Release;
use crate::symbol_name::SymbolName;

/// The properties of a payload that decide about other payloads in the same Xen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Footprint {
    /// True if it has hooks for which Xen refuses REPLACE, of it and of others over it.
    pub(crate) vetoes: bool,
    /// Xen's treatment of it after a revert.
    pub(crate) reapply: Reapply,
    /// The symbols that it defines as new: no other payload may, and later ones may refer to them.
    defines: BTreeSet<SymbolName>,
    /// The symbols that it refers to, whoever defines them.
    needs: BTreeSet<SymbolName>,
}

impl Footprint {
    pub(crate) fn of(payload: &Payload, release: Release) -> Self {
        let elf = Elf::new(&payload.bytes, &payload.header);
        let undefined = elf.symbols.iter().skip(1).filter(|symbol| symbol.st_shndx.get(LE) == SHN_UNDEF);
        let names = undefined.filter_map(|symbol| elf.symbol_name(symbol));
        Self {
            // Older releases do not look for such hooks.
            vetoes: release >= Release::V4_14 && !payload.is_replaceable(),
            reapply: payload.reapply(release.series()),
            defines: loader::new_symbols(&payload.bytes, release).into_iter().collect(),
            needs: names.map(SymbolName::new).collect(),
        }
    }

    /// Returns true if Xen refuses to load one of the two while the other is loaded, because of a symbol.
    pub(crate) fn clashes_with(&self, other: &Self) -> bool {
        !self.defines.is_disjoint(&other.defines)
    }

    /// Returns true if it refers to a symbol that the other defines, so that Xen may link the two.
    pub(crate) fn may_need(&self, other: &Self) -> bool {
        !self.needs.is_disjoint(&other.defines)
    }

    /// Returns true if it refers to nothing outside, so that Xen links it with no other payload.
    pub(crate) fn stands_alone(&self) -> bool {
        self.needs.is_empty()
    }
}
