//! The releases.

use core::fmt;

use crate::architecture::Architecture;
use crate::target::Target;

/// A release of Xen, as its stable branch ended: the point release with every fix that the series got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Release {
    /// Xen 4.7.
    V4_7,
    /// Xen 4.8.
    V4_8,
    /// Xen 4.9.
    V4_9,
    /// Xen 4.10.
    V4_10,
    /// Xen 4.11.
    V4_11,
    /// Xen 4.12.
    V4_12,
    /// Xen 4.13.
    V4_13,
    /// Xen 4.14.
    V4_14,
    /// Xen 4.15.
    V4_15,
    /// Xen 4.16.
    V4_16,
    /// Xen 4.17.
    V4_17,
    /// Xen 4.18.
    V4_18,
    /// Xen 4.19.
    V4_19,
    /// Xen 4.20.
    V4_20,
    /// Xen 4.21.
    V4_21,
    /// Xen 4.22.
    V4_22,
}

/// Minor number, interface version of its sysctls, and what it calls itself after `4.MINOR`.
type Row = (Release, u16, u32, &'static str);

const TABLE: [Row; 16] = [
    (Release::V4_7, 7, 0x0d, ".6"),
    (Release::V4_8, 8, 0x0e, ".5"),
    (Release::V4_9, 9, 0x0f, ".4"),
    (Release::V4_10, 10, 0x10, ".4"),
    (Release::V4_11, 11, 0x11, ".4"),
    (Release::V4_12, 12, 0x12, ".4"),
    (Release::V4_13, 13, 0x12, ".5"),
    (Release::V4_14, 14, 0x13, ".6"),
    (Release::V4_15, 15, 0x13, ".7"),
    (Release::V4_16, 16, 0x14, ".7"),
    (Release::V4_17, 17, 0x15, ".7"),
    (Release::V4_18, 18, 0x15, ".6"),
    (Release::V4_19, 19, 0x15, ".6"),
    (Release::V4_20, 20, 0x15, ".3"),
    (Release::V4_21, 21, 0x16, ".2"),
    (Release::V4_22, 22, 0x16, ".0"),
];

impl Release {
    /// Every release with live patching, oldest first.
    pub const ALL: [Self; 16] = [
        Self::V4_7,
        Self::V4_8,
        Self::V4_9,
        Self::V4_10,
        Self::V4_11,
        Self::V4_12,
        Self::V4_13,
        Self::V4_14,
        Self::V4_15,
        Self::V4_16,
        Self::V4_17,
        Self::V4_18,
        Self::V4_19,
        Self::V4_20,
        Self::V4_21,
        Self::V4_22,
    ];

    /// The release with this version, such as `(4, 17)`.
    #[must_use]
    pub fn from_version(major: u16, minor: u16) -> Option<Self> {
        TABLE.iter().find(|(_, m, ..)| (4, *m) == (major, minor)).map(|(release, ..)| *release)
    }

    /// The 7 of Xen 4.7; the major number is 4 in all.
    #[must_use]
    pub fn minor(self) -> u16 {
        self.row().1
    }

    /// The interface version that its sysctls must carry.
    #[must_use]
    pub fn interface_version(self) -> u32 {
        self.row().2
    }

    /// What it calls itself after `4.MINOR`: the last point release of the series, or the one compared against.
    #[must_use]
    pub fn extra_version(self) -> &'static str {
        self.row().3
    }

    /// The release as one that payloads are for, on this architecture.
    pub(super) fn target(self, architecture: Architecture) -> Target {
        let point = self.extra_version().trim_start_matches('.').parse().unwrap_or_default();
        Target::new((4, self.minor())).point(point).architecture(architecture)
    }

    fn row(self) -> Row {
        let [first, ..] = TABLE;
        TABLE.into_iter().find(|(release, ..)| *release == self).unwrap_or(first)
    }
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("4.{}", self.minor()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_each_release_once_in_order() {
        assert!(TABLE.iter().map(|(release, ..)| *release).eq(Release::ALL));
        assert!(Release::ALL.iter().zip(7..).all(|(release, minor)| release.minor() == minor));
        assert!(TABLE.is_sorted_by_key(|(_, _, interface, _)| *interface));
        assert_eq!(Release::from_version(4, 20), Some(Release::V4_20));
        assert_eq!((Release::from_version(4, 6), Release::from_version(5, 7)), (None, None));
        assert_eq!(Release::V4_13.to_string(), "4.13");
        assert_eq!(Release::V4_14.target(Architecture::AArch64).known_point(), Some(6));
    }
}
