//! The host of a check without Xen: at most its build-id is known.

use super::{HostView, Lookup, NoRoom};
use crate::types::build_id::BuildId;

#[derive(Debug)]
pub(super) struct Offline<'t> {
    pub(super) build_id: Option<&'t BuildId>,
    /// The address at which a payload is assumed to be placed.
    pub(super) base: u64,
}

/// More memory than a payload can need that fits into 2 MiB, sections of zeros included. Larger ones are not checked, so that
/// a hostile file can't make the check take long.
const MOST_CHECKED: u64 = 16 << 20;

impl HostView for Offline<'_> {
    fn symbol(&self, name: &[u8]) -> Lookup<u64> {
        // Xen finds nothing without a name.
        if name.is_empty() { Lookup::Absent } else { Lookup::Unknown }
    }

    fn build_id(&self) -> Lookup<&[u8]> {
        self.build_id.map_or(Lookup::Unknown, |build_id| Lookup::Found(build_id.as_bytes()))
    }

    fn is_loaded(&self, _: &[u8]) -> bool {
        false
    }

    fn room(&self, len: u64) -> Result<u64, NoRoom> {
        if len <= MOST_CHECKED { Ok(self.base) } else { Err(NoRoom::TooMuchToCheck) }
    }

    fn knows_addresses(&self) -> bool {
        false
    }

    fn code(&self, _: u64, _: u64) -> Option<&[u8]> {
        None
    }
}
