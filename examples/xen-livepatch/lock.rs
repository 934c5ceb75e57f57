//! One change at a time on a host: an advisory lock, which goes with the process that holds it.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use crate::failure::{AGAIN, Failure};
use crate::output;
use crate::shown::shown;

/// What every tool that changes something on this host may take.
pub(crate) const PATH: &str = "/run/lock/xen-livepatch.lock";

const PAUSE: Duration = Duration::from_millis(20);

/// Takes the lock; waits for it no longer than this, and says so. `None` where there can be none, which is told: a host
/// that has no `/run/lock` yet is still to be patched, and the library sees other tools itself.
pub(crate) fn take(path: &Path, longest: Duration) -> Result<Option<Flock<File>>, Failure> {
    let none = |why: &str| {
        output::note(&format!("no lock is taken: {}: {why}", shown(path)));
        Ok(None)
    };
    let file = match open(path) {
        Ok(file) => file,
        Err(error) => return none(&error.to_string()),
    };
    let told = || output::note(&format!("waiting for another xen-livepatch, at most {longest:?}"));
    match wait_for(file, longest, told) {
        Ok(lock) => Ok(Some(lock)),
        Err(Errno::EWOULDBLOCK) => {
            let text = format!("another xen-livepatch is at work ({}, waited {longest:.1?})", shown(path));
            Err(Failure::with_status(AGAIN, "locked", text))
        }
        Err(errno) => none(errno.desc()),
    }
}

/// Locks a file, or a folder, and waits for it no longer than this; `EWOULDBLOCK` is that it took longer. Where it has to
/// wait, it does this first.
pub(crate) fn wait_for(mut file: File, longest: Duration, first: impl FnOnce()) -> Result<Flock<File>, Errno> {
    let (begun, mut first) = (Instant::now(), Some(first));
    loop {
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Err((back, Errno::EWOULDBLOCK)) if begun.elapsed() < longest => file = back,
            outcome => return outcome.map_err(|(_, errno)| errno),
        }
        if let Some(first) = first.take() {
            first();
        }
        thread::sleep(PAUSE);
    }
}

/// A file that is never removed: those who wait would otherwise hold one that nobody else opens.
fn open(path: &Path) -> std::io::Result<File> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    // Whoever may not write here does not follow somebody else's link either.
    // Nor waits for the reader of a pipe.
    let flags = nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK;
    let file =
        OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).custom_flags(flags).open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(std::io::Error::other("it is not a regular file")) }
}
