//! Files of a store that could not be used.

use core::fmt;
use std::io;
use std::path::{Path, PathBuf};

use super::ambiguity::{Ambiguity, shown};
use crate::error::{Error, ErrorKind};
use crate::loader::Finding;
use crate::payload::CHANGED;
use crate::types::build_id::BuildId;
use crate::types::errno::Errno;
use crate::types::name::InvalidName;
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
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
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
    /// `invalid_name`, `link`, `limit`, `note`, `damaged`, `unfit`, `contradiction` or `ambiguous`.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Unreadable { .. } => "unreadable",
            Self::Empty => "empty",
            Self::TooLarge { .. } => "too_large",
            Self::InvalidName(_) => "invalid_name",
            Self::Link { .. } => "link",
            Self::Limit { .. } => "limit",
            Self::Note { .. } => "note",
            Self::Damaged { .. } => "damaged",
            Self::Unfit { .. } => "unfit",
            Self::Contradiction { .. } => "contradiction",
            Self::Ambiguous(_) => "ambiguous",
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

fn number(errno: Option<Errno>) -> String {
    errno.map_or_else(String::new, |errno| format!(" [{errno}]"))
}

/// The [word](StoreFault::word) of the reason, the text of `Display`, and the files.
#[cfg(feature = "serde")]
impl serde::Serialize for StoreProblem {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct as _;
        let paths: Vec<_> = self.paths().iter().map(|path| shown(path)).collect();
        let mut fields = serializer.serialize_struct("StoreProblem", 3)?;
        fields.serialize_field("kind", self.fault().word())?;
        fields.serialize_field("message", &self.to_string())?;
        fields.serialize_field("paths", &paths)?;
        fields.end()
    }
}
