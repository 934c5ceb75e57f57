//! UPLOAD: the first finding of the loader that Xen refuses, or does not survive.

use super::bytes::until_nul;
use super::console::CONTINUES;
use super::host::Host;
use super::payload::{Payload, Standing, Stop};
use super::xen_memory::symbol;
use crate::loader::{self, Finding, HostView, LinkedPayload, Lookup, NoRoom, Problem, Severity, Stopped};
use crate::types::{Errno, PayloadName};
use crate::xen::rules;

impl HostView for Host {
    fn symbol(&self, name: &[u8]) -> Lookup<u64> {
        let own = self.image.symbol(name).filter(|_| !name.is_empty());
        let found = own.or_else(|| self.payloads.iter().find_map(|payload| symbol(&payload.new_symbols, name)));
        found.map_or(Lookup::Absent, Lookup::Found)
    }

    fn build_id(&self) -> Lookup<&[u8]> {
        self.build_id.as_deref().map_or(Lookup::Absent, Lookup::Found)
    }

    fn is_loaded(&self, build_id: &[u8]) -> bool {
        self.payloads.iter().any(|payload| payload.build_id == build_id)
    }

    fn room(&self, len: u64) -> Result<u64, NoRoom> {
        self.image.room(len).ok_or(NoRoom::OutOfMemory)
    }

    fn knows_addresses(&self) -> bool {
        true
    }

    fn code(&self, address: u64, len: u64) -> Option<&[u8]> {
        self.image.read(address, len)
    }
}

impl Host {
    /// Loads a payload. Its bytes are copied only if the name is free, as Xen does.
    pub(super) fn upload(&mut self, name: &[u8], copy: impl FnOnce() -> Result<Vec<u8>, Errno>) -> Result<u32, Errno> {
        let outcome = self.load(name, copy);
        self.settle(name, outcome)
    }

    fn load(&mut self, name: &[u8], copy: impl FnOnce() -> Result<Vec<u8>, Errno>) -> Result<u32, Stop> {
        let name = until_nul(name);
        if name.len() > PayloadName::MAX_LEN {
            return Err(Errno::EINVAL.into());
        }
        if self.by_name(name).is_some() {
            return Err(Errno::EEXIST.into());
        }
        let file = copy()?;
        let (payload, bytes) = load(self, name, &file)?;
        self.image.load(payload.base, bytes);
        self.next_id = self.next_id.wrapping_add(1);
        self.payloads.push(payload);
        self.list_version = self.list_version.wrapping_add(1);
        Ok(0)
    }
}

/// Checks and links a payload: the payload, and the bytes of its memory.
fn load(host: &Host, name: &[u8], file: &[u8]) -> Result<(Payload, Vec<u8>), Stop> {
    // The first finding at which Xen stops loading.
    let mut first = None;
    let mut stop_at_first = |finding: Finding| {
        if matches!(finding.severity, Severity::Unnoticed | Severity::PossiblyHarmful) || !finding.at_upload {
            return Ok(());
        }
        first = Some(finding);
        Err(Stopped)
    };
    let keep = |linked: LinkedPayload<'_>| {
        let payload = Payload {
            id: host.next_id,
            name: name.into(),
            standing: Standing::Checked,
            rc: 0,
            reverted: false,
            safe_to_reapply: linked.safe_to_reapply,
            base: linked.memory.base(),
            build_id: linked.build_id.into(),
            depends: linked.depends.into(),
            functions: linked.functions.into_iter().map(Into::into).collect(),
            hooks: linked.hooks,
            metadata: linked.metadata.into(),
            new_symbols: linked.new_symbols.into_iter().map(|(name, address)| (name.to_vec(), address)).collect(),
        };
        (payload, linked.memory.bytes())
    };
    let loaded = loader::load(file, host.release, host.architecture, host, &mut stop_at_first, keep);
    match (loaded, first) {
        (_, Some(finding)) => Err(stop(finding, host)),
        (Ok(Some(loaded)), None) => Ok(loaded),
        // Not reached: the loader reports whatever keeps a payload from being linked.
        (Ok(None) | Err(Stopped), None) => Err(Errno::EINVAL.into()),
    }
}

/// The result for a finding, with Xen's lines on the console.
fn stop(finding: Finding, host: &Host) -> Stop {
    let Some(errno) = finding.errno else { return Stop::Crashed(finding.to_string()) };
    let lines = match finding.problem {
        Problem::BuiltForAnotherXen { expected, found } if host.has(&rules::XEN_DEPENDS_FIRST) => {
            let lines = [
                "build-id mismatch:".into(),
                format!("{CONTINUES} livepatch: {expected}"),
                format!("{} xen: {found}", CONTINUES.repeat(7)),
            ];
            lines.map(String::into_bytes).into()
        }
        Problem::BuiltForAnotherXen { .. } => vec![b"check against hypervisor build-id failed".to_vec()],
        // Release builds do not name it.
        Problem::AlreadyLoaded { .. } => Vec::new(),
        Problem::DuplicateSymbol { symbol } => vec![[b"duplicate new symbol: ", symbol.as_bytes()].concat()],
        problem => vec![problem.to_string().into_bytes()],
    };
    Stop::Refused(errno, lines)
}
