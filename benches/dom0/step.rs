//! The measured operations: a kind of work, with a number of loaded payloads, and the size of a payload.

use std::fmt;
use std::str::FromStr;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Work {
    Status,
    List,
    OpenListClose,
    UploadFromMemory,
    UploadFromFile,
    Unload,
    /// The check before an upload, which only this crate has.
    Check,
    Apply,
    Revert,
    /// Upload from a file, and apply.
    Load,
    /// The command-line tools, as processes of their own.
    ListProcess,
    LoadProcess,
}

impl Work {
    pub const ALL: [(Self, &'static str); 12] = [
        (Self::Status, "status"),
        (Self::List, "list"),
        (Self::OpenListClose, "open + list + close"),
        (Self::UploadFromMemory, "upload from memory"),
        (Self::UploadFromFile, "upload from a file"),
        (Self::Unload, "unload"),
        (Self::Check, "check"),
        (Self::Apply, "apply"),
        (Self::Revert, "revert"),
        (Self::Load, "load"),
        (Self::ListProcess, "xen-livepatch list"),
        (Self::LoadProcess, "xen-livepatch load"),
    ];

    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(work, _)| *work == self).map_or("", |(_, name)| name)
    }

    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, known)| *known == name).map(|(work, _)| *work)
    }

    /// Returns true if it changes Xen, so that it must not follow closely on an earlier change.
    ///
    /// Xen uses a payload for a moment after it has published the result. This crate waits for that at the beginning of its next
    /// action, which is no part of the cost of an action; so all contenders wait, before the clock starts.
    pub fn needs_calm(self) -> bool {
        matches!(self, Self::Unload | Self::Apply | Self::Revert | Self::Load | Self::LoadProcess)
    }

    pub fn is_list(self) -> bool {
        matches!(self, Self::List | Self::OpenListClose | Self::ListProcess)
    }

    pub fn is_upload(self) -> bool {
        matches!(self, Self::UploadFromMemory | Self::UploadFromFile)
    }

    /// Returns true if its status has to be polled for the end.
    pub fn applies_or_reverts(self) -> bool {
        matches!(self, Self::Apply | Self::Revert | Self::Load)
    }

    /// Returns true if it is a process of its own, in which nothing is counted.
    pub fn is_process(self) -> bool {
        matches!(self, Self::ListProcess | Self::LoadProcess)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Step {
    pub work: Work,
    /// The number of loaded payloads.
    pub payloads: usize,
    /// The size of the payload in bytes, or 0.
    pub size: usize,
}

impl Step {
    pub const fn new(work: Work, payloads: usize, size: usize) -> Self {
        Self { work, payloads, size }
    }

    /// The number of payloads, or the size.
    pub fn amount(&self) -> String {
        if self.size > 0 { human(self.size) } else { format!("{} loaded", self.payloads) }
    }
}

/// `1.9 MiB`, `64 KiB`.
pub fn human(bytes: usize) -> String {
    let (kib, mib) = (bytes as f64 / 1024.0, bytes as f64 / f64::from(1 << 20));
    if mib >= 1.0 { format!("{mib:.1} MiB") } else { format!("{kib:.0} KiB") }
}

/// As an argument of a child of the bench.
impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.work.name(), self.payloads, self.size)
    }
}

impl FromStr for Step {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts: Vec<&str> = text.split('/').collect();
        let [work, payloads, size] = parts[..] else { return Err(format!("not a step: {text}")) };
        let work = Work::named(work).ok_or(format!("no such work: {work}"))?;
        let number = |text: &str| text.parse().map_err(|_| format!("not a number: {text}"));
        Ok(Self::new(work, number(payloads)?, number(size)?))
    }
}
