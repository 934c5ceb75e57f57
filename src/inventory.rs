//! What is really loaded: every payload with its build-id, what it goes on and what it replaces.
//!
//! LIST and GET report none of that. Debug key `x` prints it on Xen's console, from where a client reads it. Whatever can't
//! be known for certain is `None`.

use core::fmt;
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::build_id::BuildId;
use crate::name::PayloadName;
use crate::payload::Footprint;
use crate::status::{LoadedPayload, Metadata, Status};
use crate::symbol_name::SymbolName;
use crate::target::Target;
use crate::version::XenVersion;

pub(crate) mod dump;
#[cfg(feature = "serde")]
mod serialize;
#[cfg(all(test, feature = "sim"))]
mod tests;

use dump::Dumped;

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
    /// The applied payloads from the bottom up, where Xen's log shows it.
    pub(crate) order: Option<Vec<PayloadName>>,
    /// The running Xen, as far as it is known: what payload files are checked for.
    pub(crate) target: Target,
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
    /// The functions that it replaces: what it is itself the only source of, and might be wrong about.
    pub functions: Option<Vec<ReplacedFunction>>,
    /// The properties of its file, where this client has seen that.
    pub(crate) footprint: Option<Arc<Footprint>>,
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

/// A function that more than one applied payload replaces: what runs is the one applied last, which Xen does not report.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Conflict {
    /// The name that the first of them gives it.
    pub function: SymbolName,
    /// Where Xen's function is.
    pub old_address: u64,
    /// The payloads, in the order of upload.
    pub payloads: Vec<PayloadName>,
}

impl InventoryEntry {
    /// Whether it is in effect.
    #[must_use]
    pub fn is_applied(&self) -> bool {
        self.status.is_applied()
    }

    fn new(row: LoadedPayload, dumped: Option<Dumped>) -> Self {
        let LoadedPayload { name, status, metadata } = row;
        let (build_id, depends, functions) = match dumped {
            Some(Dumped { build_id, depends, functions }) => (Some(build_id), Some(depends), Some(functions)),
            None => (None, None, None),
        };
        Self { name, status, metadata, build_id, depends, functions, footprint: None }
    }
}

impl Inventory {
    pub(crate) fn new(
        xen: XenVersion,
        build_id: Option<BuildId>,
        version: u32,
        target: Target,
        rows: impl Iterator<Item = (LoadedPayload, Option<Dumped>)>,
    ) -> Self {
        let payloads = rows.map(|(row, dumped)| InventoryEntry::new(row, dumped)).collect();
        Self { xen, build_id, payloads, version, order: None, target }
    }

    /// What is applied, in the order of upload.
    pub(crate) fn applied(&self) -> impl Iterator<Item = &InventoryEntry> {
        self.payloads.iter().filter(|entry| entry.is_applied())
    }

    /// The applied payloads from the bottom up, as far as their dependencies tell: the first goes on Xen itself, each other
    /// on the one before, and nothing else does.
    ///
    /// That is the order in which they were applied, unless `NODEPS` was used to apply one below what it goes on: Xen
    /// reports no order.
    ///
    /// ```
    /// # use xen_livepatch::*;
    /// # let (_, client, fix, payload) = examples::fix()?;
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
            // A payload can't be below itself, whatever it says.
            if stack.iter().any(|known| known.name == next.name) {
                break;
            }
            stack.push(next);
            top = next.build_id.as_ref();
        }
        stack
    }

    /// What is applied and not in the [`stack`](Self::stack), in the order of upload: applied with `NODEPS`, not
    /// identified, or one of several that go on the same.
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

    /// What keeps an applied payload out of the stack.
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

/// What runs, in one line: `Xen 4.17.7 + xsa-500 + xsa-501 (+ debug, off the chain)`.
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
