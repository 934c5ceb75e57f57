//! The build-ids and hooks of payloads that this client uploaded: Xen does not report them afterwards.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::hooks::PostHooks;
use crate::build_id::BuildId;
use crate::identity::Identity;
use crate::name::PayloadName;
use crate::status::LoadedPayload;

/// A record of each payload that this client uploaded and has not unloaded. Another tool may have put something else in
/// its place, so a build-id is only for the text of an error.
#[derive(Debug, Default)]
pub(super) struct Identities(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    payloads: HashMap<PayloadName, Uploaded>,
    /// The version that the list has if nobody else has uploaded or unloaded anything since.
    version: Option<u32>,
}

#[derive(Debug, Default)]
struct Uploaded {
    identity: Identity,
    hooks: Option<PostHooks>,
    /// True if the list's version shows that it is still the same payload.
    same: bool,
}

impl Identities {
    pub(super) fn remember(&self, name: &PayloadName, identity: Identity, payload: &[u8]) {
        let hooks = Some(PostHooks::of_file(payload));
        let mut known = self.known();
        known.version = known.version.map(|version| version.wrapping_add(1));
        let same = known.version.is_some();
        known.payloads.insert(name.clone(), Uploaded { identity, hooks, same });
    }

    pub(super) fn forget(&self, name: &PayloadName) {
        let mut known = self.known();
        known.version = known.version.map(|version| version.wrapping_add(1));
        known.payloads.remove(name);
    }

    /// The build-ids of all of them.
    pub(super) fn all(&self) -> Vec<(PayloadName, BuildId)> {
        let known = self.known();
        let ids = known.payloads.iter();
        ids.filter_map(|(name, known)| Some((name.clone(), known.identity.build_id.clone()?))).collect()
    }

    /// Drops what was known of payloads that are no longer loaded, whoever unloaded them.
    pub(super) fn keep(&self, rows: &[LoadedPayload], version: u32) {
        self.at_version(version);
        self.known().payloads.retain(|name, _| rows.iter().any(|row| row.name == *name));
    }

    /// The list has this version.
    pub(super) fn at_version(&self, version: u32) {
        let mut known = self.known();
        if known.version.replace(version) != Some(version) {
            known.payloads.values_mut().for_each(|payload| payload.same = false);
        }
    }

    /// Xen has shown that these have no hooks after actions: it replaces no others.
    pub(super) fn without_hooks<'n>(&self, names: impl Iterator<Item = &'n PayloadName>) {
        let mut known = self.known();
        let same = known.version.is_some();
        for name in names {
            let payload = known.payloads.entry(name.clone()).or_default();
            (payload.hooks, payload.same) = (Some(PostHooks::NONE), same);
        }
    }

    pub(super) fn of(&self, name: &PayloadName) -> Identity {
        self.known().payloads.get(name).map(|payload| payload.identity.clone()).unwrap_or_default()
    }

    /// The hooks of the payload that was uploaded under this name, and whether it is surely still there.
    pub(super) fn hooks(&self, name: &PayloadName) -> Option<(PostHooks, bool)> {
        self.known().payloads.get(name).and_then(|payload| Some((payload.hooks?, payload.same)))
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
