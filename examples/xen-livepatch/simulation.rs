//! A simulated Xen whose state is kept in a folder between calls.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::ArgMatches;
use serde_json::json;
use tempfile::NamedTempFile;
use xen_livepatch::sim::{FunctionPatch, Journal, JournalError, PayloadBuilder, Release, SimulatedXen};
use xen_livepatch::{BuildId, Payload, PayloadName};

use crate::failure::{Failure, as_json};
use crate::memory::Memory;
use crate::output::Done;
use crate::shown::shown;

/// What happened to the simulated Xen.
const JOURNAL: &str = "xen.journal";

/// The bytes that Xen keeps of what its version ends with.
const LONGEST_TEXT: usize = 15;

pub(crate) struct Simulation {
    file: PathBuf,
    xen: SimulatedXen,
    before: Vec<u8>,
}

impl Simulation {
    /// What has to be locked before it is opened.
    pub(crate) fn lock_file(folder: &Path) -> Result<PathBuf, Failure> {
        if folder.join(JOURNAL).exists() {
            return Ok(folder.join("lock"));
        }
        let text = format!("{0} is not a simulated Xen; make one: xen-livepatch simulate new {0}", shown(folder));
        Err(Failure::new("no_simulation", text))
    }

    pub(crate) fn open(folder: &Path) -> Result<Self, Failure> {
        let file = folder.join(JOURNAL);
        let before = fs::read(&file).map_err(|error| Failure::file(&file, &error))?;
        let xen = replayed(&before).map_err(|error| {
            let again = "make a new one: xen-livepatch simulate new DIR";
            Failure::new("no_simulation", format_args!("{}: {error}; {again}", shown(&file)))
        })?;
        Ok(Self { file, xen, before })
    }

    pub(crate) fn xen(&self) -> &SimulatedXen {
        &self.xen
    }

    /// Keeps the state for the next call: all of it, or what was there before.
    pub(crate) fn save(self) -> Result<(), Failure> {
        match journal(&self.xen) {
            same if same == self.before => Ok(()),
            changed => write(&self.file, &changed),
        }
    }
}

/// The folder of the simulated Xen that is to be asked instead of this machine's.
pub(crate) fn simulated(arguments: &ArgMatches) -> Option<&Path> {
    arguments.get_one::<PathBuf>("simulate").map(PathBuf::as_path)
}

fn replayed(journal: &[u8]) -> Result<SimulatedXen, JournalError> {
    let journal = Journal::from_bytes(journal)?;
    SimulatedXen::builder(journal.release()).build_id(journal.build_id()).recorded().replay(&journal)
}

fn journal(xen: &SimulatedXen) -> Vec<u8> {
    xen.journal().map(|journal| journal.to_bytes()).unwrap_or_default()
}

fn write(file: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let folder = file.parent().unwrap_or_else(|| Path::new(""));
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let written = NamedTempFile::new_in(folder).and_then(|mut new| {
        new.write_all(bytes)?;
        new.persist(file).map_err(|error| error.error)
    });
    written.map(drop).map_err(|error| Failure::file(file, &error))
}

pub(crate) fn command(arguments: &ArgMatches) -> Result<Done, Failure> {
    match arguments.subcommand() {
        Some(("new", own)) => new(own),
        Some((_, own)) => payload(own),
        None => Err(Failure::new("usage", "a command is missing")),
    }
}

fn new(arguments: &ArgMatches) -> Result<Done, Failure> {
    let folder = arguments.get_one::<PathBuf>("dir").cloned().unwrap_or_default();
    let release = arguments.get_one::<Release>("release").copied().unwrap_or(Release::V4_20);
    let file = folder.join(JOURNAL);
    if file.exists() {
        return Err(Failure::new("exists", format_args!("{} is a simulated Xen already", shown(&folder))));
    }
    fs::create_dir_all(&folder).map_err(|error| Failure::file(&folder, &error))?;
    let mut builder = SimulatedXen::builder(release).recorded();
    if let Some(id) = arguments.get_one::<BuildId>("build-id") {
        builder = builder.build_id(Some(id.clone()));
    }
    let xen = builder.build();
    // Knowledge of a simulated Xen that was here before is of no use for this one.
    Memory::new(Some(&folder)).clear();
    write(&file, &journal(&xen))?;
    let id = xen.build_id();
    let text = format!("{} is a simulated Xen {release}, build-id {}\n", shown(&folder), id_text(id.as_ref()));
    Ok(Done::new(text, json!({ "release": release.to_string(), "build_id": as_json(&id) })))
}

/// Makes a payload that changes what Xen's version ends with, and nothing else.
fn payload(arguments: &ArgMatches) -> Result<Done, Failure> {
    let file = arguments.get_one::<PathBuf>("file").cloned().unwrap_or_default();
    let folder =
        simulated(arguments).ok_or_else(|| Failure::new("usage", "which Xen it is for is missing: --simulate DIR"))?;
    Simulation::lock_file(folder)?;
    let xen = Simulation::open(folder)?.xen;
    let name = PayloadName::of_file(&file)?.to_string();
    let text = arguments.get_one::<String>("text").cloned().unwrap_or_else(|| format!("-{name}"));
    if text.len() > LONGEST_TEXT {
        let message = format!("the text {text:?} has {} bytes, and Xen keeps {LONGEST_TEXT}; see --text", text.len());
        return Err(Failure::new("usage", message));
    }
    let mut builder =
        PayloadBuilder::for_xen(&xen, &name).function(FunctionPatch::returning("xen_extra_version", &text));
    if let Some(below) = arguments.get_one::<PathBuf>("on") {
        let below = Payload::read(below)?;
        let id = below.build_id().ok_or_else(|| Failure::new("no_build_id", "the payload below has no build-id"))?;
        builder = builder.depends_on(id);
    }
    if arguments.get_flag("read-only") {
        builder = builder.read_only_funcs();
    }
    let bytes = builder.build();
    fs::write(&file, &bytes).map_err(|error| Failure::file(&file, &error))?;
    let text = format!("{}: {} bytes, build-id {}\n", shown(&file), bytes.len(), builder.build_id());
    Ok(Done::new(text, json!({ "file": file.to_string_lossy(), "build_id": as_json(builder.build_id()) })))
}

fn id_text(id: Option<&BuildId>) -> String {
    id.map_or_else(|| "none".to_owned(), ToString::to_string)
}
