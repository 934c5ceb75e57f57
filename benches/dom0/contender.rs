//! The contenders: the bare hypercalls, libxenctrl, and this crate. Each does the same work in its own way.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use xen_livepatch::{ActionOptions, Flags, LivepatchClient, Payload, PayloadName, QuiesceTimeout, Target};

use super::fixture::{Fixture, METADATA, QUIESCE, QUIESCE_NANOSECONDS, finished, name};
use super::foreign::libxenctrl::{Interface, Xenctrl};
use super::foreign::privcmd::{Action, Call};
use super::step::{Step, Work};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// One ioctl with every buffer in place. A file is read into the one that Xen reads.
    Raw,
    Libxenctrl,
    Ours,
}

impl Kind {
    pub const ALL: [Self; 3] = [Self::Raw, Self::Libxenctrl, Self::Ours];

    pub fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Libxenctrl => "libxenctrl",
            Self::Ours => "ours",
        }
    }
}

const C_TOOL: &str = "c-xen-livepatch";
const OUR_TOOL: &str = "xen-livepatch";

/// The result of `run`: the rows of a list, or 0.
pub type Outcome = Result<usize, String>;

pub trait Contender {
    /// Makes ready, unmeasured, what a caller has at hand: names, and payloads in memory.
    fn prepare(&mut self, step: &Step);

    fn run(&mut self, step: &Step) -> Outcome;
}

/// A directory with the programs and libraries of Xen's release, and the tool of this crate.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Files {
    pub directory: PathBuf,
    pub minor: u16,
}

impl Files {
    pub fn library(&self) -> Xenctrl {
        Xenctrl::load(self.minor).expect("libxenctrl can be loaded")
    }

    /// Returns true if a contender can do this with these files.
    pub fn can(&self, kind: Kind, work: Work) -> bool {
        let has = |file: &str| self.directory.join(file).exists();
        match kind {
            Kind::Raw => !work.is_process() && !matches!(work, Work::OpenListClose | Work::Check),
            Kind::Libxenctrl if !has(&format!("libxenctrl.so.4.{}", self.minor)) => false,
            Kind::Libxenctrl => work != Work::Check && (!work.is_process() || has(C_TOOL)),
            Kind::Ours => !work.is_process() || has(OUR_TOOL),
        }
    }
}

/// Runs a tool as a process, with Xen's libraries.
fn process(tool: &str, files: &Files, step: &Step, fixture: &Fixture) -> Outcome {
    let mut command = Command::new(files.directory.join(tool));
    match step.work {
        Work::LoadProcess => command.arg("load").arg(fixture.file(step)),
        _ => command.arg("list"),
    };
    let output = command.stdin(Stdio::null()).output().map_err(|error| error.to_string())?;
    if !output.status.success() {
        return Err(format!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim()));
    }
    // Without the two lines of the heading.
    let lines = String::from_utf8_lossy(&output.stdout).lines().count();
    Ok(if step.work == Work::ListProcess { lines.saturating_sub(2) } else { 0 })
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// Bare hypercalls.
#[derive(Debug)]
pub struct Raw<'a> {
    fixture: &'a Fixture,
    calls: BTreeMap<Step, Vec<Call>>,
}

impl<'a> Raw<'a> {
    pub fn new(fixture: &'a Fixture) -> Self {
        Self { fixture, calls: BTreeMap::new() }
    }
}

impl Contender for Raw<'_> {
    fn prepare(&mut self, step: &Step) {
        let (fixture, xen, name) = (self.fixture, &self.fixture.xen, name(step));
        let payload = || fs::read(fixture.file(step)).unwrap();
        self.calls.entry(*step).or_insert_with(|| match step.work {
            Work::Status => vec![xen.status(&name)],
            Work::List => vec![xen.list(step.payloads, step.payloads * METADATA)],
            Work::UploadFromMemory | Work::UploadFromFile => vec![xen.upload(&name, &payload())],
            Work::Unload => vec![xen.action(&name, Action::Unload, QUIESCE_NANOSECONDS)],
            Work::Apply => vec![xen.action(&name, Action::Apply, QUIESCE_NANOSECONDS), xen.status(&name)],
            Work::Revert => vec![xen.action(&name, Action::Revert, QUIESCE_NANOSECONDS), xen.status(&name)],
            Work::Load => vec![
                xen.upload(&name, &payload()),
                xen.action(&name, Action::Apply, QUIESCE_NANOSECONDS),
                xen.status(&name),
            ],
            _ => Vec::new(),
        });
    }

    fn run(&mut self, step: &Step) -> Outcome {
        let xen = &self.fixture.xen;
        let calls = self.calls.get_mut(step).ok_or("not prepared")?;
        if let (Work::List, [list]) = (step.work, calls.as_mut_slice()) {
            return xen.send_list(list).map(|rows| rows as usize).map_err(text);
        }
        if let (Work::UploadFromFile | Work::Load, [upload, ..]) = (step.work, calls.as_mut_slice()) {
            upload.read_payload(&self.fixture.file(step)).map_err(text)?;
        }
        let last = calls.len().saturating_sub(usize::from(step.work.applies_or_reverts()));
        for call in &mut calls[..last] {
            xen.send(call).map_err(text)?;
        }
        for look in &mut calls[last..] {
            loop {
                xen.send(look).map_err(text)?;
                if let Some(result) = finished(step.work.name(), look.answered()) {
                    result?;
                    break;
                }
            }
        }
        Ok(0)
    }
}

/// The C library at its best: it does not wait for the end of an action, so the status is polled without a pause.
#[derive(Debug)]
pub struct Libxenctrl<'a> {
    fixture: &'a Fixture,
    files: &'a Files,
    library: &'a Xenctrl,
    interface: Interface<'a>,
    name: CString,
    file: PathBuf,
    payload: Vec<u8>,
    /// The buffer of files.
    kept: Vec<u8>,
}

impl<'a> Libxenctrl<'a> {
    pub fn new(fixture: &'a Fixture, files: &'a Files, library: &'a Xenctrl) -> Self {
        let interface = library.open().expect("libxenctrl opens");
        let (name, file, payload, kept) = Default::default();
        Self { fixture, files, library, interface, name, file, payload, kept }
    }

    fn wait(&self, step: &Step) -> Result<(), String> {
        loop {
            let status = self.interface.status(&self.name).map_err(text)?;
            if let Some(result) = finished(step.work.name(), (status.state, status.rc)) {
                return result;
            }
        }
    }
}

impl Contender for Libxenctrl<'_> {
    fn prepare(&mut self, step: &Step) {
        self.name = CString::new(name(step)).unwrap();
        self.file = self.fixture.file(step);
        if step.work == Work::UploadFromMemory && self.payload.len() != step.size {
            self.payload = fs::read(&self.file).unwrap();
        }
    }

    fn run(&mut self, step: &Step) -> Outcome {
        let (xen, name) = (&self.interface, self.name.as_c_str());
        match step.work {
            Work::Status => xen.status(name).map(drop).map_err(text)?,
            Work::List => return xen.list().map_err(text),
            Work::OpenListClose => return self.library.open().and_then(|interface| interface.list()).map_err(text),
            Work::UploadFromMemory => xen.upload(name, &self.payload).map_err(text)?,
            Work::UploadFromFile => xen.upload_file(name, &self.file, &mut self.kept).map_err(text)?,
            Work::Unload => xen.act(name, Action::Unload, QUIESCE_NANOSECONDS).map_err(text)?,
            Work::Apply => xen.act(name, Action::Apply, QUIESCE_NANOSECONDS).map_err(text)?,
            Work::Revert => xen.act(name, Action::Revert, QUIESCE_NANOSECONDS).map_err(text)?,
            Work::Load => {
                xen.upload_file(name, &self.file, &mut self.kept).map_err(text)?;
                xen.act(name, Action::Apply, QUIESCE_NANOSECONDS).map_err(text)?;
            }
            Work::Check => return Err("it has none".into()),
            Work::ListProcess | Work::LoadProcess => return process(C_TOOL, self.files, step, self.fixture),
        }
        if step.work.applies_or_reverts() {
            self.wait(step)?;
        }
        Ok(0)
    }
}

/// This crate with its defaults: the check before uploads, and Xen's log.
#[derive(Debug)]
pub struct Ours<'a> {
    fixture: &'a Fixture,
    files: &'a Files,
    spent: Option<Arc<Mutex<Duration>>>,
    client: LivepatchClient,
    target: Target,
    name: PayloadName,
    file: PathBuf,
    payload: Vec<u8>,
}

impl<'a> Ours<'a> {
    /// Adds the times of its hypercalls to `spent`.
    pub fn new(fixture: &'a Fixture, files: &'a Files, spent: Option<Arc<Mutex<Duration>>>) -> Self {
        let client = Self::open(spent.as_ref()).expect("the client opens");
        let target = Target::from(&client.xen_version().unwrap()).build_id(client.build_id().unwrap());
        let name = PayloadName::new("none").unwrap();
        Self { fixture, files, spent, client, target, name, file: PathBuf::new(), payload: Vec::new() }
    }

    pub fn open(spent: Option<&Arc<Mutex<Duration>>>) -> xen_livepatch::Result<LivepatchClient> {
        let options = ActionOptions::new().quiesce_timeout(QuiesceTimeout::new(QUIESCE)?);
        let mut builder = LivepatchClient::builder().action_defaults(options);
        if let Some(spent) = spent.cloned() {
            builder = builder.on_hypercall(move |event| {
                *spent.lock().unwrap() += event.took;
            });
        }
        builder.open()
    }
}

impl Contender for Ours<'_> {
    fn prepare(&mut self, step: &Step) {
        self.name = PayloadName::new(name(step)).unwrap();
        self.file = self.fixture.file(step);
        if matches!(step.work, Work::UploadFromMemory | Work::Check) && self.payload.len() != step.size {
            self.payload = fs::read(&self.file).unwrap();
        }
    }

    fn run(&mut self, step: &Step) -> Outcome {
        let (client, name) = (&self.client, &self.name);
        match step.work {
            Work::Status => client.status(name).map(drop).map_err(text)?,
            Work::List => return client.list().map(|rows| rows.len()).map_err(text),
            Work::OpenListClose => {
                let opened = Self::open(self.spent.as_ref());
                return opened.and_then(|client| client.list()).map(|rows| rows.len()).map_err(text);
            }
            Work::UploadFromMemory => client.upload(name, &self.payload).map_err(text)?,
            Work::UploadFromFile => client.upload_file(name, &self.file).map_err(text)?,
            Work::Unload => client.unload(name, Flags::empty()).map_err(text)?,
            Work::Apply => client.apply(name, Flags::empty()).map_err(text)?,
            Work::Revert => client.revert(name, Flags::empty()).map_err(text)?,
            Work::Load => client.load(&self.file, Flags::empty()).map(drop).map_err(text)?,
            Work::Check => {
                let payload = Payload::parse(&self.payload).map_err(text)?;
                let findings = payload.check_against(&self.target);
                if !findings.is_empty() {
                    return Err(format!("{findings:?}"));
                }
            }
            Work::ListProcess | Work::LoadProcess => return process(OUR_TOOL, self.files, step, self.fixture),
        }
        Ok(0)
    }
}
