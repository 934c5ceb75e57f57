//! Keeping a journal of a host, and replaying it.
//!
//! Whatever changes the state of a host comes through the functions below, which note it where that is wanted.

use std::sync::Arc;

use super::SimulatedXen;
use super::action::Work;
use super::bytes::{until_nul, word};
use super::faults::Effects;
use super::host::{Host, status};
use super::journal::{Blank, Digest, Event, Journal, JournalError};
use super::settings::Settings;
use super::xen_memory::Image;
use crate::types::build_id::BuildId;
use crate::types::errno::Errno;

/// What is known of how a host came to be in its state.
#[derive(Clone, Debug)]
pub(super) struct Recording {
    /// Of all that was set when the host was built.
    settings: u64,
    /// Its code at the start.
    image: Image,
    events: Vec<Event>,
}

/// What differs when the state does.
#[derive(Debug, PartialEq, Eq)]
struct Mark {
    settings: Settings,
    list_version: u32,
    console: (u32, usize),
    results: Vec<i32>,
    applied: Vec<u64>,
    work: Option<Work>,
    crashed: bool,
}

impl Recording {
    fn note(&mut self, event: Event) {
        match (self.events.last_mut(), event) {
            (Some(Event::Looks(before)), Event::Looks(more)) if before.checked_add(more).is_some() => *before += more,
            (_, Event::Upload { name, file }) => {
                let known = self.events.iter().find_map(|event| match event {
                    Event::Upload { file: known, .. } if *known == file => Some(Arc::clone(known)),
                    _ => None,
                });
                self.events.push(Event::Upload { name, file: known.unwrap_or(file) });
            }
            (_, event) => self.events.push(event),
        }
    }
}

impl Host {
    /// An UPLOAD, whoever sends it.
    pub(super) fn take_upload(
        &mut self,
        name: &[u8],
        copy: impl FnOnce() -> Result<Vec<u8>, Errno>,
    ) -> Result<u32, Errno> {
        let before = self.mark();
        let mut copied: Option<Arc<[u8]>> = None;
        let outcome = self.upload(name, || {
            let file = copy()?;
            copied = before.is_some().then(|| file.as_slice().into());
            Ok(file)
        });
        let result = self.settle(name, outcome);
        let event = || Event::Upload { name: until_nul(name).into(), file: copied.unwrap_or_default() };
        self.note(before, event);
        result
    }

    /// An ACTION, whoever sends it.
    pub(super) fn take_action(&mut self, name: &[u8], command: u32, timeout: u32, flags: u32) -> Result<u32, Errno> {
        let before = self.mark();
        let outcome = self.act(name, command, timeout, flags);
        let result = self.settle(name, outcome);
        let (pace, late) = (self.effects.pace, self.effects.time_out);
        self.note(before, || Event::Action { name: until_nul(name).into(), command, timeout, flags, pace, late });
        result
    }

    /// Somebody looks at the payloads.
    pub(super) fn poll(&mut self) {
        if self.work.is_some() {
            let before = self.mark();
            self.count_down(1);
            self.note(before, || Event::Looks(1));
        }
    }

    /// The action under way comes to its end.
    pub(super) fn end_work(&mut self) {
        let before = self.mark();
        self.finish();
        self.note(before, || Event::End);
    }

    pub(super) fn set(&mut self, set: impl FnOnce(&mut Settings)) {
        let before = self.mark();
        set(&mut self.settings);
        let settings = self.settings;
        self.note(before, || Event::Set(settings));
    }

    /// A line of another part of Xen.
    pub(super) fn print(&mut self, line: impl AsRef<[u8]>) {
        let before = self.mark();
        self.console.line(&line);
        self.note(before, || Event::Printed(line.as_ref().into()));
    }

    pub(super) fn clear_console(&mut self, up_to: u32) {
        let before = self.mark();
        self.console.clear(up_to);
        self.note(before, || Event::Cleared(up_to));
    }

    /// Debug key `x`.
    pub(super) fn press_x(&mut self, lock_held: bool) {
        let before = self.mark();
        self.dump(lock_held);
        self.note(before, || Event::Dump { lock_held });
    }

    /// Has all that happens from now on noted, after what has happened; the sum is that of what the host was built with.
    fn record(&mut self, settings: u64, image: Image, events: Vec<Event>) {
        self.recording = Some(Box::new(Recording { settings, image, events }));
    }

    /// Nothing, where nobody wants it noted.
    fn mark(&self) -> Option<Mark> {
        self.recording.as_ref()?;
        Some(Mark {
            settings: self.settings,
            list_version: self.list_version,
            console: self.console.extent(),
            results: self.payloads.iter().map(|payload| payload.rc).collect(),
            applied: self.applied.clone(),
            work: self.work.clone(),
            crashed: self.crashed.is_some(),
        })
    }

    /// Notes what has made a difference.
    fn note(&mut self, before: Option<Mark>, event: impl FnOnce() -> Event) {
        let Some(before) = before else { return };
        if self.mark() == Some(before) {
            return;
        }
        let blank = self.blank();
        let Some(recording) = &mut self.recording else { return };
        match blank {
            Some(blank) => recording.events = vec![Event::Blank(blank)],
            None => recording.note(event()),
        }
    }

    /// All that there is to know where nothing is loaded. Should a payload ever leave Xen's code other than it found it,
    /// what happened before still matters.
    fn blank(&self) -> Option<Box<Blank>> {
        let unpatched = || self.recording.as_ref().is_some_and(|recording| recording.image == self.image);
        if !self.payloads.is_empty() || self.crashed.is_some() || !unpatched() {
            return None;
        }
        let (console, console_end) = self.console.read(None, u32::MAX);
        let (settings, list_version, next_id) = (self.settings, self.list_version, self.next_id);
        Some(Box::new(Blank { settings, list_version, next_id, console, console_end }))
    }

    /// Lets it happen once more.
    fn replay(&mut self, event: &Event) {
        match event {
            Event::Blank(blank) => {
                self.settings = blank.settings;
                self.list_version = blank.list_version;
                self.next_id = blank.next_id;
                self.console.restore(&blank.console, blank.console_end);
            }
            // What came of it shows in the end.
            Event::Upload { name, file } => {
                let _ = self.take_upload(name, || Ok(file.to_vec()));
            }
            Event::Action { name, command, timeout, flags, pace, late } => {
                self.effects = Effects { pace: *pace, time_out: *late, ..Effects::default() };
                let _ = self.take_action(name, *command, *timeout, *flags);
                self.effects = Effects::default();
            }
            Event::Looks(count) => self.count_down(*count),
            Event::End => self.end_work(),
            Event::TimeLeft(time) => {
                if let Some(work) = &mut self.work {
                    work.take(*time);
                }
            }
            Event::Set(settings) => self.settings = *settings,
            Event::Printed(line) => self.print(line),
            Event::Cleared(up_to) => self.clear_console(*up_to),
            Event::Dump { lock_held } => self.press_x(*lock_held),
        }
    }

    /// A sum over the state, as far as anybody could find it out.
    fn digest(&self) -> u64 {
        let (console, console_end) = self.console.read(None, u32::MAX);
        let mut sum = Digest::new()
            .number(self.list_version.into())
            .bytes(&console)
            .number(console_end.into())
            .bytes(&self.extra_version())
            .number(u64::from(word(self.payloads.len())))
            .bytes(self.crashed.as_deref().unwrap_or_default().as_bytes())
            .number(self.work.is_some().into());
        for payload in &self.payloads {
            let (state, rc) = status(payload);
            let place = self.applied.iter().position(|id| *id == payload.id).map_or(0, |at| word(at).wrapping_add(1));
            sum = sum.bytes(&payload.name).bytes(&payload.build_id).number(payload.base);
            sum = sum.bytes(&rc.to_le_bytes()).number(state.into()).number(place.into());
        }
        sum.value()
    }

    /// How it came to be in this state.
    fn journal(&self) -> Option<Journal> {
        let recording = self.recording.as_ref()?;
        let mut events = recording.events.clone();
        if let Some(left) = self.work.as_ref().and_then(Work::time_left) {
            events.push(Event::TimeLeft(left));
        }
        Some(Journal {
            release: self.release,
            build_id: self.build_id.as_ref().map(BuildId::new),
            settings: recording.settings,
            events,
            state: self.digest(),
        })
    }
}

impl SimulatedXen {
    /// Has all that happens to this host from now on noted; what it was built with has this sum.
    pub(super) fn recorded(mut host: Host, settings: u64) -> Self {
        let image = host.image.clone();
        host.record(settings, image, Vec::new());
        Self::from_host(host)
    }

    /// A host to which all of this has happened.
    pub(super) fn replayed(mut host: Host, settings: u64, journal: &Journal) -> Result<Self, JournalError> {
        if journal.settings != settings {
            return Err(JournalError::AnotherHost { release: journal.release });
        }
        let image = host.image.clone();
        journal.events.iter().for_each(|event| host.replay(event));
        if host.digest() != journal.state {
            return Err(JournalError::LedElsewhere);
        }
        let mut events = journal.events.clone();
        events.retain(|event| !matches!(event, Event::TimeLeft(_)));
        host.record(settings, image, events);
        Ok(Self::from_host(host))
    }

    /// How this host came to be in its state, for another to get into the same; `None` unless it was built to be
    /// [`recorded`](super::HostBuilder::recorded).
    ///
    /// An action that is under way takes the rest of its time in that other host: as many looks, what was left of its
    /// time, counted from when the journal is replayed, or until it is told.
    ///
    /// ```
    /// use xen_livepatch::sim::{FunctionPatch, Journal, PayloadBuilder, Release, SimulatedXen};
    /// use xen_livepatch::{Flags, LivepatchClient, PayloadName};
    ///
    /// let xen = SimulatedXen::builder(Release::V4_20).recorded().build();
    /// let fix = PayloadBuilder::for_xen(&xen, "fix").function(FunctionPatch::returning("xen_extra_version", "-fixed"));
    /// let client = LivepatchClient::connect(xen.clone())?;
    /// client.upload(&PayloadName::new("fix")?, &fix.build())?;
    /// client.apply(&PayloadName::new("fix")?, Flags::empty())?;
    /// let kept: Vec<u8> = xen.journal().unwrap().to_bytes();
    ///
    /// // In another process.
    /// let journal = Journal::from_bytes(&kept)?;
    /// let xen = SimulatedXen::builder(journal.release()).build_id(journal.build_id()).replay(&journal)?;
    /// let client = LivepatchClient::connect(xen)?;
    /// assert_eq!(client.inventory()?.to_string(), "Xen 4.20-fixed + fix");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn journal(&self) -> Option<Journal> {
        self.host().journal()
    }
}
