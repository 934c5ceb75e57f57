//! The architectures on which Xen live-patches: a row for each, with everything in which Xen's loader differs between them.

mod features;
mod relocation_types;

use core::ops::Range;

use features::FeatureCounts;
use relocation_types::RelocationType;

use crate::types::errno::Errno;
use crate::xen::architecture::Architecture;
use crate::xen::release::Release;
use crate::xen::rules::{self, Rule};

/// The properties of an architecture that Xen's loader depends on.
#[derive(Debug)]
#[allow(clippy::struct_excessive_bools, reason = "they are independent properties")]
pub(super) struct Machine {
    /// The bytes of the jump that Xen writes over a function.
    pub(super) jump: u32,
    /// The distance that the jump reaches in either direction.
    reach: i64,
    /// The alignment of instructions.
    pub(super) instruction: u32,
    /// True if a function may begin with `endbr64`, which Xen leaves in place.
    pub(super) has_endbr: bool,
    /// True if Xen refuses to overwrite more than a function with no-operations.
    pub(super) nops_checked: bool,
    /// True if Xen can patch the code of another payload.
    pub(super) patches_payloads: bool,
    /// True if Xen writes the new code from the caches to memory.
    pub(super) flushes_new_code: bool,
    /// True if Xen writes to `.livepatch.funcs` of every version while only code is writable. Otherwise it does so only in
    /// version 2, from [`rules::CODE_ALONE_WRITABLE`] on.
    pub(super) functions_protected: bool,
    relocation_types: &'static [RelocationType],
    /// The bytes that Xen requires after a relocation's offset before it reads the type, if any.
    pub(super) relocation_room: Option<u64>,
    /// The error number for relocations without addends.
    pub(super) without_addends: Errno,
    /// True if files have mapping symbols (`$x`, `$d`), which Xen does not keep.
    pub(super) mapping_symbols: bool,
    pub(super) bug_frame_size: u64,
    /// The bits of the distance to the trap in a bug frame.
    pub(super) bug_distance_bits: u32,
    /// The rule from which on Xen reads a fourth table of bug frames, where it did not always.
    pub(super) fourth_bug_frames: Option<&'static Rule>,
    /// True if Xen takes a table of exceptions.
    pub(super) exceptions: bool,
    /// True if releases with tables of indirect calls take them.
    pub(super) call_sites: bool,
    pub(super) alternatives: Alternatives,
    features: FeatureCounts,
    /// True if Xen reads the byte order that a file claims to have.
    pub(super) checks_byte_order: bool,
    image: fn(Release) -> Range<u64>,
    /// The range of payloads, relative to the end of the image.
    payloads: Range<u64>,
}

/// The form of an architecture's alternatives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Alternatives {
    /// With padding and negated features in newer releases; checked from [`rules::ALTERNATIVES_REFUSED`] on.
    X86,
    /// With callbacks in newer releases; never checked.
    Arm,
}

const MIB: u64 = 1 << 20;

static X86: Machine = Machine {
    jump: 5,
    reach: 1 << 31,
    instruction: 1,
    has_endbr: true,
    nops_checked: true,
    patches_payloads: true,
    flushes_new_code: false,
    functions_protected: false,
    relocation_types: &relocation_types::X86,
    relocation_room: None,
    without_addends: Errno::EOPNOTSUPP,
    mapping_symbols: false,
    bug_frame_size: 8,
    bug_distance_bits: 24,
    fourth_bug_frames: None,
    exceptions: true,
    call_sites: true,
    alternatives: Alternatives::X86,
    features: features::X86,
    checks_byte_order: true,
    image: x86_image,
    // Up to the end of the gigabyte that the image is in.
    payloads: 0..512 * MIB,
};

static ARM: Machine = Machine {
    jump: 4,
    reach: 128 << 20,
    instruction: 4,
    has_endbr: false,
    nops_checked: false,
    // Xen writes to a second mapping of its own code, which does not include payloads.
    patches_payloads: false,
    flushes_new_code: true,
    functions_protected: true,
    relocation_types: &relocation_types::ARM,
    relocation_room: Some(4),
    without_addends: Errno::ENOSYS,
    mapping_symbols: true,
    bug_frame_size: 16,
    bug_distance_bits: 32,
    fourth_bug_frames: Some(&rules::FOURTH_BUG_FRAMES_ON_ARM),
    exceptions: false,
    call_sites: false,
    alternatives: Alternatives::Arm,
    features: features::ARM,
    checks_byte_order: false,
    image: arm_image,
    // Two MiB are meant for payloads, but Xen's map of free pages counts as many as a page of it has bits for. The first page
    // is the map.
    payloads: 6 * MIB + (2 << 12)..134 * MIB,
};

/// 2 MiB past the start of its gigabyte of the address space (seen on 4.11, 4.13, 4.16 to 4.18, 4.20 and 4.22), 1 MiB on 4.7
/// and perhaps a few releases after it. It ends before 16 MiB; the exact end depends on the build.
fn x86_image(release: Release) -> Range<u64> {
    let start = if release.series() >= (4, 14) { 0xffff_82d0_4000_0000 } else { 0xffff_82d0_8000_0000 };
    let first = if release.series() >= (4, 11) { 2 * MIB } else { MIB };
    start + first..start + 16 * MIB
}

/// In the third MiB of all; from 4.18 on in that of the fifth 512 GiB, with more room.
fn arm_image(release: Release) -> Range<u64> {
    if release.series() >= (4, 18) { (4 << 39) + 2 * MIB..(4 << 39) + 10 * MIB } else { 2 * MIB..4 * MIB }
}

impl Machine {
    /// The row of an architecture. Files of others are refused for that, and checked as if they were for x86.
    pub(super) fn of(architecture: Architecture) -> &'static Self {
        match architecture {
            Architecture::AArch64 => &ARM,
            Architecture::X86_64 | Architecture::Other(_) => &X86,
        }
    }

    /// Returns true if a jump at `old` reaches `new`.
    pub(super) fn reaches(&self, old: u64, new: u64) -> bool {
        (-self.reach..self.reach).contains(&i64::from_le_bytes(old.wrapping_sub(new).to_le_bytes()))
    }

    /// Returns true if an address, or an offset from an aligned one, is not that of an instruction.
    pub(super) fn is_unaligned(&self, address: u64) -> bool {
        address % u64::from(self.instruction) != 0
    }

    /// The relocation type of this number; `None` where Xen does not know it.
    pub(super) fn relocation_type(&self, number: u32) -> Option<&'static RelocationType> {
        self.relocation_types.iter().find(|known| known.number == number)
    }

    /// The number of processor features that an alternative may name.
    pub(super) fn features(&self, release: Release) -> u32 {
        self.features.of(release)
    }

    /// The addresses of Xen's own image.
    pub(super) fn image(&self, release: Release) -> Range<u64> {
        (self.image)(release)
    }

    /// The addresses of payloads.
    pub(super) fn payloads(&self, release: Release) -> Range<u64> {
        let Range { end, .. } = self.image(release);
        end + self.payloads.start..end + self.payloads.end
    }
}

/// The addresses of the image of a Xen.
#[cfg(feature = "sim")]
pub(crate) fn image_of(release: Release, architecture: Architecture) -> Range<u64> {
    Machine::of(architecture).image(release)
}

/// The addresses of the payloads of a Xen.
#[cfg(feature = "sim")]
pub(crate) fn payloads_of(release: Release, architecture: Architecture) -> Range<u64> {
    Machine::of(architecture).payloads(release)
}

/// The point releases of a series from which on a number of features is another.
pub(super) fn feature_changes(minor: u16) -> impl Iterator<Item = u16> {
    [&X86, &ARM].into_iter().flat_map(move |machine| machine.features.changes(minor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_come_after_xen() {
        let places = |minor, architecture| {
            let (machine, release) = (Machine::of(architecture), Release::of(minor, 0));
            let (image, payloads) = (machine.image(release), machine.payloads(release));
            assert!(image.start < image.end && image.end <= payloads.start && payloads.start < payloads.end);
            (image.start, payloads.start)
        };
        assert_eq!(places(17, Architecture::AArch64), (0x20_0000, 0xa0_2000));
        assert_eq!(places(18, Architecture::AArch64), (0x200_0020_0000, 0x200_0100_2000));
        assert_eq!(places(13, Architecture::X86_64), (0xffff_82d0_8020_0000, 0xffff_82d0_8100_0000));
        assert_eq!(places(22, Architecture::X86_64), (0xffff_82d0_4020_0000, 0xffff_82d0_4100_0000));
    }
}
