//! What is really loaded: every payload with its build-id, what it goes on and what it replaces.
//!
//! LIST and GET report none of that. Debug key `x` prints it on Xen's console, from where a client reads it. Whatever can't
//! be known for certain is `None`.

use crate::build_id::BuildId;
use crate::name::PayloadName;
use crate::status::{Metadata, State, Status};
use crate::symbol_name::SymbolName;
use crate::version::XenVersion;

/// What is loaded into a Xen, as it was at one moment; see [`LivepatchClient::inventory`].
///
/// [`LivepatchClient::inventory`]: crate::LivepatchClient::inventory
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Inventory {
    /// Which Xen.
    pub xen: XenVersion,
    /// Xen's own build-id; `None` for a Xen that was linked without one.
    pub build_id: Option<BuildId>,
    /// Every payload, in the order of upload.
    pub payloads: Vec<InventoryEntry>,
    /// Xen's version of the list, which counts uploads and unloads.
    pub(crate) version: u32,
}

/// A loaded payload with what is known of it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct InventoryEntry {
    /// The name it was uploaded under.
    pub name: PayloadName,
    /// Its status.
    pub status: Status,
    /// What its `.modinfo` says; empty before Xen 4.14.
    pub metadata: Metadata,
    /// Its own build-id.
    pub build_id: Option<BuildId>,
    /// The build-id of what it goes on, unless it was applied with `NODEPS`.
    pub depends: Option<BuildId>,
    /// The functions that it replaces.
    pub functions: Option<Vec<ReplacedFunction>>,
}

/// A function that a loaded payload replaces.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct ReplacedFunction {
    /// The name that the payload gives it.
    pub name: SymbolName,
    /// Where Xen's function is.
    pub old_address: u64,
    /// How many bytes it has.
    pub old_size: u32,
    /// Where the payload's function is; 0 for one that is filled with NOPs.
    pub new_address: u64,
    /// How many bytes that has.
    pub new_size: u32,
}

impl InventoryEntry {
    /// Whether it is in effect.
    #[must_use]
    pub fn is_applied(&self) -> bool {
        self.status.state == State::Applied
    }
}
