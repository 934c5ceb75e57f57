//! The state of the simulated host, and what GET, LIST, ACTION and UPLOAD find there.

use super::action::{RunningHook, Work};
use super::bytes::until_nul;
use super::console::{CONTINUES, Console};
use super::faults::Faults;
use super::machine::Machine;
use super::payload::{Payload, Standing, Stop, refuse};
use super::settings::{LogLevel, Settings};
use super::upload::{self, Surroundings};
use super::xen_memory::Image;
use crate::loader::{ENDBR64, image_of, payloads_of};
use crate::types::errno::Errno;
use crate::types::name::escaped;
use crate::xen::architecture::Architecture;
use crate::xen::release::Release;
use crate::xen::rules::{self, Rule};

/// What this Xen was built with.
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

impl Support {
    /// Of a Xen that is built like the others: 4.7 knows live patching on x86 alone.
    fn of(release: Release, architecture: Architecture) -> Self {
        let none = architecture == Architecture::AArch64 && release.series() < (4, 8);
        if none { Self::NoLivepatch } else { Self::Full }
    }
}

/// What answers to a request that Xen would not have survived.
pub(super) const HOST_IS_DOWN: Errno = Errno::EIO;

#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub(super) struct Host {
    #[cfg_attr(feature = "serde", serde(with = "super::saved::release"))]
    pub(super) release: Release,
    #[cfg_attr(feature = "serde", serde(with = "super::saved::architecture"))]
    pub(super) architecture: Architecture,
    pub(super) build_id: Option<Vec<u8>>,
    /// The time at which it was compiled, and the last commit of its source.
    pub(super) compile_date: String,
    pub(super) changeset: String,
    pub(super) image: Image,
    /// In the order of their upload.
    pub(super) payloads: Vec<Payload>,
    /// The ids of those applied, in the order they were.
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

/// The function whose patch is seen in `XENVER_extraversion`.
const EXTRA_VERSION: &[u8] = b"xen_extra_version";

impl Host {
    pub(super) fn new(
        release: Release,
        architecture: Architecture,
        build_id: Option<Vec<u8>>,
        extra_version: &str,
        console_size: usize,
    ) -> Self {
        let machine = Machine::of(architecture);
        let mut image = Image::new(&image_of(release, architecture), payloads_of(release, architecture));
        let string = image.add_bytes(&[extra_version.as_bytes(), &[0]].concat());
        let code = image.add_symbol(EXTRA_VERSION, &machine.plain(16));
        // Compilers for x86 came to begin every function so, before Xen from 4.17 on chose where it is needed.
        let endbr = architecture == Architecture::X86_64
            && (14..17).contains(&release.minor())
            && image.write(code, &ENDBR64).is_some();
        let body = if endbr { code + 4 } else { code };
        image.write(body, &(machine.returning_string)(body, string));
        for name in SYMBOLS {
            image.add_symbol(name.as_bytes(), &machine.plain(32));
        }
        Self {
            release,
            architecture,
            build_id,
            compile_date: String::new(),
            changeset: String::new(),
            image,
            payloads: Vec::new(),
            applied: Vec::new(),
            list_version: 1,
            next_id: 0,
            work: None,
            hook: None,
            console: Console::new(console_size),
            support: Support::of(release, architecture),
            settings: Settings::default(),
            crashed: None,
            faults: Faults::default(),
        }
    }

    /// What payloads are checked for.
    pub(super) fn machine(&self) -> &'static Machine {
        Machine::of(self.architecture)
    }

    /// Whether a rule holds in this Xen.
    pub(super) fn has(&self, rule: &Rule) -> bool {
        rule.holds_in(self.release)
    }

    /// What `XENVER_extraversion` tells: at most 15 bytes.
    pub(super) fn extra_version(&self) -> Vec<u8> {
        let text = self.image.symbol(EXTRA_VERSION).and_then(|code| self.image.string_returned(self.machine(), code));
        text.unwrap_or_default().iter().copied().take(15).collect()
    }

    pub(super) fn index(&self, name: &[u8]) -> Option<usize> {
        self.payloads.iter().position(|payload| payload.name == name)
    }

    pub(super) fn by_id(&self, id: u64) -> Option<&Payload> {
        self.payloads.iter().find(|payload| payload.id == id)
    }

    pub(super) fn by_id_mut(&mut self, id: u64) -> Option<&mut Payload> {
        self.payloads.iter_mut().find(|payload| payload.id == id)
    }

    /// Loads a payload whose bytes `copy` fetches once it is clear that they are needed.
    pub(super) fn upload(&mut self, name: &[u8], copy: impl FnOnce() -> Result<Vec<u8>, Errno>) -> Result<u32, Errno> {
        let outcome = self.load(name, copy);
        self.settle(name, outcome)
    }

    fn load(&mut self, name: &[u8], copy: impl FnOnce() -> Result<Vec<u8>, Errno>) -> Result<u32, Stop> {
        let name = until_nul(name);
        if self.index(name).is_some() {
            return Err(Errno::EEXIST.into());
        }
        let file = copy()?;
        let around = Surroundings {
            release: self.release,
            architecture: self.architecture,
            xen_build_id: self.build_id.as_deref(),
            image: &self.image,
            loaded: &self.payloads,
        };
        let (payload, bytes) = upload::load(&around, self.next_id, name, &file)?;
        self.image.load(payload.base, bytes);
        self.next_id = self.next_id.wrapping_add(1);
        self.payloads.push(payload);
        self.list_version = self.list_version.wrapping_add(1);
        Ok(0)
    }

    /// State and result of a payload, as they go over the wire.
    pub(super) fn get(&self, name: &[u8]) -> Result<(u32, i32), Stop> {
        let payload = self.index(until_nul(name)).and_then(|index| self.payloads.get(index));
        payload.map(status).ok_or_else(|| Errno::ENOENT.into())
    }

    /// Compares what a payload depends on with the top of the stack, or with Xen itself.
    pub(super) fn check_depends(&self, payload: &Payload, top: Option<u64>) -> Result<(), Stop> {
        let top = top.and_then(|id| self.by_id(id));
        let (found, name) = match top {
            Some(top) => (&top.build_id, &*top.name),
            None => (self.build_id.as_ref().ok_or(Errno::ENODATA)?, &b"hypervisor"[..]),
        };
        if *found == payload.depends {
            return Ok(());
        }
        refuse(Errno::EINVAL, [b"check against ", name, b" build-id failed"].concat())
    }

    /// Turns the outcome of an operation into the hypercall's, and says on the console what there is to say.
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

    /// A line about a payload, whose name is written as it is.
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

/// State and result, as they go over the wire.
pub(super) fn status(payload: &Payload) -> (u32, i32) {
    let state = match payload.standing {
        Standing::Checked => 1,
        Standing::Applied => 2,
    };
    (state, payload.rc)
}
