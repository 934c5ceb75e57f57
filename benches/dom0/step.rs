//! The measured operations: a kind of work, with a number of loaded payloads, and the size of a payload.

use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "&'static str", try_from = "String")]
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

impl From<Work> for &'static str {
    fn from(work: Work) -> Self {
        work.name()
    }
}

impl TryFrom<String> for Work {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        let known = Self::ALL.iter().find(|(_, known)| *known == name);
        known.map(|(work, _)| *work).ok_or(format!("no such work: {name}"))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Step {
    pub work: Work,
    /// The number of loaded payloads.
    pub payloads: usize,
    /// The size of the payload in bytes, or 0.
    #[serde(rename = "bytes")]
    pub size: usize,
}

impl Step {
    pub const fn new(work: Work, payloads: usize, size: usize) -> Self {
        Self { work, payloads, size }
    }

    /// The number of payloads, or the size: `3 loaded`, `64 KiB`, `1.9 MiB`.
    pub fn amount(&self) -> String {
        match self.size {
            0 => format!("{} loaded", self.payloads),
            size if size < 1 << 20 => format!("{:.0} KiB", size as f64 / 1024.0),
            size => format!("{:.1} MiB", size as f64 / f64::from(1 << 20)),
        }
    }
}
