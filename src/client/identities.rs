//! The identities and hooks of loaded payloads, remembered under the version of Xen's list.
//!
//! The version counts all uploads and unloads. While it is the expected one, no payload has been exchanged. Each upload
//! and unload of this client adds one to the expected version.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

use super::hooks::PostHooks;
use super::listing::Listing;
use super::lock;
use crate::hypercall::channel::Channel;
use crate::inventory::Unidentified;
use crate::inventory::known::{Dump, KnownIdentities, KnownIdentity};
use crate::payload::Footprint;
use crate::types::{BuildId, Identity, LoadedPayload, PayloadName};
use crate::xen::log::dump::Dumped;

/// A record of each payload that this client has uploaded or identified, and not unloaded.
#[derive(Debug, Default)]
pub(super) struct Identities(Mutex<Records>);

#[derive(Debug, Default)]
struct Records {
    payloads: BTreeMap<PayloadName, Record>,
    /// The version that the list has if nobody else has uploaded or unloaded anything since.
    version: Option<u32>,
    /// The caller's knowledge, until the version of the list is known.
    given: Option<KnownIdentities>,
    /// True if others may have unloaded some of the payloads since these were compared with the list.
    uncompared: bool,
}

/// The knowledge of a loaded payload.
#[derive(Clone, Debug, Default)]
pub(super) struct Record {
    pub(super) identity: Identity,
    pub(super) footprint: Option<Arc<Footprint>>,
    pub(super) dump: Dump,
    pub(super) hooks: Option<PostHooks>,
    /// True if the list's version shows that the hooks are those of the payload that is there.
    pub(super) hooks_same: bool,
    /// True if the list's version shows that all the rest is about the payload that is there.
    pub(super) same: bool,
}

impl Record {
    /// Returns true if no dump would show more of its build-id.
    pub(super) const fn is_identified(&self) -> bool {
        self.identity.build_id.is_some() || matches!(self.dump, Dump::Never(_))
    }

    /// Adds the identity that a dump shows. If it is another payload under the same name, all other knowledge is dropped.
    fn identified(self, identity: Identity, dump: Dump) -> Self {
        let is_it = identity.build_id.is_some() && self.identity.build_id == identity.build_id;
        let hooks = self.hooks.filter(|_| is_it || self.hooks_same);
        let footprint = self.footprint.filter(|_| is_it);
        Self { identity, footprint, dump, hooks, hooks_same: hooks.is_some(), same: true }
    }

    /// Returns true if no dump would show more of it.
    pub(super) const fn is_complete(&self) -> bool {
        !matches!(self.dump, Dump::No)
    }
}

impl Identities {
    pub(super) fn new(given: Option<KnownIdentities>) -> Self {
        Self(Mutex::new(Records { given, ..Records::default() }))
    }

    /// Notes an upload by this client; the record of a file that could not be read is empty.
    pub(super) fn remember(&self, name: &PayloadName, uploaded: Record) {
        let mut records = self.records();
        records.version = records.version.map(|version| version.wrapping_add(1));
        let same = records.version.is_some();
        records.payloads.insert(name.clone(), Record { hooks_same: same, same, ..uploaded });
    }

    /// Notes an unload by this client from the list of this version. A version that was read since counts the unload already.
    pub(super) fn forget(&self, name: &PayloadName, before: Option<u32>) {
        let mut records = self.records();
        if records.version == before {
            records.version = before.map(|version| version.wrapping_add(1));
            records.payloads.remove(name);
        }
    }

    /// Returns all build-ids, for the text of an error: another tool may have replaced a payload.
    pub(super) fn all(&self) -> Vec<(PayloadName, BuildId)> {
        let records = self.records();
        let ids = records.payloads.iter();
        ids.filter_map(|(name, known)| Some((name.clone(), known.identity.build_id.clone()?))).collect()
    }

    /// Takes in a list that was read under the action lock, and drops the payloads that are no longer loaded.
    pub(super) fn keep(&self, channel: &Channel, rows: &[LoadedPayload], version: u32) {
        self.at_version(channel, version);
        let mut records = self.records();
        if std::mem::take(&mut records.uncompared) {
            let loaded: BTreeSet<&PayloadName> = rows.iter().map(|row| &row.name).collect();
            records.payloads.retain(|name, _| loaded.contains(name));
        }
    }

    /// Takes in the version of the list. It has to be read under the action lock: otherwise another operation of this client
    /// might be mistaken for somebody else's.
    pub(super) fn at_version(&self, channel: &Channel, version: u32) {
        let mut records = self.records();
        if records.version.replace(version) != Some(version) {
            records.uncompared = true;
            for payload in records.payloads.values_mut() {
                (payload.hooks_same, payload.same) = (false, false);
            }
        }
        let given = records.given.take().filter(|given| given.version == version);
        drop(records);
        if let Some(given) = given {
            self.take_in(channel, given);
        }
    }

    /// Takes in the identities that the caller gave for the payloads of this list, if they are of this Xen.
    fn take_in(&self, channel: &Channel, given: KnownIdentities) {
        if !channel.build_id().is_ok_and(|xen| xen == given.xen) {
            return;
        }
        let mut records = self.records();
        for KnownIdentity { name, build_id, depends, dump } in given.payloads {
            let remembered = Record { identity: Identity { build_id, depends }, dump, same: true, ..Record::default() };
            records.payloads.entry(name).or_insert(remembered);
        }
    }

    /// Returns true once the version of the list was read, so that uploads are recognised afterwards.
    pub(super) fn has_version(&self) -> bool {
        self.records().version.is_some()
    }

    /// Takes in a dump of the payloads of this list, made under the action lock.
    pub(super) fn identify(&self, listing: &Listing, dumped: Vec<Result<Dumped, Unidentified>>) {
        let mut records = self.records();
        for (row, dumped) in listing.rows.iter().zip(dumped) {
            let there = records.payloads.remove(&row.name).unwrap_or_default();
            let now = match dumped {
                Ok(Dumped { build_id, depends, functions }) => {
                    let identity = Identity { build_id: Some(build_id), depends: Some(depends) };
                    there.identified(identity, Dump::Read(functions))
                }
                Err(reason) if !reason.is_final() => there,
                Err(reason) if there.same => Record { dump: Dump::Never(reason), ..there },
                Err(reason) => there.identified(Identity::default(), Dump::Never(reason)),
            };
            records.payloads.insert(row.name.clone(), now);
        }
    }

    /// Returns the knowledge of each payload of a list, if it is certain to be about the payload in the list.
    pub(super) fn under(&self, listing: &Listing) -> Vec<Option<Record>> {
        let records = self.records();
        let current = records.version == Some(listing.version);
        let of = |row: &LoadedPayload| records.payloads.get(&row.name).filter(|there| current && there.same).cloned();
        listing.rows.iter().map(of).collect()
    }

    /// Returns the identities that are certain, for another process.
    pub(super) fn certain(&self, channel: &Channel) -> Option<KnownIdentities> {
        // No hypercall if there is nothing to return.
        self.records().version?;
        let xen = channel.build_id().ok()?;
        let records = self.records();
        let certain = records.payloads.iter().filter(|(_, there)| there.same && there.is_identified());
        let mut payloads: Vec<KnownIdentity> = certain
            .map(|(name, there)| KnownIdentity {
                name: name.clone(),
                build_id: there.identity.build_id.clone(),
                depends: there.identity.depends.clone(),
                dump: there.dump.clone(),
            })
            .collect();
        payloads.sort_by(|one, other| one.name.cmp(&other.name));
        Some(KnownIdentities { xen, version: records.version?, payloads })
    }

    /// Notes that these payloads of the list of this version have no hooks after actions: otherwise Xen would have refused a
    /// REPLACE. After another version was read they may be others.
    pub(super) fn without_hooks<'n>(&self, names: impl Iterator<Item = &'n PayloadName>, before: Option<u32>) {
        let mut records = self.records();
        if records.version != before {
            return;
        }
        let same = before.is_some();
        for name in names {
            let payload = records.payloads.entry(name.clone()).or_default();
            (payload.hooks, payload.hooks_same) = (Some(PostHooks::NONE), same);
        }
    }

    pub(super) fn of(&self, name: &PayloadName) -> Identity {
        self.records().payloads.get(name).map(|payload| payload.identity.clone()).unwrap_or_default()
    }

    /// Returns the hooks of the payload that was uploaded under this name, and true if it is certainly still there.
    pub(super) fn hooks(&self, name: &PayloadName) -> Option<(PostHooks, bool)> {
        self.records().payloads.get(name).and_then(|payload| Some((payload.hooks?, payload.hooks_same)))
    }

    fn records(&self) -> MutexGuard<'_, Records> {
        lock(&self.0)
    }
}
