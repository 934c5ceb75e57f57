//! The switches that keep a boot from patching: for the boot that hangs or crashes, and for a host that is to be left alone.

use std::fmt;
use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;

use crate::output::shown;

/// The word on the kernel's command line.
const WORD: &str = "xen-livepatch=off";

/// The places of the switches.
#[derive(Debug)]
pub(crate) struct OffSwitches {
    /// The kernel's command line.
    pub(crate) command_line: PathBuf,
    /// A file, whatever is in it.
    pub(crate) file: PathBuf,
}

/// A switch that is off.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Off {
    /// `xen-livepatch=off` is on the kernel's command line.
    CommandLine,
    /// The file exists.
    File(PathBuf),
}

impl Default for OffSwitches {
    /// Those of this host.
    fn default() -> Self {
        Self { command_line: "/proc/cmdline".into(), file: "/etc/xen-livepatch/off".into() }
    }
}

impl OffSwitches {
    /// The first switch that is off, if one is.
    ///
    /// A command line that can't be read throws no switch. A file that can't be looked at counts as there: whoever put it
    /// there wants nothing to be done, and what was left undone can be done later.
    pub(crate) fn thrown(&self) -> Option<Off> {
        let line = fs::read_to_string(&self.command_line).unwrap_or_default();
        // The kernel takes a value, or the whole word, in quotes as well.
        if line.split_whitespace().any(|word| word.replace('"', "") == WORD) {
            return Some(Off::CommandLine);
        }
        // A link to nothing is a file that someone put there.
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
