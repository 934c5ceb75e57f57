//! Descriptions of hypercalls, for observers of a client.

use core::fmt;
use core::time::Duration;

use crate::sys;
use crate::types::{Action, Errno, PayloadName};

/// A hypercall that a client has made, for the observer of [`ClientBuilder::on_hypercall`](crate::ClientBuilder::on_hypercall).
///
/// `Display` is one line, such as `LIVEPATCH_ACTION apply "fix": 0 in 1.234 ms` or
/// `LIVEPATCH_GET "fix": ENOENT (2, no such entry) in 0.003 ms`.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct HypercallEvent<'a> {
    /// The operation with its arguments.
    pub call: Hypercall<'a>,
    /// The value that Xen returned (of LIST the number of rows, of `XENVER_build_id` the length), or the error number of Xen
    /// or the kernel.
    pub result: Result<u32, Errno>,
    /// The duration by the wall clock, including the time that Xen spent on other domains.
    pub took: Duration,
}

/// A kind of hypercall with its arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Hypercall<'a> {
    /// `XEN_SYSCTL_LIVEPATCH_UPLOAD`.
    Upload {
        /// The name of the payload.
        name: &'a PayloadName,
        /// The size of the payload in bytes.
        size: u64,
    },
    /// `XEN_SYSCTL_LIVEPATCH_GET`.
    Get {
        /// The name of the payload.
        name: &'a PayloadName,
    },
    /// `XEN_SYSCTL_LIVEPATCH_LIST`.
    List,
    /// `XEN_SYSCTL_LIVEPATCH_ACTION`.
    Action {
        /// The action. `None` is command 0, which no release has: Xen returns `EBUSY` if work is pending on the payload and
        /// `EOPNOTSUPP` otherwise, and does nothing.
        action: Option<Action>,
        /// The name of the payload.
        name: &'a PayloadName,
    },
    /// `XEN_SYSCTL_readconsole`.
    ReadConsole,
    /// `XEN_SYSCTL_debug_keys`.
    DebugKey {
        /// The key.
        key: u8,
    },
    /// `__HYPERVISOR_xen_version`.
    XenVersion {
        /// The number of the `XENVER_*` command.
        command: u32,
    },
}

impl<'a> Hypercall<'a> {
    /// Returns its name in Xen's headers, without the `XEN_SYSCTL_` of most: `LIVEPATCH_ACTION`, `readconsole`,
    /// `XENVER_build_id`.
    ///
    /// ```
    /// # use xen_livepatch::*;
    /// use std::sync::{Arc, Mutex};
    /// use xen_livepatch::sim::SimulatedXen;
    /// use xen_livepatch::Release;
    ///
    /// let names = Arc::new(Mutex::new(Vec::new()));
    /// let observed = Arc::clone(&names);
    /// LivepatchClient::builder()
    ///     .on_hypercall(move |event| observed.lock().unwrap().push(event.call.name()))
    ///     .connect(SimulatedXen::new(Release::V4_20))?;
    /// assert_eq!(*names.lock().unwrap(), ["XENVER_version", "LIVEPATCH_LIST"]);
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Upload { .. } => "LIVEPATCH_UPLOAD",
            Self::Get { .. } => "LIVEPATCH_GET",
            Self::List => "LIVEPATCH_LIST",
            Self::Action { .. } => "LIVEPATCH_ACTION",
            Self::ReadConsole => "readconsole",
            Self::DebugKey { .. } => "debug_keys",
            Self::XenVersion { command: sys::XENVER_version } => "XENVER_version",
            Self::XenVersion { command: sys::XENVER_extraversion } => "XENVER_extraversion",
            Self::XenVersion { command: sys::XENVER_compile_info } => "XENVER_compile_info",
            Self::XenVersion { command: sys::XENVER_changeset } => "XENVER_changeset",
            Self::XenVersion { command: sys::XENVER_build_id } => "XENVER_build_id",
            Self::XenVersion { .. } => "xen_version",
        }
    }

    /// Returns the payload, if the hypercall is about one.
    #[must_use]
    pub fn payload(&self) -> Option<&'a PayloadName> {
        match self {
            Self::Upload { name, .. } | Self::Get { name } | Self::Action { name, .. } => Some(name),
            Self::List | Self::ReadConsole | Self::DebugKey { .. } | Self::XenVersion { .. } => None,
        }
    }
}

impl fmt::Display for Hypercall<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        match self {
            Self::Upload { name, size } => write!(f, " \"{name}\" ({size} bytes)"),
            Self::Get { name } => write!(f, " \"{name}\""),
            Self::Action { action: Some(action), name } => write!(f, " {action} \"{name}\""),
            Self::Action { action: None, name } => write!(f, " 0 \"{name}\""),
            Self::DebugKey { key } => write!(f, " {}", key.escape_ascii()),
            Self::List | Self::ReadConsole | Self::XenVersion { .. } => Ok(()),
        }
    }
}

impl fmt::Display for HypercallEvent<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.call)?;
        match self.result {
            Ok(value) => write!(f, "{value}")?,
            Err(errno) => write!(f, "{errno}")?,
        }
        write!(f, " in {:.3} ms", self.took.as_secs_f64() * 1e3)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_line() {
        let name = PayloadName::new("two\nlines").unwrap();
        let line = |call, result| HypercallEvent { call, result, took: Duration::from_nanos(1_234_400) }.to_string();
        for (call, expected) in [
            (Hypercall::Upload { name: &name, size: 12 }, "LIVEPATCH_UPLOAD \"two\\nlines\" (12 bytes)"),
            (Hypercall::Get { name: &name }, "LIVEPATCH_GET \"two\\nlines\""),
            (Hypercall::List, "LIVEPATCH_LIST"),
            (Hypercall::Action { action: Some(Action::Apply), name: &name }, "LIVEPATCH_ACTION apply \"two\\nlines\""),
            (Hypercall::Action { action: None, name: &name }, "LIVEPATCH_ACTION 0 \"two\\nlines\""),
            (Hypercall::ReadConsole, "readconsole"),
            (Hypercall::DebugKey { key: b'x' }, "debug_keys x"),
            (Hypercall::XenVersion { command: sys::XENVER_extraversion }, "XENVER_extraversion"),
            (Hypercall::XenVersion { command: 99 }, "xen_version"),
        ] {
            assert_eq!(line(call, Ok(7)), format!("{expected}: 7 in 1.234 ms"));
            assert_eq!(line(call, Err(Errno::EBUSY)), format!("{expected}: EBUSY (16, busy) in 1.234 ms"));
            assert_eq!(call.payload().is_some(), expected.contains("lines"));
        }
    }
}
