//! How much there is of what a payload may name: processor features, and Xen's own image.

use core::ops::Range;

use crate::xen::architecture::Architecture;
use crate::xen::release::Release;

/// A series, a point release of it, and a number that holds from that one on.
type Row = (u16, u16, u16);

/// The words of processor features that an alternative may name on x86 (`NCAPINTS`), 32 features each: those of CPUID
/// and MSRs (`FEATURESET_NR_ENTRIES`), of Xen itself, and of processor bugs.
///
/// From 4.14.6, 4.15.5, 4.16.5, 4.17.2 and 4.18 on, a word that a header announces counts also if no feature is in it.
const FEATURE_WORDS: [Row; 32] = [
    (7, 0, 10),
    (7, 5, 11),
    (8, 0, 10),
    (8, 4, 11),
    (9, 0, 11),
    (10, 0, 11),
    (11, 0, 11),
    (12, 0, 11),
    (13, 0, 13),
    (14, 0, 13),
    (14, 5, 16),
    (14, 6, 20),
    (15, 0, 13),
    (15, 3, 16),
    (15, 5, 20),
    (16, 0, 14),
    (16, 1, 16),
    (16, 4, 18),
    (16, 5, 20),
    (17, 0, 16),
    (17, 1, 18),
    (17, 2, 20),
    (17, 6, 21),
    (18, 0, 20),
    (18, 6, 21),
    (19, 0, 20),
    (19, 3, 21),
    (20, 0, 20),
    (20, 1, 21),
    (21, 0, 21),
    (21, 1, 22),
    (22, 0, 22),
];

/// The processor features that Arm has (`ARM_NCAPS`), in the releases where the number after the last has a meaning.
const ARM_FEATURES: [Row; 16] = [
    (12, 0, 11),
    (12, 2, 10),
    (13, 0, 10),
    (13, 3, 11),
    (13, 5, 15),
    (14, 0, 10),
    (14, 2, 11),
    (14, 5, 15),
    (15, 0, 12),
    (15, 3, 16),
    (15, 5, 17),
    (16, 0, 12),
    (16, 1, 16),
    (16, 5, 17),
    (17, 0, 17),
    (17, 2, 18),
];

/// The number of features that a release knows on x86.
pub(super) fn features(release: Release) -> u32 {
    there_are(&FEATURE_WORDS, release).saturating_mul(32)
}

/// The number of features that a release knows on Arm.
pub(super) fn arm_features(release: Release) -> u32 {
    there_are(&ARM_FEATURES, release)
}

/// The number in the last row up to a release: of its series, or, where that has none, of the newest one.
fn there_are(rows: &[Row], release: Release) -> u32 {
    let series = rows.last().map_or(0, |(newest, ..)| release.minor().min(*newest));
    let of_series = rows.iter().filter(|(minor, ..)| *minor == series);
    let newer = series != release.minor();
    let mut reached = of_series.filter(|(_, first, _)| newer || *first <= release.point());
    reached.next_back().map_or(0, |(.., count)| u32::from(*count))
}

/// The point releases of a series from which on the numbers here are others.
pub(super) fn changes(minor: u16) -> impl Iterator<Item = u16> {
    let rows = FEATURE_WORDS.iter().chain(&ARM_FEATURES);
    rows.filter(move |(series, ..)| *series == minor).map(|(_, first, _)| *first)
}

const MIB: u64 = 1 << 20;

/// Where Xen's own image is on x86: 2 MiB past the start of its gigabyte of the address space (seen on 4.11, 4.13, 4.16
/// to 4.18, 4.20 and 4.22), 1 MiB on 4.7 and perhaps a few after it. It ends before 16 MiB, where that is depends on the build.
///
/// On Arm it is in the third MiB of all, and from 4.18 on in that of the fifth 512 GiB, where it has more room.
pub(crate) fn image(release: Release, architecture: Architecture) -> Range<u64> {
    let [start, first, end] = match (architecture, release.series() >= (4, 18)) {
        (Architecture::AArch64, true) => [4 << 39, 2 * MIB, 10 * MIB],
        (Architecture::AArch64, false) => [0, 2 * MIB, 4 * MIB],
        _ => {
            let start = if release.series() >= (4, 14) { 0xffff_82d0_4000_0000 } else { 0xffff_82d0_8000_0000 };
            [start, if release.series() >= (4, 11) { 2 * MIB } else { MIB }, 16 * MIB]
        }
    };
    start.saturating_add(first)..start.saturating_add(end)
}

/// Where payloads are: on x86 between Xen's image and the end of its gigabyte. On Arm they have two MiB, but Xen's map of
/// free pages counts as many as a page of it has bits for, and it uses them.
pub(crate) fn payloads(release: Release, architecture: Architecture) -> Range<u64> {
    let image = image(release, architecture);
    match architecture {
        Architecture::AArch64 => {
            let start = image.end.saturating_add(6 * MIB);
            // The first page is the map.
            start.saturating_add(2 << 12)..start.saturating_add(128 * MIB)
        }
        _ => image.end..image.end.saturating_add(512 * MIB),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_grow_with_point_releases() {
        let of = |minor, point| features(Release::of(minor, point));
        assert_eq!([of(7, 4), of(14, 5), of(17, 7), of(22, 9), of(23, 0)], [320, 16 * 32, 21 * 32, 22 * 32, 22 * 32]);
        assert!(FEATURE_WORDS.is_sorted() && ARM_FEATURES.is_sorted());
        let of = |minor, point| arm_features(Release::of(minor, point));
        assert_eq!([of(16, 4), of(17, 1), of(17, 2), of(18, 0), of(22, 0)], [16, 17, 18, 18, 18]);
    }

    /// The words of features on x86 in every release, of the series 4.7 to 4.22 and by point release: the output of each
    /// tag's own `gen-cpuid.py` plus the words that its `cpufeature.h` or `cpufeatures.h` adds.
    const WORDS: [&[u32]; 16] = [
        &[10, 10, 10, 10, 10, 11, 11],
        &[10, 10, 10, 10, 11, 11],
        &[11, 11, 11, 11, 11],
        &[11, 11, 11, 11, 11],
        &[11, 11, 11, 11, 11],
        &[11, 11, 11, 11, 11],
        &[13, 13, 13, 13, 13, 13],
        &[13, 13, 13, 13, 13, 16, 20],
        &[13, 13, 13, 16, 16, 20, 20, 20],
        &[14, 16, 16, 16, 18, 20, 20, 20],
        &[16, 18, 20, 20, 20, 20, 21, 21],
        &[20, 20, 20, 20, 20, 20, 21],
        &[20, 20, 20, 21, 21, 21, 21],
        &[20, 21, 21, 21, 21],
        &[21, 22, 22],
        &[22],
    ];

    /// `ARM_NCAPS` in every release of the series 4.12 to 4.22.
    const ARM: [&[u32]; 11] = [
        &[11, 11, 10, 10, 10],
        &[10, 10, 10, 11, 11, 15],
        &[10, 10, 11, 11, 11, 15, 15],
        &[12, 12, 12, 16, 16, 17, 17, 17],
        &[12, 16, 16, 16, 16, 17, 17, 17],
        &[17, 17, 18, 18, 18, 18, 18, 18],
        &[18; 7],
        &[18; 7],
        &[18; 5],
        &[18; 3],
        &[18],
    ];

    #[test]
    fn every_release_has_the_features_of_its_headers() {
        for (minor, points) in (7..).zip(WORDS) {
            for (point, words) in (0..).zip(points) {
                assert_eq!(features(Release::of(minor, point)), words * 32, "4.{minor}.{point}");
            }
        }
        for (minor, points) in (12..).zip(ARM) {
            for (point, count) in (0..).zip(points) {
                assert_eq!(arm_features(Release::of(minor, point)), *count, "4.{minor}.{point}");
            }
        }
    }

    #[test]
    fn payloads_come_after_xen() {
        let places = |minor, architecture| {
            let release = Release::of(minor, 0);
            let (image, payloads) = (image(release, architecture), payloads(release, architecture));
            assert!(image.start < image.end && image.end <= payloads.start && payloads.start < payloads.end);
            (image.start, payloads.start)
        };
        assert_eq!(places(17, Architecture::AArch64), (0x20_0000, 0xa0_2000));
        assert_eq!(places(18, Architecture::AArch64), (0x200_0020_0000, 0x200_0100_2000));
        assert_eq!(places(13, Architecture::X86_64), (0xffff_82d0_8020_0000, 0xffff_82d0_8100_0000));
        assert_eq!(places(22, Architecture::X86_64), (0xffff_82d0_4020_0000, 0xffff_82d0_4100_0000));
    }
}
