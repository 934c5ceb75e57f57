//! Switches that turn off patching at boot: for a boot that hangs or crashes, and for a host that must not be patched.

use std::fmt;
use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;

use crate::output::shown;

/// The word on the kernel's command line.
const WORD: &str = "xen-livepatch=off";

/// The locations of the switches.
#[derive(Debug)]
pub(crate) struct OffSwitches {
    /// The kernel's command line.
    pub(crate) command_line: PathBuf,
    /// A file with any contents.
    pub(crate) file: PathBuf,
}

/// A switch that turns off patching.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Off {
    /// `xen-livepatch=off` is on the kernel's command line.
    CommandLine,
    /// The file exists.
    File(PathBuf),
}

impl Default for OffSwitches {
    /// The switches of this host.
    fn default() -> Self {
        Self { command_line: "/proc/cmdline".into(), file: "/etc/xen-livepatch/off".into() }
    }
}

impl OffSwitches {
    /// The first switch that turns off patching, if any.
    ///
    /// An unreadable command line turns off nothing. A file counts as existing if that can't be determined, since a host can
    /// be patched later.
    pub(crate) fn thrown(&self) -> Option<Off> {
        let line = fs::read_to_string(&self.command_line).unwrap_or_default();
        // The kernel also accepts a value, or a whole word, in quotes.
        if line.split_whitespace().any(|word| word.replace('"', "") == WORD) {
            return Some(Off::CommandLine);
        }
        // A dangling link counts too.
        match self.file.symlink_metadata() {
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => None,
            _ => Some(Off::File(self.file.clone())),
        }
    }
}

impl fmt::Display for Off {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CommandLine => write!(f, "{WORD} is on the kernel's command line"),
            Self::File(path) => write!(f, "{} exists", shown(path)),
        }
    }
}
