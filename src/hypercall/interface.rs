//! Interface versions of the sysctl hypercall, and the layout of the requests in each.

use core::mem;

use crate::xen::{Release, rules};

/// The three layouts of the livepatch sysctl, and the meaning of its fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Layout {
    /// 4.7 to 4.13: names every 128 bytes, no metadata, no action flags.
    Strided,
    /// 4.14 to 4.20: names and metadata back to back, into buffers of a size that requests do not contain; action flags.
    Packed,
    /// 4.21 on: as before, but requests contain the sizes, and Xen keeps to them (commit 4c3ce492ed).
    Sized,
}

/// An interface version of the sysctl hypercall.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Interface {
    pub(crate) version: u32,
    pub(crate) layout: Layout,
    /// The minor numbers of the first and the last release that use it.
    minors: (u16, u16),
    /// True if the second word of a livepatch sysctl is flags (4.19, commit 62a72092a5), false if it must be zero; `None` if the
    /// interface version leaves it open, so that Xen must be asked.
    pub(crate) force: Option<bool>,
}

impl Interface {
    /// The interface version of the newest release.
    pub(crate) fn newest() -> Self {
        let [.., newest] = Release::ALL;
        Self::of(newest)
    }

    fn of(release: Release) -> Self {
        let version = release.interface_version();
        let alike = Release::ALL.into_iter().filter(|other| other.interface_version() == version);
        let (first, last) = alike.fold((release, release), |(first, last), other| (first.min(other), last.max(other)));
        let layout = if rules::LIST_BUFFER_SIZES.holds_in(first) {
            Layout::Sized
        } else if rules::PACKED_LAYOUT.holds_in(first) {
            Layout::Packed
        } else {
            Layout::Strided
        };
        let force = match [first, last].map(|release| rules::REQUEST_FLAGS.holds_in(release)) {
            [false, true] => None,
            [first, _] => Some(first),
        };
        Self { version, layout, minors: (first.minor(), last.minor()), force }
    }

    /// Every interface version with live patching, newest first. Xen 4.6 and older have 0x0c or less, and none.
    fn all() -> impl Iterator<Item = Self> {
        let mut newer = None;
        let releases = Release::ALL.into_iter().rev();
        let last_of_each = releases.filter(move |release| {
            let version = Some(release.interface_version());
            mem::replace(&mut newer, version) != version
        });
        last_of_each.map(Self::of)
    }

    /// The interface versions to try on this release: its own first, then the others, newest first. Nearly always the first is
    /// the right one, so the others are derived only when they are needed.
    pub(crate) fn candidates((major, minor): (u16, u16)) -> impl Iterator<Item = Self> {
        let own = Release::from_version(major, minor).map(Self::of);
        own.into_iter().chain(Self::all().filter(move |other| Some(*other) != own))
    }

    /// This interface version: a known one, or a later one, which is assumed to be like the newest known one.
    pub(crate) fn pinned(version: u32) -> Option<Self> {
        let newest = Self::newest();
        let known = Self::all().find(|interface| interface.version == version);
        let later = Self { version, minors: (newest.minors.1, u16::MAX), ..newest };
        known.or_else(|| (version > newest.version).then_some(later))
    }

    /// The release of a Xen with this interface version. The interface version counts if Xen reports another release.
    pub(crate) fn release(self, claimed: (u16, u16)) -> (u16, u16) {
        let minor = if claimed.0 == 4 { claimed.1 } else { self.minors.0 };
        (4, minor.clamp(self.minors.0, self.minors.1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn versions(release: (u16, u16)) -> Vec<u32> {
        Interface::candidates(release).map(|interface| interface.version).collect()
    }

    #[test]
    fn each_release_is_tried_at_its_own_version_first() {
        for release in Release::ALL {
            let tried: Vec<u32> = versions(release.series());
            assert_eq!(tried.first(), Some(&release.interface_version()), "{release}");
            assert!(tried.iter().skip(1).is_sorted_by(|a, b| a > b), "{tried:x?}");
            assert!(Release::ALL.iter().all(|other| tried.contains(&other.interface_version())));
        }
        for unknown in [(4, 6), (4, u16::MAX), (5, 17)] {
            assert_eq!(versions(unknown).first(), Some(&Interface::newest().version));
        }
    }

    #[test]
    fn the_interface_says_which_release_it_is() {
        let of = |version, claimed| Interface::pinned(version).map(|interface| interface.release(claimed));
        assert_eq!(of(0x15, (4, 18)), Some((4, 18)));
        assert_eq!(of(0x12, (4, 20)), Some((4, 13)));
        assert_eq!(of(0x13, (5, 0)), Some((4, 14)));
        let later = Interface::newest().version + 1;
        assert_eq!(of(later, (4, u16::MAX)), Some((4, u16::MAX)));
        assert_eq!(Interface::pinned(later).map(|i| (i.version, i.layout)), Some((later, Layout::Sized)));
        assert_eq!(of(0x0c, (4, 6)), None);
    }

    #[test]
    fn layouts_begin_where_the_releases_changed_them() {
        let of = |version| Interface::pinned(version).map(|i| (i.layout, i.force));
        assert_eq!(
            [0x0d, 0x12, 0x13, 0x14, 0x15, 0x16].map(of),
            [
                (Layout::Strided, Some(false)),
                (Layout::Strided, Some(false)),
                (Layout::Packed, Some(false)),
                (Layout::Packed, Some(false)),
                (Layout::Packed, None),
                (Layout::Sized, Some(true)),
            ]
            .map(Some)
        );
    }
}
