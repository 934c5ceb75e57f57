//! Switches that turn off patching at boot: for a boot that hangs or crashes, and for a host that must not be patched.

use crate::terminal::shown;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

/// The word on the kernel's command line.
const WORD: &str = "xen-livepatch=off";

/// The first switch of this host that turns off patching, if any, as a phrase.
pub(crate) fn switched_off() -> Option<String> {
    first_switch(Path::new("/proc/cmdline"), Path::new("/etc/xen-livepatch/off"))
}

/// The first switch that turns off patching: [`WORD`] on the kernel's command line, or a file with any contents.
///
/// An unreadable command line turns off nothing. A file counts as existing if that can't be determined, since a host can be
/// patched later.
pub(super) fn first_switch(command_line: &Path, file: &Path) -> Option<String> {
    let line = fs::read_to_string(command_line).unwrap_or_default();
    // The kernel also accepts a value, or a whole word, in quotes.
    if line.split_whitespace().any(|word| word.replace('"', "") == WORD) {
        return Some(format!("{WORD} is on the kernel's command line"));
    }
    // A dangling link counts too.
    match file.symlink_metadata() {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => None,
        _ => Some(format!("{} exists", shown(file))),
    }
}
