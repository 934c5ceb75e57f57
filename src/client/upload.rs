//! Bringing a payload to Xen: read, checked where Xen will read it, and sent.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use super::LivepatchClient;
use super::action_lock::ActionGuard;
use super::console::LogWatch;
use super::hooks::PostHooks;
use super::identities::Uploaded;
use super::inventory::{self, Depth};
use super::listing::{self, Listing};
use super::options::{Check, UploadOptions};
use crate::diagnosis::{Present, Twin, UploadEvidence, judge_upload, names_symbol};
use crate::error::{Error, ErrorKind, Result};
use crate::hypercall::channel::CallError;
use crate::hypercall::memory::{AllocationError, HypercallBuffer};
use crate::hypercall::operation::Upload;
use crate::payload::{self, Finding, Inspection, Payload, Problem, check_bytes, check_file, check_size};
use crate::types::build_id::BuildId;
use crate::types::errno::Errno;
use crate::types::name::PayloadName;
use crate::xen::elf::{Elf, Outline};
use crate::xen::rules;

/// One call of an upload method.
#[derive(Debug)]
pub(super) struct Uploading<'a> {
    pub(super) client: &'a LivepatchClient,
    pub(super) watch: &'a LogWatch<'a>,
    pub(super) name: &'a PayloadName,
    pub(super) options: UploadOptions,
    /// The caller's, where it has it.
    pub(super) turn: Option<&'a ActionGuard<'a>>,
}

impl Uploading<'_> {
    /// Uploads these bytes.
    pub(super) fn bytes(&self, payload: &[u8]) -> Result<()> {
        self.copied(payload, None)
    }

    /// Uploads a payload that was read before.
    pub(super) fn payload(&self, payload: &Payload) -> Result<()> {
        self.copied(payload.bytes(), Some(payload.outline()))
    }

    fn copied(&self, payload: &[u8], outline: Option<&Outline>) -> Result<()> {
        check_bytes(payload)?;
        self.with_buffer(payload.len(), |buffer| {
            if let Some(room) = buffer.as_mut_slice().get_mut(..payload.len()) {
                room.copy_from_slice(payload);
            }
            self.send(buffer, payload.len(), outline)
        })
    }

    /// Uploads what is in a file, which may also be a pipe.
    pub(super) fn file(&self, path: &Path) -> Result<()> {
        let failed = |error: io::Error| Error::of_io(path, &error);
        let mut file = File::open(path).map_err(failed)?;
        let about = file.metadata().map_err(failed)?;
        let announced = if about.is_file() { Some(usize::try_from(about.len()).unwrap_or(usize::MAX)) } else { None };
        if let Some(size) = announced {
            check_file(&file, size)?;
        }
        // A byte more than there may be, so that one read also finds the end.
        let room = announced.unwrap_or(Payload::MAX_SIZE).saturating_add(1);
        self.with_buffer(room, |buffer| {
            let target = buffer.as_mut_slice().get_mut(..room).unwrap_or_default();
            let size = read_up_to(&mut file, target, announced).map_err(failed)?;
            let is_other = || fs::metadata(path).map(|after| payload::is_other(&about, &after)).map_err(failed);
            if announced.is_some_and(|announced| announced != size) || (announced.is_some() && is_other()?) {
                return Err(Error::of_file(path, payload::CHANGED));
            }
            check_size(size)?;
            self.send(buffer, size, None)
        })
    }

    fn with_buffer(&self, len: usize, with: impl FnOnce(&mut HypercallBuffer) -> Result<()>) -> Result<()> {
        let result = self.client.channel.with_buffer(len, |buffer| with(buffer).map_err(Failure::Upload));
        result.map_err(|failure| match failure {
            Failure::Upload(error) => error,
            Failure::Memory(error) => CallError::from(error).general(),
        })
    }

    /// Uploads the first `size` bytes of a buffer, if they are what this Xen can take. Their outline is found here unless it
    /// is known.
    fn send(&self, payload: &mut HypercallBuffer, size: usize, outline: Option<&Outline>) -> Result<()> {
        let uploaded = self.check(payload.as_slice().get(..size).unwrap_or_default(), outline)?;
        let channel = &self.client.channel;
        if self.options.force && !channel.understands_force().map_err(CallError::general)? {
            return Err(Error::new(ErrorKind::UnsupportedForce));
        }
        let (name, force) = (self.name, self.options.force);
        let len = u64::try_from(size).unwrap_or(u64::MAX);
        let own = self.client.turn_to_upload(self.turn)?;
        let _busy = self.turn.or(own.as_ref()).map(ActionGuard::busy);
        self.client.note_version()?;
        self.watch.begin();
        match channel.call(Upload { name, payload: &mut *payload, len, force }) {
            Ok(()) => {}
            Err(CallError::Refused(errno)) => {
                return Err(self.refused(errno, payload, size, self.turn.or(own.as_ref())));
            }
            Err(error) => return Err(error.general()),
        }
        self.client.identities.remember(name, uploaded);
        Ok(())
    }

    /// Collects what there is to know about a refusal.
    fn refused(&self, refused: Errno, payload: &HypercallBuffer, size: usize, turn: Option<&ActionGuard<'_>>) -> Error {
        let channel = &self.client.channel;
        let present = match refused {
            Errno::EFAULT => self.listed(),
            Errno::EEXIST => match self.client.get(self.name) {
                Ok(_) => Present::Yes(None),
                Err(CallError::Refused(Errno::ENOENT)) => Present::No,
                Err(_) => Present::Unknown(None),
            },
            _ => Present::Unknown(None),
        };
        let sent = || Payload::parse(payload.as_slice().get(..size)?).ok();
        let metadata = sent().map(|payload| payload.metadata().clone()).filter(|_| refused == Errno::EFAULT);
        let xen = (refused == Errno::ENODATA).then(|| match channel.build_id() {
            Ok(id) => Ok(id),
            Err(CallError::Refused(errno)) => Err(errno),
            Err(CallError::Memory(_)) => Err(Errno::ENOMEM),
        });
        let messages = self.watch.messages();
        let twin = match sent().filter(|_| refused == Errno::EEXIST && !names_symbol(&messages)) {
            Some(payload) => self.twin(payload.build_id(), turn),
            None => Twin::Unknown,
        };
        judge_upload(&UploadEvidence { refused, present, twin, metadata, xen, messages: &messages })
    }

    /// Looks for the same payload in an inventory, unless this client is to leave Xen's log alone. The key is pressed once at
    /// most, because that writes to the host's console.
    fn twin(&self, build_id: Option<&BuildId>, turn: Option<&ActionGuard<'_>>) -> Twin {
        let client = self.client;
        let readable = client.console.is_readable();
        let inventory = || inventory::take_within(client, turn, Depth::Identities, 1).ok();
        let Some(inventory) = build_id.filter(|_| readable).and_then(|_| inventory()) else { return Twin::Unknown };
        match inventory.payloads.iter().find(|entry| entry.build_id.as_ref() == build_id) {
            Some(entry) => Twin::Yes(entry.name.clone(), entry.status.state),
            None if inventory.payloads.iter().all(|entry| entry.build_id.is_some()) => Twin::No,
            None => Twin::Unknown,
        }
    }

    /// Whether the list has a payload of this name, and what its metadata are where this Xen reports any.
    fn listed(&self) -> Present {
        let reported = self.client.xen().has(&rules::METADATA_LISTED);
        match listing::list(&self.client.channel) {
            Ok(Listing { rows, .. }) => {
                let row = rows.into_iter().find(|row| row.name == *self.name);
                row.map_or(Present::No, |row| Present::Yes(Some(row.metadata).filter(|_| reported)))
            }
            Err(error) => Present::Unknown(error.raw_errno()),
        }
    }

    /// Refuses a payload that this Xen can't take, before Xen sees it. Returns the knowledge of it that outlasts the upload.
    fn check(&self, bytes: &[u8], outline: Option<&Outline>) -> Result<Uploaded> {
        let checks = self.options.check;
        let target = if checks == Check::Nothing { None } else { Some(inventory::target(self.client, self.turn)?) };
        let unknown = || self.client.target.basic(self.client, None);
        // Lower ones have more rules.
        let (release, _) = target.as_ref().map_or_else(|| unknown().range(), |target| target.range());
        let found;
        let outline = match outline {
            Some(outline) => outline,
            None => match payload::outline(bytes, target.as_ref().and_then(|target| target.known_architecture())) {
                Ok(outline) => {
                    found = outline;
                    &found
                }
                // Xen sees that as well.
                Err(_) if checks > Check::Full => return Ok(Uploaded::default()),
                Err(reason) => return Err(Error::new(ErrorKind::InvalidPayload { reason, xen: None })),
            },
        };
        let inspection = Inspection::of(Elf::new(bytes, outline), target.as_deref(), release);
        let refuses = |finding: &Finding| self.options.refuses(finding, inspection.made_for_it);
        if inspection.findings().iter().any(refuses) {
            return Err(Error::new(refusal(inspection.into_findings())));
        }
        Ok(Uploaded {
            identity: inspection.identity(),
            footprint: Some(Arc::new(inspection.footprint())),
            hooks: PostHooks::of_file(&inspection),
        })
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

/// Reads until the end or until `target` is full. A read that stops short of it at `end` was the last: a file's end.
fn read_up_to(from: &mut impl Read, mut target: &mut [u8], end: Option<usize>) -> io::Result<usize> {
    let wanted = target.len();
    while !target.is_empty() && end != Some(wanted.saturating_sub(target.len())) {
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives what it has a byte at a time; a signal comes before each.
    struct Slow<'d> {
        data: &'d [u8],
        interrupted: bool,
    }

    impl Read for Slow<'_> {
        fn read(&mut self, target: &mut [u8]) -> io::Result<usize> {
            self.interrupted = !self.interrupted;
            if self.interrupted {
                return Err(io::ErrorKind::Interrupted.into());
            }
            let len = target.len().min(1);
            self.data.read(&mut target[..len])
        }
    }

    #[test]
    fn reading_goes_on_after_signals_to_the_end_or_the_last_byte() {
        for (room, read) in [(4, &b"hell"[..]), (5, b"hello"), (6, b"hello\0")] {
            let mut target = vec![0; room];
            let count = read_up_to(&mut Slow { data: b"hello", interrupted: false }, &mut target, None).unwrap();
            assert_eq!((count, &*target), (room.min(5), read));
        }
    }
}
