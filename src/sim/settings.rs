//! Settings of a running host.

use core::time::Duration;

#[cfg(doc)]
use super::SimulatedXen;

/// The privileges of the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum Access {
    /// A control domain without restrictions.
    #[default]
    Privileged,
    /// Another domain: `EPERM`, if the interface version is right.
    NotPrivileged,
    /// A control domain whose FLASK policy has no `livepatch_op`: `EACCES` for live patching, as for a wrong
    /// interface version.
    DeniedByFlask,
}

/// The log level of Xen (`loglvl`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum LogLevel {
    /// No messages (`none`).
    None,
    /// Refusals and failures (`error`, and `warning`, the default of release builds).
    Errors,
    /// All messages (`all`).
    #[default]
    All,
}

/// The duration of an action that Xen has accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum Pace {
    /// A number of hypercalls: this many GET, LIST and ACTION, by anyone, find the action under way, and the next one finds
    /// it finished. With 0 it is finished when ACTION returns. The default is 1.
    Polls(u32),
    /// A time.
    Time(Duration),
    /// Until [`SimulatedXen::finish_action`] is called.
    Held,
}

impl Default for Pace {
    fn default() -> Self {
        Self::Polls(1)
    }
}

#[derive(Clone, Debug, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub(super) struct Settings {
    pub(super) access: Access,
    pub(super) pace: Pace,
    pub(super) quiesce_time: Duration,
    pub(super) cpu_hotplug: bool,
    pub(super) log_level: LogLevel,
    pub(super) hook_time: Duration,
    pub(super) waiting_domain: Option<u16>,
    pub(super) largest_buffer: Option<usize>,
}
