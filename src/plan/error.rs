//! Reasons why there is no plan.

use super::step::Gap;
use super::store::StoreProblem;
use crate::loader::Finding;
use crate::types::{BuildId, Errno, PayloadName};
use crate::xen::elf::Smaller;

/// The reason why there is no plan from the loaded payloads to the wanted ones. Nothing has been done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// A wanted payload has no build-id, so that it can't be identified.
    #[error("{name:?} has no build-id: its file was cut short, or was not made by the tools of this Xen")]
    NoBuildId {
        /// The payload.
        name: PayloadName,
    },
    /// A wanted payload is larger than Xen accepts.
    #[error("{name:?} has {size} bytes, but Xen accepts at most 2097152 (2 MiB): {}", Smaller(*.without_debug))]
    TooLarge {
        /// The payload.
        name: PayloadName,
        /// Its size in bytes.
        size: u64,
        /// About the size that it would have without debug sections, where it has any.
        without_debug: Option<u64>,
    },
    /// Two wanted payloads have the same build-id, and Xen loads only one of them.
    #[error("{first:?} and {second:?} have the same build-id: Xen loads only one of them")]
    Twice {
        /// The lower one.
        first: PayloadName,
        /// The upper one.
        second: PayloadName,
    },
    /// A wanted payload was built for another Xen.
    #[error("{name:?} was built for the Xen with build-id {expected}, but this one has build-id {found}")]
    BuiltForAnotherXen {
        /// The payload.
        name: PayloadName,
        /// The build-id of the Xen that it was built for.
        expected: BuildId,
        /// The build-id of the Xen that runs.
        found: BuildId,
    },
    /// A wanted payload does not depend on the one that would be below it.
    #[error("{name:?} depends on {}, but would be applied on {} with build-id {found}", show(.expected.as_ref()), payload_or_xen(.below.as_ref()))]
    DependsOnAnother {
        /// The payload.
        name: PayloadName,
        /// The build-id that it depends on.
        expected: Option<BuildId>,
        /// The payload below it; `None` for Xen itself.
        below: Option<PayloadName>,
        /// The build-id of that payload, or of Xen.
        found: BuildId,
    },
    /// Xen's own build-id is not known, so that no payload can be known to be for it.
    #[error("{}", without_build_id(*.why))]
    XenUnknown {
        /// The error number with which Xen refused its build-id, `ENODATA` for a Xen without one.
        why: Option<Errno>,
    },
    /// Two wanted payloads define the same new symbol, and Xen loads only one of them.
    #[error("{first:?} and {second:?} define the same symbol as new: Xen loads only one of them")]
    SameSymbol {
        /// The lower one.
        first: PayloadName,
        /// The upper one.
        second: PayloadName,
    },
    /// A wanted payload does not pass the check for this Xen.
    #[error("{name:?} does not pass the check for this Xen: {}", joined(.findings))]
    Unfit {
        /// The payload.
        name: PayloadName,
        /// The findings that keep it from Xen.
        findings: Vec<Finding>,
    },
    /// A loaded payload keeps a wanted one from being uploaded, and has to stay: it is wanted itself, or an applied payload
    /// may be linked with it.
    #[error("{loaded:?}, which has to stay loaded, keeps {name:?} from being uploaded")]
    InTheWay {
        /// The wanted payload.
        name: PayloadName,
        /// The loaded one.
        loaded: PayloadName,
    },
    /// A payload that would have to be uploaded again is not at hand as a file.
    #[error("{name:?} would have to be uploaded again, and its file is not at hand")]
    NoFile {
        /// The payload.
        name: PayloadName,
    },
    /// Some files that might be wanted could not be used, and a plan would have to take a payload out of effect.
    #[error("nothing is removed or replaced, because some files could not be used: {}", joined(.problems))]
    Incomplete {
        /// The files.
        problems: Vec<StoreProblem>,
    },
    /// There is no way without a gap, and the caller refused gaps.
    #[error("there is no way without a gap: {}", joined(.gaps))]
    Gap {
        /// The payloads that the host would have to run without for a while.
        gaps: Vec<Gap>,
    },
}

impl PlanError {
    /// The reason in one word, which stays the same from version to version.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::NoBuildId { .. } => "no_build_id",
            Self::TooLarge { .. } => "too_large",
            Self::Twice { .. } => "twice",
            Self::BuiltForAnotherXen { .. } => "built_for_another_xen",
            Self::DependsOnAnother { .. } => "depends_on_another",
            Self::XenUnknown { .. } => "xen_unknown",
            Self::SameSymbol { .. } => "same_symbol",
            Self::Unfit { .. } => "unfit",
            Self::InTheWay { .. } => "in_the_way",
            Self::NoFile { .. } => "no_file",
            Self::Incomplete { .. } => "incomplete",
            Self::Gap { .. } => "gap",
        }
    }

    /// Returns true if there may be a plan later, although nothing is changed meanwhile.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::XenUnknown { why: Some(why) } => is_passing(*why),
            Self::Incomplete { problems } => problems.iter().any(StoreProblem::is_retryable),
            _ => false,
        }
    }
}

#[cfg(feature = "serde")]
crate::types::fields::serialize_fields! {
    /// The word, the text, true if it is worth another try, and the fields of its variant.
    PlanError as |error| {
        kind: error.word(),
        message: error.to_string(),
        retryable: error.is_retryable(),
        details: Details(error),
    }
}

/// The fields of the variant.
#[cfg(feature = "serde")]
pub(crate) struct Details<'a>(pub(crate) &'a PlanError);

#[cfg(feature = "serde")]
macro_rules! serialize_details {
    ($($variant:ident { $($field:ident),+ })+) => {
        impl serde::Serialize for Details<'_> {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                use serde::ser::SerializeMap as _;
                let mut details = serializer.serialize_map(None)?;
                match self.0 {
                    $(PlanError::$variant { $($field),+ } => {
                        $(details.serialize_entry(stringify!($field), $field)?;)+
                    })+
                }
                details.end()
            }
        }
    };
}

#[cfg(feature = "serde")]
serialize_details! {
    NoBuildId { name }
    TooLarge { name, size, without_debug }
    Twice { first, second }
    BuiltForAnotherXen { name, expected, found }
    DependsOnAnother { name, expected, below, found }
    XenUnknown { why }
    SameSymbol { first, second }
    Unfit { name, findings }
    InTheWay { name, loaded }
    NoFile { name }
    Incomplete { problems }
    Gap { gaps }
}

/// Returns true for an error number whose cause may pass by itself.
fn is_passing(errno: Errno) -> bool {
    matches!(errno, Errno::EAGAIN | Errno::EBUSY | Errno::EINTR | Errno::ENOMEM)
}

fn without_build_id(why: Option<Errno>) -> String {
    match why {
        Some(Errno::ENODATA) => "this Xen has no build-id: it was linked without one, and takes no live patches".into(),
        Some(errno @ (Errno::EPERM | Errno::EACCES)) => format!(
            "Xen does not let this domain read Xen's own build-id (FLASK: permission xen_build_id of class version) [{errno}]"
        ),
        Some(errno) if is_passing(errno) => format!("Xen's own build-id could not be read; try again [{errno}]"),
        Some(errno) => format!("Xen's own build-id could not be read [{errno}]"),
        None => "Xen's own build-id is not known".into(),
    }
}

/// All of these in one line.
pub(crate) fn joined<T: ToString>(all: &[T]) -> String {
    all.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

fn show(id: Option<&BuildId>) -> String {
    id.map_or_else(|| "nothing".into(), |id| format!("build-id {id}"))
}

fn payload_or_xen(name: Option<&PayloadName>) -> String {
    name.map_or_else(|| "Xen itself".into(), |name| format!("payload {name:?}"))
}
