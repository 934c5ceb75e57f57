//! The directory in which a transcript runs, and the programs in it besides the tool.

use std::env;
use std::os::unix::fs::symlink;
use std::path::Path;

use tempfile::TempDir;

/// Makes the directory, with a link `.source` to the source tree, and returns it together with the search path.
pub(crate) fn place() -> (TempDir, String) {
    let place = tempfile::tempdir().unwrap();
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    symlink(package.join("../.."), place.path().join(".source")).unwrap();
    let tool = Path::new(env!("CARGO_BIN_EXE_xen-livepatch")).parent().unwrap();
    let path = format!("{}:{}:{}", tool.display(), package.join("tests").display(), env::var("PATH").unwrap());
    (place, path)
}
