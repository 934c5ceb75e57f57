//! The state of the simulated host, on which GET, LIST, ACTION and UPLOAD work.

use super::bytes::until_nul;
use super::console::{CONTINUES, Console};
use super::faults::Faults;
use super::machine::Machine;
use super::payload::{Payload, Standing, Stop, refuse};
use super::settings::{LogLevel, Settings};
use super::work::{RunningHook, Work};
use super::xen_memory::Image;
use crate::loader::{ENDBR64, image_of, payloads_of};
use crate::types::{Errno, escaped};
use crate::xen::{Architecture, Release, Rule, rules};

/// The parts that a Xen was built with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum Support {
    /// Live patching.
    #[default]
    Full,
    /// No live patching (`CONFIG_LIVEPATCH=n`): `ENOSYS` for a privileged caller at the right interface version.
    NoLivepatch,
    /// No sysctls at all (`CONFIG_SYSCTL=n`): `ENOSYS` at once.
    NoSysctl,
}

/// The answer to a request that Xen would not have survived, and to all later ones.
pub(super) const HOST_IS_DOWN: Errno = Errno::EIO;

#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub(super) struct Host {
    #[cfg_attr(feature = "serde", serde(with = "super::saved::release"))]
    pub(super) release: Release,
    #[cfg_attr(feature = "serde", serde(with = "super::saved::architecture"))]
    pub(super) architecture: Architecture,
    pub(super) build_id: Option<Vec<u8>>,
    pub(super) compile_date: String,
    pub(super) changeset: String,
    pub(super) image: Image,
    /// In the order of their upload.
    pub(super) payloads: Vec<Payload>,
    /// The ids of the applied payloads, lowest first.
    pub(super) applied: Vec<u64>,
    pub(super) list_version: u32,
    pub(super) next_id: u64,
    pub(super) work: Option<Work>,
    /// The hook after an action that still runs.
    pub(super) hook: Option<RunningHook>,
    pub(super) console: Console,
    pub(super) support: Support,
    pub(super) settings: Settings,
    pub(super) crashed: Option<String>,
    /// The faults of the livepatch operation that is being carried out.
    #[cfg_attr(feature = "serde", serde(skip))]
    pub(super) faults: Faults,
}

/// Symbols of Xen itself that payloads may refer to, besides those that the builder adds.
const SYMBOLS: [&str; 11] = [
    "do_xen_version",
    "memcmp",
    "memcpy",
    "memset",
    "panic",
    "printk",
    "snprintf",
    "strcmp",
    "strlen",
    "xen_major_version",
    "xen_minor_version",
];

/// The function that returns the text of `XENVER_extraversion`.
const EXTRA_VERSION: &[u8] = b"xen_extra_version";

impl Host {
    /// Xen's own functions and variables.
    pub(super) fn image(release: Release, architecture: Architecture, extra_version: &str) -> Image {
        let machine = Machine::of(architecture);
        let mut image = Image::new(&image_of(release, architecture), payloads_of(release, architecture));
        let string = image.add_bytes(&[extra_version.as_bytes(), &[0]].concat());
        let code = image.add_symbol(EXTRA_VERSION, &machine.plain(16));
        // From 4.14 on compilers for x86 begin every function with it; from 4.17 on Xen selects the functions.
        let endbr = architecture == Architecture::X86_64
            && (14..17).contains(&release.minor())
            && image.write(code, &ENDBR64).is_some();
        let body = if endbr { code + 4 } else { code };
        image.write(body, &(machine.returning_string)(body, string));
        for name in SYMBOLS {
            image.add_symbol(name.as_bytes(), &machine.plain(32));
        }
        image
    }

    pub(super) fn machine(&self) -> &'static Machine {
        Machine::of(self.architecture)
    }

    pub(super) fn has(&self, rule: &Rule) -> bool {
        rule.holds_in(self.release)
    }

    /// The answer of `XENVER_extraversion`. Empty where the function has been patched with code that isn't understood.
    pub(super) fn extra_version(&self) -> &[u8] {
        let code = self.image.symbol(EXTRA_VERSION);
        code.and_then(|code| self.image.string_returned(self.machine(), code)).unwrap_or(b"")
    }

    /// The payload with a name, which ends at the first NUL.
    pub(super) fn by_name(&self, name: &[u8]) -> Option<&Payload> {
        self.payloads.iter().find(|payload| payload.name == until_nul(name))
    }

    /// The payload with an id that the host holds: neither an applied payload can be unloaded, nor one with an action or a
    /// hook under way, and a saved host is checked when it is read.
    pub(super) fn payload(&self, id: u64) -> &Payload {
        self.payloads.iter().find(|payload| payload.id == id).expect("ids are those of loaded payloads")
    }

    pub(super) fn payload_mut(&mut self, id: u64) -> &mut Payload {
        self.payload_and_image(id).0
    }

    pub(super) fn payload_and_image(&mut self, id: u64) -> (&mut Payload, &mut Image) {
        let payload = self.payloads.iter_mut().find(|payload| payload.id == id);
        (payload.expect("ids are those of loaded payloads"), &mut self.image)
    }

    pub(super) fn get(&self, name: &[u8]) -> Result<(u32, i32), Errno> {
        self.by_name(name).map(status).ok_or(Errno::ENOENT)
    }

    /// Checks that a payload depends on the top of the stack or, without one, on Xen itself.
    pub(super) fn check_depends(&self, payload: &Payload, top: Option<u64>) -> Result<(), Stop> {
        let top = top.map(|id| self.payload(id));
        let (found, name) = match top {
            Some(top) => (&top.build_id, &*top.name),
            None => (self.build_id.as_ref().ok_or(Errno::ENODATA)?, &b"hypervisor"[..]),
        };
        if *found == payload.depends {
            return Ok(());
        }
        refuse(Errno::EINVAL, [b"check against ", name, b" build-id failed"].concat())
    }

    /// Logs the reasons of a refusal, and returns the hypercall's result.
    pub(super) fn settle(&mut self, name: &[u8], outcome: Result<u32, Stop>) -> Result<u32, Errno> {
        match outcome {
            Ok(value) => Ok(value),
            Err(Stop::Refused(errno, lines)) => {
                if self.has(&rules::REASONS_ON_CONSOLE) {
                    for line in &lines {
                        self.log(name, line);
                    }
                }
                Err(errno)
            }
            Err(Stop::Crashed(why)) => {
                self.crash(name, &why);
                Err(HOST_IS_DOWN)
            }
        }
    }

    /// Logs a line about a payload, with its name unescaped.
    pub(super) fn log(&mut self, name: &[u8], line: &[u8]) {
        if self.settings.log_level == LogLevel::None {
            return;
        }
        if line.starts_with(CONTINUES.as_bytes()) {
            self.console.line(line);
        } else {
            self.console.line([b"livepatch: ", until_nul(name), b": ", line].concat());
        }
    }

    pub(super) fn crash(&mut self, name: &[u8], why: &str) {
        self.crashed = Some(format!("{}: {why}", escaped(until_nul(name))));
        self.console.line(format!("Panic: {}: {why}", escaped(until_nul(name))));
    }
}

/// State and result, as Xen writes them.
pub(super) fn status(payload: &Payload) -> (u32, i32) {
    let state = match payload.standing {
        Standing::Checked => 1,
        Standing::Applied => 2,
    };
    (state, payload.rc)
}
