//! The hypervisor on which payloads are tried, with hypercalls of its own instead of a client's.

use std::thread;
use std::time::{Duration, Instant};

use super::host;
use xen_livepatch::hypercall::{Hypervisor, Privcmd};
use xen_livepatch::sim::{FunctionPatch, RawAnswer, RawSysctl};
use xen_livepatch::{LivepatchClient, Release};

/// The commands of actions.
pub const UNLOAD: u32 = 1;
pub const REVERT: u32 = 2;
pub const APPLY: u32 = 3;
pub const REPLACE: u32 = 4;

pub const CHECKED: u32 = 1;
pub const APPLIED: u32 = 2;

const ENOENT: i32 = -2;
const EAGAIN: i32 = -11;
const EBUSY: i32 = -16;
/// The timeout of an action: two seconds, in nanoseconds.
const PATIENCE: u32 = 2_000_000_000;
/// The time after which an action counts as endless.
const FOR_EVER: Duration = Duration::from_secs(20);
/// The time of Xen's last steps after an action, which still use the payload.
const SETTLE_TIME: Duration = Duration::from_millis(2);

pub struct Xen {
    raw: Box<dyn Hypervisor>,
    release: Release,
    pub client: LivepatchClient,
    /// A payload that every Xen refuses.
    refused: Vec<u8>,
}

/// The result of a request: 0, or a negative error number.
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

    /// The state and the result of the last action, if the payload is loaded.
    pub fn status(&self, name: &[u8]) -> Option<(u32, i32)> {
        let (code, answer) = self.send(&RawSysctl::livepatch(self.release, 1).name(name));
        let word = |at: usize| answer.block[at..at + 4].try_into().unwrap();
        (code == 0).then(|| (u32::from_le_bytes(word(32)), i32::from_le_bytes(word(36))))
    }

    /// Requests an action, and waits for its end. Returns the result of the call if it fails, and else that of the action.
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
            // The processors did not rendezvous in time.
            if code != EBUSY || start.elapsed() > FOR_EVER {
                return code;
            }
        }
    }

    /// Does the same as `host::let_all_cpus_return`, without the version of Xen, which a payload may have patched.
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
