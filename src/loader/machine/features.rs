//! The numbers of processor features that alternatives may name, by architecture and release.

use crate::xen::release::Release;

/// The number of features of an architecture in each release.
#[derive(Debug)]
pub(super) struct FeatureCounts {
    /// The features that each counted thing is.
    unit: u32,
    /// The minor number of the first series.
    first: u16,
    /// By series and point release.
    counts: &'static [&'static [u32]],
}

/// The words of features (`NCAPINTS`), 32 features each: those of CPUID and MSRs (`FEATURESET_NR_ENTRIES`), of Xen itself, and
/// of processor bugs. They are the output of each tag's own `gen-cpuid.py` plus the words that its `cpufeature.h` or
/// `cpufeatures.h` adds.
///
/// From 4.14.6, 4.15.5, 4.16.5, 4.17.2 and 4.18 on, a word that a header announces counts also if no feature is in it.
pub(super) const X86: FeatureCounts = FeatureCounts { unit: 32, first: 7, counts: &X86_WORDS };

const X86_WORDS: [&[u32]; 16] = [
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

/// The features of Arm (`ARM_NCAPS` of each tag), in the releases where the number after the last has a meaning. Newer series
/// have as many as the last one here.
pub(super) const ARM: FeatureCounts = FeatureCounts { unit: 1, first: 12, counts: &ARM_FEATURES };

const ARM_FEATURES: [&[u32]; 6] = [
    &[11, 11, 10, 10, 10],
    &[10, 10, 10, 11, 11, 15],
    &[10, 10, 11, 11, 11, 15, 15],
    &[12, 12, 12, 16, 16, 17, 17, 17],
    &[12, 16, 16, 16, 16, 17, 17, 17],
    &[17, 17, 18, 18, 18, 18, 18, 18],
];

impl FeatureCounts {
    /// The number of features in a release. Releases and series newer than the table are like its last ones, and older series
    /// have none.
    pub(super) fn of(&self, release: Release) -> u32 {
        let count = match self.series(release.minor()) {
            Some(points) => points.get(usize::from(release.point())).or(points.last()),
            None if release.minor() < self.first => None,
            None => self.counts.last().and_then(|points| points.last()),
        };
        count.map_or(0, |count| count * self.unit)
    }

    /// The point releases of a series from which on the number is another.
    pub(super) fn changes(&self, minor: u16) -> impl Iterator<Item = u16> + use<> {
        let points = self.series(minor).unwrap_or(&[]);
        (1..).zip(points.windows(2)).filter(|(_, pair)| pair.first() != pair.last()).map(|(point, _)| point)
    }

    /// The counts of a series, if the table has it.
    fn series(&self, minor: u16) -> Option<&'static [u32]> {
        self.counts.get(usize::from(minor.checked_sub(self.first)?)).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_grow_with_point_releases() {
        let x86 = |minor, point| X86.of(Release::of(minor, point));
        assert_eq!([x86(7, 4), x86(14, 5), x86(17, 7), x86(22, 9), x86(23, 0)], [320, 512, 672, 704, 704]);
        let arm = |minor, point| ARM.of(Release::of(minor, point));
        assert_eq!([arm(16, 4), arm(17, 1), arm(17, 2), arm(18, 0), arm(22, 0), arm(11, 0)], [16, 17, 18, 18, 18, 0]);
        assert!(X86.changes(17).eq([1, 2, 6]) && ARM.changes(12).eq([2]) && ARM.changes(11).next().is_none());
    }

    #[test]
    fn the_table_has_every_release() {
        for (points, release) in X86_WORDS.iter().zip(Release::ALL) {
            assert_eq!(points.len(), usize::from(release.point()) + 1, "{release}");
        }
        for (points, release) in ARM_FEATURES.iter().zip(&Release::ALL[5..]) {
            assert_eq!(points.len(), usize::from(release.point()) + 1, "{release}");
        }
    }
}
