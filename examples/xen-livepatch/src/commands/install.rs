//! `install` and `uninstall`: payload files in the directory that `ensure` reads at boot.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File};
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use serde_json::json;
use xen_livepatch::{PayloadStore, StoreProblem, StoredPayload, Target};

use super::{Context, on_disk};
use crate::arguments::{Install, Uninstall, XenOptions};
use crate::failure::Failure;
use crate::files;
use crate::host::{Access, upload_options, with_client};
use crate::options::CommonOptions;
use crate::output::Done;
use crate::terminal::{self, shown};
use crate::trust::{self, Trust, signature_of};

const SUFFIX: &str = ".livepatch";

/// The link that chooses a payload is for administrators to make.
const CHOOSING: &str = "livepatch.livepatch";

pub(super) fn install(Context { options, .. }: Context<'_>, arguments: &Install) -> Result<Done, Failure> {
    let directory = on_disk::directory(options, arguments.directory.as_deref(), "--directory DIR")?;
    let payloads: Vec<StoredPayload> = arguments.files.iter().map(StoredPayload::read).collect::<Result<_, _>>()?;
    let mut changes = Vec::new();
    for stored in &payloads {
        let name = stored.path().file_name().expect("a file that was read has a name");
        let text = name.as_bytes();
        if !text.ends_with(SUFFIX.as_bytes()) || text.starts_with(b".") || name == CHOOSING {
            let reason = if name == CHOOSING {
                "it is that of the link that chooses a payload"
            } else {
                "it has to end in .livepatch, and not to begin with a dot"
            };
            let path = shown(stored.path());
            let text = format!("{path}: no payload can be installed under this name: {reason}");
            return Err(Failure::new("usage", text));
        }
        let to = directory.join(name);
        let signature = signature_of(stored.path());
        if signature.exists() {
            let contents = trust::read(&signature).map_err(|error| Failure::file(&signature, &error))?;
            changes.push(Change { file: signature_of(&to), contents: Some(contents.into_bytes()) });
        }
        changes.push(Change { file: to, contents: Some(stored.payload().bytes().to_vec()) });
    }
    for_target(options, &arguments.xen, |target| {
        let upload = upload_options(options, &arguments.accept);
        let trust = keys(options, &arguments.xen)?;
        for stored in &payloads {
            trust.check(stored.path(), stored.payload().bytes())?;
            if let Some(finding) = upload.objections(stored.payload(), &target).first() {
                let text = format!("{}: it does not pass the check: {finding}", shown(stored.path()));
                return Err(Failure::new("unfit_payload", text));
            }
        }
        // Without a Xen to ask, it is the one that the payloads are for.
        let named = payloads.iter().find_map(|stored| stored.payload().xen_depends().cloned());
        let target = match named.filter(|_| arguments.xen.for_xen.is_some() && arguments.xen.build_id.is_none()) {
            Some(id) => target.build_id(id),
            None => target,
        };
        make(&directory, &target, &trust, changes)
    })
}

pub(super) fn uninstall(Context { options, .. }: Context<'_>, arguments: &Uninstall) -> Result<Done, Failure> {
    let directory = on_disk::directory(options, arguments.directory.as_deref(), "--directory DIR")?;
    let name = super::name(&arguments.name)?;
    for_target(options, &arguments.xen, |target| {
        let trust = keys(options, &arguments.xen)?;
        let store = PayloadStore::read(&directory)?;
        let named = store.payloads().iter().filter(|stored| *stored.name() == name);
        let mut paths: Vec<PathBuf> = named.flat_map(|stored| stored.paths().map(Path::to_path_buf)).collect();
        let damaged = store.problems().iter().flat_map(StoreProblem::paths);
        let file = with_end(&directory.join(&arguments.name), SUFFIX);
        paths.extend(damaged.filter(|path| **path == file).cloned());
        if paths.is_empty() {
            let is_file = arguments.name.as_bytes().ends_with(SUFFIX.as_bytes());
            let remedy = if is_file { "; names are given without .livepatch" } else { "" };
            let text = format!("no payload in {} has the name {name:?}{remedy}", shown(&directory));
            return Err(Failure::new("not_installed", text));
        }
        let signatures: Vec<PathBuf> = paths.iter().map(|path| signature_of(path)).collect();
        paths.extend(signatures.into_iter().filter(|path| path.exists()));
        make(&directory, &target, &trust, paths.into_iter().map(|file| Change { file, contents: None }).collect())
    })
}

/// The trusted keys. On a host whose Xen runs the payloads, only root may be able to change these and the directory.
fn keys(options: &CommonOptions, xen: &XenOptions) -> Result<Trust, Failure> {
    let read = if xen.for_xen.is_some() { Trust::read } else { Trust::for_uploads };
    read(options, xen.trusted.as_deref())
}

/// Works for the Xen that the options name, or for the one that runs. Then `ensure` does not read the directory meanwhile.
fn for_target(
    options: &CommonOptions,
    xen: &XenOptions,
    work: impl FnOnce(Target) -> Result<Done, Failure>,
) -> Result<Done, Failure> {
    match xen.target() {
        Some(target) => work(target),
        None => with_client(options, Access::Changes, |client| work(client.target()?)),
    }
}

/// A file to write or, without contents, to remove.
struct Change {
    file: PathBuf,
    contents: Option<Vec<u8>>,
}

impl Change {
    /// A file beside it that no reader of the directory looks at.
    fn beside(&self, end: &str) -> PathBuf {
        let mut name = OsString::from(".");
        name.push(self.file.file_name().expect("it is a file in a directory"));
        with_end(&self.file.with_file_name(name), end)
    }

    fn is_needed(&self) -> bool {
        self.contents != fs::read(&self.file).ok()
    }

    fn prepare(&self) -> io::Result<()> {
        self.clean();
        let Some(contents) = &self.contents else { return Ok(()) };
        files::replace_synced(&self.beside(".new"), &self.beside(".part"), 0o644, contents)
    }

    fn make(&self) -> io::Result<()> {
        match fs::hard_link(&self.file, self.beside(".old")) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        match self.contents {
            Some(_) => fs::rename(self.beside(".new"), &self.file),
            None => fs::remove_file(&self.file),
        }
    }

    /// Takes back what [`make`](Self::make) has done.
    fn undo(&self) {
        if fs::rename(self.beside(".old"), &self.file).is_err_and(|error| error.kind() == ErrorKind::NotFound) {
            let _ = fs::remove_file(&self.file);
        }
    }

    fn clean(&self) {
        for end in [".new", ".part", ".old"] {
            let _ = fs::remove_file(self.beside(end));
        }
    }
}

/// Makes all changes, or none: a change that fails, or a directory with a problem that it did not have, takes all back.
fn make(directory: &Path, target: &Target, trust: &Trust, mut changes: Vec<Change>) -> Result<Done, Failure> {
    changes.retain(Change::is_needed);
    let is_new = !directory.exists();
    // Whatever the umask: ensure takes no directory that others can change.
    let created = DirBuilder::new().recursive(true).mode(0o755).create(directory);
    created.map_err(|error| Failure::file(directory, &error))?;
    let mut made = Vec::new();
    let outcome = (|| {
        let (before, _) = problems(directory, target, trust)?;
        for change in &changes {
            change.prepare().map_err(|error| Failure::file(&change.file, &error))?;
        }
        for change in &changes {
            change.make().map_err(|error| Failure::file(&change.file, &error))?;
            made.push(change);
        }
        let (after, is_empty) = problems(directory, target, trust)?;
        if let Some(problem) = after.iter().find(|problem| !before.contains(problem)) {
            let text = format!("nothing was changed, since the directory would then have this problem: {problem}");
            return Err(Failure::new("directory_problem", text));
        }
        File::open(directory)
            .and_then(|directory| directory.sync_all())
            .map_err(|error| Failure::file(directory, &error))?;
        Ok(is_empty)
    })();
    if outcome.is_err() {
        made.iter().rev().for_each(|change| change.undo());
    }
    changes.iter().for_each(Change::clean);
    if outcome.is_err() && is_new {
        let _ = fs::remove_dir(directory);
    }
    let goal = if outcome? { "--nothing".to_owned() } else { shown(directory) };
    let done = changes.iter().map(|change| {
        let verb = if change.contents.is_some() { "installed" } else { "removed" };
        format!("{verb} {}\n", shown(&change.file))
    });
    let done: String = if changes.is_empty() { "no action needed\n".into() } else { done.collect() };
    let text = format!("{done}To bring this host to it: {} ensure {goal}\n", terminal::command());
    let files: Vec<String> = changes.iter().map(|change| shown(&change.file)).collect();
    Ok(Done::new(text, json!({ "changed": !files.is_empty(), "files": files, "directory": shown(directory) })))
}

/// The problems that the directory has for a Xen, and true if there are neither payloads nor problems.
fn problems(directory: &Path, target: &Target, trust: &Trust) -> Result<(Vec<StoreProblem>, bool), Failure> {
    let store = trust.read_directory(directory)?;
    let wanted = store.wanted_for(target);
    let problems = wanted.map_or_else(|_| store.problems().to_vec(), |wanted| wanted.problems().to_vec());
    let is_empty = store.payloads().is_empty() && problems.is_empty();
    Ok((problems, is_empty))
}

fn with_end(path: &Path, end: &str) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(end);
    path.into()
}
