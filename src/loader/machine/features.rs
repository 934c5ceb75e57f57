//! The numbers of processor features that alternatives may name, by architecture and release.

use crate::xen::release::Release;

/// The number of features of an architecture in each release.
#[derive(Debug)]
pub(super) struct FeatureCounts {
    /// The features that each counted thing is.
    unit: u32,
    /// By series and point release.
    counts: &'static [CountSince],
}

/// A count that holds from a point release of a series on.
#[derive(Debug, PartialEq, PartialOrd)]
struct CountSince {
    minor: u16,
    point: u16,
    count: u16,
}

const fn since(minor: u16, point: u16, count: u16) -> CountSince {
    CountSince { minor, point, count }
}

/// The words of features (`NCAPINTS`), 32 features each: those of CPUID and MSRs (`FEATURESET_NR_ENTRIES`), of Xen itself, and
/// of processor bugs.
///
/// From 4.14.6, 4.15.5, 4.16.5, 4.17.2 and 4.18 on, a word that a header announces counts also if no feature is in it.
pub(super) const X86: FeatureCounts = FeatureCounts { unit: 32, counts: &X86_WORDS };

const X86_WORDS: [CountSince; 32] = [
    since(7, 0, 10),
    since(7, 5, 11),
    since(8, 0, 10),
    since(8, 4, 11),
    since(9, 0, 11),
    since(10, 0, 11),
    since(11, 0, 11),
    since(12, 0, 11),
    since(13, 0, 13),
    since(14, 0, 13),
    since(14, 5, 16),
    since(14, 6, 20),
    since(15, 0, 13),
    since(15, 3, 16),
    since(15, 5, 20),
    since(16, 0, 14),
    since(16, 1, 16),
    since(16, 4, 18),
    since(16, 5, 20),
    since(17, 0, 16),
    since(17, 1, 18),
    since(17, 2, 20),
    since(17, 6, 21),
    since(18, 0, 20),
    since(18, 6, 21),
    since(19, 0, 20),
    since(19, 3, 21),
    since(20, 0, 20),
    since(20, 1, 21),
    since(21, 0, 21),
    since(21, 1, 22),
    since(22, 0, 22),
];

/// The features of Arm (`ARM_NCAPS`), in the releases where the number after the last has a meaning.
pub(super) const ARM: FeatureCounts = FeatureCounts { unit: 1, counts: &ARM_FEATURES };

const ARM_FEATURES: [CountSince; 16] = [
    since(12, 0, 11),
    since(12, 2, 10),
    since(13, 0, 10),
    since(13, 3, 11),
    since(13, 5, 15),
    since(14, 0, 10),
    since(14, 2, 11),
    since(14, 5, 15),
    since(15, 0, 12),
    since(15, 3, 16),
    since(15, 5, 17),
    since(16, 0, 12),
    since(16, 1, 16),
    since(16, 5, 17),
    since(17, 0, 17),
    since(17, 2, 18),
];

impl FeatureCounts {
    /// The number of features in a release: of the last row up to it in its series. Series newer than the table are like its
    /// last row, and older ones have none.
    pub(super) fn of(&self, release: Release) -> u32 {
        let (minor, point) = match self.counts.last() {
            Some(newest) if release.minor() > newest.minor => (newest.minor, u16::MAX),
            _ => (release.minor(), release.point()),
        };
        let reached = self.counts.iter().rfind(|row| row.minor == minor && row.point <= point);
        reached.map_or(0, |row| u32::from(row.count) * self.unit)
    }

    /// The point releases of a series from which on the number is another.
    pub(super) fn changes(&self, minor: u16) -> impl Iterator<Item = u16> + use<> {
        self.counts.iter().filter(move |row| row.minor == minor).map(|row| row.point)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newer_releases_have_the_features_of_the_last_row() {
        let x86 = |minor, point| X86.of(Release::of(minor, point));
        assert_eq!([x86(22, 9), x86(23, 0)], [22 * 32, 22 * 32]);
        assert_eq!(ARM.of(Release::of(22, 0)), 18);
        assert!(X86_WORDS.is_sorted() && ARM_FEATURES.is_sorted());
    }

    /// The words of features on x86 in every release, of the series 4.7 to 4.22 and by point release: the output of each
    /// tag's own `gen-cpuid.py` plus the words that its `cpufeature.h` or `cpufeatures.h` adds.
    const WORDS_OF_HEADERS: [&[u32]; 16] = [
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
    const ARM_COUNTS: [&[u32]; 11] = [
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
        for (minor, points) in (7..).zip(WORDS_OF_HEADERS) {
            for (point, words) in (0..).zip(points) {
                assert_eq!(X86.of(Release::of(minor, point)), words * 32, "4.{minor}.{point}");
            }
        }
        for (minor, points) in (12..).zip(ARM_COUNTS) {
            for (point, count) in (0..).zip(points) {
                assert_eq!(ARM.of(Release::of(minor, point)), *count, "4.{minor}.{point}");
            }
        }
    }
}
