//! Files of a store that could not be used, or that do not determine which payloads to apply.

use core::fmt;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::error::{Error, ErrorKind};
use crate::loader::Finding;
use crate::payload::CHANGED;
use crate::types::build_id::BuildId;
use crate::types::errno::Errno;
use crate::types::name::{InvalidName, escaped};
use crate::xen::elf::Smaller;

/// A file or directory of a [`PayloadStore`](crate::PayloadStore) that might matter to a Xen, but could not be used.
///
/// `Display` is one line with the paths and the reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreProblem {
    path: PathBuf,
    fault: Box<StoreFault>,
}

/// The reason why a file or directory of a store could not be used.
///
/// It is serialised as the fields of its variant, the `details` of a serialised [`StoreProblem`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(untagged))]
#[non_exhaustive]
pub enum StoreFault {
    /// It is missing, could not be read to its end, changed while it was read, or is not a little-endian 64-bit ELF file.
    #[error("{reason}{}", number(*.errno))]
    Unreadable {
        /// The reason.
        reason: String,
        /// The error number of the operating system, where there was one.
        errno: Option<Errno>,
    },
    /// It is empty.
    #[error("it is empty")]
    Empty,
    /// It is larger than any release of Xen accepts.
    #[error("it has {size} bytes, but Xen accepts at most 2097152 (2 MiB): {}", Smaller(*.without_debug))]
    TooLarge {
        /// Its size in bytes.
        size: u64,
        /// About the size that it would have without debug sections (`strip -S`), where it has any.
        without_debug: Option<u64>,
    },
    /// Its name is no name of a payload.
    #[error("{0}")]
    InvalidName(#[source] InvalidName),
    /// It is a link out of the directory, or to a directory.
    #[error("{reason}")]
    Link {
        /// The reason.
        reason: &'static str,
    },
    /// It exceeds a limit of [`PayloadStore`](crate::PayloadStore).
    #[error("{reason}")]
    Limit {
        /// The limit.
        reason: String,
    },
    /// The caller does not trust it: [`PayloadStore::verified_by`](crate::PayloadStore::verified_by).
    #[error("it is not trusted: {reason}")]
    Untrusted {
        /// The caller's reason.
        reason: String,
    },
    /// A build-id in it is missing or unreadable.
    #[error("it is damaged: the build-id in its {section} is missing or unreadable")]
    Note {
        /// The section of the build-id.
        section: &'static str,
    },
    /// No release of Xen accepts it.
    #[error("it is damaged: no release of Xen accepts it: {finding}")]
    Damaged {
        /// The first finding for the release with the fewest findings.
        finding: Finding,
    },
    /// It is for this Xen, which would not accept it or would be damaged by it.
    #[error("it does not pass the check for this Xen: {finding}")]
    Unfit {
        /// The first finding that is certain.
        finding: Finding,
    },
    /// It contradicts itself: it names another Xen, but depends on this one or on a payload for it.
    #[error("it is damaged: it names the Xen with build-id {xen}, but depends on {depends}, which belongs to this Xen")]
    Contradiction {
        /// The build-id of the Xen that it names.
        xen: BuildId,
        /// The build-id that it depends on.
        depends: BuildId,
    },
    /// Several files do not determine which payloads to apply.
    #[error("{0}")]
    Ambiguous(#[source] Ambiguity),
}

/// A reason why the files of a store do not determine which payloads to apply on a Xen.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Ambiguity {
    /// Links `livepatch.livepatch` choose different payloads for the same Xen.
    #[error("these links choose different payloads for the same Xen: {}", all_shown(.0))]
    Links(Vec<PathBuf>),
    /// A link `livepatch.livepatch` leads to a file that is missing, can't be used, or is no payload.
    #[error("{}: this link does not lead to a payload that can be used", shown(.0))]
    BrokenLink(PathBuf),
    /// A link `livepatch.livepatch` lies beside payloads for this Xen, but leads to one for another, and no link chooses one
    /// for this Xen.
    #[error(
        "{}: this link leads to a payload for another Xen, but lies beside payloads for this one; make a directory for each Xen",
        shown(.0)
    )]
    LinkToAnother(PathBuf),
    /// A link `livepatch.livepatch` chooses a payload, but there are others for this Xen in other directories. Contains the
    /// link, and the others.
    #[error("a link chooses a payload for this Xen, but others are in other directories: {}", all_shown(.0))]
    OutsideChoice(Vec<PathBuf>),
    /// Several payloads depend on the same one, or on Xen itself.
    #[error(
        "these payloads all depend on {base}: {}; keep one, or choose one with a link livepatch.livepatch",
        all_shown(.payloads)
    )]
    SameBase {
        /// The build-id that they depend on.
        base: BuildId,
        /// The payloads.
        payloads: Vec<PathBuf>,
    },
    /// Several payloads with different contents have the same build-id.
    #[error("these payloads all have the build-id {build_id}: {}", all_shown(.payloads))]
    SameBuildId {
        /// The build-id.
        build_id: BuildId,
        /// The payloads.
        payloads: Vec<PathBuf>,
    },
    /// A payload depends on one that is missing, can't be used, or is not for this Xen.
    #[error(
        "{} depends on {base}, which is not among the payloads for this Xen; add that one, or remove this one",
        shown(.payload)
    )]
    MissingBase {
        /// The payload.
        payload: PathBuf,
        /// The build-id that it depends on.
        base: BuildId,
    },
    /// Payloads depend on each other in a circle, so that none of them is the lowest.
    #[error("these payloads depend on each other in a circle: {}", all_shown(.0))]
    Cycle(Vec<PathBuf>),
}

impl StoreProblem {
    pub(super) fn new(path: impl Into<PathBuf>, fault: StoreFault) -> Self {
        Self { path: path.into(), fault: Box::new(fault) }
    }

    /// The problem of a file that could not be read.
    pub(super) fn of_error(path: impl Into<PathBuf>, error: &Error) -> Self {
        let fault = match error.kind() {
            ErrorKind::EmptyPayload => StoreFault::Empty,
            ErrorKind::PayloadTooLarge { size, without_debug } => {
                StoreFault::TooLarge { size: *size, without_debug: *without_debug }
            }
            ErrorKind::InvalidName(invalid) => StoreFault::InvalidName(invalid.clone()),
            ErrorKind::File { reason, .. } => {
                StoreFault::Unreadable { reason: reason.clone(), errno: error.raw_errno() }
            }
            other => StoreFault::Unreadable { reason: other.to_string(), errno: error.raw_errno() },
        };
        Self::new(path, fault)
    }

    pub(super) fn ambiguous(ambiguity: Ambiguity) -> Self {
        let path = ambiguity.paths().first().expect("several files, or one with a fault, are ambiguous").clone();
        Self::new(path, StoreFault::Ambiguous(ambiguity))
    }

    /// The problem of a file that does not pass the check for this Xen.
    pub(in crate::plan) fn unfit(path: &Path, finding: &Finding) -> Self {
        Self::new(path, StoreFault::Unfit { finding: finding.clone() })
    }

    pub(super) fn of_io(path: impl Into<PathBuf>, error: &io::Error) -> Self {
        let errno = error.raw_os_error().map(Errno::new);
        Self::new(path, StoreFault::Unreadable { reason: error.to_string(), errno })
    }

    /// The file or directory; of several, the first.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// All files or directories that are the reason.
    #[must_use]
    pub fn paths(&self) -> &[PathBuf] {
        match &*self.fault {
            StoreFault::Ambiguous(ambiguity) => ambiguity.paths(),
            _ => core::slice::from_ref(&self.path),
        }
    }

    /// Returns true if the file may be whole a moment later: it changed while it was read.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(&*self.fault, StoreFault::Unreadable { reason, .. } if reason == CHANGED)
    }

    /// The reason.
    #[must_use]
    pub fn fault(&self) -> &StoreFault {
        &self.fault
    }
}

impl StoreFault {
    /// The reason in one word, which stays the same from version to version: `unreadable`, `empty`, `too_large`,
    /// `invalid_name`, `link`, `limit`, `untrusted`, `note`, `damaged`, `unfit`, `contradiction` or `ambiguous`.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Unreadable { .. } => "unreadable",
            Self::Empty => "empty",
            Self::TooLarge { .. } => "too_large",
            Self::InvalidName(_) => "invalid_name",
            Self::Link { .. } => "link",
            Self::Limit { .. } => "limit",
            Self::Untrusted { .. } => "untrusted",
            Self::Note { .. } => "note",
            Self::Damaged { .. } => "damaged",
            Self::Unfit { .. } => "unfit",
            Self::Contradiction { .. } => "contradiction",
            Self::Ambiguous(_) => "ambiguous",
        }
    }
}

impl Ambiguity {
    /// The reason in one word, which stays the same from version to version.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Links(_) => "links",
            Self::BrokenLink(_) => "broken_link",
            Self::LinkToAnother(_) => "link_to_another",
            Self::OutsideChoice(_) => "outside_choice",
            Self::SameBase { .. } => "same_base",
            Self::SameBuildId { .. } => "same_build_id",
            Self::MissingBase { .. } => "missing_base",
            Self::Cycle(_) => "cycle",
        }
    }

    /// The build-id that several payloads have or depend on, or that is missing.
    #[must_use]
    pub const fn build_id(&self) -> Option<&BuildId> {
        match self {
            Self::SameBase { base: id, .. }
            | Self::SameBuildId { build_id: id, .. }
            | Self::MissingBase { base: id, .. } => Some(id),
            Self::Links(_) | Self::BrokenLink(_) | Self::LinkToAnother(_) | Self::OutsideChoice(_) | Self::Cycle(_) => {
                None
            }
        }
    }

    /// The files that are the reason.
    #[must_use]
    pub fn paths(&self) -> &[PathBuf] {
        match self {
            Self::Links(paths) | Self::OutsideChoice(paths) | Self::Cycle(paths) => paths,
            Self::SameBase { payloads, .. } | Self::SameBuildId { payloads, .. } => payloads,
            Self::BrokenLink(path) | Self::LinkToAnother(path) | Self::MissingBase { payload: path, .. } => {
                core::slice::from_ref(path)
            }
        }
    }
}

/// The paths, and the reason.
impl fmt::Display for StoreProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.fault {
            // Its text has all paths.
            StoreFault::Ambiguous(ambiguity) => ambiguity.fmt(f),
            fault => write!(f, "{}: {fault}", shown(&self.path)),
        }
    }
}

impl core::error::Error for StoreProblem {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        Some(&*self.fault)
    }
}

/// A path that is safe to print.
pub(super) fn shown(path: &Path) -> String {
    escaped(path.as_os_str().as_bytes())
}

fn all_shown(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| shown(path)).collect::<Vec<_>>().join(", ")
}

fn number(errno: Option<Errno>) -> String {
    errno.map_or_else(String::new, |errno| format!(" [{errno}]"))
}

#[cfg(feature = "serde")]
crate::types::fields::serialize_fields! {
    /// The [word](StoreFault::word) of the reason, the text of `Display`, the files, and the fields of the reason.
    StoreProblem as |problem| {
        kind: problem.fault().word(),
        message: problem.to_string(),
        paths: problem.paths().iter().map(|path| shown(path)).collect::<Vec<_>>(),
        details: problem.fault(),
    }
}

#[cfg(feature = "serde")]
crate::types::fields::serialize_fields! {
    /// The [word](Ambiguity::word), the text of `Display`, the build-id that it is about, if there is one, and the files.
    Ambiguity as |ambiguity| {
        ambiguity: ambiguity.word(),
        message: ambiguity.to_string(),
        build_id: ambiguity.build_id(),
        paths: ambiguity.paths().iter().map(|path| shown(path)).collect::<Vec<_>>(),
    }
}
