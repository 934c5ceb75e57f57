//! The format of live-patch files: the names of sections, and the layout of their entries.
//!
//! Sources: the public header `sysctl.h` and the design document of live patching in Xen's `docs/misc/livepatch.pandoc`.

use core::fmt;
use core::ops::Range;
use core::str::FromStr;

use crate::types::InvalidText;

macro_rules! section_names {
    ($($(#[doc = $doc:literal])+ $name:ident = $text:literal;)+) => {
        /// The sections that Xen looks up by name.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum SectionName {
            $($(#[doc = $doc])+ $name,)+
        }

        impl SectionName {
            /// All sections, in the order of [`index`](Self::index).
            pub(crate) const ALL: [Self; [$(Self::$name),+].len()] = [$(Self::$name),+];

            /// The name in a file.
            pub(crate) const fn text(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)+
                }
            }

            /// The section of this name.
            #[allow(non_upper_case_globals, reason = "constants with the names of the variants")]
            pub(crate) fn of(name: &[u8]) -> Option<Self> {
                $(const $name: &[u8] = $text.as_bytes();)+
                match name {
                    $($name => Some(Self::$name),)+
                    _ => None,
                }
            }
        }
    };
}

section_names! {
    /// The functions to patch: an array of `struct livepatch_func`.
    Funcs = ".livepatch.funcs";
    /// The note with the payload's own build-id.
    BuildId = ".note.gnu.build-id";
    /// The note with the build-id of the payload, or the Xen, that this one depends on.
    Depends = ".livepatch.depends";
    /// The note with the build-id of the Xen that the payload is for (from Xen 4.14).
    XenDepends = ".livepatch.xen_depends";
    /// Metadata: texts that each end with a NUL (from Xen 4.14).
    Modinfo = ".modinfo";
    /// Pointers to hooks of one kind, as the next seven.
    LoadHooks = ".livepatch.hooks.load";
    /// See [`HookKind::Unload`].
    UnloadHooks = ".livepatch.hooks.unload";
    /// See [`HookKind::PreApply`].
    PreApplyHook = ".livepatch.hooks.preapply";
    /// See [`HookKind::Apply`].
    ApplyHook = ".livepatch.hooks.apply";
    /// See [`HookKind::PostApply`].
    PostApplyHook = ".livepatch.hooks.postapply";
    /// See [`HookKind::PreRevert`].
    PreRevertHook = ".livepatch.hooks.prerevert";
    /// See [`HookKind::Revert`].
    RevertHook = ".livepatch.hooks.revert";
    /// See [`HookKind::PostRevert`].
    PostRevertHook = ".livepatch.hooks.postrevert";
    /// Bug frames of one type, as the next three.
    BugFrames0 = ".bug_frames.0";
    /// Those of WARN.
    BugFrames1 = ".bug_frames.1";
    /// Those of BUG.
    BugFrames2 = ".bug_frames.2";
    /// Those of assertions.
    BugFrames3 = ".bug_frames.3";
    /// Exceptions that Xen survives.
    ExTable = ".ex_table";
    /// Code that Xen overwrites where the processor has a feature.
    Alternatives = ".altinstructions";
    /// The code that it is overwritten with.
    Replacements = ".altinstr_replacement";
    /// Indirect calls that Xen makes direct.
    AltCallSites = ".alt_call_sites";
}

impl SectionName {
    /// The position in [`ALL`](Self::ALL).
    #[allow(clippy::as_conversions, reason = "the number of a variant")]
    pub(crate) const fn index(self) -> usize {
        self as usize
    }
}

/// The largest payload, and the largest section without bytes in the file, that any release takes: 2 MiB.
pub(crate) const MAX_SIZE: usize = 2 << 20;

/// The most bytes of old code that Xen can keep, and so the most that become no-operations or are expected.
pub(crate) const MAX_KEPT: u32 = 31;

/// An entry of `.livepatch.funcs` (`struct livepatch_func`). Its pointers are numbers here, whatever relocates them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RawFunction<'e> {
    pub(crate) new_address: u64,
    pub(crate) old_address: u64,
    pub(crate) new_size: u32,
    pub(crate) old_size: u32,
    pub(crate) version: u8,
    /// In version 2: not 0 if the function is patched, which some releases keep here. 0 in version 1.
    pub(crate) applied: u8,
    /// In version 2. First byte: bit 0 enabled, bits 1 to 5 length, bits 6 and 7 reserved. Then the bytes that are expected.
    pub(crate) expectation: Option<&'e [u8; 32]>,
}

impl<'e> RawFunction<'e> {
    /// The offsets of the pointers to the name, the new and the old code.
    pub(crate) const NAME: usize = 0;
    pub(crate) const NEW_ADDRESS: usize = 8;
    pub(crate) const OLD_ADDRESS: usize = 16;

    /// The fields that Xen itself neither sets nor relocates: sizes and version, and in version 2 its state and the
    /// expectation.
    pub(crate) const PLAIN: [Range<usize>; 3] = [24..33, 64..65, 72..104];

    /// Reads an entry. `None` for fewer bytes than the smaller version has.
    pub(crate) fn read(entry: &'e [u8]) -> Option<Self> {
        let (first, second) = entry.split_first_chunk::<{ PayloadVersion::V1_SIZE }>()?;
        let (_, rest) = first.split_first_chunk::<8>()?;
        let (new_address, rest) = rest.split_first_chunk()?;
        let (old_address, rest) = rest.split_first_chunk()?;
        let (new_size, rest) = rest.split_first_chunk()?;
        let (old_size, rest) = rest.split_first_chunk()?;
        Some(Self {
            new_address: u64::from_le_bytes(*new_address),
            old_address: u64::from_le_bytes(*old_address),
            new_size: u32::from_le_bytes(*new_size),
            old_size: u32::from_le_bytes(*old_size),
            version: *rest.first()?,
            applied: second.first().map_or(0, |applied| *applied),
            expectation: second.get(8..).and_then(|rest| rest.first_chunk()),
        })
    }
}

/// The offset of the version in an entry.
pub(crate) const FUNCTION_VERSION: usize = 32;

/// An enabled expectation of the old code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Expectation<'e> {
    pub(crate) len: u8,
    /// Two bits that have to be 0.
    pub(crate) reserved: u8,
    /// The bytes that the old code has to begin with.
    pub(crate) bytes: &'e [u8],
}

impl<'e> Expectation<'e> {
    /// Reads an expectation; `None` if it is not enabled.
    pub(crate) fn read([bits, data @ ..]: &'e [u8; 32]) -> Option<Self> {
        let len = bits >> 1 & 0x1f;
        // Five bits are at most the 31 bytes that are there.
        let (bytes, _) = data.split_at(len.into());
        (bits & 1 != 0).then_some(Self { len, reserved: bits >> 6, bytes })
    }
}

/// The version of the `struct livepatch_func` of a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PayloadVersion {
    /// 64 bytes a function: Xen 4.7 to 4.13.
    V1,
    /// 104 bytes a function, with an expectation: Xen 4.14 and newer.
    V2,
    /// A number that no known release takes. The functions can't be read.
    Unknown(u8),
}

impl PayloadVersion {
    pub(crate) const V1_SIZE: usize = 64;
    pub(crate) const V2_SIZE: usize = 104;

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

    /// The size of a function's entry, if it is known.
    pub(crate) const fn entry_size(self) -> Option<usize> {
        match self {
            Self::V1 => Some(Self::V1_SIZE),
            Self::V2 => Some(Self::V2_SIZE),
            Self::Unknown(_) => None,
        }
    }
}

impl fmt::Display for PayloadVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.number().fmt(f)
    }
}

/// The kind of a hook, which decides when Xen runs it.
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
        self.section_name().text()
    }

    pub(crate) const fn section_name(self) -> SectionName {
        match self {
            Self::Load => SectionName::LoadHooks,
            Self::Unload => SectionName::UnloadHooks,
            Self::PreApply => SectionName::PreApplyHook,
            Self::Apply => SectionName::ApplyHook,
            Self::PostApply => SectionName::PostApplyHook,
            Self::PreRevert => SectionName::PreRevertHook,
            Self::Revert => SectionName::RevertHook,
            Self::PostRevert => SectionName::PostRevertHook,
        }
    }

    /// Returns true if it prevents a replace: the pre- and post-hooks do, from Xen 4.14 on.
    #[must_use]
    pub const fn forbids_replace(self) -> bool {
        matches!(self, Self::PreApply | Self::PostApply | Self::PreRevert | Self::PostRevert)
    }

    /// Returns true if a payload may have several.
    pub(crate) const fn may_be_several(self) -> bool {
        matches!(self, Self::Load | Self::Unload)
    }
}

impl FromStr for HookKind {
    type Err = InvalidText;

    /// Reads the end of the section's name, such as `preapply`.
    fn from_str(text: &str) -> Result<Self, InvalidText> {
        let named = |kind: &Self| kind.section().strip_prefix(HOOKS) == Some(text);
        Self::ALL.into_iter().find(named).ok_or_else(|| InvalidText::new(text, "a kind of hook such as preapply"))
    }
}

/// The beginning of the names of the sections with hooks.
const HOOKS: &str = ".livepatch.hooks.";

impl fmt::Display for HookKind {
    /// Writes the end of the section's name, such as `preapply`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.section().trim_start_matches(HOOKS))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_are_known_by_their_names() {
        for (index, name) in SectionName::ALL.into_iter().enumerate() {
            assert_eq!((name.index(), SectionName::of(name.text().as_bytes())), (index, Some(name)));
        }
        assert_eq!((SectionName::of(b""), SectionName::of(b".livepatch.func")), (None, None));
    }
}
