//! Faults of a payload, for a certain Xen.

use core::fmt;

use super::problem::Problem;
use super::problem::kind::{ProblemKind, ProblemKinds};
use crate::types::errno::Errno;
use crate::xen::release::Release;

/// The consequence of a finding for the host.
///
/// A *possible* finding holds for some of the point releases that this Xen may be, and not for others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum Severity {
    /// Some of the possible point releases refuse the payload, or accept it although it is unsuitable; none is damaged.
    Possible,
    /// Xen finds it too, and refuses to load or to apply the payload.
    Refused,
    /// Xen accepts the payload although it is unsuitable.
    Unnoticed,
    /// The payload crashes or damages some of the possible point releases. Or it may crash or damage this Xen: the file
    /// alone does not decide that.
    PossiblyHarmful,
    /// Xen accepts the payload and is damaged by it, or crashes.
    Harmful,
}

impl Severity {
    /// Returns true if it is certain by the rules of Xen.
    #[must_use]
    pub const fn is_certain(self) -> bool {
        !matches!(self, Self::Possible | Self::PossiblyHarmful)
    }
}

/// A fault of a payload, for a certain Xen.
///
/// `Display` is one line with the problem, its remedy, and, unless Xen refuses the payload, the consequence for the host.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// The problem.
    pub problem: Problem,
    /// Its consequence for the host.
    pub severity: Severity,
    /// The error number with which Xen refuses the payload, if it does: that of the upload, or of the action.
    pub errno: Option<Errno>,
    /// The affected point releases among those that this Xen may be; empty if all are affected.
    pub releases: Vec<Release>,
    /// True if Xen finds it before the payload is loaded.
    pub(crate) at_upload: bool,
}

impl Finding {
    /// A finding for a known release.
    pub(super) fn new(severity: Severity, errno: Option<Errno>, problem: Problem) -> Self {
        Self { problem, severity, errno, releases: Vec::new(), at_upload: true }
    }

    /// A finding for which Xen refuses the upload.
    pub(crate) fn refused(errno: Errno, problem: Problem) -> Self {
        Self::new(Severity::Refused, Some(errno), problem)
    }

    /// The kind of the problem, by which a possible finding can be accepted.
    #[must_use]
    pub const fn kind(&self) -> ProblemKind {
        self.problem.kind()
    }

    /// Returns true if the payload is not sent to Xen because of it; with `full`, also if Xen refuses the payload itself.
    ///
    /// A payload that was built for this very Xen (`made_for_it`), with its source at hand, is not refused for a possible
    /// finding that is no danger: Xen refuses the payload itself if the finding holds.
    pub(crate) fn keeps_out(&self, made_for_it: bool, accepted: ProblemKinds, full: bool) -> bool {
        if !self.severity.is_certain() && accepted.contains(self.kind()) {
            return false;
        }
        match self.severity {
            Severity::Possible => full && !made_for_it,
            Severity::Refused => full,
            Severity::Unnoticed | Severity::PossiblyHarmful | Severity::Harmful => true,
        }
    }

    /// Returns true if Xen refuses to load the payload, and not only to apply it.
    #[must_use]
    pub const fn keeps_from_loading(&self) -> bool {
        self.at_upload && matches!(self.severity, Severity::Refused)
    }

    /// Returns true if Xen may be damaged by it, or crash.
    #[must_use]
    pub const fn hurts_xen(&self) -> bool {
        matches!(self.severity, Severity::Harmful | Severity::PossiblyHarmful)
    }

    /// Counts another finding if it differs only in its entry.
    pub(super) fn absorb(&mut self, other: &Self) -> bool {
        if (self.severity, self.errno) != (other.severity, other.errno) {
            return false;
        }
        self.problem.absorb(&other.problem)
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.problem.fmt(f)?;
        let several = self.releases.len() > 1;
        let verb = match (self.severity, several) {
            (Severity::Refused, _) => return Ok(()),
            (Severity::Unnoticed, _) => return f.write_str(" (Xen does not notice)"),
            (Severity::Harmful, _) => return f.write_str(" (Xen would crash or be damaged)"),
            (Severity::PossiblyHarmful, _) if self.releases.is_empty() => {
                return write!(f, " (Xen may crash or be damaged; accept {} to load it anyway)", self.kind());
            }
            (Severity::Possible, true) => "do not take it",
            (Severity::Possible, false) => "does not take it",
            (Severity::PossiblyHarmful, true) => "crash on it or are damaged",
            (Severity::PossiblyHarmful, false) => "crashes on it or is damaged",
        };
        write!(
            f,
            " (possibly: {} {verb}, and this Xen does not reveal its point release; accept {} to load it anyway)",
            Listed(&self.releases),
            self.kind()
        )
    }
}

/// Releases of one series, in order: `4.17.0, 4.17.2 to 4.17.4 and 4.17.6`.
pub(crate) struct Listed<'r>(pub(crate) &'r [Release]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let follow = |a: &Release, b: &Release| a.minor() == b.minor() && a.point().checked_add(1) == Some(b.point());
        let mut parts = Vec::new();
        for run in self.0.chunk_by(follow) {
            match run {
                [first, _, .., last] => parts.push(format!("{first} to {last}")),
                few => parts.extend(few.iter().map(Release::to_string)),
            }
        }
        match parts.split_last() {
            None => Ok(()),
            Some((last, [])) => f.write_str(last),
            Some((last, rest)) => write!(f, "{} and {last}", rest.join(", ")),
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Possible => "possible",
            Self::Refused => "refused",
            Self::Unnoticed => "unnoticed",
            Self::PossiblyHarmful => "possibly-harmful",
            Self::Harmful => "harmful",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_in_a_row_are_listed_as_a_range() {
        let listed = |points: &[u16]| {
            let releases: Vec<Release> = points.iter().map(|point| Release::V4_17.at(*point)).collect();
            Listed(&releases).to_string()
        };
        assert_eq!(listed(&[1, 2]), "4.17.1 and 4.17.2");
        assert_eq!(listed(&[0, 1, 2]), "4.17.0 to 4.17.2");
        assert_eq!(listed(&[0, 2, 3, 4, 6]), "4.17.0, 4.17.2 to 4.17.4 and 4.17.6");
        assert_eq!((listed(&[3]), listed(&[])), ("4.17.3".into(), String::new()));
    }
}
