//! Bringing a payload to Xen: read, checked where Xen will read it, and sent.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::LivepatchClient;
use super::asking::outcome_unknown;
use super::console::Watch;
use super::identity::Identity;
use super::listing;
use super::options::{Check, UploadOptions};
use crate::errno::Errno;
use crate::error::{Duplicate, Error, ErrorKind, Result};
use crate::hypercall::channel::CallError;
use crate::hypercall::memory::{AllocationError, HypercallBuffer};
use crate::hypercall::operation::Upload;
use crate::name::PayloadName;
use crate::payload::{self, Finding, Payload, Problem, Severity, check_size};
use crate::status::State;

/// One call of an upload method.
#[derive(Debug)]
pub(super) struct Uploading<'a> {
    pub(super) client: &'a LivepatchClient,
    pub(super) watch: &'a Watch<'a>,
    pub(super) name: &'a PayloadName,
    pub(super) options: UploadOptions,
}

impl Uploading<'_> {
    /// Uploads these bytes.
    pub(super) fn bytes(&self, payload: &[u8]) -> Result<()> {
        check_size(payload.len())?;
        self.with_buffer(payload.len(), |buffer| {
            if let Some(room) = buffer.as_mut_slice().get_mut(..payload.len()) {
                room.copy_from_slice(payload);
            }
            self.send(buffer, payload.len())
        })
    }

    /// Uploads what is in a file, which may also be a pipe.
    pub(super) fn file(&self, path: &Path) -> Result<()> {
        let failed = |error: io::Error| {
            file_error(path, error.to_string()).errno(error.raw_os_error().map_or(Errno::EIO, Errno::new))
        };
        let mut file = File::open(path).map_err(failed)?;
        let about = file.metadata().map_err(failed)?;
        let announced = if about.is_file() { Some(usize::try_from(about.len()).unwrap_or(usize::MAX)) } else { None };
        if let Some(size) = announced {
            check_size(size)?;
        }
        let room = announced.unwrap_or(Payload::MAX_SIZE);
        self.with_buffer(room, |buffer| {
            let target = buffer.as_mut_slice().get_mut(..room).unwrap_or_default();
            let size = read_full(&mut file, target).map_err(failed)?;
            let more = size == room && read_full(&mut file, &mut [0]).map_err(failed)? > 0;
            match announced {
                Some(_) if more || size < room => return Err(file_error(path, "it changed while it was read".into())),
                None if more => return check_size(room.saturating_add(1)),
                _ => check_size(size)?,
            }
            self.send(buffer, size)
        })
    }

    fn with_buffer(&self, len: usize, with: impl FnOnce(&mut HypercallBuffer) -> Result<()>) -> Result<()> {
        let result = self.client.channel.with_buffer(len, |buffer| with(buffer).map_err(Failure::Upload));
        result.map_err(|failure| match failure {
            Failure::Upload(error) => error,
            Failure::Memory(error) => CallError::from(error).general(),
        })
    }

    /// Uploads the first `size` bytes of a buffer, if they are what this Xen can take.
    fn send(&self, payload: &mut HypercallBuffer, size: usize) -> Result<()> {
        let identity = self.check(payload.as_slice().get(..size).unwrap_or_default())?;
        let channel = &self.client.channel;
        if self.options.force && !channel.understands_force().map_err(CallError::general)? {
            return Err(Error::new(ErrorKind::UnsupportedForce));
        }
        let (name, force) = (self.name, self.options.force);
        let len = u64::try_from(size).unwrap_or(u64::MAX);
        self.watch.begin();
        match channel.call(Upload { name, payload, len, force }) {
            Ok(()) => {}
            Err(CallError::Refused(Errno::EFAULT)) => self.faulted()?,
            Err(error) => return Err(self.explain(error)),
        }
        self.client.identities.remember(name, identity);
        Ok(())
    }

    /// Refuses what this Xen can't take, before it sees it; says what the payload is called and goes on top of.
    fn check(&self, bytes: &[u8]) -> Result<Identity> {
        let checks = self.options.check;
        let target = if checks == Check::Nothing { None } else { Some(self.client.target()?) };
        let inspection = match payload::inspect(bytes, target.as_ref()) {
            Ok(inspection) => inspection,
            // Xen sees that as well.
            Err(_) if checks > Check::Full => return Ok(Identity::default()),
            Err(reason) => return Err(Error::new(ErrorKind::InvalidPayload { reason, xen: None })),
        };
        let stops = |finding: &Finding| checks == Check::Full || finding.severity > Severity::Refused;
        if inspection.findings.iter().any(stops) {
            return Err(Error::new(refusal(inspection.findings)));
        }
        Ok(inspection.identity())
    }

    /// Xen could not reach our memory: before it loaded the payload, or after, when it meant to say so.
    fn faulted(&self) -> Result<()> {
        let rows = listing::list(&self.client.channel).map_err(outcome_unknown)?;
        let error = |kind| Err(Error::new(kind).errno(Errno::EFAULT));
        match rows.iter().position(|row| row.name == *self.name).and_then(|at| rows.get(at..)) {
            None | Some([]) => error(ErrorKind::Fault),
            // Somebody has acted on it, so it was there before.
            Some([row, ..]) if row.status.state != State::Checked || row.status.rc != 0 => {
                error(ErrorKind::AlreadyLoaded { by: Duplicate::Name })
            }
            // The last is the one that came last.
            Some([_]) => Ok(()),
            // It may be older, and so may be what follows it.
            Some(_) => error(ErrorKind::Fault).map_err(outcome_unknown),
        }
    }

    /// What the error number of a refused upload says, as far as a number can.
    fn explain(&self, error: CallError) -> Error {
        let CallError::Refused(errno) = error else { return error.general() };
        let reason = REASONS.iter().find(|(known, _)| *known == errno).map(|(_, reason)| *reason);
        let kind = match (errno, reason) {
            (Errno::EEXIST, _) => {
                let by = if self.client.get(self.name).is_ok() { Duplicate::Name } else { Duplicate::BuildIdOrSymbol };
                ErrorKind::AlreadyLoaded { by }
            }
            // Newer releases use the same number for a note of the payload that is none.
            (Errno::ENODATA, _) if self.client.channel.build_id().is_ok() => {
                ErrorKind::InvalidPayload { reason: "a note in it is no build-id", xen: None }
            }
            (Errno::ENODATA, _) => ErrorKind::NoBuildId,
            (_, Some(reason)) => ErrorKind::InvalidPayload { reason, xen: None },
            _ => return error.general(),
        };
        Error::new(kind).errno(errno)
    }
}

/// The commonest finding has a kind of its own, where it is the only one.
fn refusal(findings: Vec<Finding>) -> ErrorKind {
    match findings.as_slice() {
        [Finding { problem: Problem::BuiltForAnotherXen { expected, found }, .. }] => {
            ErrorKind::BuiltForAnotherXen { expected: Some(expected.clone()), found: Some(found.clone()) }
        }
        _ => ErrorKind::UnfitPayload { findings },
    }
}

fn file_error(path: &Path, reason: String) -> Error {
    Error::new(ErrorKind::File { path: path.display().to_string(), reason })
}

/// Reads until the end or until `target` is full.
fn read_full(from: &mut impl Read, mut target: &mut [u8]) -> io::Result<usize> {
    let wanted = target.len();
    while !target.is_empty() {
        match from.read(target) {
            Ok(0) => break,
            Ok(count) => target = target.get_mut(count..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(wanted.saturating_sub(target.len()))
}

enum Failure {
    Upload(Error),
    Memory(AllocationError),
}

impl From<AllocationError> for Failure {
    fn from(error: AllocationError) -> Self {
        Self::Memory(error)
    }
}

/// What each errno of an upload says of the payload.
const REASONS: [(Errno, &str); 6] = [
    (Errno::EINVAL, "it is no well-formed livepatch, or was built for another Xen"),
    (Errno::EOPNOTSUPP, "it has a feature, a machine type or a payload version that this Xen does not take"),
    (Errno::ENOENT, "it needs a symbol, or replaces a function, that neither Xen nor a loaded payload has"),
    (Errno::EOVERFLOW, "its code lies too far from what it refers to"),
    (Errno::ERANGE, "a value in it is out of range"),
    (Errno::ENOEXEC, "it is no ELF file"),
];
