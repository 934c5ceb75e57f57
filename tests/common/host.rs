//! The host of the tests on a real Xen, which one test at a time uses, and restores.
#![allow(dead_code, reason = "each suite needs some of it")]

use std::fs;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use xen_livepatch::payload::Architecture;
use xen_livepatch::sim::{FunctionPatch, PayloadBuilder};
use xen_livepatch::{
    ActionOptions, BuildId, ClientBuilder, Errno, Error, Flags, LivepatchClient, LoadedPayload, PayloadName,
    QuiesceTimeout, Release, State,
};

/// The function that the tests patch: dom0 can read the text that it returns.
pub const PATCHED: &str = "xen_extra_version";
const SHOWN: &str = "/sys/hypervisor/version/extra";

static TURN: Mutex<()> = Mutex::new(());

pub struct Host {
    pub client: LivepatchClient,
    /// Xen's own build-id.
    pub xen: BuildId,
    /// Major and minor number.
    release: (u16, u16),
    /// The end of Xen's version, unpatched.
    pub original: String,
    _turn: MutexGuard<'static, ()>,
}

/// The real Xen, with nothing loaded.
pub fn host() -> Host {
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let client = connect().unwrap_or_else(|error| panic!("no real Xen here, try `cargo real-xen`: {error}"));
    let (xen, release) = (client.build_id().unwrap(), client.xen_version().unwrap().release());
    let_all_cpus_return(&client);
    clean(&client);
    Host { client, xen, release, original: shown(), _turn: turn }
}

pub fn connect() -> Result<LivepatchClient, Error> {
    let client = patient().open()?;
    // See `let_all_cpus_return`.
    if is_idle_patching(&client) { patient().settle_time(Duration::from_millis(50)).open() } else { Ok(client) }
}

/// Returns true for Xens that may patch when a CPU is idle: 4.7 to 4.13.0.
pub fn is_idle_patching(client: &LivepatchClient) -> bool {
    client.xen_version().unwrap().release() < (4, 14)
}

/// Returns when every CPU has left the last action, on a Xen on which that may take long.
///
/// If the next action begins before, Xen stops for good: the CPU that is still in the last one waits, with its
/// interrupts off, for an end that it has missed, and all others wait for it. Xens that patch when idle leave late, and an
/// emulated CPU may take longer than any settle time (seen on 4.11).
///
/// Xen waits for them when it frees the memory of a payload that it refuses.
pub fn let_all_cpus_return(client: &LivepatchClient) {
    if is_idle_patching(client) {
        let refused = bare(client, "refused").function(FunctionPatch::returning(PATCHED, "")).needs("not_even_this");
        let error = client.upload(&name("refused"), &refused.build()).unwrap_err();
        assert_eq!(error.raw_errno().map(Errno::number), Some(2), "{error:?}");
    }
}

/// A builder with long times: emulated CPUs stop slowly, more so when the machine below is busy.
pub fn patient() -> ClientBuilder {
    let options = ActionOptions::new()
        .quiesce_timeout(QuiesceTimeout::new(Duration::from_secs(2)).unwrap())
        .quiesce_retries(10)
        .deadline(Duration::from_secs(60));
    LivepatchClient::builder().action_defaults(options)
}

/// The text that the patched function returns.
pub fn shown() -> String {
    fs::read_to_string(SHOWN).unwrap().trim_end().to_owned()
}

pub fn name(text: impl AsRef<[u8]>) -> PayloadName {
    PayloadName::new(text).unwrap()
}

/// A payload for the Xen of this client, without functions.
pub fn bare(client: &LivepatchClient, id: &str) -> PayloadBuilder {
    PayloadBuilder::named(id, &client.build_id().unwrap())
        .for_release(client.xen_version().unwrap().release())
        .architecture(Architecture::of_this_program())
}

/// The build-id of no Xen.
pub fn another_xen() -> BuildId {
    BuildId::new([0x5a; 20])
}

/// A payload that is unfit for this Xen only by the build-id that it was made for.
pub fn for_another_xen(client: &LivepatchClient) -> PayloadBuilder {
    PayloadBuilder::named("foreign", &another_xen())
        .for_release(client.xen_version().unwrap().release())
        .architecture(Architecture::of_this_program())
        .function(FunctionPatch::returning(PATCHED, "-x"))
}

/// Metadata of exactly `len` bytes, at least 2, which name their owner.
pub fn metadata(whose: &str, len: usize) -> Vec<u8> {
    let text = format!("of={whose};").into_bytes();
    let mut bytes: Vec<u8> = text.iter().copied().cycle().take(len - 1).collect();
    bytes.push(0);
    bytes
}

/// The metadata that LIST returns for a payload: none before 4.14.
pub fn listed(client: &LivepatchClient, metadata: Vec<u8>) -> Vec<u8> {
    if client.xen_version().unwrap().release() < (4, 14) { Vec::new() } else { metadata }
}

/// Removes all payloads of an earlier test.
pub fn clean(client: &LivepatchClient) {
    clean_after(client, &|| let_all_cpus_return(client));
}

/// The same, with a call before each action.
pub fn clean_after(client: &LivepatchClient, before: &dyn Fn()) {
    loop {
        let rows = client.list().unwrap();
        if rows.is_empty() {
            return;
        }
        for row in rows {
            before();
            if row.status.state == State::Applied {
                drop(client.revert(&row.name, Flags::empty()));
            }
            drop(client.unload(&row.name, Flags::empty()));
        }
    }
}

impl Host {
    /// The running release. A vendor's version text gives the point release that the build began with; without one it is the last.
    pub fn running(&self) -> Release {
        let target = self.client.target().unwrap();
        let (major, minor) = target.release();
        let newest = Release::from_version(major, minor).unwrap();
        match target.known_points() {
            (0, None) => newest,
            (at_least, _) => newest.at(at_least),
        }
    }

    pub fn release(&self) -> (u16, u16) {
        self.release
    }

    /// Returns true if this Xen is 4.`minor` or newer.
    pub fn since(&self, minor: u16) -> bool {
        self.release >= (4, minor)
    }

    /// Returns true if Xen logs the reason of a refusal; older ones do so only when built for debugging.
    pub fn logs_reasons(&self) -> bool {
        self.since(13)
    }

    /// A payload that depends on this Xen, and makes its version end with `text`.
    pub fn payload(&self, id: &str, text: &str) -> PayloadBuilder {
        bare(&self.client, id).function(FunctionPatch::returning(PATCHED, text))
    }

    pub fn upload(&self, id: &str, payload: &PayloadBuilder) -> PayloadName {
        let name = name(id);
        self.client.upload(&name, &payload.build()).unwrap();
        self.expect(&name, State::Checked);
        name
    }

    pub fn apply(&self, name: &PayloadName) {
        self.client.apply(name, Flags::empty()).unwrap();
        self.expect(name, State::Applied);
    }

    pub fn revert(&self, name: &PayloadName) {
        self.client.revert(name, Flags::empty()).unwrap();
        self.expect(name, State::Checked);
    }

    pub fn unload(&self, name: &PayloadName) {
        self.client.unload(name, Flags::empty()).unwrap();
    }

    pub fn remove(&self, name: &PayloadName) {
        self.revert(name);
        self.unload(name);
    }

    /// Asserts that the payload is in this state, and its last action succeeded.
    pub fn expect(&self, name: &PayloadName, state: State) {
        let status = self.client.status(name).unwrap();
        assert_eq!((status.state, status.rc), (state, 0), "{name}");
    }

    pub fn expect_shown(&self, text: &str) {
        assert_eq!(shown(), text);
        assert_eq!(self.client.xen_version().unwrap().extra, text);
    }

    pub fn names(&self) -> Vec<String> {
        let name = |row: LoadedPayload| row.name.to_string();
        self.client.list().unwrap().into_iter().map(name).collect()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert_eq!(self.names(), Vec::<String>::new(), "the test left something loaded");
            assert_eq!(shown(), self.original, "the test left something applied");
        }
    }
}
