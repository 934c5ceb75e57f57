//! The host that the tests share: one at a time has it, and leaves it as it was.

use std::io::Write as _;
use std::sync::{Mutex, MutexGuard, Once, PoisonError};
use std::time::Duration;
use std::{env, fs, io};

use xen_livepatch::sim::{Function, PayloadBuilder};
use xen_livepatch::{
    ActionOptions, BuildId, ClientBuilder, Error, Flags, LivepatchClient, LoadedPayload, PayloadName, QuiesceTimeout,
    State,
};

/// The function that the tests patch: what it returns is in plain sight of dom0.
pub const PATCHED: &str = "xen_extra_version";
const SHOWN: &str = "/sys/hypervisor/version/extra";

static TURN: Mutex<()> = Mutex::new(());
static SKIPPED: Once = Once::new();

pub struct Host {
    pub client: LivepatchClient,
    /// Xen's own build-id.
    pub xen: BuildId,
    /// What Xen's version ends with, unpatched.
    pub original: String,
    _turn: MutexGuard<'static, ()>,
}

/// The real Xen, with nothing loaded; `None`, with a message, where there is none.
pub fn host() -> Option<Host> {
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let client = match connect() {
        Ok(client) => client,
        Err(error) if env::var_os("REAL_XEN").is_none_or(|value| value != "required") => {
            // Not through a macro, which the test harness would swallow.
            let message = format!("SKIPPED, all of dom0's tests: no real Xen here ({error}); try `cargo real-xen`\n");
            SKIPPED.call_once(|| io::stderr().write_all(message.as_bytes()).unwrap());
            return None;
        }
        Err(error) => panic!("a real Xen is required here: {error}"),
    };
    let xen = client.build_id().unwrap();
    clean(&client);
    Some(Host { client, xen, original: shown(), _turn: turn })
}

pub fn connect() -> Result<LivepatchClient, Error> {
    patient().open()
}

/// Emulated CPUs take their time to stop, more so when the machine below is busy.
pub fn patient() -> ClientBuilder {
    let options = ActionOptions::new()
        .quiesce_timeout(QuiesceTimeout::new(Duration::from_secs(2)).unwrap())
        .quiesce_retries(10)
        .deadline(Duration::from_secs(60));
    LivepatchClient::builder().action_defaults(options)
}

/// What Xen itself shows to be in effect.
pub fn shown() -> String {
    fs::read_to_string(SHOWN).unwrap().trim_end().to_owned()
}

pub fn name(text: impl AsRef<[u8]>) -> PayloadName {
    PayloadName::new(text).unwrap()
}

/// Whatever an earlier test left is taken away, from the top.
pub fn clean(client: &LivepatchClient) {
    loop {
        let rows = client.list().unwrap();
        if rows.is_empty() {
            return;
        }
        for row in rows {
            if row.status.state == State::Applied {
                drop(client.revert(&row.name, Flags::empty()));
            }
            drop(client.unload(&row.name, Flags::empty()));
        }
    }
}

impl Host {
    /// A payload for this Xen that depends on it alone, and whose effect is that Xen's version ends with `text`.
    pub fn payload(&self, id: &str, text: &str) -> PayloadBuilder {
        PayloadBuilder::named(id, &self.xen).function(Function::returning(PATCHED, text))
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

    /// The payload is in this state and its last action succeeded.
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
