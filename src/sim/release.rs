//! The releases, and since when each rule holds.

use core::fmt;

use super::release::since::Since;

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

    /// Whether a rule holds in this release.
    pub(super) fn has(self, rule: Since) -> bool {
        self >= rule.0
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

/// The first release whose stable branch has a rule; it holds in all later ones. Commits are Xen's.
pub(super) mod since {
    use super::Release;

    #[derive(Clone, Copy, Debug)]
    pub(in crate::sim) struct Since(pub(super) Release);

    /// 98b728a7b2: what was reverted and has writable data can't be applied again.
    pub(in crate::sim) const REAPPLY_GUARDED: Since = Since(Release::V4_8);
    /// 67af3e52f4: no new address means the old code becomes NOPs.
    pub(in crate::sim) const NOP_PATCHES: Since = Since(Release::V4_8);
    /// 84eabb2754: code must be within ±2 GiB of what it replaces.
    pub(in crate::sim) const DISTANCE_CHECKED: Since = Since(Release::V4_8);
    /// e602d66660: hooks at load and unload.
    pub(in crate::sim) const LOAD_HOOKS: Since = Since(Release::V4_8);
    /// c1d255584c: sections without bytes in the file are limited as well.
    pub(in crate::sim) const NOBITS_LIMITED: Since = Since(Release::V4_8);
    /// Symbols of any type are offered to later payloads, not only functions and objects.
    pub(in crate::sim) const SYMBOLS_OF_ANY_TYPE: Since = Since(Release::V4_8);
    /// Empty sections get no address, until `EMPTY_SECTIONS_PLACED`.
    pub(in crate::sim) const EMPTY_SECTIONS_IGNORED: Since = Since(Release::V4_8);
    /// c3f951417f.
    pub(in crate::sim) const ALIGNMENT_CHECKED: Since = Since(Release::V4_10);
    /// 66d3f83db6: no writable section at all is as good as `.livepatch.funcs` alone.
    pub(in crate::sim) const READ_ONLY_REAPPLIES: Since = Since(Release::V4_10);
    /// An alternative grew from 12 to 14 bytes.
    pub(in crate::sim) const LONG_ALTERNATIVES: Since = Since(Release::V4_11);
    /// 4470efeae4: release builds say on the console why they refuse.
    pub(in crate::sim) const REASONS_ON_CONSOLE: Since = Since(Release::V4_13);
    /// b145b4a39c, 5083e0ff93, b274989b61: metadata, packed names, action flags.
    pub(in crate::sim) const PACKED_LAYOUT: Since = Since(Release::V4_14);
    /// 6047104c3c: payload version 2.
    pub(in crate::sim) const PAYLOAD_VERSION_2: Since = Since(Release::V4_14);
    /// 879615f5db: `.livepatch.xen_depends` is required, and compared at upload.
    pub(in crate::sim) const XEN_DEPENDS: Since = Since(Release::V4_14);
    /// 76b3d4098a, 8313c864fa, ef87efee9d: hooks around and instead of actions; functions may be missing.
    pub(in crate::sim) const ACTION_HOOKS: Since = Since(Release::V4_14);
    /// 8e24c88788.
    pub(in crate::sim) const EXPECTATIONS: Since = Since(Release::V4_14);
    /// 4848297ad4.
    pub(in crate::sim) const MODINFO: Since = Since(Release::V4_14);
    /// 9120b5737f.
    pub(in crate::sim) const IGNORED_SYMBOLS_REFUSED: Since = Since(Release::V4_14);
    /// 0dc1f929e8.
    pub(in crate::sim) const EMPTY_SECTIONS_PLACED: Since = Since(Release::V4_14);
    /// 6974c75180, 5142dc5c25: ENDBR64 is left in place; the old address is found first.
    pub(in crate::sim) const ENDBR_AWARE: Since = Since(Release::V4_14);
    /// e74360e4ba.
    pub(in crate::sim) const ALTERNATIVES_CHECKED: Since = Since(Release::V4_17);
    /// a57b4074ab: UNLOAD waits for all CPUs.
    pub(in crate::sim) const UNLOAD_WAITS: Since = Since(Release::V4_17);
    /// fa49f4be41: Xen's build-id is compared before the payload is linked.
    pub(in crate::sim) const XEN_DEPENDS_FIRST: Since = Since(Release::V4_18);
    /// 62a72092a5: the second word of a request holds flags.
    pub(in crate::sim) const REQUEST_FLAGS: Since = Since(Release::V4_19);
    /// 8eed14bf9d: the build-id goes the way of the other strings of variable length.
    pub(in crate::sim) const BUILD_ID_AS_VARBUF: Since = Since(Release::V4_20);
    /// 4c3ce492ed: LIST is told how much room there is.
    pub(in crate::sim) const LIST_ROOM_TOLD: Since = Since(Release::V4_21);
    /// d2fd5f0fcd.
    pub(in crate::sim) const ALT_CALL_SITES: Since = Since(Release::V4_21);
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
    }
}
