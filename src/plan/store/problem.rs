//! A file of a store that could not be used.

use core::fmt;
use std::path::{Path, PathBuf};

use super::ambiguity::shown;

/// A file or directory of a [`PayloadStore`](crate::PayloadStore) that might matter to a Xen, but could not be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreProblem {
    pub(super) path: PathBuf,
    pub(super) reason: String,
}

impl StoreProblem {
    /// The file or directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// The path, and the reason.
impl fmt::Display for StoreProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", shown(&self.path), self.reason)
    }
}
