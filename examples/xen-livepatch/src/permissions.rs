//! Protection of payloads, signatures and keys from users other than root.
//!
//! A path is safe if nobody else can change a directory, link or file on the way from the root. Then nobody else can replace
//! one of them after the check either, so checking by path is enough. A sticky directory such as `/tmp` may be on the way,
//! since others can't rename or remove root's entries in it. It may not contain payloads, since others can add some.

use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use xen_livepatch::PayloadStore;

use crate::failure::Failure;
use crate::files;
use crate::terminal::shown;

/// As in Linux.
const MOST_LINKS: usize = 40;

const STICKY: u32 = 0o1000;

/// Checks a file or directory, if it exists, and all that its path leads through.
pub(crate) fn check(path: &Path) -> Result<(), Failure> {
    match fault_on_the_way(path) {
        Ok(None) => Ok(()),
        Ok(Some(fault)) => Err(Failure::new("exposed", fault)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Failure::file(path, &error)),
    }
}

/// Checks a directory of payloads and its sub-directories, but not the files in them.
pub(crate) fn check_directory(directory: &Path) -> Result<(), Failure> {
    check(directory)?;
    match fault_below(directory, PayloadStore::MAX_DEPTH) {
        Some(fault) => Err(Failure::new("exposed", fault)),
        None => Ok(()),
    }
}

/// The reason why others can change a file in a safe directory, if they can.
pub(crate) fn fault_of(file: &Path) -> Option<String> {
    fault(file, &file.symlink_metadata().ok()?, false)
}

fn fault_on_the_way(path: &Path) -> io::Result<Option<String>> {
    let mut rest = parts(&std::path::absolute(path)?);
    let (mut at, mut links) = (PathBuf::new(), 0);
    while let Some(part) = rest.pop() {
        // No link is left in the path so far, so the directory above is the one before the last slash.
        if part == ".." {
            at.pop();
            continue;
        }
        at.push(part);
        let about = at.symlink_metadata()?;
        let fault = fault(&at, &about, !rest.is_empty());
        if fault.is_some() {
            return Ok(fault);
        }
        if about.is_symlink() {
            links += 1;
            if links > MOST_LINKS {
                return Err(Errno::ELOOP.into());
            }
            rest.extend(parts(&fs::read_link(&at)?));
            at.pop();
        }
    }
    Ok(None)
}

/// The parts of a path, the last one first.
fn parts(path: &Path) -> Vec<OsString> {
    let parts = path.components().rev().filter(|part| *part != Component::CurDir);
    parts.map(|part| part.as_os_str().to_owned()).collect()
}

/// Errors are left to the reader of the payloads.
fn fault_below(directory: &Path, depth: usize) -> Option<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let directories = entries.filter(|entry| {
        entry.file_type().is_ok_and(|kind| kind.is_dir()) && !entry.file_name().as_bytes().starts_with(b".")
    });
    let mut paths: Vec<PathBuf> = directories.map(|entry| entry.path()).collect();
    paths.sort();
    paths.iter().find_map(|path| {
        let below = depth.checked_sub(1);
        fault_of(path).or_else(|| below.and_then(|depth| fault_below(path, depth)))
    })
}

fn fault(path: &Path, about: &Metadata, is_passage: bool) -> Option<String> {
    let is_sticky = about.is_dir() && about.mode() & STICKY != 0;
    let is_protected = about.is_symlink() || (is_passage && is_sticky);
    // The group's bits are also those of every user in an access control list.
    let is_writable = !is_protected && about.mode() & 0o022 != 0;
    let path = shown(path);
    let remedy = match (files::is_foreign(about), is_writable) {
        (false, false) => return None,
        // It is meant for everybody.
        (_, true) if is_sticky => "use another directory".to_owned(),
        (true, true) => format!("run chown -h root {path} && chmod go-w {path}"),
        (true, false) => format!("run chown -h root {path}"),
        (false, true) => format!("run chmod go-w {path}"),
    };
    let (owner, group, mode) = (about.uid(), about.gid(), about.mode() & 0o7777);
    Some(format!(
        "{path}: users other than root can change it (owner {owner}, group {group}, mode {mode:04o}); {remedy}"
    ))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, chown, symlink};

    use nix::unistd::geteuid;
    use tempfile::TempDir;

    use super::*;

    const FILE: &str = "store/below/fix.livepatch";

    /// A directory with a file in a sub-directory, and a link to the directory.
    fn place() -> TempDir {
        let place = tempfile::tempdir().unwrap();
        fs::create_dir_all(place.path().join("store/below")).unwrap();
        fs::write(place.path().join(FILE), b"").unwrap();
        symlink("store/../store", place.path().join("link")).unwrap();
        for name in ["", "store", "store/below", FILE] {
            mode(&place, name, 0o755);
        }
        place
    }

    fn mode(place: &TempDir, name: &str, mode: u32) {
        fs::set_permissions(place.path().join(name), fs::Permissions::from_mode(mode)).unwrap();
    }

    /// The messages about the file, the directory and the link to it.
    fn faults(place: &TempDir) -> [Option<String>; 3] {
        let message = |checked: Result<(), Failure>| checked.err().map(|failure| failure.message);
        [
            message(check(&place.path().join(FILE))),
            message(check_directory(&place.path().join("store"))),
            message(check_directory(&place.path().join("link"))),
        ]
    }

    /// Asserts that a fault at this path is found by the checks of the file, of the directory, and of the link.
    #[track_caller]
    fn assert_faults(place: &TempDir, at: &str, found: [bool; 3], remedy: &str) {
        let path = place.path().join(at);
        for (fault, is_found) in faults(place).into_iter().zip(found) {
            assert_eq!(fault.is_some(), is_found, "{at}: {fault:?}");
            let Some(fault) = fault else { continue };
            let (named, rest) = fault.split_once(": users other than root can change it (owner ").unwrap();
            assert_eq!(fs::canonicalize(named).unwrap(), path);
            let about = fs::metadata(&path).unwrap();
            let is_sticky = about.is_dir() && about.mode() & STICKY != 0;
            let remedy = if is_sticky { "use another directory".into() } else { format!("run {remedy} {named}") };
            assert!(rest.ends_with(&format!("); {remedy}")), "{fault}");
        }
    }

    #[test]
    fn what_others_can_write_to_is_refused_with_the_remedy() {
        let place = place();
        assert_eq!(faults(&place), [None, None, None]);
        for bits in [0o757, 0o777, 0o1777, 0o4757] {
            for (name, found) in [
                ("store", [bits & STICKY == 0, true, true]),
                ("store/below", [bits & STICKY == 0, true, true]),
                (FILE, [true, false, false]),
            ] {
                mode(&place, name, bits);
                assert_faults(&place, name, found, "chmod go-w");
                assert!(fault_of(&place.path().join(name)).is_some(), "{name}");
                mode(&place, name, 0o755);
            }
        }
        // A sticky directory on the way.
        mode(&place, "", 0o1777);
        assert_eq!(faults(&place), [None, None, None]);
        mode(&place, "", 0o777);
        let whole = place.path().display().to_string();
        assert!(faults(&place).into_iter().all(|fault| fault.is_some_and(|fault| fault.ends_with(&whole))));
    }

    /// That of root too: an access control list for any user looks like this.
    #[test]
    fn a_group_counts_as_others() {
        let place = place();
        for group in [0, 1] {
            // Others than root can't choose the group.
            let _ = chown(place.path().join("store"), None, Some(group));
            mode(&place, "store", 0o775);
            assert_faults(&place, "store", [true; 3], "chmod go-w");
        }
    }

    #[test]
    fn what_belongs_to_another_user_is_refused() {
        if !geteuid().is_root() {
            return;
        }
        for (name, found) in [("store", [true; 3]), ("store/below", [true; 3]), (FILE, [true, false, false])] {
            let place = place();
            chown(place.path().join(name), Some(1), None).unwrap();
            assert_faults(&place, name, found, "chown -h root");
        }
        // In a sticky directory, its owner could replace it.
        let place = place();
        std::os::unix::fs::lchown(place.path().join("link"), Some(1), None).unwrap();
        assert_eq!(faults(&place).map(|fault| fault.is_some()), [false, false, true]);
    }

    #[test]
    fn links_are_followed_to_their_end() {
        let place = place();
        let at = |name: &str| place.path().join(name);
        symlink("loop", at("loop")).unwrap();
        let error = check(&at("loop")).unwrap_err();
        assert!(error.message.contains("symbolic links"), "{}", error.message);
        // The reader reports a file that is missing.
        assert!(check(&at("missing")).is_ok() && check(&at("missing/file")).is_ok());
        mode(&place, "store", 0o777);
        symlink("store/below/../below/fix.livepatch", at("through")).unwrap();
        symlink(at(FILE), at("absolute")).unwrap();
        for link in ["through", "absolute"] {
            let error = check(&at(link)).unwrap_err().message;
            assert!(error.starts_with(&format!("{}: ", at("store").display())), "{error}");
        }
        let error = check(&at("link/below")).unwrap_err().message;
        assert!(error.starts_with(&format!("{}: ", at("store").display())), "{error}");
    }
}
