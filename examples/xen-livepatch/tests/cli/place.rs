//! The directory in which a transcript runs, and the programs in it besides the tool.

use std::env;
use std::os::unix::fs::symlink;
use std::path::Path;

use tempfile::TempDir;

/// Makes the directory, with links to the source tree (`.source`) and to the tool under the name that packages give it, and returns
/// it together with the search path.
pub(crate) fn place() -> (TempDir, String) {
    let place = tempfile::tempdir().unwrap();
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    symlink(package.join("../.."), place.path().join(".source")).unwrap();
    let tool = Path::new(env!("CARGO_BIN_EXE_xen-livepatch"));
    symlink(tool, place.path().join("xen-livepatch-tool")).unwrap();
    let directories = [tool.parent().unwrap(), &package.join("tests"), place.path()];
    let directories = directories.map(|directory| directory.display().to_string());
    let path = format!("{}:{}", directories.join(":"), env::var("PATH").unwrap());
    (place, path)
}
