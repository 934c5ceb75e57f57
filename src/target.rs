//! The Xen that a payload is checked for.

use crate::architecture::Architecture;
use crate::build_id::BuildId;
use crate::version::XenVersion;

/// The Xen that [`Payload::check_against`](crate::Payload::check_against) checks a payload for: its release, and what
/// else is known of it.
///
/// What is not known is not held against a payload, unless it would crash one of the Xens in question. Releases newer
/// than 4.22 are taken to be like 4.22.
///
/// ```
/// use xen_livepatch::Target;
///
/// let target = Target::new((4, 17)).point(7).build_id("8a7d1e03".parse()?);
/// assert_eq!(target.release(), (4, 17));
/// # Ok::<(), xen_livepatch::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[must_use]
pub struct Target {
    release: (u16, u16),
    point: Option<u16>,
    build_id: Option<BuildId>,
    architecture: Option<Architecture>,
}

impl Target {
    /// A Xen of this release: major and minor number.
    pub const fn new(release: (u16, u16)) -> Self {
        Self { release, point: None, build_id: None, architecture: None }
    }

    /// The point release: 7 of 4.17.7. A few mistakes in payloads crash only the early ones of a release.
    pub const fn point(mut self, point: u16) -> Self {
        self.point = Some(point);
        self
    }

    /// The build-id of this Xen, which a payload must have been built for.
    pub fn build_id(mut self, build_id: BuildId) -> Self {
        self.build_id = Some(build_id);
        self
    }

    /// What this Xen runs on.
    pub const fn architecture(mut self, architecture: Architecture) -> Self {
        self.architecture = Some(architecture);
        self
    }

    /// Major and minor number.
    #[must_use]
    pub const fn release(&self) -> (u16, u16) {
        self.release
    }

    pub(crate) const fn known_point(&self) -> Option<u16> {
        self.point
    }

    pub(crate) const fn known_build_id(&self) -> Option<&BuildId> {
        self.build_id.as_ref()
    }

    pub(crate) const fn known_architecture(&self) -> Option<Architecture> {
        self.architecture
    }

    /// Whether it is this release or a newer one.
    pub(crate) fn since(&self, release: (u16, u16)) -> bool {
        self.release >= release
    }
}

impl From<&XenVersion> for Target {
    /// The release, and the point release where what follows the release is one, such as `.7`. Of `.7-pre`, which is on
    /// the way there, it is 6. What vendors, or a payload, make of it tells nothing.
    fn from(version: &XenVersion) -> Self {
        let extra = version.extra.strip_prefix('.').unwrap_or_default();
        let (number, rest) = extra.split_at(extra.find(|c: char| !c.is_ascii_digit()).unwrap_or(extra.len()));
        let on_the_way = rest.starts_with("-pre") || rest.starts_with("-rc");
        let number = number.parse().ok().filter(|_| on_the_way || rest.is_empty());
        let point = number.map(|number: u16| number.saturating_sub(u16::from(on_the_way)));
        Self { point, ..Self::new(version.release()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_point_release_is_read_from_the_version() {
        for (extra, point) in [
            (".7", Some(7)),
            (".3-pre", Some(2)),
            (".0-rc1", Some(0)),
            ("-rc1", None),
            ("", None),
            ("7", None),
            (".x", None),
            (".7-patched", None),
            (".99999", None),
        ] {
            let version = XenVersion { major: 4, minor: 17, extra: extra.into() };
            let expected = Target { point, ..Target::new((4, 17)) };
            assert_eq!(Target::from(&version), expected, "{extra:?}");
        }
    }
}
