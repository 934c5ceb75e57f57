//! Uploads: a payload is read, checked in the memory from which Xen reads it, and sent.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use super::LivepatchClient;
use super::action_lock::ActionGuard;
use super::console::LogWatch;
use super::hooks::PostHooks;
use super::identities::Record;
use super::inventory::{self, Depth};
use super::listing::{self, Listing};
use super::options::{Check, UploadOptions};
use crate::diagnosis::{Present, Twin, UploadEvidence, judge_upload, names_symbol};
use crate::error::{Error, ErrorKind, Operation, Result};
use crate::hypercall::channel::CallError;
use crate::hypercall::memory::HypercallBuffer;
use crate::payload::{self, Finding, Inspection, Payload, Problem, check_bytes, check_file, check_size};
use crate::types::{BuildId, Errno, PayloadName};
use crate::xen::elf::{Elf, Outline};
use crate::xen::rules;

impl LivepatchClient {
    /// Uploads a payload. Xen loads, links and checks it; then it is [`Checked`](crate::State::Checked). Nothing is patched yet.
    ///
    /// Uploads wait for actions of this client, up to the deadline of the client's actions: a processor that is inside an
    /// upload can't be stopped.
    ///
    /// # Errors
    /// Before the upload: [`EmptyPayload`](ErrorKind::EmptyPayload), [`PayloadTooLarge`](ErrorKind::PayloadTooLarge) (over 2 MiB),
    /// [`InvalidPayload`](ErrorKind::InvalidPayload) (not a payload at all), [`BuiltForAnotherXen`](ErrorKind::BuiltForAnotherXen),
    /// [`UnfitPayload`](ErrorKind::UnfitPayload), [`OperationInProgress`](ErrorKind::OperationInProgress),
    /// [`DeadlinePassed`](ErrorKind::DeadlinePassed).
    ///
    /// From Xen: [`AlreadyLoaded`](ErrorKind::AlreadyLoaded) (`EEXIST`), [`InvalidPayload`](ErrorKind::InvalidPayload)
    /// (`EINVAL`, `EOPNOTSUPP`, `ENOENT`, `EOVERFLOW`, `ERANGE`, `ENOEXEC`, `ENODATA`),
    /// [`BuiltForAnotherXen`](ErrorKind::BuiltForAnotherXen) (`EINVAL`), [`NoBuildId`](ErrorKind::NoBuildId) (`ENODATA`),
    /// [`XenOutOfMemory`](ErrorKind::XenOutOfMemory) (`ENOMEM`). A refused upload leaves nothing behind.
    ///
    /// After `EEXIST`, unless Xen's log names a symbol, an [`inventory`](Self::inventory) is taken to find a payload with the
    /// same build-id. If build-ids are unknown, the debug key is sent once, except for a client
    /// [`without_xen_log`](super::ClientBuilder::without_xen_log).
    ///
    /// After `EFAULT` the list is read. If no payload of this name is loaded, the error is [`Fault`](ErrorKind::Fault). If
    /// one is, it may be this one or an older one: the error is [`AlreadyLoaded`](ErrorKind::AlreadyLoaded) if its metadata
    /// differ, and [`OutcomeUnknown`](ErrorKind::OutcomeUnknown) otherwise.
    ///
    /// And those of any call: [`NotPermitted`](ErrorKind::NotPermitted), [`BufferMemory`](ErrorKind::BufferMemory),
    /// [`UnexpectedAnswer`](ErrorKind::UnexpectedAnswer).
    ///
    /// # Xen
    /// From 4.14 on Xen compares the payload's `.livepatch.xen_depends` with its own build-id.
    ///
    /// ```
    /// # use xen_livepatch::*;
    /// # let (_, client, fix, payload) = doctest::fix()?;
    /// client.upload(&fix, &payload)?;
    /// assert_eq!(client.status(&fix)?.state, State::Checked);
    /// # Ok::<(), Error>(())
    /// ```
    #[doc(alias = "xc_livepatch_upload")]
    pub fn upload(&self, name: &PayloadName, payload: &[u8]) -> Result<()> {
        self.upload_with(name, payload, UploadOptions::new())
    }

    /// Uploads a payload with options, like [`upload`](Self::upload).
    ///
    /// # Errors
    /// As [`upload`](Self::upload), and [`UnsupportedForce`](ErrorKind::UnsupportedForce) if this Xen does not accept FORCE.
    ///
    /// ```
    /// # use xen_livepatch::*;
    /// # let (_, client, fix, payload) = doctest::fix()?;
    /// client.upload_with(&fix, &payload, UploadOptions::new().force())?;
    /// # Ok::<(), Error>(())
    /// ```
    pub fn upload_with(&self, name: &PayloadName, payload: &[u8], options: UploadOptions) -> Result<()> {
        self.watched(Operation::Upload, name, |log| {
            Uploading { client: self, log, name, options, guard: None }.bytes(payload, None)
        })
    }

    /// Uploads a payload from a file, which is read directly into the memory from which Xen reads it.
    ///
    /// # Errors
    /// As [`upload`](Self::upload), and [`File`](ErrorKind::File) if it can't be read or changes meanwhile.
    ///
    /// ```
    /// # use xen_livepatch::*;
    /// # let (_, client, fix, payload) = doctest::fix()?;
    /// # let file = std::env::temp_dir().join(format!("upload-file-{}", std::process::id()));
    /// # std::fs::write(&file, payload).unwrap();
    /// client.upload_file(&fix, &file)?;
    /// assert!(client.upload_file(&fix, "/no/such/file").is_err());
    /// # std::fs::remove_file(&file).unwrap();
    /// # Ok::<(), Error>(())
    /// ```
    pub fn upload_file(&self, name: &PayloadName, path: impl AsRef<Path>) -> Result<()> {
        self.upload_file_with(name, path, UploadOptions::new())
    }

    /// Uploads a payload from a file with options, like [`upload_file`](Self::upload_file).
    ///
    /// # Errors
    /// As [`upload_file`](Self::upload_file) and [`upload_with`](Self::upload_with).
    ///
    /// ```
    /// # use xen_livepatch::*;
    /// # let (_, client, fix, _) = doctest::fix()?;
    /// let error = client.upload_file_with(&fix, "/no/such/file", UploadOptions::new().force()).unwrap_err();
    /// assert!(matches!(error.kind(), ErrorKind::File { .. }));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn upload_file_with(&self, name: &PayloadName, path: impl AsRef<Path>, options: UploadOptions) -> Result<()> {
        let path = path.as_ref();
        self.watched(Operation::Upload, name, |log| {
            Uploading { client: self, log, name, options, guard: None }.file(path)
        })
    }

    /// Uploads a payload that was parsed before, under the caller's lock on actions if there is one.
    pub(super) fn upload_payload(
        &self,
        name: &PayloadName,
        payload: &Payload,
        options: UploadOptions,
        guard: Option<&ActionGuard<'_>>,
    ) -> Result<()> {
        self.watched(Operation::Upload, name, |log| {
            Uploading { client: self, log, name, options, guard }.bytes(payload.bytes(), Some(payload.outline()))
        })
    }
}

/// One call of an upload method.
struct Uploading<'a> {
    client: &'a LivepatchClient,
    log: &'a LogWatch<'a>,
    name: &'a PayloadName,
    options: UploadOptions,
    guard: Option<&'a ActionGuard<'a>>,
}

const LENT: &str = "with_buffer lends at least as many bytes as requested";

impl Uploading<'_> {
    /// Uploads these bytes. Their outline is found here unless it is known.
    fn bytes(&self, payload: &[u8], outline: Option<&Outline>) -> Result<()> {
        check_bytes(payload)?;
        self.client.channel.with_buffer(payload.len(), |buffer| {
            buffer.as_mut_slice().get_mut(..payload.len()).expect(LENT).copy_from_slice(payload);
            self.send(buffer, payload.len(), outline)
        })
    }

    /// Uploads the contents of a file, which may also be a pipe.
    fn file(&self, path: &Path) -> Result<()> {
        let failed = |error: io::Error| Error::of_io(path, &error);
        let mut file = File::open(path).map_err(failed)?;
        let before = payload::state_of(&file).map_err(failed)?;
        let announced = payload::size_of_regular(&before);
        if let Some(size) = announced {
            check_file(&file, size)?;
        }
        // A byte more than there may be, so that one read also finds the end.
        let room = announced.unwrap_or(Payload::MAX_SIZE) + 1;
        self.client.channel.with_buffer(room, |buffer| {
            let target = buffer.as_mut_slice().get_mut(..room).expect(LENT);
            let size = read_up_to(&mut file, target, announced).map_err(failed)?;
            if let Some(announced) = announced {
                let after = payload::state_of(&file).map_err(failed)?;
                if size != announced || payload::has_changed(&before, &after) {
                    return Err(Error::of_file(path, payload::CHANGED));
                }
            }
            check_size(size)?;
            self.send(buffer, size, None)
        })
    }

    /// Uploads the first `size` bytes of a buffer, if this Xen can take them.
    fn send(&self, payload: &mut HypercallBuffer, size: usize, outline: Option<&Outline>) -> Result<()> {
        let record = self.check(payload.as_slice().get(..size).expect(LENT), outline)?;
        let channel = &self.client.channel;
        let (name, force) = (self.name, self.options.force);
        if force && !channel.understands_force()? {
            return Err(Error::new(ErrorKind::UnsupportedForce));
        }
        let own = self.client.lock_to_upload(self.guard)?;
        let guard = self.guard.or(own.as_ref());
        let _busy = guard.map(ActionGuard::busy);
        self.client.note_version()?;
        self.log.begin();
        match channel.upload(name, payload, size, force) {
            Ok(()) => {
                self.client.identities.remember(name, record);
                Ok(())
            }
            Err(CallError::Refused(errno)) => {
                let payload = payload.as_slice().get(..size).expect(LENT);
                Err(self.refused(errno, record.identity.build_id, payload, guard))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Collects the evidence on a refusal.
    fn refused(
        &self,
        refused: Errno,
        build_id: Option<BuildId>,
        payload: &[u8],
        guard: Option<&ActionGuard<'_>>,
    ) -> Error {
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
        let xen = (refused == Errno::ENODATA).then(|| channel.build_id().map_err(CallError::errno));
        let messages = self.log.messages();
        let twin = match build_id.filter(|_| refused == Errno::EEXIST && !names_symbol(&messages)) {
            Some(build_id) => self.twin(&build_id, guard),
            None => Twin::Unknown,
        };
        let metadata = payload::metadata_of(payload);
        judge_upload(&UploadEvidence { refused, present, twin, metadata, xen, messages })
    }

    /// Looks for the same payload in an inventory, unless this client must not read Xen's log. The debug key is sent once at
    /// most, because it writes to the host's console.
    fn twin(&self, build_id: &BuildId, guard: Option<&ActionGuard<'_>>) -> Twin {
        if !self.client.console.is_readable() {
            return Twin::Unknown;
        }
        let Ok(inventory) = inventory::take_within(self.client, guard, Depth::Identities, 1) else {
            return Twin::Unknown;
        };
        match inventory.payloads.iter().find(|entry| entry.build_id.as_ref() == Some(build_id)) {
            Some(entry) => Twin::Yes(entry.name.clone(), entry.status.state),
            None if inventory.payloads.iter().all(|entry| entry.build_id.is_some()) => Twin::No,
            None => Twin::Unknown,
        }
    }

    /// Looks for a payload of this name in the list, and for its metadata if this Xen reports any.
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

    /// Refuses a payload that this Xen can't take, before Xen sees it.
    fn check(&self, bytes: &[u8], outline: Option<&Outline>) -> Result<Record> {
        let check = self.options.check;
        let target = if check == Check::Nothing { None } else { Some(inventory::target(self.client, self.guard)?) };
        let unknown = || self.client.basic_target(None);
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
                // Xen refuses it as well.
                Err(_) if check > Check::Full => return Ok(Record::default()),
                Err(reason) => return Err(Error::new(ErrorKind::InvalidPayload { reason, xen: None })),
            },
        };
        let inspection = Inspection::of(Elf::new(bytes, outline), target.as_deref(), release);
        let (accepted, all) = (self.options.accepted, check == Check::Full);
        let refuses = |finding: &Finding| finding.keeps_out(inspection.made_for_it, accepted, all);
        if inspection.findings.iter().any(refuses) {
            return Err(Error::new(refusal(inspection.findings)));
        }
        Ok(Record {
            identity: inspection.identity(),
            footprint: Some(Arc::new(inspection.footprint())),
            hooks: PostHooks::of_file(&inspection),
            ..Record::default()
        })
    }
}

/// The error for these findings. The commonest has a kind of its own, if it is the only one.
fn refusal(findings: Vec<Finding>) -> ErrorKind {
    match findings.as_slice() {
        [Finding { problem: Problem::BuiltForAnotherXen { expected, found }, .. }] => {
            ErrorKind::BuiltForAnotherXen { expected: Some(expected.clone()), found: Some(found.clone()) }
        }
        _ => ErrorKind::UnfitPayload { findings },
    }
}

/// Reads until the end of the input or until `target` is full. No further read is made after `end` bytes, a file's end.
fn read_up_to(from: &mut impl Read, mut target: &mut [u8], end: Option<usize>) -> io::Result<usize> {
    let wanted = target.len();
    while !target.is_empty() && end != Some(wanted.saturating_sub(target.len())) {
        match from.read(target) {
            Ok(0) => break,
            Ok(count) => target = target.get_mut(count..).expect("a read returns at most the length of its buffer"),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(wanted.saturating_sub(target.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A reader that returns a byte at a time, after a signal before each.
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
    fn reading_continues_after_signals_to_the_end_or_the_last_byte() {
        for (room, read) in [(4, &b"hell"[..]), (5, b"hello"), (6, b"hello\0")] {
            let mut target = vec![0; room];
            let count = read_up_to(&mut Slow { data: b"hello", interrupted: false }, &mut target, None).unwrap();
            assert_eq!((count, &*target), (room.min(5), read));
        }
    }
}
