//! The properties of a payload that matter once it is loaded, and that Xen does not report.

use std::collections::HashSet;

use object::elf::SHN_UNDEF;

use super::{Payload, Reapply, hooks};
use crate::loader::{self, NewSymbol};
use crate::xen::Release;
use crate::xen::elf::{Elf, LE};

/// The properties of a payload on which other payloads in the same Xen depend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Footprint {
    /// True if it has hooks that make Xen refuse REPLACE, both with it and of it.
    pub(crate) vetoes: bool,
    /// Xen's treatment of it after a revert.
    pub(crate) reapply: Reapply,
    /// The new symbols that it defines: no other payload may define them, and later ones may refer to them.
    defines: Names,
    /// The undefined symbols that it refers to.
    needs: Names,
}

impl Footprint {
    /// The footprint of a file in a Xen of this release.
    pub(crate) fn of_file(payload: &Payload, release: Release) -> Self {
        let elf = payload.elf();
        Self::of(&elf, release, &loader::new_symbols(&elf, release))
    }

    /// The footprint of a file that defines these new symbols.
    pub(super) fn of(elf: &Elf<'_>, release: Release, new: &[NewSymbol<'_>]) -> Self {
        let undefined = elf.symbols.iter().skip(1).filter(|symbol| symbol.st_shndx.get(LE) == SHN_UNDEF);
        Self {
            // Older releases ignore such hooks.
            vetoes: release >= Release::V4_14 && hooks::forbid_replace(elf),
            reapply: Reapply::of(super::writable(elf), release),
            defines: Names::of(new.iter().map(|(name, _)| *name)),
            needs: Names::of(undefined.filter_map(|symbol| elf.symbol_name(symbol))),
        }
    }

    /// Returns true if Xen refuses to load one of the two while the other is loaded, because of a symbol.
    pub(crate) fn clashes_with(&self, other: &Self) -> bool {
        self.defines.meets(&other.defines)
    }

    /// Returns true if it refers to a symbol that the other defines, so that Xen may link the two.
    pub(crate) fn may_need(&self, other: &Self) -> bool {
        self.needs.meets(&other.defines)
    }

    /// Returns true if it refers to no symbol outside, so that Xen links it with no other payload.
    pub(crate) fn stands_alone(&self) -> bool {
        self.needs.0.is_empty()
    }
}

/// Names of symbols, each with a NUL after it: few payloads have any, and fewer are ever compared.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Names(Vec<u8>);

impl Names {
    fn of<'n>(names: impl Iterator<Item = &'n [u8]>) -> Self {
        let mut text = Vec::new();
        for name in names {
            text.reserve(name.len().saturating_add(1));
            text.extend_from_slice(name);
            text.push(0);
        }
        Self(text)
    }

    fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.0.split_inclusive(|byte| *byte == 0)
    }

    /// Returns true if a name is in both.
    fn meets(&self, other: &Self) -> bool {
        if self.0.is_empty() || other.0.is_empty() {
            return false;
        }
        let own: HashSet<&[u8]> = self.iter().collect();
        other.iter().any(|name| own.contains(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_names_are_compared() {
        let names = |names: &[&str]| Names::of(names.iter().map(|name| name.as_bytes()));
        let (none, some) = (names(&[]), names(&["one", "two", ""]));
        assert!(!none.meets(&none) && !none.meets(&some) && !some.meets(&none));
        assert!(some.meets(&some) && some.meets(&names(&["x", "two"])) && some.meets(&names(&[""])));
        assert!(!some.meets(&names(&["on", "ne", "onetwo"])));
    }
}
