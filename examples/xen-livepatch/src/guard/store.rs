//! The files of the guard's state: two copies, each replaced as a whole.

use std::fmt;
use std::fs::{self, DirBuilder, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::fcntl::Flock;

use super::record::State;
use crate::files;
use crate::lock;
use crate::terminal::shown;

/// Both have the same contents: one survives a file system that loses synced data, or a disk that returns nonsense.
pub(super) const FILES: [&str; 2] = ["attempts.json", "attempts.copy.json"];

/// The suffix of a file that was put aside. Further files get a number up to [`MOST_ASIDE`]; then the last is replaced.
const ASIDE: &str = ".damaged";
const MOST_ASIDE: u32 = 9;

/// More than the state ever needs.
pub(super) const MOST_BYTES: u64 = 1024 * 1024;

/// The longest time to wait for the lock: writing takes a moment, and a boot must go on.
const LONGEST_LOCK: Duration = Duration::from_secs(2);

/// A file of the state that can't be read or is damaged.
#[derive(Clone, Debug)]
pub(crate) struct Damaged {
    pub(crate) path: PathBuf,
    pub(crate) reason: String,
}

impl fmt::Display for Damaged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", shown(&self.path), self.reason)
    }
}

/// The state as read from both files.
pub(super) struct ReadState {
    pub(super) state: State,
    pub(super) damaged: Vec<Damaged>,
    /// The number of readable files.
    pub(super) good: usize,
}

impl ReadState {
    /// Returns true if a state was written, but no file can be read.
    pub(super) fn is_lost(&self) -> bool {
        self.good == 0 && !self.damaged.is_empty()
    }
}

#[derive(Debug)]
pub(super) struct StateFiles {
    directory: PathBuf,
}

impl StateFiles {
    /// The files in a directory. A relative path is relative to the current directory of now.
    pub(super) fn new(directory: &Path) -> Self {
        let absolute = std::path::absolute(directory);
        Self { directory: absolute.unwrap_or_else(|_| directory.to_path_buf()) }
    }

    /// Keeps other processes from writing, or returns `None` if that is impossible. The caller writes nevertheless: each
    /// file is replaced as a whole, and losing what another process writes now is less likely than losing its own state.
    pub(super) fn lock(&self) -> Option<Flock<File>> {
        let directory = File::open(&self.directory).ok()?;
        lock::wait_for(directory, LONGEST_LOCK, || ()).ok()
    }

    /// Reads the state. Changes nothing.
    pub(super) fn read(&self) -> ReadState {
        let mut loaded = ReadState { state: State::default(), damaged: Vec::new(), good: 0 };
        for path in self.paths() {
            match read(&path) {
                Ok(None) => {}
                Ok(Some(state)) => {
                    loaded.state = if loaded.good == 0 { state } else { loaded.state.newer(state) };
                    loaded.good += 1;
                }
                Err(reason) => loaded.damaged.push(Damaged { path, reason }),
            }
        }
        loaded
    }

    /// Puts damaged files aside, and writes the state to the disk. Returns warnings, or an error if neither copy could be
    /// written.
    pub(super) fn save(&self, mut state: State, damaged: &[Damaged]) -> Result<Vec<String>, String> {
        state.generation = state.generation.saturating_add(1);
        let text = state.into_json();
        create(&self.directory).map_err(|error| format!("{}: {error}", shown(&self.directory)))?;
        let mut warnings: Vec<String> = damaged.iter().filter_map(|damaged| self.put_aside(&damaged.path)).collect();
        let mut failed = Vec::new();
        for path in self.paths() {
            let new = path.with_extension("new");
            let written =
                files::replace_synced(&path, &new, 0o644, text.as_bytes()).and_then(|()| sync(&self.directory));
            if let Err(error) = written {
                failed.push(format!("{}: {error}", shown(&path)));
            }
        }
        if failed.len() == FILES.len() {
            return Err(failed.join("; "));
        }
        let warning = |reason| format!("only one copy of the guard's state could be written: {reason}");
        warnings.extend(failed.into_iter().map(warning));
        Ok(warnings)
    }

    /// The files that were put aside.
    pub(super) fn aside(&self) -> Vec<PathBuf> {
        let paths = self.paths();
        let names = paths.iter().flat_map(|path| (0..=MOST_ASIDE).map(|number| aside_name(path, number)));
        names.filter(|path| path.symlink_metadata().is_ok()).collect()
    }

    fn paths(&self) -> [PathBuf; 2] {
        FILES.map(|name| self.directory.join(name))
    }

    /// Renames a file, or whatever else is in its place. Returns a warning if it can't be renamed.
    fn put_aside(&self, path: &Path) -> Option<String> {
        let mut names = (0..=MOST_ASIDE).map(|number| aside_name(path, number));
        let free = names.find(|name| name.symlink_metadata().is_err());
        let free = free.unwrap_or_else(|| aside_name(path, MOST_ASIDE));
        let moved = fs::rename(path, &free).and_then(|()| sync(&self.directory));
        moved.err().map(|error| format!("{} can't be put aside: {error}", shown(path)))
    }
}

fn aside_name(path: &Path, number: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ASIDE);
    if number > 0 {
        name.push(format!(".{number}"));
    }
    name.into()
}

/// Creates a directory that survives a crash.
fn create(directory: &Path) -> io::Result<()> {
    let missing: Vec<&Path> = directory.ancestors().take_while(|directory| !directory.is_dir()).collect();
    DirBuilder::new().recursive(true).create(directory)?;
    missing.into_iter().filter_map(Path::parent).try_for_each(sync)
}

/// Writes a directory to the disk, and thus the renames in it.
fn sync(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

/// The state in a file, `None` if there is no file, or the reason why it can't be read.
fn read(path: &Path) -> Result<Option<State>, String> {
    match files::read(path, MOST_BYTES) {
        Ok((bytes, _)) => State::from_json(&bytes).map(Some),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(error.to_string()),
    }
}
