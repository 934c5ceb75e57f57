//! The hooks of a payload: code of its own that Xen runs around an action.

use core::fmt;

use super::elf::{Elf, RELOCATION_SIZE};
use super::funcs::{Address, Pointers};

/// When Xen runs a hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum HookKind {
    /// On every apply, with all CPUs held (from Xen 4.8). A payload may have several.
    Load,
    /// On every revert, with all CPUs held (from Xen 4.8). A payload may have several.
    Unload,
    /// Before an apply, which it may veto (from Xen 4.14).
    PreApply,
    /// In place of the apply (from Xen 4.14).
    Apply,
    /// After an apply (from Xen 4.14).
    PostApply,
    /// Before a revert, which it may veto (from Xen 4.14).
    PreRevert,
    /// In place of the revert (from Xen 4.14).
    Revert,
    /// After a revert (from Xen 4.14).
    PostRevert,
}

impl HookKind {
    /// All kinds.
    pub const ALL: [Self; 8] = [
        Self::Load,
        Self::Unload,
        Self::PreApply,
        Self::Apply,
        Self::PostApply,
        Self::PreRevert,
        Self::Revert,
        Self::PostRevert,
    ];

    /// The section that points at hooks of this kind.
    #[must_use]
    pub const fn section(self) -> &'static str {
        match self {
            Self::Load => ".livepatch.hooks.load",
            Self::Unload => ".livepatch.hooks.unload",
            Self::PreApply => ".livepatch.hooks.preapply",
            Self::Apply => ".livepatch.hooks.apply",
            Self::PostApply => ".livepatch.hooks.postapply",
            Self::PreRevert => ".livepatch.hooks.prerevert",
            Self::Revert => ".livepatch.hooks.revert",
            Self::PostRevert => ".livepatch.hooks.postrevert",
        }
    }

    /// Whether it keeps Xen from a replace: the pre- and post-hooks do, from Xen 4.14 on.
    #[must_use]
    pub const fn forbids_replace(self) -> bool {
        matches!(self, Self::PreApply | Self::PostApply | Self::PreRevert | Self::PostRevert)
    }

    /// Whether a payload may have several.
    pub(super) const fn may_be_several(self) -> bool {
        matches!(self, Self::Load | Self::Unload)
    }

    /// The first release that looks for it.
    pub(super) const fn since(self) -> (u16, u16) {
        if self.may_be_several() { (4, 8) } else { (4, 14) }
    }
}

impl fmt::Display for HookKind {
    /// The end of the section's name, such as `preapply`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.section().rsplit('.').next().unwrap_or_default())
    }
}

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
