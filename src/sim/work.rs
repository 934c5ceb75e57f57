//! The action that is under way on a host, and the hook after one.

use core::fmt;
use core::time::Duration;
use std::time::Instant;

/// The one action that a host can have under way.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub(super) struct Work {
    pub(super) payload: u64,
    pub(super) action: Scheduled,
    pub(super) timeout: Duration,
    pub(super) until: Until,
    /// Runs out of time, whatever the timeout.
    pub(super) late: bool,
}

#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub(super) enum Until {
    /// After so many more looks.
    Polls(u32),
    Time(Deadline),
    Finished,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub(super) enum Scheduled {
    Apply,
    Revert,
    Replace,
}

impl fmt::Display for Scheduled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Apply => "apply",
            Self::Revert => "revert",
            Self::Replace => "replace",
        })
    }
}

/// A hook that still runs after GET and LIST show its action as finished.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub(super) struct RunningHook {
    pub(super) payload: u64,
    /// `None` for a time that no clock reaches.
    pub(super) until: Option<Deadline>,
    /// The last line of the action, logged when the hook returns.
    pub(super) end: Vec<u8>,
}

/// A point in time, saved as the time until it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadline(pub(super) Instant);

impl Deadline {
    /// `None` where no clock gets that far.
    pub(super) fn after(time: Duration) -> Option<Self> {
        Instant::now().checked_add(time).map(Self)
    }

    pub(super) fn has_passed(self) -> bool {
        self.0 <= Instant::now()
    }
}
