//! A folder, read within bounds.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::{Link, PayloadStore, StoredPayload, by_bytes};
use crate::error::{Error, Result};
use crate::name::PayloadName;
use crate::payload::{Payload, check_size};

const SUFFIX: &[u8] = b".livepatch";
const CHOOSING: &[u8] = b"livepatch.livepatch";

/// Finds all files first and reads them then in their order, so that it is no chance which of them exceed a bound.
pub(super) fn read(folder: &Path) -> Result<PayloadStore> {
    let root = fs::canonicalize(folder).map_err(|error| Error::of_io(folder, &error))?;
    let mut walk = Walk {
        folder,
        root,
        left: PayloadStore::MAX_ENTRIES,
        files: BTreeSet::new(),
        links: Vec::new(),
        problems: Vec::new(),
    };
    let entries = walk.entries(Path::new("")).map_err(|error| Error::of_io(folder, &error))?;
    walk.look_at(entries, 0);
    let Walk { root, files, links, mut problems, .. } = walk;
    let mut files: Vec<PathBuf> = files.into_iter().collect();
    files.sort_by(|one, other| by_bytes(one, other));
    let mut payloads: Vec<StoredPayload> = Vec::new();
    let mut left = PayloadStore::MAX_BYTES;
    for file in files {
        let path = folder.join(&file);
        match read_file(&root.join(file), &path, left) {
            Ok((name, payload)) => {
                left = left.saturating_sub(payload.bytes().len());
                payloads.push(StoredPayload { path, name, payload, chosen: false });
            }
            Err(error) => problems.push((path, error)),
        }
    }
    let mut resolved = Vec::new();
    for (link, target) in links {
        let target = target.map(|target| folder.join(target));
        let index = target.and_then(|target| payloads.iter().position(|stored| stored.path == target));
        if let Some(stored) = index.and_then(|index| payloads.get_mut(index)) {
            stored.chosen = true;
        }
        resolved.push(Link { path: folder.join(link), target: index });
    }
    resolved.sort_by(|one, other| by_bytes(&one.path, &other.path));
    problems.sort_by(|(one, _), (other, _)| by_bytes(one, other));
    Ok(PayloadStore { payloads, problems, links: resolved })
}

/// Reads a file of which at most `left` bytes may be kept. `shown` is its path for errors.
fn read_file(path: &Path, shown: &Path, left: usize) -> Result<(PayloadName, Payload)> {
    let name = PayloadName::of_file(path)?;
    let about = fs::metadata(path).map_err(|error| Error::of_io(shown, &error))?;
    // Opening a device can do something, so it is not even opened.
    if !about.is_file() {
        return Err(Error::of_file(shown, "it is not a regular file"));
    }
    let size = usize::try_from(about.len()).unwrap_or(usize::MAX);
    // It is of no use here, and larger than what is to be kept.
    check_size(size)?;
    if size > left {
        return Err(Error::of_file(shown, "the payloads before it are as many bytes as are kept in memory"));
    }
    Ok((name, Payload::read(path)?))
}

/// What was found; paths are relative to the folder, and lead through no links.
struct Walk<'f> {
    folder: &'f Path,
    /// The same folder without links.
    root: PathBuf,
    /// How many more entries may be looked at.
    left: usize,
    files: BTreeSet<PathBuf>,
    links: Vec<(PathBuf, Option<PathBuf>)>,
    problems: Vec<(PathBuf, Error)>,
}

impl Walk<'_> {
    /// The entries of a folder in their order: none, and a problem, if there are too many.
    fn entries(&mut self, within: &Path) -> io::Result<Vec<(PathBuf, fs::FileType)>> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(self.root.join(within))? {
            if self.left == 0 {
                let reason = format!("with it, there are more than {} entries", PayloadStore::MAX_ENTRIES);
                self.refuse(within, reason);
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
            let name = path.file_name().map(OsStrExt::as_bytes).unwrap_or_default();
            let suffixed = name.ends_with(SUFFIX);
            // What others write before they give it its name.
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

    fn descend(&mut self, folder: &Path, depth: usize) {
        if depth >= PayloadStore::MAX_DEPTH {
            self.refuse(folder, format!("it is more than {} folders deep", PayloadStore::MAX_DEPTH));
            return;
        }
        match self.entries(folder) {
            Ok(entries) => self.look_at(entries, depth + 1),
            Err(error) => self.fail(folder, &error),
        }
    }

    /// The file that a link leads to, if it is one to read. A link without the suffix is only worth a word where it leads
    /// nowhere, or to a folder outside, whose payloads someone may expect to be found.
    fn follow(&mut self, link: &Path, suffixed: bool) -> Option<PathBuf> {
        let target = match fs::canonicalize(self.root.join(link)) {
            Ok(target) => target,
            Err(error) => {
                self.fail(link, &error);
                return None;
            }
        };
        let Ok(inside) = target.strip_prefix(&self.root) else {
            if suffixed || target.is_dir() {
                self.refuse(link, "it is a link that leads out of the folder");
            }
            return None;
        };
        if suffixed && target.is_dir() {
            self.refuse(link, "it is a link that leads to a folder");
            return None;
        }
        suffixed.then(|| inside.to_path_buf())
    }

    fn refuse(&mut self, path: &Path, reason: impl Into<String>) {
        let path = self.shown(path);
        let error = Error::of_file(&path, reason);
        self.problems.push((path, error));
    }

    fn fail(&mut self, path: &Path, error: &io::Error) {
        let path = self.shown(path);
        let error = Error::of_io(&path, error);
        self.problems.push((path, error));
    }

    /// The path as callers see it.
    fn shown(&self, path: &Path) -> PathBuf {
        if path.as_os_str().is_empty() { self.folder.into() } else { self.folder.join(path) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_has_vanished_is_an_error() {
        let gone = Path::new("/nonexistent/gone.livepatch");
        assert_eq!(read_file(gone, gone, 0).unwrap_err().raw_errno(), Some(crate::Errno::ENOENT));
    }
}
