//! The Xen that a payload is checked for.

use core::fmt;

use object::elf::{EM_AARCH64, EM_X86_64};

use crate::build_id::BuildId;
use crate::version::XenVersion;

/// What a payload's code runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Architecture {
    /// x86-64.
    X86_64,
    /// 64-bit Arm (from Xen 4.8).
    AArch64,
    /// Another one, by its ELF number. No Xen live-patches there.
    Other(u16),
}

impl Architecture {
    pub(super) const fn from_raw(machine: u16) -> Self {
        if machine == EM_X86_64.0 {
            Self::X86_64
        } else if machine == EM_AARCH64.0 {
            Self::AArch64
        } else {
            Self::Other(machine)
        }
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::X86_64 => f.pad("x86-64"),
            Self::AArch64 => f.pad("AArch64"),
            Self::Other(machine) => f.pad(&format!("machine {machine}")),
        }
    }
}

/// The Xen that [`Payload::check_against`](super::Payload::check_against) checks a payload for: its release, and what
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

    pub(super) const fn known_build_id(&self) -> Option<&BuildId> {
        self.build_id.as_ref()
    }

    pub(super) const fn known_architecture(&self) -> Option<Architecture> {
        self.architecture
    }

    /// Whether it is this release or a newer one.
    pub(super) fn since(&self, release: (u16, u16)) -> bool {
        self.release >= release
    }

    /// Whether it may be of this release, from a point release on.
    pub(super) fn may_be_at_least(&self, release: (u16, u16), point: u16) -> bool {
        self.release == release && self.point.is_none_or(|known| known >= point)
    }

    /// Whether it may be of a release before `mended`, which names a release and its first good point release.
    pub(super) fn may_precede(&self, mended: &[((u16, u16), u16)]) -> bool {
        mended.iter().any(|(release, point)| self.release == *release && self.point.is_none_or(|known| known < *point))
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

    #[test]
    fn an_unknown_point_release_may_be_an_old_one() {
        let mended = [((4, 7), 4), ((4, 8), 2)];
        assert!(Target::new((4, 7)).may_precede(&mended));
        assert!(Target::new((4, 8)).point(1).may_precede(&mended));
        assert!(!Target::new((4, 8)).point(2).may_precede(&mended));
        assert!(!Target::new((4, 9)).may_precede(&mended));
    }
}
