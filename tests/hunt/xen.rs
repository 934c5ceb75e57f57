//! The hypervisor that payloads are tried on, asked without a client between.

use std::thread;
use std::time::{Duration, Instant};

use super::host;
use xen_livepatch::hypercall::{Hypervisor, Privcmd};
use xen_livepatch::sim::{FunctionPatch, RawAnswer, RawSysctl};
use xen_livepatch::{LivepatchClient, Release};

/// The commands of an action.
pub const UNLOAD: u32 = 1;
pub const REVERT: u32 = 2;
pub const APPLY: u32 = 3;
pub const REPLACE: u32 = 4;

pub const CHECKED: u32 = 1;
pub const APPLIED: u32 = 2;

const ENOENT: i32 = -2;
const EAGAIN: i32 = -11;
const EBUSY: i32 = -16;
/// Of an action: two seconds, in nanoseconds.
const PATIENCE: u32 = 2_000_000_000;
/// An action that takes longer is not going to end.
const FOR_EVER: Duration = Duration::from_secs(20);
/// What Xen's last steps after an action may take: they still use the payload.
const SETTLE_TIME: Duration = Duration::from_millis(2);

pub struct Xen {
    raw: Box<dyn Hypervisor>,
    release: Release,
    pub client: LivepatchClient,
    /// What no Xen takes.
    refused: Vec<u8>,
}

/// What a request came to: an error number as Xen gives it, negative, or 0.
pub type Code = i32;

impl Xen {
    pub fn new(client: LivepatchClient) -> Self {
        let version = client.xen_version().unwrap();
        let release = Release::from_version(version.major, version.minor).unwrap();
        let refused =
            host::bare(&client, "refused").function(FunctionPatch::returning(host::PATCHED, "")).needs("not_even_this");
        Self { raw: Box::new(Privcmd::open().unwrap()), release, client, refused: refused.build() }
    }

    fn send(&self, sysctl: &RawSysctl) -> (Code, RawAnswer) {
        let answer = sysctl.send(&*self.raw).unwrap();
        (answer.result.map_or_else(|errno| -errno.number(), |_| 0), answer)
    }

    pub fn upload(&self, name: &[u8], file: &[u8]) -> Code {
        let upload = RawSysctl::livepatch(self.release, 0).name(name).bytes(32, &(file.len() as u64).to_le_bytes());
        self.send(&upload.memory(40, file)).0
    }

    /// State and result of the last action, if it is loaded.
    pub fn status(&self, name: &[u8]) -> Option<(u32, i32)> {
        let (code, answer) = self.send(&RawSysctl::livepatch(self.release, 1).name(name));
        let word = |at: usize| answer.block[at..at + 4].try_into().unwrap();
        (code == 0).then(|| (u32::from_le_bytes(word(32)), i32::from_le_bytes(word(36))))
    }

    /// Asks for an action, and waits for its end: what the call returns, or else what the action does.
    pub fn act(&self, name: &[u8], command: u32, nodeps: bool) -> Code {
        let start = Instant::now();
        loop {
            let nodeps = nodeps && self.release >= Release::V4_14.at(0);
            let action = RawSysctl::livepatch(self.release, 3).name(name).word(32, command).word(36, PATIENCE);
            let (mut code, _) = self.send(&action.word(40, nodeps.into()));
            if code == 0 && command != UNLOAD {
                code = self.result(name, start);
                thread::sleep(SETTLE_TIME);
                self.let_all_cpus_return();
            }
            // The processors did not come together in time.
            if code != EBUSY || start.elapsed() > FOR_EVER {
                return code;
            }
        }
    }

    /// As `host::let_all_cpus_return`, which asks Xen for its version, and so for what a payload may have patched.
    fn let_all_cpus_return(&self) {
        if self.release < Release::V4_14.at(0) {
            assert_eq!(self.upload(b"refused\0", &self.refused), ENOENT);
        }
    }

    fn result(&self, name: &[u8], start: Instant) -> Code {
        loop {
            match self.status(name) {
                Some((_, EAGAIN)) if start.elapsed() < FOR_EVER => thread::sleep(Duration::from_micros(100)),
                Some((_, result)) => return result,
                None => return ENOENT,
            }
        }
    }
}
