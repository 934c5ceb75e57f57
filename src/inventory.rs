//! The loaded payloads, identified: each with its build-id, its dependency and the functions that it replaces.
//!
//! LIST and GET report none of that. Debug key `x` prints it on Xen's console, from where a client reads it. Facts that are
//! not certain are `None`.

use core::fmt;
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::payload::{Footprint, Payload};
use crate::types::{BuildId, Errno, LoadedPayload, Metadata, PayloadName, Status, XenVersion};
use crate::xen::log::dump;
use crate::xen::{SymbolName, Target};

pub(crate) mod known;
#[cfg(all(test, feature = "sim"))]
pub(crate) mod tests;

pub use crate::xen::log::dump::ReplacedFunction;
pub use crate::xen::log::unidentified::Unidentified;
pub use known::{InvalidIdentities, KnownIdentities};

/// The payloads that are loaded into a Xen, as they were at one moment; see [`LivepatchClient::inventory`].
///
/// [`LivepatchClient::inventory`]: crate::LivepatchClient::inventory
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Inventory {
    /// The version of the running Xen.
    pub xen: XenVersion,
    /// Xen's own build-id; `None` where [`no_build_id`](Self::no_build_id) gives the reason.
    pub build_id: Option<BuildId>,
    /// The error number with which Xen refused its build-id: `ENODATA` for a Xen that was linked without one, `EPERM` or
    /// `EACCES` where it is denied to this domain, or another where it could not be read.
    pub no_build_id: Option<Errno>,
    /// Every payload, in the order of upload.
    pub payloads: Vec<InventoryEntry>,
    /// Xen's version of the list, which counts uploads and unloads.
    pub(crate) version: u32,
    /// The applied payloads from the bottom up, where Xen's log shows it.
    pub(crate) order: Option<Vec<PayloadName>>,
    /// The running Xen as far as it is known, for the check of payload files.
    pub(crate) target: Target,
}

/// A loaded payload, and the known facts about it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct InventoryEntry {
    /// The name it was uploaded under.
    pub name: PayloadName,
    /// Its status.
    pub status: Status,
    /// The contents of its `.modinfo`; empty before Xen 4.14.
    pub metadata: Metadata,
    /// Its own build-id.
    pub build_id: Option<BuildId>,
    /// The build-id that it depends on. Applied with `NODEPS`, it may be on top of something else.
    pub depends: Option<BuildId>,
    /// The functions that it replaces. The payload itself reports them, so they may be wrong.
    pub functions: Option<Vec<ReplacedFunction>>,
    /// The reason why it has no build-id here; `None` if it is identified.
    pub unidentified: Option<Unidentified>,
    /// The properties of its file, where this client has seen that.
    #[cfg_attr(feature = "serde", serde(skip))]
    pub(crate) footprint: Option<Arc<Footprint>>,
}

/// A function that more than one applied payload replaces. The payload applied last is in effect; Xen does not report which.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Conflict {
    /// The name that the first of them gives it.
    pub function: SymbolName,
    /// The address of Xen's function.
    #[cfg_attr(feature = "serde", serde(with = "dump::hexadecimal"))]
    pub old_address: u64,
    /// The payloads, in the order of upload.
    pub payloads: Vec<PayloadName>,
}

impl InventoryEntry {
    /// Returns true if the payload is in effect.
    #[must_use]
    pub fn is_applied(&self) -> bool {
        self.status.is_applied()
    }
}

impl Inventory {
    /// The payloads, in the order of upload.
    pub fn iter(&self) -> core::slice::Iter<'_, InventoryEntry> {
        self.payloads.iter()
    }

    /// Returns true if a list has the same payloads in the same states: for a loop that acts only on changes. A list does not
    /// show if a payload was replaced by another one of its name and metadata.
    #[must_use]
    pub fn matches(&self, list: &[LoadedPayload]) -> bool {
        let entries = self.payloads.iter().map(|entry| (&entry.name, &entry.status, &entry.metadata));
        entries.eq(list.iter().map(|row| (&row.name, &row.status, &row.metadata)))
    }

    /// The applied payloads, in the order of upload.
    pub(crate) fn applied(&self) -> impl Iterator<Item = &InventoryEntry> {
        self.payloads.iter().filter(|entry| entry.is_applied())
    }

    /// The applied payloads from the bottom up, as far as that follows from their dependencies: the first depends on Xen
    /// itself, each other on the one before, and no two on the same.
    ///
    /// That is the order in which they were applied, unless `NODEPS` was used to apply one below its dependency: Xen
    /// reports no order.
    ///
    /// ```
    /// # use xen_livepatch::*;
    /// # let (_, client, fix, payload) = doctest::fix()?;
    /// # client.upload(&fix, &payload)?;
    /// # client.apply(&fix, Flags::empty())?;
    /// let inventory = client.inventory()?;
    /// let names: Vec<_> = inventory.stack().iter().map(|entry| &entry.name).collect();
    /// assert_eq!(names, [&fix]);
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use]
    pub fn stack(&self) -> Vec<&InventoryEntry> {
        let mut stack: Vec<&InventoryEntry> = Vec::new();
        let mut top = self.build_id.as_ref();
        loop {
            let mut on_top = self.applied().filter(|entry| top.is_some() && entry.depends.as_ref() == top);
            let (Some(next), None) = (on_top.next(), on_top.next()) else { break };
            // A payload can't be below itself.
            if stack.iter().any(|known| known.name == next.name) {
                break;
            }
            stack.push(next);
            top = next.build_id.as_ref();
        }
        stack
    }

    /// The applied payloads that are not in the [`stack`](Self::stack), in the order of upload: applied with `NODEPS`, not
    /// identified, or one of several that depend on the same.
    #[must_use]
    pub fn off_chain(&self) -> Vec<&InventoryEntry> {
        let stack = self.stack();
        self.applied().filter(|entry| !stack.iter().any(|known| known.name == entry.name)).collect()
    }

    /// The functions that more than one applied payload replaces, as far as the payloads are identified.
    #[must_use]
    pub fn conflicts(&self) -> Vec<Conflict> {
        let mut replaced: BTreeMap<u64, Conflict> = BTreeMap::new();
        for entry in self.applied() {
            for ReplacedFunction { name, old_address, .. } in entry.functions.iter().flatten() {
                let new = || Conflict { function: name.clone(), old_address: *old_address, payloads: Vec::new() };
                let payloads = &mut replaced.entry(*old_address).or_insert_with(new).payloads;
                if payloads.last() != Some(&entry.name) {
                    payloads.push(entry.name.clone());
                }
            }
        }
        replaced.into_values().filter(|conflict| conflict.payloads.len() > 1).collect()
    }

    /// The reason why an applied payload is not in the stack.
    fn why_off(&self, entry: &InventoryEntry) -> &'static str {
        let Some(depends) = entry.depends.as_ref().filter(|_| entry.build_id.is_some()) else {
            return "not identified";
        };
        let known = self.applied().map(|other| other.build_id.as_ref()).chain([self.build_id.as_ref()]);
        if known.flatten().any(|id| id == depends) { "order unknown" } else { "off the chain" }
    }
}

/// A name as it is, or in quotation marks where it might be taken for more than one.
fn quoted(name: &PayloadName) -> String {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"._-:@".contains(byte);
    if name.as_bytes().iter().all(plain) { name.to_string() } else { format!("{name:?}") }
}

/// The version that runs, in one line: `Xen 4.17.7 + xsa-500 + xsa-501 (+ debug, off the chain)`.
impl fmt::Display for Inventory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Xen {}", self.xen)?;
        for entry in self.stack() {
            write!(f, " + {}", quoted(&entry.name))?;
        }
        let others = self.off_chain();
        for why in ["off the chain", "order unknown", "not identified"] {
            let names = others.iter().filter(|entry| self.why_off(entry) == why).map(|entry| quoted(&entry.name));
            let names: Vec<_> = names.collect();
            if !names.is_empty() {
                write!(f, " (+ {}, {why})", names.join(", "))?;
            }
        }
        Ok(())
    }
}

#[cfg(feature = "serde")]
crate::types::fields::serialize_fields! {
    /// Field by field, with the version that runs in one line.
    Inventory as |inventory| {
        xen: inventory.xen.to_string(),
        build_id: inventory.build_id,
        no_build_id: inventory.no_build_id,
        effective: inventory.to_string(),
        stack: inventory.stack().into_iter().map(|entry| &entry.name).collect::<Vec<_>>(),
        off_chain: inventory.off_chain().into_iter().map(|entry| &entry.name).collect::<Vec<_>>(),
        conflicts: inventory.conflicts(),
        payloads: inventory.payloads,
    }
}

/// The payloads, in the order of upload.
impl<'i> IntoIterator for &'i Inventory {
    type Item = &'i InventoryEntry;
    type IntoIter = core::slice::Iter<'i, InventoryEntry>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl Payload {
    /// Checks that an [`inventory`](crate::LivepatchClient::inventory) can identify the payload once it is loaded under this
    /// name.
    ///
    /// # Errors
    /// [`Unidentified::Unreadable`]. Xen still loads such a payload, but it can be identified only by the client that
    /// uploads it, or by one that is given its [`KnownIdentities`].
    ///
    /// ```
    /// # use xen_livepatch::*;
    /// # let (xen, _, fix, bytes) = doctest::fix()?;
    /// assert_eq!(Payload::parse(&bytes)?.check_identifiable(&fix), Ok(()));
    /// let hostile = sim::PayloadBuilder::for_xen(&xen, "x").function(sim::FunctionPatch::returning("build-id=00", "x"));
    /// assert_eq!(Payload::parse(&hostile.build())?.check_identifiable(&fix), Err(Unidentified::Unreadable));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn check_identifiable(&self, name: &PayloadName) -> Result<(), Unidentified> {
        let names = self.functions().iter().filter_map(|function| function.name.as_ref());
        let names = names.map(SymbolName::as_bytes);
        dump::readable(name, self.metadata(), names, [self.build_id(), self.depends()])
    }
}
