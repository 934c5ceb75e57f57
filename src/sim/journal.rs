//! What happened to a host, as data: fed with it, another host gets into the same state.

mod bytes;
mod digest;
#[cfg(test)]
mod tests;

use core::fmt;
use core::time::Duration;
use std::sync::Arc;

pub(super) use digest::Digest;

use super::faults::Pace;
use super::settings::Settings;
use crate::types::build_id::BuildId;
use crate::xen::release::Release;

/// How a host came to be in its state: what [`SimulatedXen::journal`](super::SimulatedXen::journal) gives, and
/// [`HostBuilder::replay`](super::HostBuilder::replay) takes.
///
/// It holds the requests that made a difference, refused ones among them, in their order: uploads with their bytes (equal
/// ones once), actions with how long they were to take, looks that brought an action nearer to its end, ends of actions,
/// settings, and what was written to the console or cleared from it. Whenever nothing is loaded and Xen's code is as it was,
/// all of that is cut back to what remains: the settings, the version of the list and the console. So a journal is some
/// 16 KiB (a full [console ring](super::HostBuilder::console_size)) and what happened since a payload was loaded for the
/// last time: all files that were uploaded since, and some 30 bytes for each action.
///
/// To keep it, there are [`to_bytes`](Self::to_bytes) and [`from_bytes`](Self::from_bytes).
#[derive(Clone, PartialEq, Eq)]
pub struct Journal {
    pub(super) release: Release,
    pub(super) build_id: Option<BuildId>,
    /// Of all that was set when the host was built.
    pub(super) settings: u64,
    pub(super) events: Vec<Event>,
    /// Of the state that this leads to.
    pub(super) state: u64,
}

/// Something that changed the state of a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// Nothing is loaded any more, and this is what is left of what was before.
    Blank(Box<Blank>),
    Upload {
        name: Vec<u8>,
        file: Arc<[u8]>,
    },
    Action {
        name: Vec<u8>,
        command: u32,
        timeout: u32,
        flags: u32,
        /// Where it was ordered for this action.
        pace: Option<Pace>,
        /// It was ordered that it runs out of time.
        late: bool,
    },
    /// So many looks at the payloads while an action counted them.
    Looks(u32),
    /// The action under way came to its end, because of the time or since it was told to.
    End,
    /// The action under way had so much of its time left when the journal was taken.
    TimeLeft(Duration),
    Set(Settings),
    Printed(Vec<u8>),
    /// The console was cleared up to a position.
    Cleared(u32),
    /// Debug key `x`.
    Dump {
        lock_held: bool,
    },
}

/// What is left when nothing is loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Blank {
    pub(super) settings: Settings,
    pub(super) list_version: u32,
    pub(super) next_id: u64,
    pub(super) console: Vec<u8>,
    pub(super) console_end: u32,
}

/// Why a [`Journal`] can't be read or replayed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JournalError {
    /// The bytes are something else.
    #[error("this is no journal of a simulated Xen")]
    NotAJournal,
    /// They are of a later version of this crate.
    #[error("the journal has version {found}, and this crate knows version {known} only")]
    UnknownVersion {
        /// Its version.
        found: u16,
        /// That of this crate.
        known: u16,
    },
    /// They are not what was written.
    #[error("the journal is damaged: {problem}")]
    Damaged {
        /// What is wrong with them.
        problem: &'static str,
    },
    /// The host was built with other settings.
    #[error(
        "the journal is of another host, a Xen {release}: one with the same release, build-id and other settings is needed"
    )]
    AnotherHost {
        /// The release of that host.
        release: Release,
    },
    /// What was replayed led to another state: it was recorded by a version of this crate that behaves differently.
    #[error("the journal led to another state than it did when it was recorded, by another version of this crate")]
    LedElsewhere,
}

impl Journal {
    /// The release of the host.
    #[must_use]
    pub fn release(&self) -> Release {
        self.release
    }

    /// The build-id that the host had from the start, if it has one.
    #[must_use]
    pub fn build_id(&self) -> Option<BuildId> {
        self.build_id.clone()
    }

    /// The journal as bytes. They begin with what they are and their version, and a sum over the rest.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        bytes::write(self)
    }

    /// The journal that [`to_bytes`](Self::to_bytes) made these of.
    ///
    /// # Errors
    /// [`NotAJournal`](JournalError::NotAJournal), [`UnknownVersion`](JournalError::UnknownVersion),
    /// [`Damaged`](JournalError::Damaged).
    ///
    /// ```
    /// use xen_livepatch::sim::{Journal, JournalError, Release, SimulatedXen};
    ///
    /// let xen = SimulatedXen::builder(Release::V4_20).recorded().build();
    /// let journal = xen.journal().unwrap();
    /// let mut bytes = journal.to_bytes();
    /// assert_eq!(Journal::from_bytes(&bytes)?, journal);
    /// bytes.pop();
    /// assert!(matches!(Journal::from_bytes(&bytes), Err(JournalError::Damaged { .. })));
    /// assert_eq!(Journal::from_bytes(b"something else"), Err(JournalError::NotAJournal));
    /// # Ok::<(), JournalError>(())
    /// ```
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, JournalError> {
        bytes::read(bytes)
    }
}

impl fmt::Debug for Journal {
    /// Without what happened, which may be megabytes of payloads.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Journal")
            .field("release", &self.release)
            .field("build_id", &self.build_id)
            .field("events", &self.events.len())
            .finish_non_exhaustive()
    }
}
