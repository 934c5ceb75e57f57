//! What the payloads that this client uploaded are called, which Xen does not tell afterwards.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::build_id::BuildId;
use crate::name::PayloadName;

/// A payload's build-id, and the one that it goes on top of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) build_id: Option<BuildId>,
    pub(crate) depends: Option<BuildId>,
}

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

    pub(super) fn of(&self, name: &PayloadName) -> Identity {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned().unwrap_or_default()
    }
}
