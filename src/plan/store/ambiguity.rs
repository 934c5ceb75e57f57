//! Reasons why files do not determine which payloads to apply.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::types::build_id::BuildId;
use crate::types::name::escaped;

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

/// A path that is safe to print.
pub(super) fn shown(path: &Path) -> String {
    escaped(path.as_os_str().as_bytes())
}

fn all_shown(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| shown(path)).collect::<Vec<_>>().join(", ")
}

/// The text of `Display`, and the files.
#[cfg(feature = "serde")]
impl serde::Serialize for Ambiguity {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct as _;
        let paths: Vec<_> = self.paths().iter().map(|path| shown(path)).collect();
        let mut fields = serializer.serialize_struct("Ambiguity", 2)?;
        fields.serialize_field("message", &self.to_string())?;
        fields.serialize_field("paths", &paths)?;
        fields.end()
    }
}
