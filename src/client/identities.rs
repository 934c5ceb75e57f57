//! The build-ids of payloads that this client uploaded: Xen does not report them afterwards.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::build_id::BuildId;
use crate::identity::Identity;
use crate::name::PayloadName;
use crate::status::LoadedPayload;

/// Of each payload that this client uploaded and has not unloaded. Only for what an error can tell: another tool may
/// have put something else in its place.
#[derive(Debug, Default)]
pub(super) struct Identities(Mutex<HashMap<PayloadName, Identity>>);

impl Identities {
    pub(super) fn remember(&self, name: &PayloadName, identity: Identity) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(name.clone(), identity);
    }

    pub(super) fn forget(&self, name: &PayloadName) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
    }

    /// The build-ids of all of them.
    pub(super) fn all(&self) -> Vec<(PayloadName, BuildId)> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.iter().filter_map(|(name, identity)| Some((name.clone(), identity.build_id.clone()?))).collect()
    }

    /// Of payloads that are no longer loaded nothing is known, whoever unloaded them.
    pub(super) fn keep(&self, rows: &[LoadedPayload]) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|name, _| rows.iter().any(|row| row.name == *name));
    }

    pub(super) fn of(&self, name: &PayloadName) -> Identity {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned().unwrap_or_default()
    }
}
