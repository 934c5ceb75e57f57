//! Why there is no one stack.

use core::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::build_id::BuildId;
use crate::name::escaped;

/// Why a store does not tell what to have applied on a Xen, and which files are the reason.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ambiguity {
    /// Links `livepatch.livepatch` choose different payloads for the same Xen.
    Links(Vec<PathBuf>),
    /// A link `livepatch.livepatch` among the payloads for this Xen does not lead to one that is for it.
    BrokenLink(PathBuf),
    /// Several payloads go on the same one, or on Xen itself.
    SameBase {
        /// The build-id of what they go on.
        base: BuildId,
        /// The payloads.
        payloads: Vec<PathBuf>,
    },
    /// Several payloads have the same build-id.
    SameBuildId {
        /// The build-id.
        build_id: BuildId,
        /// The payloads.
        payloads: Vec<PathBuf>,
    },
    /// What a payload goes on is not there, or is not for this Xen.
    MissingBase {
        /// The payload.
        payload: PathBuf,
        /// The build-id of what it goes on; `None` if it does not say.
        base: Option<BuildId>,
    },
    /// Payloads go on each other in a circle, so that none of them is the first.
    Cycle(Vec<PathBuf>),
}

impl Ambiguity {
    /// The files that are the reason.
    #[must_use]
    pub fn paths(&self) -> &[PathBuf] {
        match self {
            Self::Links(paths) | Self::Cycle(paths) => paths,
            Self::SameBase { payloads, .. } | Self::SameBuildId { payloads, .. } => payloads,
            Self::BrokenLink(path) | Self::MissingBase { payload: path, .. } => core::slice::from_ref(path),
        }
    }
}

impl fmt::Display for Ambiguity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let paths = self.paths().iter().map(|path| shown(path)).collect::<Vec<_>>().join(", ");
        match self {
            Self::Links(_) => write!(f, "these links choose different payloads for the same Xen: {paths}"),
            Self::BrokenLink(_) => write!(f, "this link does not lead to a payload for this Xen: {paths}"),
            Self::SameBase { base, .. } => write!(f, "these payloads all go on {base}: {paths}"),
            Self::SameBuildId { build_id, .. } => write!(f, "these payloads all have the build-id {build_id}: {paths}"),
            Self::MissingBase { base: Some(base), .. } => {
                write!(f, "{paths} goes on {base}, which is not among the payloads for this Xen")
            }
            Self::MissingBase { base: None, .. } => write!(f, "{paths} does not say what it goes on"),
            Self::Cycle(_) => write!(f, "these payloads go on each other in a circle: {paths}"),
        }
    }
}

impl core::error::Error for Ambiguity {}

/// A path that is safe to print.
pub(super) fn shown(path: &Path) -> String {
    escaped(path.as_os_str().as_bytes())
}
