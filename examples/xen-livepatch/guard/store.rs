//! The files that hold the state: two copies of it, each replaced as a whole.

use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::fcntl::Flock;

use super::record::State;
use crate::lock;
use crate::output::shown;

/// Both hold the same. A file system that forgets what was synced, or a disk that returns nonsense, has to hit both.
pub(super) const FILES: [&str; 2] = ["attempts.json", "attempts.copy.json"];

/// The suffix of a file that was put aside. Further ones get a number up to [`MOST_ASIDE`]; then the last is replaced.
const ASIDE: &str = ".damaged";
const MOST_ASIDE: u32 = 9;

/// More than the state ever takes.
pub(super) const MOST_BYTES: u64 = 1024 * 1024;

/// The longest time to wait for the lock. Writing takes a moment, and a boot waits for nobody.
const LONGEST_LOCK: Duration = Duration::from_secs(2);

/// A file of the state that can't be read or makes no sense.
#[derive(Clone, Debug)]
pub(crate) struct Damaged {
    /// The file.
    pub(crate) path: PathBuf,
    /// The fault.
    pub(crate) why: String,
}

impl fmt::Display for Damaged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", shown(&self.path), self.why)
    }
}

/// The state that was read.
pub(super) struct Loaded {
    pub(super) state: State,
    pub(super) damaged: Vec<Damaged>,
    /// The number of files that could be read.
    pub(super) good: usize,
}

impl Loaded {
    /// Returns true if there is a state that can't be read any more.
    pub(super) fn is_lost(&self) -> bool {
        self.good == 0 && !self.damaged.is_empty()
    }
}

#[derive(Debug)]
pub(super) struct Store {
    directory: PathBuf,
}

impl Store {
    /// The state in this directory. A relative path is one below the current directory.
    pub(super) fn new(directory: &Path) -> Self {
        let absolute = std::path::absolute(directory);
        Self { directory: absolute.unwrap_or_else(|_| directory.to_path_buf()) }
    }

    #[cfg(test)]
    pub(super) fn path(&self) -> &Path {
        &self.directory
    }

    /// Keeps other processes from writing meanwhile, as far as that is possible. `None` when they can't be kept: each file
    /// is still replaced as a whole, and to lose what one process wrote is unlikelier than to lose all that this one would.
    pub(super) fn lock(&self) -> Option<Flock<File>> {
        let directory = File::open(&self.directory).ok()?;
        lock::wait_for(directory, LONGEST_LOCK, || ()).ok()
    }

    /// Reads what there is. Changes nothing.
    pub(super) fn load(&self) -> Loaded {
        let mut loaded = Loaded { state: State::default(), damaged: Vec::new(), good: 0 };
        for path in self.paths() {
            match read(&path) {
                Ok(None) => {}
                Ok(Some(state)) => {
                    loaded.state = if loaded.good == 0 { state } else { loaded.state.newer(state) };
                    loaded.good += 1;
                }
                Err(why) => loaded.damaged.push(Damaged { path, why }),
            }
        }
        loaded
    }

    /// Writes the state to the disk, after what is damaged was put aside. Returns warnings; an error when neither copy
    /// could be written.
    pub(super) fn save(&self, mut state: State, damaged: &[Damaged]) -> Result<Vec<String>, String> {
        state.generation = state.generation.saturating_add(1);
        let text = state.to_json();
        create(&self.directory).map_err(|error| format!("{}: {error}", shown(&self.directory)))?;
        let mut warnings: Vec<String> = damaged.iter().filter_map(|damaged| self.put_aside(&damaged.path)).collect();
        let mut failed = Vec::new();
        for path in self.paths() {
            if let Err(error) = self.replace(&path, text.as_bytes()) {
                failed.push(format!("{}: {error}", shown(&path)));
            }
        }
        if failed.len() == FILES.len() {
            return Err(failed.join("; "));
        }
        warnings.extend(
            failed.into_iter().map(|why| format!("only one copy of the guard's state could be written: {why}")),
        );
        Ok(warnings)
    }

    /// The files that were put aside so far.
    pub(super) fn aside(&self) -> Vec<PathBuf> {
        let paths = self.paths();
        let names = paths.iter().flat_map(|path| (0..=MOST_ASIDE).map(|number| aside_name(path, number)));
        names.filter(|path| path.symlink_metadata().is_ok()).collect()
    }

    fn paths(&self) -> [PathBuf; 2] {
        FILES.map(|name| self.directory.join(name))
    }

    /// Renames whatever is there, a directory or a link too. Returns a warning when it can't be moved.
    fn put_aside(&self, path: &Path) -> Option<String> {
        let mut names = (0..=MOST_ASIDE).map(|number| aside_name(path, number));
        let free = names.find(|name| name.symlink_metadata().is_err());
        let free = free.unwrap_or_else(|| aside_name(path, MOST_ASIDE));
        let moved = fs::rename(path, &free).and_then(|()| sync(&self.directory));
        moved.err().map(|error| format!("{} can't be put aside: {error}", shown(path)))
    }

    /// Replaces a file as a whole: whenever the host goes down, it has its old contents or the new ones.
    fn replace(&self, path: &Path, contents: &[u8]) -> io::Result<()> {
        let new = path.with_extension("new");
        // A crash may have left it. Never opened, since it may be anything.
        match fs::remove_file(&new) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let written = OpenOptions::new().write(true).create_new(true).mode(0o644).open(&new).and_then(|mut file| {
            file.write_all(contents)?;
            file.sync_all()?;
            fs::rename(&new, path)
        });
        if written.is_err() {
            // On a full disk, the part that was written is in the way.
            let _ = fs::remove_file(&new);
        }
        written?;
        sync(&self.directory)
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

/// Makes a directory that stays.
fn create(directory: &Path) -> io::Result<()> {
    let missing: Vec<&Path> = directory.ancestors().take_while(|directory| !directory.is_dir()).collect();
    DirBuilder::new().recursive(true).create(directory)?;
    missing.into_iter().filter_map(Path::parent).try_for_each(sync)
}

/// A rename is on the disk once its directory is.
fn sync(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

/// The state in a file, `None` when there is no file, or the fault of it.
fn read(path: &Path) -> Result<Option<State>, String> {
    let about = match path.symlink_metadata() {
        Ok(about) => about,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(None),
        Err(error) => return Err(error.to_string()),
    };
    // Opening a pipe would wait for a writer, and a link may lead to one.
    if !about.is_file() {
        return Err("it is not a regular file".to_owned());
    }
    let mut bytes = Vec::new();
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path);
    file.and_then(|file| file.take(MOST_BYTES + 1).read_to_end(&mut bytes)).map_err(|error| error.to_string())?;
    if u64::try_from(bytes.len()).is_ok_and(|len| len > MOST_BYTES) {
        return Err(format!("it has more than {MOST_BYTES} bytes"));
    }
    State::from_json(&bytes).map(Some)
}
