//! The Xen for which a payload is checked.

use core::ops::{Bound, RangeBounds};

use crate::types::{BuildId, XenVersion};
use crate::xen::{Architecture, Release};

/// The Xen that [`Payload::check_against`](crate::Payload::check_against) checks a payload for: its series, bounds on its
/// point release, and, where known, its architecture and build-id.
///
/// A rule of Xen that holds for all point releases within the bounds is certain; one that holds for some of them is
/// [possible](crate::Severity). Series newer than the last of [`Release::ALL`] are assumed to be like that one.
///
/// ```
/// use xen_livepatch::{Release, Target};
///
/// let target = Target::new((4, 17)).point(7).build_id("8a7d1e03".parse()?);
/// assert_eq!(target.release(), (4, 17));
/// assert_eq!(Target::new((4, 17)).points(3..).known_points(), (3, None));
/// assert_eq!(Target::from(Release::V4_17.at(3)), Target::new((4, 17)).point(3));
/// # Ok::<(), xen_livepatch::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[must_use]
pub struct Target {
    release: (u16, u16),
    points: Points,
    build_id: Option<BuildId>,
    architecture: Option<Architecture>,
}

/// Bounds on a point release, both included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Points {
    pub(crate) least: u16,
    pub(crate) most: Option<u16>,
}

impl Points {
    pub(crate) const fn exactly(point: u16) -> Self {
        Self { least: point, most: Some(point) }
    }

    pub(crate) const fn at_least(least: u16) -> Self {
        Self { least, most: None }
    }

    /// The bounds of a version text, such as `.7`, `.7-pre`, `.7-rc1` or `.7-1.xs8`.
    ///
    /// Xen's build appends the vendor's text to `.7`, and vendors add fixes of later releases to the one that they name.
    /// `.7-pre` is a state between 4.X.6 and 4.X.7. Any other text has no bounds.
    pub(crate) fn of_text(extra: &str) -> Self {
        let Some(text) = extra.strip_prefix('.') else { return Self::default() };
        let (number, rest) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
        let Ok(number) = number.parse() else { return Self::default() };
        match rest {
            "" => Self::exactly(number),
            "-pre" => Self { least: number.saturating_sub(1), most: Some(number) },
            _ if rest.starts_with("-pre") || rest.starts_with("-rc") => Self::at_least(number.saturating_sub(1)),
            _ => Self::at_least(number),
        }
    }

    /// The bounds that satisfy both; the first if they contradict each other.
    pub(crate) fn and(self, other: Self) -> Self {
        let least = self.least.max(other.least);
        let most = [self.most, other.most].into_iter().flatten().min();
        if most.is_some_and(|most| most < least) { self } else { Self { least, most } }
    }

    /// Returns true if there is only one point release.
    pub(crate) fn is_exact(self) -> bool {
        self.most == Some(self.least)
    }
}

impl Target {
    /// A Xen of this series, major and minor number, whose point release is not known.
    pub const fn new(release: (u16, u16)) -> Self {
        Self { release, points: Points::at_least(0), build_id: None, architecture: None }
    }

    /// Sets the point release: 7 of 4.17.7.
    pub const fn point(mut self, point: u16) -> Self {
        self.points = Points::exactly(point);
        self
    }

    /// Sets bounds on the point release: `3..` for a 4.17.3 or later, `..3` for one before it.
    ///
    /// An empty range counts as its start alone.
    pub fn points(mut self, points: impl RangeBounds<u16>) -> Self {
        let least = match points.start_bound() {
            Bound::Included(least) => *least,
            Bound::Excluded(before) => before.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let most = match points.end_bound() {
            Bound::Included(most) => Some(*most),
            Bound::Excluded(after) => Some(after.saturating_sub(1)),
            Bound::Unbounded => None,
        };
        self.points = Points { least, most: most.map(|most| most.max(least)) };
        self
    }

    /// Sets the build-id of this Xen, for which a payload must have been built.
    pub fn build_id(mut self, build_id: BuildId) -> Self {
        self.build_id = Some(build_id);
        self
    }

    /// Sets the architecture of this Xen.
    pub const fn architecture(mut self, architecture: Architecture) -> Self {
        self.architecture = Some(architecture);
        self
    }

    /// The major and minor number.
    #[must_use]
    pub const fn release(&self) -> (u16, u16) {
        self.release
    }

    /// The lowest and the highest point release that it may be; `None` for no upper bound.
    #[must_use]
    pub const fn known_points(&self) -> (u16, Option<u16>) {
        (self.points.least, self.points.most)
    }

    /// The build-id, if it is known.
    #[must_use]
    pub const fn known_build_id(&self) -> Option<&BuildId> {
        self.build_id.as_ref()
    }

    /// The architecture, if it is known.
    #[must_use]
    pub const fn known_architecture(&self) -> Option<Architecture> {
        self.architecture
    }

    /// Sets the bounds on the point release.
    pub(crate) const fn with_points(mut self, points: Points) -> Self {
        self.points = points;
        self
    }

    pub(crate) const fn bounds(&self) -> Points {
        self.points
    }

    /// Every point release that it may be, lowest first: at least one. Releases after the last known one are like that one.
    pub(crate) fn releases(&self) -> Vec<Release> {
        let (oldest, newest) = self.range();
        (oldest.point()..=newest.point()).map(|point| oldest.at(point)).collect()
    }

    /// The first and the last of its [releases](Self::releases).
    pub(crate) fn range(&self) -> (Release, Release) {
        let (major, minor) = self.release;
        let [.., newest] = Release::ALL;
        if (major, minor) > newest.series() {
            return (newest, newest);
        }
        let last = Release::from_version(major, minor).map_or(0, Release::point);
        let Points { least, most } = self.points;
        let most = most.map_or(last, |most| most.min(last)).max(least);
        (Release::of(minor, least), Release::of(minor, most))
    }
}

impl From<&XenVersion> for Target {
    /// The series, and the bounds on the point release from the text after it.
    ///
    /// `.7` is that point release, and `.7-pre` is the one before it, or nearly `.7`. `.7` followed by anything else
    /// (`.3-1.xs8`, `.3_04-150600.3`, `.5+23-g0123`, `.1-4.el6`) is a vendor's build of that point release with an unknown
    /// number of later fixes. Other texts set no bounds. A payload can change the text of a running Xen, which
    /// [`LivepatchClient::target`](crate::LivepatchClient::target) takes into account.
    fn from(version: &XenVersion) -> Self {
        Self::new(version.release()).with_points(Points::of_text(&version.extra))
    }
}

impl From<Release> for Target {
    fn from(release: Release) -> Self {
        Self::new(release.series()).point(release.point())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_texts_bound_the_point_release() {
        for (extra, least, most) in [
            (".7", 7, Some(7)),
            (".0", 0, Some(0)),
            (".3-pre", 2, Some(3)),
            (".0-rc1", 0, None),
            (".3-1.xs8", 3, None),
            (".4-6", 4, None),
            (".3_04-150600.3", 3, None),
            (".5+23-g0123", 5, None),
            (".1-4.el6", 1, None),
            (".1_02-1", 1, None),
            (".7-patched", 7, None),
            (".3-pre-custom", 2, None),
            (".7 ", 7, None),
            ("-rc1", 0, None),
            ("-custom", 0, None),
            ("-unstable", 0, None),
            ("", 0, None),
            ("7", 0, None),
            (".x", 0, None),
            (".", 0, None),
            (".99999", 0, None),
        ] {
            let version = XenVersion { major: 4, minor: 17, extra: extra.into() };
            assert_eq!(Target::from(&version).known_points(), (least, most), "{extra:?}");
        }
    }

    #[test]
    fn bounds_give_the_point_releases_in_them() {
        let points = |target: Target| -> Vec<u16> { target.releases().into_iter().map(Release::point).collect() };
        let xen = || Target::new((4, 17));
        assert_eq!(points(xen()), [0, 1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(points(xen().points(5..)), [5, 6, 7]);
        assert_eq!(points(xen().points(..2)), [0, 1]);
        assert_eq!(points(xen().points(2..=3)), [2, 3]);
        assert_eq!(points(xen().points((Bound::Excluded(5), Bound::Unbounded))), [6, 7]);
        assert_eq!(points(xen().points((Bound::Included(4), Bound::Included(2)))), [4]);
        assert_eq!((points(xen().point(9)), points(xen().points(9..))), (vec![9], vec![9]));
        assert_eq!(Target::new((4, 6)).releases(), [Release::of(6, 0)]);
        let [.., newest] = Release::ALL;
        for newer in [(4, u16::MAX), (5, 0)] {
            assert_eq!(Target::new(newer).point(3).releases(), [newest]);
        }
    }

    #[test]
    fn bounds_narrow_each_other() {
        let (any, exact, vendor) = (Points::default(), Points::exactly(3), Points::at_least(2));
        assert_eq!((any.and(exact), exact.and(vendor), any.and(any)), (exact, exact, any));
        assert_eq!(vendor.and(Points { least: 0, most: Some(5) }), Points { least: 2, most: Some(5) });
        assert_eq!(exact.and(Points::at_least(4)), exact, "a contradiction");
        assert!(exact.is_exact() && !vendor.is_exact() && !any.is_exact());
    }
}
