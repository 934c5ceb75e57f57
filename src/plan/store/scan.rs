//! A directory of payload files, read within bounds.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use super::file_name::{CHOOSING, SUFFIX, name_of};
use super::problem::{StoreFault, StoreProblem};
use super::{Link, Links, PayloadStore, StoredPayload, by_bytes};
use crate::error::{Error, Result};
use crate::payload::{Payload, check_size};
use crate::types::build_id::BuildId;
use crate::types::name::PayloadName;
use crate::types::widen::to_u64;

/// Finds all files first and reads them then in their order, so that it is no chance which of them exceed a bound.
pub(super) fn read(directory: &Path, followed: Links) -> Result<PayloadStore> {
    let root = fs::canonicalize(directory).map_err(|error| Error::of_io(directory, &error))?;
    let mut walk = Walk {
        directory,
        root,
        followed,
        left: PayloadStore::MAX_ENTRIES,
        files: BTreeSet::new(),
        links: Vec::new(),
        problems: Vec::new(),
    };
    let entries = walk.entries(Path::new("")).map_err(|error| Error::of_io(directory, &error))?;
    walk.look_at(entries, 0);
    let Walk { root, files, links, mut problems, .. } = walk;
    let mut files: Vec<PathBuf> = files.into_iter().collect();
    files.sort_by(|one, other| by_bytes(one, other));
    let mut found = Found::default();
    let mut left = PayloadStore::MAX_BYTES;
    for file in files {
        let path = directory.join(&file);
        match read_file(&root.join(file), &path, left) {
            Ok((name, payload)) => {
                let size = payload.bytes().len();
                if found.add(path, name, payload) {
                    // It may have grown since its size was looked up.
                    left = left.saturating_sub(size);
                }
            }
            Err(problem) => problems.push(problem),
        }
    }
    let mut resolved = Vec::new();
    for (link, target) in links {
        let target = target.and_then(|target| found.choose(&directory.join(target)));
        resolved.push(Link { path: directory.join(link), target });
    }
    resolved.sort_by(|one, other| by_bytes(&one.path, &other.path));
    problems.sort_by(|one, other| by_bytes(one.path(), other.path()));
    let mut payloads = found.payloads;
    for stored in &mut payloads {
        stored.go_by_chosen_path();
    }
    Ok(PayloadStore { payloads, problems, links: resolved })
}

/// Reads a file, which may have at most `left` bytes. `shown` is its path for people.
fn read_file(path: &Path, shown: &Path, left: usize) -> core::result::Result<(PayloadName, Payload), StoreProblem> {
    let failed = |error: &Error| StoreProblem::of_error(shown, error);
    let refused = |fault| Err(StoreProblem::new(shown, fault));
    let about = fs::metadata(path).map_err(|error| StoreProblem::of_io(shown, &error))?;
    // Opening a device can do something, so it is not even opened.
    if !about.is_file() {
        return refused(StoreFault::Unreadable { reason: "it is not a regular file".into(), errno: None });
    }
    if about.len() > to_u64(left) && about.len() <= to_u64(Payload::MAX_FILE) {
        let reason = format!("reading it would exceed the limit of {} bytes of payloads", PayloadStore::MAX_BYTES);
        return refused(StoreFault::Limit { reason });
    }
    let payload = Payload::read(path).map_err(|error| failed(&error))?;
    if let Some((size, without_debug)) = payload.excess() {
        return refused(StoreFault::TooLarge { size, without_debug });
    }
    check_size(payload.bytes().len()).map_err(|error| failed(&error))?;
    let name = name_of(path).map_err(|error| failed(&error.into()))?;
    Ok((name, payload))
}

/// The payloads of the files read so far: several files with the same contents are one.
#[derive(Default)]
struct Found {
    payloads: Vec<StoredPayload>,
    /// The indices of those of a size and a build-id.
    alike: HashMap<(usize, Option<BuildId>), Vec<usize>>,
    places: HashMap<PathBuf, usize>,
}

impl Found {
    /// Adds a file. Returns true if its contents are new.
    fn add(&mut self, path: PathBuf, name: PayloadName, payload: Payload) -> bool {
        let alike = self.alike.entry((payload.bytes().len(), payload.build_id().cloned())).or_default();
        for index in alike.iter().copied() {
            let stored = self.payloads.get_mut(index).expect("it was pushed when its index was");
            if stored.payload.bytes() == payload.bytes() {
                self.places.insert(path.clone(), index);
                stored.copies.push((path, name));
                return false;
            }
        }
        let index = self.payloads.len();
        alike.push(index);
        self.places.insert(path.clone(), index);
        self.payloads.push(StoredPayload::new(path, name, payload));
        true
    }

    /// Marks the payload of a file as chosen, and returns its index.
    fn choose(&mut self, path: &Path) -> Option<usize> {
        let index = *self.places.get(path)?;
        self.payloads.get_mut(index).expect("it was pushed when its index was").chosen.push(path.into());
        Some(index)
    }
}

impl StoredPayload {
    pub(super) fn new(path: PathBuf, name: PayloadName, payload: Payload) -> Self {
        let payload = Arc::new(payload);
        Self { path, name, payload, copies: Vec::new(), chosen: Vec::new(), damage: OnceLock::new() }
    }

    /// Of several files with the same contents, the one that a link leads to gives path and name.
    fn go_by_chosen_path(&mut self) {
        let Some(chosen) = self.chosen.iter().min_by(|one, other| by_bytes(one, other)) else { return };
        if let Some((path, name)) = self.copies.iter_mut().find(|(path, _)| path == chosen) {
            core::mem::swap(&mut self.path, path);
            core::mem::swap(&mut self.name, name);
        }
    }
}

/// The entries found so far; paths are relative to the directory unless they are outside, and lead through no links.
struct Walk<'f> {
    directory: &'f Path,
    /// The same directory without links.
    root: PathBuf,
    followed: Links,
    /// The number of entries that may still be looked at.
    left: usize,
    files: BTreeSet<PathBuf>,
    links: Vec<(PathBuf, Option<PathBuf>)>,
    problems: Vec<StoreProblem>,
}

impl Walk<'_> {
    /// The entries of a directory in their order: none, and a problem, if there are too many.
    fn entries(&mut self, within: &Path) -> io::Result<Vec<(PathBuf, fs::FileType)>> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(self.root.join(within))? {
            if self.left == 0 {
                let reason = format!("reading it would exceed the limit of {} entries", PayloadStore::MAX_ENTRIES);
                self.refuse(within, StoreFault::Limit { reason });
                return Ok(Vec::new());
            }
            self.left -= 1;
            let entry = entry?;
            let path = within.join(entry.file_name());
            match entry.file_type() {
                Ok(kind) => entries.push((path, kind)),
                Err(error) => self.fail(&path, &error),
            }
        }
        entries.sort_by(|(one, _), (other, _)| by_bytes(one, other));
        Ok(entries)
    }

    fn look_at(&mut self, entries: Vec<(PathBuf, fs::FileType)>, depth: usize) {
        for (path, kind) in entries {
            let name = path.file_name().expect("an entry has a name").as_bytes();
            let suffixed = name.ends_with(SUFFIX);
            // Files that others write before they give them their names.
            if name.starts_with(b".") {
                continue;
            }
            if kind.is_symlink() {
                let choosing = name == CHOOSING;
                let target = self.follow(&path, suffixed);
                self.files.extend(target.clone());
                if choosing {
                    self.links.push((path, target));
                }
            } else if suffixed {
                self.files.insert(path);
            } else if kind.is_dir() {
                self.descend(&path, depth);
            }
        }
    }

    fn descend(&mut self, directory: &Path, depth: usize) {
        if depth >= PayloadStore::MAX_DEPTH {
            let reason = format!("it is more than {} directories deep", PayloadStore::MAX_DEPTH);
            self.refuse(directory, StoreFault::Limit { reason });
            return;
        }
        match self.entries(directory) {
            Ok(entries) => self.look_at(entries, depth + 1),
            Err(error) => self.fail(directory, &error),
        }
    }

    /// The file that a link leads to, if it is one to read. A link without the suffix matters only where it leads to a
    /// directory outside, whose payloads someone may expect to be found.
    fn follow(&mut self, link: &Path, suffixed: bool) -> Option<PathBuf> {
        let target = match fs::canonicalize(self.root.join(link)) {
            Ok(target) => target,
            Err(error) if suffixed => {
                self.fail(link, &error);
                return None;
            }
            Err(_) => return None,
        };
        let Ok(inside) = target.strip_prefix(&self.root) else {
            if suffixed && self.followed == Links::Anywhere && !target.is_dir() {
                return Some(target);
            }
            if suffixed || target.is_dir() {
                self.refuse(link, StoreFault::Link { reason: "it is a link that leads out of the directory" });
            }
            return None;
        };
        if suffixed && target.is_dir() {
            self.refuse(link, StoreFault::Link { reason: "it is a link that leads to a directory" });
            return None;
        }
        suffixed.then(|| inside.to_path_buf())
    }

    fn refuse(&mut self, path: &Path, fault: StoreFault) {
        self.problems.push(StoreProblem::new(self.shown(path), fault));
    }

    fn fail(&mut self, path: &Path, error: &io::Error) {
        self.problems.push(StoreProblem::of_io(self.shown(path), error));
    }

    /// The path as callers see it.
    fn shown(&self, path: &Path) -> PathBuf {
        if path.as_os_str().is_empty() { self.directory.into() } else { self.directory.join(path) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_has_vanished_is_a_problem() {
        let gone = Path::new("/nonexistent/gone.livepatch");
        let problem = read_file(gone, gone, 0).unwrap_err();
        assert!(matches!(problem.fault(), StoreFault::Unreadable { errno: Some(crate::Errno::ENOENT), .. }));
    }
}
