//! Making a host that differs from the usual one.

use super::host::{Access, Host, Support};
use super::{Release, SimulatedXen};
use crate::build_id::BuildId;

/// Bytes of the console ring, as in a Xen that isn't told.
const CONSOLE_SIZE: usize = 16 * 1024;

/// Makes a [`SimulatedXen`] that differs from the usual one.
#[derive(Clone, Debug)]
#[must_use]
pub struct HostBuilder {
    release: Release,
    build_id: Option<BuildId>,
    extra_version: String,
    console_size: usize,
    access: Access,
    support: Support,
    symbols: Vec<(String, Vec<u8>)>,
}

impl HostBuilder {
    pub(super) fn new(release: Release) -> Self {
        // 20 bytes as of SHA-1, another for each release.
        let minor = u8::try_from(release.minor()).unwrap_or_default();
        let id: Vec<u8> = (0..20_u8).map(|at| at.wrapping_mul(37) ^ minor.wrapping_mul(11)).collect();
        Self {
            release,
            build_id: Some(BuildId::new(id)),
            extra_version: release.extra_version().into(),
            console_size: CONSOLE_SIZE,
            access: Access::default(),
            support: Support::default(),
            symbols: Vec::new(),
        }
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
        Self { support, ..self }
    }

    /// A function or variable of Xen with these bytes, which payloads may refer to, patch, and have expectations of.
    pub fn symbol(mut self, name: impl Into<String>, bytes: impl Into<Vec<u8>>) -> Self {
        self.symbols.push((name.into(), bytes.into()));
        self
    }

    /// The host.
    #[must_use]
    pub fn build(self) -> SimulatedXen {
        let id = self.build_id.map(|id| id.as_bytes().to_vec());
        let mut host = Host::new(self.release, id, &self.extra_version, self.console_size);
        host.access = self.access;
        host.support = self.support;
        for (name, bytes) in &self.symbols {
            host.image.add_symbol(name.as_bytes(), bytes);
        }
        SimulatedXen::from_host(host)
    }
}
