//! A host, the real one or the simulated one, and the requests to it.

use std::thread;
use std::time::Instant;

use xen_livepatch::hypercall::{Hypervisor, Privcmd};

use super::host::{self, Host, PATCHED};
use super::recipe::{ALSO_PATCHED, Ingredients, KNOWN};
use super::request::{LIST_VERSION, word};
use crate::prelude::*;

/// The time of Xen's last steps after an action, which still use the payload.
const SETTLE_TIME: Duration = Duration::from_millis(1);

/// The time that hooks after an action may take on the real Xen: those of the recipes take none, and an emulated CPU not much.
const HOOK_TIME: Duration = Duration::from_millis(50);

/// The time of the longest action.
const PATIENCE: Duration = Duration::from_secs(60);

pub struct Side {
    /// Reads Xen's log.
    pub attentive: LivepatchClient,
    /// Leaves it alone, so that it can't tell as many causes apart.
    pub deaf: LivepatchClient,
    pub release: Release,
    pub raw: Box<dyn Hypervisor>,
    is_real: bool,
    /// The list's version at the beginning. The real one counts on from sequence to sequence.
    pub list_version: u32,
}

impl Side {
    pub fn real(release: Release) -> Self {
        Self { is_real: true, ..Self::new(release, Privcmd::open().unwrap(), || Privcmd::open().unwrap(), HOOK_TIME) }
    }

    pub fn simulated(xen: &SimulatedXen) -> Self {
        Self::new(xen.release(), xen.clone(), || xen.clone(), Duration::ZERO)
    }

    fn new<H: Hypervisor + 'static>(release: Release, raw: H, another: impl Fn() -> H, hook_time: Duration) -> Self {
        let builder = host::patient().settle_time(SETTLE_TIME).hook_time(hook_time);
        let attentive = builder.clone().connect(another()).unwrap();
        let deaf = builder.without_xen_log().connect(another()).unwrap();
        let mut side = Self { attentive, deaf, release, raw: Box::new(raw), is_real: false, list_version: 0 };
        side.list_version = word(&side.send(&RawSysctl::livepatch(release, 2)), LIST_VERSION);
        side
    }

    pub fn send(&self, sysctl: &RawSysctl) -> RawAnswer {
        sysctl.send(&*self.raw).unwrap()
    }

    /// Makes sure that an action can begin.
    pub fn before_action(&self) {
        if self.is_real {
            host::let_all_cpus_return(&self.deaf);
        }
    }

    /// All that is loaded.
    pub fn rows(&self) -> Option<Vec<LoadedPayload>> {
        self.deaf.list().ok()
    }

    /// The end of Xen's version.
    pub fn shown(&self) -> Option<String> {
        self.deaf.xen_version().ok().map(|version| version.extra)
    }

    /// Waits until no action is under way on a payload.
    pub fn wait_for_end(&self, name: &[u8]) {
        let busy = RawSysctl::livepatch(self.release, 3).name(name);
        let started = Instant::now();
        while self.send(&busy).result.is_err_and(|errno| errno.number() == 16) {
            assert!(started.elapsed() < PATIENCE, "an action does not end");
            thread::sleep(Duration::from_micros(200));
        }
    }

    /// Gives Xen's last steps after an action their time.
    pub fn settle(&self) {
        if self.is_real {
            thread::sleep(SETTLE_TIME);
        }
    }

    /// The status of a payload, if it is loaded, once no action on it is under way.
    pub fn settled(&self, name: &[u8]) -> Option<Status> {
        self.wait_for_end(name);
        self.settle();
        let name = name.split(|byte| *byte == 0).next().unwrap();
        self.rows()?.into_iter().find(|row| row.name.as_bytes() == name).map(|row| row.status)
    }

    /// Reverts and unloads everything. No action is under way.
    pub fn clear(&self) {
        // Without the log it takes a client long to tell a mark that stayed behind from a host that is busy.
        host::clean_after(&self.attentive, &|| self.before_action());
    }
}

/// Reads from the real Xen what payloads for it need to know, and what the simulated one has to be given.
pub fn ingredients(host: &Host, release: Release) -> Ingredients {
    let (xen, architecture) = (host.xen.clone(), Architecture::of_this_program());
    if release < Release::V4_14.at(0) {
        // It doesn't tell, and nothing depends on it: payloads have no expectations.
        return Ingredients { release, architecture, xen, opcode: vec![0x48, 0x8d, 0x05], also: [0x90; KNOWN] };
    }
    let also = code_of(host, ALSO_PATCHED);
    if architecture == Architecture::AArch64 {
        return Ingredients { release, architecture, xen, opcode: Vec::new(), also };
    }
    let opcode = code_of(host, PATCHED);
    // lea string(%rip),%rax, perhaps after an ENDBR64.
    let opcode = opcode[..if opcode.starts_with(b"\xf3\x0f\x1e\xfa") { 7 } else { 3 }].to_vec();
    assert!(opcode.ends_with(b"\x48\x8d\x05"), "{PATCHED} does more than return a string: {opcode:02x?}");
    Ingredients { release, architecture, xen, opcode, also }
}

/// The first bytes of a function, which Xen logs if they are not as expected.
fn code_of(host: &Host, function: &str) -> [u8; KNOWN] {
    let name = host::name("reader");
    let wrong = FunctionPatch::returning(function, "").expecting(&[0xcc; KNOWN]);
    host.client.upload(&name, &host::bare(&host.client, "reader").function(wrong).build()).unwrap();
    let error = host.client.apply(&name, Flags::empty()).unwrap_err();
    host.client.unload(&name, Flags::empty()).unwrap();
    let found = error.xen_log().iter().find_map(|line| line.split_once("actual:"));
    let (_, digits) = found.unwrap_or_else(|| panic!("Xen does not say how {function} begins: {error:?}"));
    let digits = &digits.trim()[..2 * KNOWN];
    let byte = |at: usize| u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).unwrap();
    std::array::from_fn(byte)
}

/// A simulated Xen like the real one.
pub fn twin(of: &Ingredients, original: &str) -> SimulatedXen {
    let builder = SimulatedXen::builder(of.release)
        .architecture(of.architecture)
        .build_id(Some(of.xen.clone()))
        .extra_version(original);
    builder.symbol(ALSO_PATCHED, of.also).build()
}

/// Names that payloads have here.
pub fn names() -> Vec<PayloadName> {
    let mut names: Vec<_> = ["a", "b", "c", "d", "e", "hypervisor", "two words", "a: b"].map(host::name).into();
    names.push(host::name([b'n'; 127]));
    names.push(host::name(b"\xff\x01 \xc3\xa9"));
    names.push(host::name("two\nlines"));
    names.push(host::name("A"));
    names
}
