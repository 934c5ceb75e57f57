//! Bringing a payload to Xen.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::console::Watch;
use super::options::UploadOptions;
use super::{ask, listing, outcome_unknown};
use crate::errno::Errno;
use crate::error::{Duplicate, Error, ErrorKind, Result};
use crate::hypercall::channel::{CallError, Channel};
use crate::hypercall::memory::{AllocationError, HypercallBuffer};
use crate::hypercall::operation::{Get, Upload};
use crate::name::PayloadName;
use crate::status::State;

/// The largest payload that any release takes.
const MAX_SIZE: usize = 2 << 20;

/// Uploads these bytes.
pub(super) fn bytes(
    channel: &Channel,
    watch: &Watch<'_>,
    name: &PayloadName,
    payload: &[u8],
    options: UploadOptions,
) -> Result<()> {
    check_size(payload.len())?;
    with_buffer(channel, payload.len(), |buffer| {
        if let Some(room) = buffer.as_mut_slice().get_mut(..payload.len()) {
            room.copy_from_slice(payload);
        }
        upload(channel, watch, name, buffer, payload.len(), options)
    })
}

/// Uploads what is in a file, which may also be a pipe.
pub(super) fn file(
    channel: &Channel,
    watch: &Watch<'_>,
    name: &PayloadName,
    path: &Path,
    options: UploadOptions,
) -> Result<()> {
    let failed = |error: io::Error| {
        file_error(path, error.to_string()).errno(error.raw_os_error().map_or(Errno::EIO, Errno::new))
    };
    let mut file = File::open(path).map_err(failed)?;
    let about = file.metadata().map_err(failed)?;
    let announced = if about.is_file() { Some(usize::try_from(about.len()).unwrap_or(usize::MAX)) } else { None };
    if let Some(size) = announced {
        check_size(size)?;
    }
    with_buffer(channel, announced.unwrap_or(MAX_SIZE), |buffer| {
        let room = announced.unwrap_or(MAX_SIZE);
        let target = buffer.as_mut_slice().get_mut(..room).unwrap_or_default();
        let size = read_full(&mut file, target).map_err(failed)?;
        let more = size == room && read_full(&mut file, &mut [0]).map_err(failed)? > 0;
        match announced {
            Some(_) if more || size < room => return Err(file_error(path, "it changed while it was read".into())),
            None if more => return check_size(MAX_SIZE.saturating_add(1)),
            _ => check_size(size)?,
        }
        upload(channel, watch, name, buffer, size, options)
    })
}

fn check_size(size: usize) -> Result<()> {
    match size {
        0 => Err(Error::new(ErrorKind::EmptyPayload)),
        1..=MAX_SIZE => Ok(()),
        _ => Err(Error::new(ErrorKind::PayloadTooLarge { size: u64::try_from(size).unwrap_or(u64::MAX) })),
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

fn with_buffer(channel: &Channel, len: usize, with: impl FnOnce(&mut HypercallBuffer) -> Result<()>) -> Result<()> {
    channel.with_buffer(len, |buffer| with(buffer).map_err(Failure::Upload)).map_err(|failure| match failure {
        Failure::Upload(error) => error,
        Failure::Memory(error) => CallError::from(error).general(),
    })
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

fn upload(
    channel: &Channel,
    watch: &Watch<'_>,
    name: &PayloadName,
    payload: &mut HypercallBuffer,
    size: usize,
    options: UploadOptions,
) -> Result<()> {
    if options.force && !channel.understands_force().map_err(CallError::general)? {
        return Err(Error::new(ErrorKind::UnsupportedForce));
    }
    let len = u64::try_from(size).unwrap_or(u64::MAX);
    watch.begin();
    match channel.call(Upload { name, payload, len, force: options.force }) {
        Ok(()) => Ok(()),
        Err(CallError::Refused(Errno::EFAULT)) => faulted(channel, name),
        Err(error) => Err(explain(channel, name, error)),
    }
}

/// Xen could not reach our memory: before it loaded the payload, or after, when it meant to say so.
fn faulted(channel: &Channel, name: &PayloadName) -> Result<()> {
    let rows = listing::list(channel).map_err(outcome_unknown)?;
    let error = |kind| Err(Error::new(kind).errno(Errno::EFAULT));
    match rows.iter().position(|row| row.name == *name).and_then(|at| rows.get(at..)) {
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

fn is_loaded(channel: &Channel, name: &PayloadName) -> Result<bool> {
    match ask(|| channel.call(Get { name })) {
        Ok(_) => Ok(true),
        Err(CallError::Refused(Errno::ENOENT)) => Ok(false),
        Err(error) => Err(error.general()),
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

fn explain(channel: &Channel, name: &PayloadName, error: CallError) -> Error {
    let CallError::Refused(errno) = error else { return error.general() };
    let reason = REASONS.iter().find(|(known, _)| *known == errno).map(|(_, reason)| *reason);
    let kind = match (errno, reason) {
        (Errno::EEXIST, _) => {
            let by =
                if is_loaded(channel, name).unwrap_or(false) { Duplicate::Name } else { Duplicate::BuildIdOrSymbol };
            ErrorKind::AlreadyLoaded { by }
        }
        // Newer releases use the same number for a note of the payload that is none.
        (Errno::ENODATA, _) if channel.build_id().is_ok() => {
            ErrorKind::InvalidPayload { reason: "a note in it is no build-id", xen: None }
        }
        (Errno::ENODATA, _) => ErrorKind::NoBuildId,
        (_, Some(reason)) => ErrorKind::InvalidPayload { reason, xen: None },
        _ => return error.general(),
    };
    Error::new(kind).errno(errno)
}
