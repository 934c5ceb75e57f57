//! Reasons for which several files leave open what to apply.

use core::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::types::build_id::BuildId;
use crate::types::name::escaped;

/// A reason for which the files of a store leave open what to apply on a Xen.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ambiguity {
    /// Links `livepatch.livepatch` choose different payloads for the same Xen.
    Links(Vec<PathBuf>),
    /// A link `livepatch.livepatch` leads to a file that is missing, can't be used, or is no payload.
    BrokenLink(PathBuf),
    /// A link `livepatch.livepatch` lies beside payloads for this Xen, but leads to one for another, and no link chooses one
    /// for this Xen.
    LinkToAnother(PathBuf),
    /// A link `livepatch.livepatch` chooses a payload, but there are others for this Xen in other directories: the link, and
    /// those.
    OutsideChoice(Vec<PathBuf>),
    /// Several payloads depend on the same one, or on Xen itself.
    SameBase {
        /// The build-id that they depend on.
        base: BuildId,
        /// The payloads.
        payloads: Vec<PathBuf>,
    },
    /// Several payloads with different contents have the same build-id.
    SameBuildId {
        /// The build-id.
        build_id: BuildId,
        /// The payloads.
        payloads: Vec<PathBuf>,
    },
    /// A payload depends on one that is missing, can't be used, or is not for this Xen.
    MissingBase {
        /// The payload.
        payload: PathBuf,
        /// The build-id that it depends on.
        base: BuildId,
    },
    /// Payloads depend on each other in a circle, so that none of them is the lowest.
    Cycle(Vec<PathBuf>),
}

impl Ambiguity {
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

impl fmt::Display for Ambiguity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let paths = self.paths().iter().map(|path| shown(path)).collect::<Vec<_>>().join(", ");
        match self {
            Self::Links(_) => write!(f, "these links choose different payloads for the same Xen: {paths}"),
            Self::BrokenLink(_) => write!(f, "{paths}: this link does not lead to a payload that can be used"),
            Self::LinkToAnother(_) => write!(
                f,
                "{paths}: this link leads to a payload for another Xen, but lies beside payloads for this one; make a \
                 directory for each Xen"
            ),
            Self::OutsideChoice(_) => {
                write!(f, "a link chooses a payload for this Xen, but others are in other directories: {paths}")
            }
            Self::SameBase { base, .. } => {
                write!(
                    f,
                    "these payloads all depend on {base}: {paths}; keep one, or choose one with a link livepatch.livepatch"
                )
            }
            Self::SameBuildId { build_id, .. } => write!(f, "these payloads all have the build-id {build_id}: {paths}"),
            Self::MissingBase { base, .. } => {
                write!(
                    f,
                    "{paths} depends on {base}, which is not among the payloads for this Xen; add that one, or remove this one"
                )
            }
            Self::Cycle(_) => write!(f, "these payloads depend on each other in a circle: {paths}"),
        }
    }
}

impl core::error::Error for Ambiguity {}

/// A path that is safe to print.
pub(super) fn shown(path: &Path) -> String {
    escaped(path.as_os_str().as_bytes())
}
