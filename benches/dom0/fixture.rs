//! The payloads of the contenders, in Xen and in files. Only bare hypercalls load them, so that no contender benefits.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use xen_livepatch::sim::{FunctionPatch, PayloadBuilder};
use xen_livepatch::{BuildId, LivepatchClient, XenVersion};

use super::foreign::privcmd::{Action, Xen};
use super::step::{Step, Work};

/// The quiesce timeout. Emulated processors stop slowly, more so when the machine below is busy.
pub const QUIESCE: Duration = Duration::from_secs(2);
pub const QUIESCE_NANOSECONDS: u32 = 2_000_000_000;

/// The pause before a change of Xen: longer than the settle time of this crate.
const CALM: Duration = Duration::from_millis(6);

/// The metadata of each payload of a list.
pub const METADATA: usize = 100;

/// The names that are uploaded and unloaded again.
pub const UPLOADED: &str = "bench-upload";
pub const APPLIED: &str = "bench-action";
pub const LOADED: &str = "bench-load";

/// `rc` during an action, and the state of an applied payload.
const IN_PROGRESS: i32 = -11;
const IS_APPLIED: u32 = 2;

#[derive(Debug)]
pub struct Fixture {
    pub xen: Xen,
    pub directory: PathBuf,
}

/// The Xen that payloads are made for.
#[derive(Debug)]
pub struct Made {
    pub version: XenVersion,
    build_id: BuildId,
}

impl Made {
    pub fn of(client: &LivepatchClient) -> xen_livepatch::Result<Self> {
        Ok(Self { version: client.xen_version()?, build_id: client.build_id()? })
    }

    fn payload(&self, id: &str) -> PayloadBuilder {
        let bare = PayloadBuilder::named(id, &self.build_id).for_release(self.version.release());
        bare.function(FunctionPatch::returning("xen_extra_version", "-bench"))
    }

    /// The payload that is the `number`th of a list.
    fn listed(&self, number: usize) -> Vec<u8> {
        let key = "note=";
        let metadata = format!("{key}{}\0", "x".repeat(METADATA - key.len() - 1));
        self.payload(&listed(number)).modinfo(metadata).build()
    }
}

/// The name of the `number`th payload of a list.
pub fn listed(number: usize) -> String {
    format!("payload-{number:04}")
}

impl Fixture {
    /// The fixture of an existing directory.
    pub fn existing(directory: &Path) -> std::io::Result<Self> {
        Ok(Self { xen: Xen::open()?, directory: directory.to_owned() })
    }

    /// Writes the files that are uploaded, of these sizes.
    pub fn new(directory: &Path, made: &Made, sizes: &[usize]) -> std::io::Result<Self> {
        let fixture = Self::existing(directory)?;
        fs::create_dir_all(directory)?;
        for size in sizes {
            // Zeros at its end, which Xen only copies, so that the hypercall is as fast as possible.
            let payload = made.payload(UPLOADED).padded_to(*size).build();
            assert_eq!(payload.len(), *size, "a payload is larger than that");
            fs::write(fixture.file(&Step::new(Work::UploadFromFile, 0, *size)), payload)?;
        }
        fs::write(fixture.file(&Step::new(Work::Load, 0, 0)), made.payload(LOADED).build())?;
        Ok(fixture)
    }

    /// The payload that a step works on, as a file.
    pub fn file(&self, step: &Step) -> PathBuf {
        match step.work {
            Work::Load | Work::LoadProcess => self.directory.join(format!("{LOADED}.livepatch")),
            _ => self.directory.join(format!("{UPLOADED}-{}", step.size)),
        }
    }

    /// Has so many payloads loaded, and no others.
    pub fn load(&self, made: &Made, client: &LivepatchClient, count: usize) {
        for row in client.list().unwrap().iter().rev() {
            self.clear(&row.name.to_string());
        }
        for number in 1..=count {
            self.upload(&listed(number), &made.listed(number));
        }
    }

    /// Loads what is applied and reverted.
    pub fn load_applied(&self, made: &Made) {
        self.upload(APPLIED, &made.payload(APPLIED).build());
    }

    fn upload(&self, name: &str, payload: &[u8]) {
        let uploaded = self.xen.send(&mut self.xen.upload(name, payload));
        uploaded.unwrap_or_else(|error| panic!("{name} can't be uploaded: {error}"));
    }

    /// Removes a payload in any state.
    pub fn clear(&self, name: &str) {
        let end = Instant::now() + Duration::from_secs(30);
        while let Some((state, rc)) = self.status(name) {
            assert!(Instant::now() < end, "{name} can't be removed: state {state}, rc {rc}");
            thread::sleep(CALM);
            let action = if state == IS_APPLIED { Action::Revert } else { Action::Unload };
            if rc != IN_PROGRESS {
                self.act(name, action);
            }
        }
    }

    fn revert(&self, name: &str) {
        while let Some((IS_APPLIED, rc)) = self.status(name) {
            thread::sleep(CALM);
            if rc != IN_PROGRESS {
                self.act(name, Action::Revert);
            }
        }
    }

    /// Starts an action, which ends in the status.
    fn act(&self, name: &str, action: Action) {
        let _: Result<u32, Errno> = self.xen.send(&mut self.xen.action(name, action, QUIESCE_NANOSECONDS));
    }

    fn status(&self, name: &str) -> Option<(u32, i32)> {
        let mut call = self.xen.status(name);
        match self.xen.send(&mut call) {
            Ok(_) => Some(call.answered()),
            Err(Errno::ENOENT) => None,
            Err(error) => panic!("{name} has no status: {error}"),
        }
    }

    /// Undoes these steps, done or failed.
    pub fn tidy(&self, steps: &[Step]) {
        for step in steps {
            match step.work {
                Work::Load | Work::LoadProcess => self.clear(LOADED),
                Work::Unload => self.clear(UPLOADED),
                Work::Revert => self.revert(APPLIED),
                _ => {}
            }
        }
    }
}

/// The name of the payload that a step works on.
pub fn name(step: &Step) -> String {
    match step.work {
        Work::Load | Work::LoadProcess => LOADED.into(),
        Work::Apply | Work::Revert => APPLIED.into(),
        // The one that Xen finds last.
        Work::Status => listed(step.payloads),
        _ => UPLOADED.into(),
    }
}

/// Waits until Xen has settled, if a step needs that.
pub fn calm(step: &Step) {
    if step.work.needs_calm() {
        thread::sleep(CALM);
    }
}

/// The result of an action by the status of its payload: `None` while it is under way.
pub fn finished(name: &str, (_, rc): (u32, i32)) -> Option<Result<(), String>> {
    match rc {
        IN_PROGRESS => None,
        0 => Some(Ok(())),
        rc => Some(Err(format!("an action on {name} failed with {rc}"))),
    }
}
