//! Messages on stderr, and text that does not act on a terminal.

use std::env;
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use anstyle::{AnsiColor, Style};
use xen_livepatch::{HypercallEvent, escaped};

pub(crate) const ERROR: Style = AnsiColor::Red.on_default().bold();
const NOTE: Style = AnsiColor::Yellow.on_default();

/// A path on one line, without characters that act on a terminal.
pub(crate) fn shown(path: &Path) -> String {
    escaped(path.as_os_str().as_bytes())
}

/// The name of this command, for hints: packages install it as `xen-livepatch-tool`, beside Xen's own.
pub(crate) fn command() -> String {
    let called = env::args_os().next().unwrap_or_default();
    let name = Path::new(&called).file_name().and_then(|name| name.to_str());
    name.filter(|name| name.starts_with("xen-livepatch")).unwrap_or("xen-livepatch").to_owned()
}

/// Writes to stderr in one piece, since other processes may write to the same terminal.
pub(crate) fn print_error(text: &str) {
    // An error is no reason to stop halfway.
    let _ = anstream::stderr().write_all(text.as_bytes());
}

/// Prints a remark for people.
pub(crate) fn note(text: &str) {
    print_error(&format!("{NOTE}{text}{NOTE:#}\n"));
}

/// Prints a hypercall.
pub(crate) fn hypercall(event: &HypercallEvent<'_>) {
    print_error(&format!("  {event}\n"));
}
