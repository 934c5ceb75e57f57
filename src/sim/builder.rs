//! Making a host that differs from the usual one.

use super::host::{Host, Support};
use super::journal::{Digest, Journal, JournalError};
use super::settings::Access;
use super::{Release, SimulatedXen};
use crate::architecture::Architecture;
use crate::build_id::BuildId;

/// Bytes of the console ring, as in a Xen that isn't told.
const CONSOLE_SIZE: usize = 16 * 1024;

/// Makes a [`SimulatedXen`] that differs from the usual one.
#[derive(Clone, Debug)]
#[must_use]
pub struct HostBuilder {
    release: Release,
    architecture: Architecture,
    build_id: Option<BuildId>,
    extra_version: String,
    console_size: usize,
    access: Access,
    support: Option<Support>,
    symbols: Vec<(String, Vec<u8>)>,
    recorded: bool,
}

impl HostBuilder {
    pub(super) fn new(release: Release) -> Self {
        // 20 bytes as of SHA-1, another for each release.
        let minor = u8::try_from(release.minor()).unwrap_or_default();
        let id: Vec<u8> = (0..20_u8).map(|at| at.wrapping_mul(37) ^ minor.wrapping_mul(11)).collect();
        Self {
            release,
            architecture: Architecture::X86_64,
            build_id: Some(BuildId::new(id)),
            extra_version: release.extra_version().into(),
            console_size: CONSOLE_SIZE,
            access: Access::default(),
            support: None,
            symbols: Vec::new(),
            recorded: false,
        }
    }

    /// What it runs on; [`Architecture::X86_64`] unless set. One on which no Xen live-patches is taken for that.
    ///
    /// Xen 4.7 has no live patching on Arm: it answers as with [`Support::NoLivepatch`].
    ///
    /// ```
    /// use xen_livepatch::payload::Architecture;
    /// use xen_livepatch::sim::{FunctionPatch, PayloadBuilder, Release, SimulatedXen};
    /// use xen_livepatch::{Action, Flags};
    ///
    /// let xen = SimulatedXen::builder(Release::V4_20).architecture(Architecture::AArch64).build();
    /// let fix = PayloadBuilder::for_xen(&xen, "fix").function(FunctionPatch::returning("xen_extra_version", "-fixed"));
    /// xen.other_upload("fix", &fix.build())?;
    /// xen.other_action("fix", Action::Apply, Flags::empty())?;
    /// # Ok::<(), xen_livepatch::Errno>(())
    /// ```
    pub fn architecture(self, architecture: Architecture) -> Self {
        let architecture = match architecture {
            Architecture::AArch64 => architecture,
            _ => Architecture::X86_64,
        };
        Self { architecture, ..self }
    }

    /// Xen's build-id, or none.
    pub fn build_id(self, id: Option<BuildId>) -> Self {
        Self { build_id: id, ..self }
    }

    /// What Xen calls itself after `4.MINOR`.
    pub fn extra_version(self, text: impl Into<String>) -> Self {
        Self { extra_version: text.into(), ..self }
    }

    /// The size of the console ring in bytes.
    pub fn console_size(self, bytes: usize) -> Self {
        Self { console_size: bytes, ..self }
    }

    /// What the caller may do.
    pub fn access(self, access: Access) -> Self {
        Self { access, ..self }
    }

    /// What this Xen was built with.
    pub fn support(self, support: Support) -> Self {
        Self { support: Some(support), ..self }
    }

    /// A function or variable of Xen with these bytes, which payloads may refer to, patch, and have expectations of.
    pub fn symbol(mut self, name: impl Into<String>, bytes: impl Into<Vec<u8>>) -> Self {
        self.symbols.push((name.into(), bytes.into()));
        self
    }

    /// Keeps a [`Journal`] of what happens to the host, which [`SimulatedXen::journal`] gives. Nothing is spent on it
    /// otherwise.
    pub fn recorded(self) -> Self {
        Self { recorded: true, ..self }
    }

    /// The host.
    #[must_use]
    pub fn build(self) -> SimulatedXen {
        if self.recorded {
            SimulatedXen::recorded(self.host(), self.sum())
        } else {
            SimulatedXen::from_host(self.host())
        }
    }

    /// The host as it is after what a journal tells: the same payloads loaded and applied, with the same results, the same
    /// console, and the same answer to whatever is asked next. The journal goes on in it.
    ///
    /// It has to be built as the one was that the journal is of; [`Journal::release`] and [`Journal::build_id`] tell two of
    /// these settings. What was ordered ([`On`](super::On)), how large buffers may be and how many hypercalls were made are
    /// no part of a journal.
    ///
    /// # Errors
    /// [`AnotherHost`](JournalError::AnotherHost) where it was built otherwise, and
    /// [`LedElsewhere`](JournalError::LedElsewhere).
    pub fn replay(self, journal: &Journal) -> Result<SimulatedXen, JournalError> {
        SimulatedXen::replayed(self.host(), self.sum(), journal)
    }

    fn host(&self) -> Host {
        let id = self.build_id.as_ref().map(|id| id.as_bytes().to_vec());
        let mut host = Host::new(self.release, self.architecture, id, &self.extra_version, self.console_size);
        host.settings.access = self.access;
        host.support = self.support.unwrap_or(host.support);
        for (name, bytes) in &self.symbols {
            host.image.add_symbol(name.as_bytes(), bytes);
        }
        host
    }

    /// A sum over all that was set, but for whether it is recorded.
    fn sum(&self) -> u64 {
        let Self {
            release,
            architecture,
            build_id,
            extra_version,
            console_size,
            access,
            support,
            symbols,
            recorded: _,
        } = self;
        let support = support.unwrap_or_default();
        let mut sum = Digest::new()
            .number(release.minor().into())
            .number(architecture.raw().into())
            .number(build_id.is_some().into())
            .bytes(build_id.as_ref().map(BuildId::as_bytes).unwrap_or_default())
            .bytes(extra_version.as_bytes())
            .number(u64::try_from(*console_size).unwrap_or(u64::MAX))
            .bytes(format!("{access:?} {support:?}").as_bytes());
        for (name, bytes) in symbols {
            sum = sum.bytes(name.as_bytes()).bytes(bytes);
        }
        sum.value()
    }
}
