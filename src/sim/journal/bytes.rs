//! A journal as bytes, and back.
//!
//! What it is (8 bytes), version (2), sum over the rest (8), then the host, the files and the events. Numbers are
//! little-endian; before bytes of any length comes how many there are, as 32 bits. Whatever the bytes, reading them ends
//! in a journal or an error, with no more memory taken than they have.

use core::time::Duration;
use std::sync::Arc;

use super::{Blank, Digest, Event, Journal, JournalError};
use crate::sim::bytes::word;
use crate::sim::faults::Pace;
use crate::sim::settings::{Access, LogLevel, Settings};
use crate::types::build_id::BuildId;
use crate::types::name::PayloadName;
use crate::xen::release::Release;

const MAGIC: &[u8; 8] = b"XLPATCHJ";
const VERSION: u16 = 1;

/// What each event begins with.
mod tag {
    pub(super) const BLANK: u8 = 0;
    pub(super) const UPLOAD: u8 = 1;
    pub(super) const ACTION: u8 = 2;
    pub(super) const LOOKS: u8 = 3;
    pub(super) const END: u8 = 4;
    pub(super) const TIME_LEFT: u8 = 5;
    pub(super) const SET: u8 = 6;
    pub(super) const PRINTED: u8 = 7;
    pub(super) const CLEARED: u8 = 8;
    pub(super) const DUMP: u8 = 9;
}

const ACCESS: [Access; 3] = [Access::Privileged, Access::NotPrivileged, Access::DeniedByFlask];
const LEVELS: [LogLevel; 3] = [LogLevel::None, LogLevel::Errors, LogLevel::All];

pub(super) fn write(journal: &Journal) -> Vec<u8> {
    let mut body = Writer::default();
    body.u16(journal.release.minor());
    body.u16(journal.release.point());
    body.maybe(journal.build_id.as_ref(), |body, id| body.bytes(id.as_bytes()));
    body.u64(journal.settings);
    body.u64(journal.state);
    let mut files: Vec<&Arc<[u8]>> = Vec::new();
    for event in &journal.events {
        if let Event::Upload { file, .. } = event {
            if !files.contains(&file) {
                files.push(file);
            }
        }
    }
    body.u32(word(files.len()));
    for file in &files {
        body.bytes(file);
    }
    body.u32(word(journal.events.len()));
    for event in &journal.events {
        body.event(event, &files);
    }
    sealed(&body.0)
}

/// With what goes before it.
pub(super) fn sealed(body: &[u8]) -> Vec<u8> {
    let sum = Digest::new().bytes(body).value();
    [&MAGIC[..], &VERSION.to_le_bytes(), &sum.to_le_bytes(), body].concat()
}

pub(super) fn read(bytes: &[u8]) -> Result<Journal, JournalError> {
    let mut reader = Reader(bytes.strip_prefix(MAGIC).ok_or(JournalError::NotAJournal)?);
    let found = reader.u16()?;
    if found != VERSION {
        return Err(JournalError::UnknownVersion { found, known: VERSION });
    }
    if reader.u64()? != Digest::new().bytes(reader.0).value() {
        return damaged("its sum is wrong");
    }
    let release = Release::from_version(4, reader.u16()?).ok_or(damage("no such release"))?.at(reader.u16()?);
    let build_id = reader.maybe(|reader| reader.bytes().map(BuildId::new))?;
    let (settings, state) = (reader.u64()?, reader.u64()?);
    let files = reader.many(|reader| reader.bytes().map(Arc::from))?;
    let events = reader.many(|reader| reader.event(&files))?;
    if !reader.0.is_empty() {
        return damaged("there is more after its end");
    }
    Ok(Journal { release, build_id, settings, events, state })
}

fn damage(problem: &'static str) -> JournalError {
    JournalError::Damaged { problem }
}

fn damaged<T>(problem: &'static str) -> Result<T, JournalError> {
    Err(damage(problem))
}

#[derive(Default)]
struct Writer(Vec<u8>);

impl Writer {
    fn u8(&mut self, value: u8) {
        self.0.push(value);
    }

    fn u16(&mut self, value: u16) {
        self.0.extend(value.to_le_bytes());
    }

    fn u32(&mut self, value: u32) {
        self.0.extend(value.to_le_bytes());
    }

    fn u64(&mut self, value: u64) {
        self.0.extend(value.to_le_bytes());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.u32(word(bytes.len()));
        self.0.extend(bytes);
    }

    fn flag(&mut self, flag: bool) {
        self.u8(flag.into());
    }

    fn maybe<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Self, T)) {
        self.flag(value.is_some());
        if let Some(value) = value {
            write(self, value);
        }
    }

    fn duration(&mut self, duration: Duration) {
        self.u64(duration.as_secs());
        self.u32(duration.subsec_nanos());
    }

    fn pace(&mut self, pace: Pace) {
        match pace {
            Pace::Polls(polls) => {
                self.u8(0);
                self.u32(polls);
            }
            Pace::Time(time) => {
                self.u8(1);
                self.duration(time);
            }
            Pace::Held => self.u8(2),
        }
    }

    /// Which of those that there are.
    fn one_of<T: PartialEq>(&mut self, value: &T, of: &[T]) {
        let at = of.iter().position(|known| known == value).unwrap_or_default();
        self.u32(word(at));
    }

    fn settings(&mut self, settings: &Settings) {
        self.one_of(&settings.access, &ACCESS);
        self.one_of(&settings.log_level, &LEVELS);
        self.flag(settings.cpu_hotplug);
        self.duration(settings.quiesce_time);
        self.pace(settings.pace);
    }

    fn event(&mut self, event: &Event, files: &[&Arc<[u8]>]) {
        match event {
            Event::Blank(blank) => {
                self.u8(tag::BLANK);
                self.settings(&blank.settings);
                self.u32(blank.list_version);
                self.u64(blank.next_id);
                self.bytes(&blank.console);
                self.u32(blank.console_end);
            }
            Event::Upload { name, file } => {
                self.u8(tag::UPLOAD);
                self.bytes(name);
                self.one_of(&file, files);
            }
            Event::Action { name, command, timeout, flags, pace, late } => {
                self.u8(tag::ACTION);
                self.bytes(name);
                for word in [command, timeout, flags] {
                    self.u32(*word);
                }
                self.maybe(*pace, Self::pace);
                self.flag(*late);
            }
            Event::Looks(count) => {
                self.u8(tag::LOOKS);
                self.u32(*count);
            }
            Event::End => self.u8(tag::END),
            Event::TimeLeft(time) => {
                self.u8(tag::TIME_LEFT);
                self.duration(*time);
            }
            Event::Set(settings) => {
                self.u8(tag::SET);
                self.settings(settings);
            }
            Event::Printed(line) => {
                self.u8(tag::PRINTED);
                self.bytes(line);
            }
            Event::Cleared(up_to) => {
                self.u8(tag::CLEARED);
                self.u32(*up_to);
            }
            Event::Dump { lock_held } => {
                self.u8(tag::DUMP);
                self.flag(*lock_held);
            }
        }
    }
}

/// What has not been read yet.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], JournalError> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or(damage("it ends too early"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], JournalError> {
        self.take(N)?.first_chunk().copied().ok_or(damage("it ends too early"))
    }

    fn u8(&mut self) -> Result<u8, JournalError> {
        self.array().map(u8::from_le_bytes)
    }

    fn u16(&mut self) -> Result<u16, JournalError> {
        self.array().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Result<u32, JournalError> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, JournalError> {
        self.array().map(u64::from_le_bytes)
    }

    fn bytes(&mut self) -> Result<&'a [u8], JournalError> {
        let len = self.u32()?;
        self.take(usize::try_from(len).unwrap_or(usize::MAX))
    }

    fn name(&mut self) -> Result<Vec<u8>, JournalError> {
        let name = self.bytes()?;
        if name.len() > PayloadName::MAX_LEN { damaged("a name that is too long") } else { Ok(name.into()) }
    }

    fn flag(&mut self) -> Result<bool, JournalError> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => damaged("neither yes nor no"),
        }
    }

    fn maybe<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T, JournalError>) -> Result<Option<T>, JournalError> {
        if self.flag()? { read(self).map(Some) } else { Ok(None) }
    }

    fn many<T>(&mut self, read: impl Fn(&mut Self) -> Result<T, JournalError>) -> Result<Vec<T>, JournalError> {
        (0..self.u32()?).map(|_| read(self)).collect()
    }

    fn duration(&mut self) -> Result<Duration, JournalError> {
        let (seconds, nanoseconds) = (self.u64()?, self.u32()?);
        if nanoseconds < 1_000_000_000 { Ok(Duration::new(seconds, nanoseconds)) } else { damaged("no time") }
    }

    fn pace(&mut self) -> Result<Pace, JournalError> {
        match self.u8()? {
            0 => self.u32().map(Pace::Polls),
            1 => self.duration().map(Pace::Time),
            2 => Ok(Pace::Held),
            _ => damaged("no such pace"),
        }
    }

    fn one_of<T: Clone>(&mut self, of: &[T]) -> Result<T, JournalError> {
        let at = usize::try_from(self.u32()?).unwrap_or(usize::MAX);
        of.get(at).cloned().ok_or(damage("none of those that there are"))
    }

    fn settings(&mut self) -> Result<Settings, JournalError> {
        Ok(Settings {
            access: self.one_of(&ACCESS)?,
            log_level: self.one_of(&LEVELS)?,
            cpu_hotplug: self.flag()?,
            quiesce_time: self.duration()?,
            pace: self.pace()?,
        })
    }

    fn event(&mut self, files: &[Arc<[u8]>]) -> Result<Event, JournalError> {
        Ok(match self.u8()? {
            tag::BLANK => Event::Blank(Box::new(Blank {
                settings: self.settings()?,
                list_version: self.u32()?,
                next_id: self.u64()?,
                console: self.bytes()?.into(),
                console_end: self.u32()?,
            })),
            tag::UPLOAD => Event::Upload { name: self.name()?, file: self.one_of(files)? },
            tag::ACTION => Event::Action {
                name: self.name()?,
                command: self.u32()?,
                timeout: self.u32()?,
                flags: self.u32()?,
                pace: self.maybe(Self::pace)?,
                late: self.flag()?,
            },
            tag::LOOKS => Event::Looks(self.u32()?),
            tag::END => Event::End,
            tag::TIME_LEFT => Event::TimeLeft(self.duration()?),
            tag::SET => Event::Set(self.settings()?),
            tag::PRINTED => Event::Printed(self.bytes()?.into()),
            tag::CLEARED => Event::Cleared(self.u32()?),
            tag::DUMP => Event::Dump { lock_held: self.flag()? },
            _ => return damaged("something that can't happen"),
        })
    }
}
