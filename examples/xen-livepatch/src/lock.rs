//! An advisory lock, so that one process at a time changes a host. It ends with the process that holds it.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::libc;

use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::files::{self, RUN_DIRECTORY};
use crate::terminal::{self, shown};

const FILE: &str = "lock";

const PAUSE: Duration = Duration::from_millis(20);

/// The reason why a lock is not taken.
enum NoLock {
    /// It can't exist here, as for a user who may not write to `/run`.
    Impossible(String),
    /// Another user may have changed its file or directory.
    Unsafe(String),
}

/// Takes this host's lock, as every call of the tool does that changes the host. If it can't exist, that is printed, and the
/// result is `None`: a host without `/run` can still be patched, and the library notices other tools itself.
pub(crate) fn of_host(longest: Duration) -> Result<Option<Flock<File>>, Failure> {
    in_directory(Path::new(RUN_DIRECTORY), longest)
}

fn in_directory(directory: &Path, longest: Duration) -> Result<Option<Flock<File>>, Failure> {
    let path = directory.join(FILE);
    take(create(directory).and_then(|()| open(&path)), &path, longest)
}

pub(crate) fn of_file(path: &Path, longest: Duration) -> Result<Flock<File>, Failure> {
    let none = || Failure::new("no_lock", format_args!("{} can't be locked", shown(path)));
    take(open(path), path, longest)?.ok_or_else(none)
}

fn take(file: Result<File, NoLock>, path: &Path, longest: Duration) -> Result<Option<Flock<File>>, Failure> {
    let waits = || terminal::note(&format!("waiting for another xen-livepatch, at most {longest:?}"));
    let impossible = match file.map(|file| wait_for(file, longest, waits)) {
        Ok(Ok(lock)) => return Ok(Some(lock)),
        Ok(Err(Errno::EWOULDBLOCK)) => {
            let text = format!("another xen-livepatch is at work ({}, waited {longest:.1?})", shown(path));
            return Err(Failure::with_status(ExitStatus::Retry, "locked", text));
        }
        Err(NoLock::Unsafe(reason)) => {
            let text = format!("the lock is not safe: {reason}; nothing was done");
            return Err(Failure::new("unsafe_lock", text));
        }
        Err(NoLock::Impossible(reason)) => reason,
        Ok(Err(errno)) => format!("{}: {}", shown(path), errno.desc()),
    };
    terminal::note(&format!("no lock is taken: {impossible}"));
    Ok(None)
}

/// Locks a file or a directory, or fails with `EWOULDBLOCK` if it has to wait too long. Calls `before_waiting` if it has to
/// wait.
pub(crate) fn wait_for(mut file: File, longest: Duration, before_waiting: impl FnOnce()) -> Result<Flock<File>, Errno> {
    let (begun, mut before_waiting) = (Instant::now(), Some(before_waiting));
    loop {
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Err((back, Errno::EWOULDBLOCK)) if begun.elapsed() < longest => file = back,
            outcome => return outcome.map_err(|(_, errno)| errno),
        }
        if let Some(before_waiting) = before_waiting.take() {
            before_waiting();
        }
        thread::sleep(PAUSE);
    }
}

/// Creates the directory unless it exists, and checks that no other user can write to it: another user could hold the lock,
/// or obstruct it.
fn create(directory: &Path) -> Result<(), NoLock> {
    let impossible = |error: io::Error| NoLock::Impossible(format!("{}: {error}", shown(directory)));
    if let Some(above) = directory.parent().filter(|above| !above.as_os_str().is_empty()) {
        fs::create_dir_all(above).map_err(impossible)?;
    }
    files::create_private(directory).map_err(impossible)?;
    // A link is not followed, and not a directory.
    let about = directory.symlink_metadata().map_err(impossible)?;
    let fault = if about.is_dir() { files::exposure(&about) } else { Some("it is not a directory") };
    match fault {
        Some(fault) => Err(NoLock::Unsafe(format!("{}: {fault}", shown(directory)))),
        None => Ok(()),
    }
}

/// Opens the file of a lock, which is never removed: a process that waits for it would get the lock of a removed file.
fn open(path: &Path) -> Result<File, NoLock> {
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).write(true).mode(0o600).custom_flags(files::FLAGS);
    let file = options.open(path);
    let unsafe_file = |fault: &str| NoLock::Unsafe(format!("{}: {fault}", shown(path)));
    let file = file.map_err(|error| match error.raw_os_error() {
        Some(libc::ELOOP) => unsafe_file("it is a symbolic link"),
        Some(libc::EISDIR | libc::ENXIO) => unsafe_file("it is not a regular file"),
        _ => NoLock::Impossible(format!("{}: {error}", shown(path))),
    })?;
    match file.metadata() {
        Ok(about) if about.is_file() => Ok(file),
        _ => Err(unsafe_file("it is not a regular file")),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};

    use nix::sys::stat::Mode;
    use nix::unistd::{Uid, chown, geteuid, mkfifo};

    use super::*;

    type Make = fn(&Path);

    const SHORT: Duration = Duration::from_millis(50);

    fn refusal(directory: &Path) -> String {
        let failure = in_directory(directory, SHORT).unwrap_err();
        assert_eq!(failure.status, ExitStatus::Failed);
        failure.message
    }

    #[test]
    fn the_directory_is_private_and_holds_one_lock() {
        let place = tempfile::tempdir().unwrap();
        let directory = place.path().join("run/xen-livepatch");
        let lock = in_directory(&directory, SHORT).unwrap();
        assert!(lock.is_some());
        assert_eq!(directory.metadata().unwrap().mode() & 0o7777, 0o700);
        assert_eq!(directory.join(FILE).metadata().unwrap().mode() & 0o7777, 0o600);
        assert_eq!(in_directory(&directory, SHORT).unwrap_err().status, ExitStatus::Retry);
        drop(lock);
        assert!(in_directory(&directory, SHORT).unwrap().is_some());
    }

    #[test]
    fn a_directory_that_others_can_change_is_refused() {
        let place = tempfile::tempdir().unwrap();
        let directory = place.path().join("xen-livepatch");
        fs::create_dir(&directory).unwrap();
        for mode in [0o777, 0o1777, 0o720, 0o702] {
            fs::set_permissions(&directory, fs::Permissions::from_mode(mode)).unwrap();
            assert!(refusal(&directory).contains("others may write to it"), "{mode:o}");
        }
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o755)).unwrap();
        assert!(in_directory(&directory, SHORT).unwrap().is_some());
        if geteuid().is_root() {
            chown(&directory, Some(Uid::from_raw(65534)), None).unwrap();
            assert!(refusal(&directory).contains("it belongs to another user"));
        }
        for (name, target) in [("link", directory.as_path()), ("dangling", Path::new("/nowhere/at/all"))] {
            let link = place.path().join(name);
            symlink(target, &link).unwrap();
            assert!(refusal(&link).contains("it is not a directory"), "{name}");
        }
        let file = place.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(refusal(&file).contains("it is not a directory"));
    }

    #[test]
    fn a_lock_file_that_is_something_else_is_refused() {
        let place = tempfile::tempdir().unwrap();
        let kinds: [(&str, Make); 3] = [
            ("link", |path| symlink("/dev/null", path).unwrap()),
            ("pipe", |path| mkfifo(path, Mode::S_IRWXU).unwrap()),
            ("directory", |path| fs::create_dir(path).unwrap()),
        ];
        for (name, make) in kinds {
            let directory = place.path().join(name);
            files::create_private(&directory).unwrap();
            make(&directory.join(FILE));
            assert!(refusal(&directory).contains("the lock is not safe: "), "{name}");
        }
    }

    #[test]
    fn without_a_directory_there_is_no_lock() {
        // Even root can't create a directory there.
        assert!(in_directory(Path::new("/proc/self/xen-livepatch"), SHORT).unwrap().is_none());
    }
}
