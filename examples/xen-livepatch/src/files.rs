//! Files that are read and replaced as a whole, and directories that only their owner can write to.

use std::fs::{self, DirBuilder, File, Metadata, OpenOptions};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::process;

use nix::libc;
use nix::unistd::geteuid;

/// The directory of the host's lock, and of the knowledge that is kept until the next boot.
pub(crate) const RUN_DIRECTORY: &str = "/run/xen-livepatch";

/// Flags for opening: a link may lead to another user's file, and a pipe would wait for its other end.
pub(crate) const FLAGS: i32 = libc::O_NOFOLLOW | libc::O_NONBLOCK;

/// Creates a directory, unless it exists, that only its owner can access.
pub(crate) fn create_private(directory: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(directory) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

/// Returns true if a file or directory belongs to neither root nor the user who runs this process.
pub(crate) fn is_foreign(about: &Metadata) -> bool {
    ![0, geteuid().as_raw()].contains(&about.uid())
}

/// The reason why another user may have changed a file or directory, if one may.
pub(crate) fn exposure(about: &Metadata) -> Option<&'static str> {
    if is_foreign(about) {
        Some("it belongs to another user")
    } else if about.mode() & 0o022 != 0 {
        Some("others may write to it")
    } else {
        None
    }
}

/// Reads a regular file of at most so many bytes. Nothing else is opened: opening a device may have an effect.
pub(crate) fn read(path: &Path, most: u64) -> io::Result<(Vec<u8>, Metadata)> {
    let regular = |about: Metadata| {
        if about.is_file() { Ok(about) } else { Err(io::Error::other("it is not a regular file")) }
    };
    regular(path.symlink_metadata()?)?;
    let file = OpenOptions::new().read(true).custom_flags(FLAGS).open(path)?;
    // It may have been replaced in between.
    let about = regular(file.metadata()?)?;
    if about.len() > most {
        return Err(io::Error::other(format!("it has more than {most} bytes")));
    }
    let mut bytes = Vec::new();
    file.take(most).read_to_end(&mut bytes)?;
    Ok((bytes, about))
}

/// Replaces a file as a whole: a reader finds its old contents or the new ones. They are written beside it first, under a hidden
/// name for each process, since not every caller holds a lock. The name does not end as that of the file, so that nobody who
/// collects files by their endings, such as `.prom`, finds a part.
pub(crate) fn replace(path: &Path, mode: u32, contents: &[u8]) -> io::Result<()> {
    let name = path.file_name().ok_or(ErrorKind::InvalidInput)?.to_string_lossy();
    let new = path.with_file_name(format!(".{name}.{}", process::id()));
    replace_after(path, &new, mode, contents, |_| Ok(()))
}

/// The same through the file `new`, and whenever the host goes down, the file has its old contents or the new ones.
pub(crate) fn replace_synced(path: &Path, new: &Path, mode: u32, contents: &[u8]) -> io::Result<()> {
    replace_after(path, new, mode, contents, File::sync_all)
}

fn replace_after(
    path: &Path,
    new: &Path,
    mode: u32,
    contents: &[u8],
    sync: impl FnOnce(&File) -> io::Result<()>,
) -> io::Result<()> {
    // A crash may have left it. It is not opened, since it may be anything.
    match fs::remove_file(new) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let written = OpenOptions::new().write(true).create_new(true).mode(mode).open(new).and_then(|mut file| {
        file.write_all(contents)?;
        sync(&file)?;
        fs::rename(new, path)
    });
    if written.is_err() {
        // On a full disk, the part that was written takes up space.
        let _ = fs::remove_file(new);
    }
    written
}
