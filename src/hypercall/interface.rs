//! The releases of Xen: which interface version each speaks and in which layout.

/// The three layouts of the livepatch sysctl (and what Xen makes of its fields).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Layout {
    /// 4.7 to 4.13: names every 128 bytes, no metadata, no action flags.
    Strided,
    /// 4.14 to 4.20: names and metadata back to back, into buffers whose size Xen isn't told; action flags.
    Packed,
    /// 4.21 on: as before, but Xen is told the sizes and keeps to them (commit 4c3ce492ed).
    Sized,
}

/// An interface version of the sysctl hypercall.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Interface {
    pub(crate) version: u32,
    pub(crate) layout: Layout,
    /// The first and last minor of the 4.x that speak it.
    minors: (u16, u16),
    pub(crate) force: Force,
}

/// Whether the second word of a livepatch sysctl holds flags (4.19, commit 62a72092a5) or must be zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Force {
    Understood,
    Rejected,
    /// The interface version doesn't tell, so Xen must be asked.
    Ask,
}

/// Every interface version with live patching, newest first. Xen 4.6 and before speak 0x0c or less and have none.
pub(crate) const INTERFACES: [Interface; 10] = [
    interface(0x16, Layout::Sized, (21, 22), Force::Understood),
    interface(0x15, Layout::Packed, (17, 20), Force::Ask),
    interface(0x14, Layout::Packed, (16, 16), Force::Rejected),
    interface(0x13, Layout::Packed, (14, 15), Force::Rejected),
    interface(0x12, Layout::Strided, (12, 13), Force::Rejected),
    interface(0x11, Layout::Strided, (11, 11), Force::Rejected),
    interface(0x10, Layout::Strided, (10, 10), Force::Rejected),
    interface(0x0f, Layout::Strided, (9, 9), Force::Rejected),
    interface(0x0e, Layout::Strided, (8, 8), Force::Rejected),
    interface(0x0d, Layout::Strided, (7, 7), Force::Rejected),
];

const fn interface(version: u32, layout: Layout, minors: (u16, u16), force: Force) -> Interface {
    Interface { version, layout, minors, force }
}

impl Interface {
    /// The interface versions to try on this release: its own first, then the others, newest first.
    pub(crate) fn candidates(release: (u16, u16)) -> impl Iterator<Item = Self> {
        let own =
            move |interface: &Self| release.0 == 4 && (interface.minors.0..=interface.minors.1).contains(&release.1);
        INTERFACES.into_iter().filter(own).chain(INTERFACES.into_iter().filter(move |interface| !own(interface)))
    }

    /// This interface version: one of the table, or a later one, which is taken to be as the latest that is known.
    pub(crate) fn pinned(version: u32) -> Option<Self> {
        let [latest, ..] = INTERFACES;
        let known = INTERFACES.into_iter().find(|interface| interface.version == version);
        let later = Self { version, minors: (latest.minors.1, u16::MAX), ..latest };
        known.or_else(|| (version > latest.version).then_some(later))
    }

    /// Which release this is. The interface is what counts where a Xen calls itself something else.
    pub(crate) fn release(self, claimed: (u16, u16)) -> (u16, u16) {
        let minor = if claimed.0 == 4 { claimed.1 } else { self.minors.0 };
        (4, minor.clamp(self.minors.0, self.minors.1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_release_is_tried_at_its_own_version_first() {
        let first = [
            (7, 0x0d),
            (8, 0x0e),
            (9, 0x0f),
            (10, 0x10),
            (11, 0x11),
            (12, 0x12),
            (13, 0x12),
            (14, 0x13),
            (15, 0x13),
            (16, 0x14),
            (17, 0x15),
            (18, 0x15),
            (19, 0x15),
            (20, 0x15),
            (21, 0x16),
            (22, 0x16),
        ];
        for (minor, version) in first {
            let tried: Vec<u32> = Interface::candidates((4, minor)).map(|i| i.version).collect();
            assert_eq!(tried.first(), Some(&version), "4.{minor}");
            assert_eq!(tried.len(), 10);
            assert!(tried.iter().skip(1).is_sorted_by(|a, b| a > b), "{tried:x?}");
        }
        for unknown in [(4, 6), (4, 23), (5, 17)] {
            assert_eq!(Interface::candidates(unknown).next().map(|i| i.version), Some(0x16));
        }
    }

    #[test]
    fn the_interface_says_which_release_it_is() {
        let of = |version, claimed| Interface::pinned(version).map(|interface| interface.release(claimed));
        assert_eq!(of(0x15, (4, 18)), Some((4, 18)));
        assert_eq!(of(0x12, (4, 20)), Some((4, 13)));
        assert_eq!(of(0x13, (5, 0)), Some((4, 14)));
        assert_eq!(of(0x17, (4, 24)), Some((4, 24)));
        assert_eq!((of(0x0c, (4, 6)), Interface::pinned(0x17).map(|i| i.layout)), (None, Some(Layout::Sized)));
    }

    #[test]
    fn layouts_begin_where_the_releases_changed_them() {
        let of = |version| INTERFACES.into_iter().find(|i| i.version == version).map(|i| i.layout);
        assert_eq!(
            [0x12, 0x13, 0x15, 0x16].map(of),
            [Layout::Strided, Layout::Packed, Layout::Packed, Layout::Sized].map(Some)
        );
    }
}
