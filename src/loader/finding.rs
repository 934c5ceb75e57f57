//! What is wrong with a payload, for a certain Xen.

use core::fmt;

use super::problem::Problem;
use crate::errno::Errno;

/// What a finding means for the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Severity {
    /// Xen sees it too, and refuses to load or to apply the payload.
    Refused,
    /// Xen takes the payload and does not notice that it is not meant for it.
    Unnoticed,
    /// Xen takes the payload and is damaged by it, or crashes.
    Harmful,
}

/// Something that is wrong with a payload, for a certain Xen.
///
/// `Display` is one line that says what it is and what to do about it, and whether Xen notices.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// What is wrong.
    pub problem: Problem,
    /// What that means for the host.
    pub severity: Severity,
    /// The error number with which Xen refuses the payload, where it does. Where the action is refused and not the
    /// upload, it is the action's.
    pub errno: Option<Errno>,
    /// Whether Xen sees it before the payload is loaded.
    pub(crate) at_upload: bool,
}

impl Finding {
    /// Xen refuses the upload.
    pub(crate) fn refused(errno: Errno, problem: Problem) -> Self {
        Self { problem, severity: Severity::Refused, errno: Some(errno), at_upload: true }
    }

    /// What it means for the host.
    #[must_use]
    pub const fn severity(&self) -> Severity {
        self.severity
    }

    /// Whether Xen refuses to load the payload, and not only to apply it.
    #[must_use]
    pub const fn keeps_from_loading(&self) -> bool {
        self.at_upload && matches!(self.severity, Severity::Refused)
    }

    /// Whether Xen would be damaged by it, or crash.
    #[must_use]
    pub const fn hurts_xen(&self) -> bool {
        matches!(self.severity, Severity::Harmful)
    }

    /// Counts another one in that differs in nothing but the entry that it is about.
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
        f.write_str(match self.severity {
            Severity::Refused => "",
            Severity::Unnoticed => " (Xen does not notice)",
            Severity::Harmful => " (Xen would crash or be damaged)",
        })
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Refused => "refused",
            Self::Unnoticed => "unnoticed",
            Self::Harmful => "harmful",
        })
    }
}
