//! The format of live-patch files: names of sections, and how their entries are laid out.
//!
//! Sources: the public header `sysctl.h` and the design document of live patching in Xen's `docs/misc/livepatch.pandoc`.

use core::fmt;

/// The functions to patch: an array of `struct livepatch_func`.
pub(crate) const FUNCS: &str = ".livepatch.funcs";
/// The note with the payload's own build-id.
pub(crate) const BUILD_ID: &str = ".note.gnu.build-id";
/// The note with the build-id of what the payload goes on.
pub(crate) const DEPENDS: &str = ".livepatch.depends";
/// The note with the build-id of the Xen that the payload is for (from Xen 4.14).
pub(crate) const XEN_DEPENDS: &str = ".livepatch.xen_depends";
/// Metadata: texts that each end with a NUL (from Xen 4.14).
pub(crate) const MODINFO: &str = ".modinfo";

/// The largest payload, and the largest section without bytes in the file, that any release takes: 2 MiB.
pub(crate) const MAX_SIZE: usize = 2 << 20;

/// The bytes of the old code that Xen can keep, and so the most that become no-operations or are expected.
pub(crate) const MAX_KEPT: u32 = 31;

/// Where the fields of `struct livepatch_func` are. Both versions begin alike.
pub(crate) mod func {
    pub(crate) const NAME: usize = 0;
    pub(crate) const NEW_ADDRESS: usize = 8;
    pub(crate) const OLD_ADDRESS: usize = 16;
    pub(crate) const NEW_SIZE: usize = 24;
    pub(crate) const OLD_SIZE: usize = 28;
    pub(crate) const VERSION: usize = 32;
    /// Whether the function is patched. Xen keeps it here in some releases, and it has to be 0 in the file.
    pub(crate) const APPLIED: usize = 64;
    /// First byte: bit 0 enabled, bits 1 to 5 length, bits 6 and 7 reserved. Then the bytes that are expected.
    pub(crate) const EXPECTATION: usize = 72;
}

/// Which `struct livepatch_func` a payload has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PayloadVersion {
    /// 64 bytes a function: Xen 4.7 to 4.13.
    V1,
    /// 104 bytes a function, with an expectation: Xen 4.14 and newer.
    V2,
    /// A number that no release up to 4.22 takes. Its functions can't be read.
    Unknown(u8),
}

impl PayloadVersion {
    pub(crate) const fn from_raw(raw: u8) -> Self {
        match raw {
            1 => Self::V1,
            2 => Self::V2,
            other => Self::Unknown(other),
        }
    }

    /// The number, as in each function's `version`.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::V1 => 1,
            Self::V2 => 2,
            Self::Unknown(raw) => raw,
        }
    }

    /// The size of a function's entry, where known.
    pub(crate) const fn entry_size(self) -> Option<usize> {
        match self {
            Self::V1 => Some(64),
            Self::V2 => Some(104),
            Self::Unknown(_) => None,
        }
    }
}

impl fmt::Display for PayloadVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.number().fmt(f)
    }
}

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
    pub(crate) const fn may_be_several(self) -> bool {
        matches!(self, Self::Load | Self::Unload)
    }
}

impl fmt::Display for HookKind {
    /// The end of the section's name, such as `preapply`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.section().rsplit('.').next().unwrap_or_default())
    }
}
