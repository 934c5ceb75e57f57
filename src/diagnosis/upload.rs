//! The reason why Xen refused an upload.

use super::LogMessage;
use crate::error::{Duplicate, Error, ErrorKind as Kind};
use crate::types::{BuildId, Errno, Metadata, PayloadName, State};

/// The presence of a payload of the upload's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Present {
    /// It has this metadata, if this Xen reports any.
    Yes(Option<Metadata>),
    No,
    /// It was not looked up, or could not be.
    Unknown(Option<Errno>),
}

/// A loaded payload with the build-id of the one that was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Twin {
    /// Under this name, in this state.
    Yes(PayloadName, State),
    /// Every loaded payload is identified, and none is the same.
    No,
    Unknown,
}

/// The observations of an upload that Xen refused.
#[derive(Clone, Debug)]
pub(crate) struct UploadEvidence {
    pub(crate) refused: Errno,
    /// It is looked up only if it matters: after `EEXIST` and `EFAULT`.
    pub(crate) present: Present,
    /// It is looked for after `EEXIST`.
    pub(crate) twin: Twin,
    /// The metadata of the payload that was sent, if they are readable.
    pub(crate) metadata: Option<Metadata>,
    /// Xen's own build-id, looked up after `ENODATA`; or the error number of that.
    pub(crate) xen: Option<Result<BuildId, Errno>>,
    /// The messages about the payload in Xen's log.
    pub(crate) messages: Vec<LogMessage>,
}

pub(crate) fn judge_upload(e: &UploadEvidence) -> Error {
    let (kind, errno) = match e.refused {
        Errno::EFAULT => faulted(e),
        errno => (refused(e, errno), errno),
    };
    Error::new(kind).errno(errno)
}

/// Xen could not reach our memory, either before it loaded the payload or after it, to report.
///
/// A payload of this name may be this upload, an older one, or one that another tool has uploaded since. Only different
/// metadata distinguish them.
fn faulted(e: &UploadEvidence) -> (Kind, Errno) {
    match &e.present {
        Present::No => (Kind::Fault, Errno::EFAULT),
        Present::Yes(Some(metadata)) if e.metadata.as_ref().is_some_and(|sent| sent != metadata) => {
            (Kind::AlreadyLoaded { by: Duplicate::Name }, Errno::EFAULT)
        }
        Present::Yes(_) => (Kind::OutcomeUnknown, Errno::EFAULT),
        Present::Unknown(errno) => (Kind::OutcomeUnknown, errno.unwrap_or(Errno::EFAULT)),
    }
}

fn refused(e: &UploadEvidence, errno: Errno) -> Kind {
    let complaint = e.messages.iter().rev().find_map(|message| match message {
        LogMessage::Other(text) => Some(text.clone()),
        _ => None,
    });
    let invalid = |reason| Kind::InvalidPayload { reason, xen: complaint };
    match errno {
        Errno::EEXIST => Kind::AlreadyLoaded { by: duplicate(e) },
        // Newer releases use this number for a note of the payload as well.
        Errno::ENODATA => match e.xen {
            Some(Ok(_)) => invalid("a note in it is not a build-id"),
            Some(Err(Errno::ENODATA)) => Kind::NoBuildId,
            _ => invalid("a note in it is not a build-id, or this Xen has no build-id"),
        },
        _ => {
            let other_xen = e.messages.iter().rev().find_map(|message| match message {
                LogMessage::ForAnotherXen(expected, found) => Some((expected.clone(), found.clone())),
                LogMessage::NotBuiltOn(None) => Some((None, None)),
                _ => None,
            });
            match (other_xen, REASONS.iter().find(|(known, _)| *known == errno)) {
                (Some((expected, found)), Some(_)) => Kind::BuiltForAnotherXen { expected, found },
                (None, Some((_, reason))) => invalid(reason),
                (_, None) => Kind::of_number(errno),
            }
        }
    }
}

/// Xen's log names a symbol. Only debug builds log that the build-id is loaded, so silence means nothing.
fn duplicate(e: &UploadEvidence) -> Duplicate {
    if let Twin::Yes(name, state) = &e.twin {
        return Duplicate::Payload { name: name.clone(), state: *state };
    }
    let logged = e.messages.iter().rev().find_map(|message| match message {
        LogMessage::DuplicateSymbol(symbol) => Some(Duplicate::Symbol(symbol.clone())),
        LogMessage::SameBuildId => Some(Duplicate::BuildId),
        _ => None,
    });
    logged.unwrap_or(match e.present {
        Present::Yes(_) => Duplicate::Name,
        Present::No if e.twin == Twin::No => Duplicate::SomeSymbol,
        Present::No => Duplicate::BuildIdOrSymbol,
        Present::Unknown(_) => Duplicate::Unknown,
    })
}

/// Returns true if Xen's log names a symbol as the cause, so that nothing else need be looked for.
pub(crate) fn names_symbol(messages: &[LogMessage]) -> bool {
    messages.iter().any(|message| matches!(message, LogMessage::DuplicateSymbol(_)))
}

/// The meaning of each error number of an upload.
const REASONS: [(Errno, &str); 6] = [
    (Errno::EINVAL, "it is not a well-formed live patch, or was built for another Xen"),
    (Errno::EOPNOTSUPP, "it has a feature, a machine type or a payload version that this Xen does not take"),
    (Errno::ENOENT, "it needs a symbol, or replaces a function, that neither Xen nor a loaded payload has"),
    (Errno::EOVERFLOW, "its code lies too far from what it refers to"),
    (Errno::ERANGE, "a value in it is out of range"),
    (Errno::ENOEXEC, "it is not an ELF file"),
];
