//! How files are named.

use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use xen_livepatch::escaped;

/// A path on one line, on which no character makes a terminal act.
pub(crate) fn shown(path: &Path) -> String {
    escaped(path.as_os_str().as_bytes())
}
