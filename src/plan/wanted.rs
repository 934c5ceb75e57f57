//! What is to be applied to a host.

use std::sync::Arc;

use super::store::StoredPayload;
use crate::loader::ProblemKinds;
use crate::name::PayloadName;
use crate::payload::{Payload, ProblemKind};

/// A payload, and the name to load it under where it isn't loaded yet.
#[derive(Clone, Debug)]
pub(crate) struct WantedPayload {
    pub(crate) name: PayloadName,
    pub(crate) payload: Arc<Payload>,
}

/// What is to be applied to a host, and nothing else.
///
/// Payloads are told apart by their build-ids. One that is loaded under another name is as good.
///
/// ```
/// # use xen_livepatch::*;
/// # let (_, client, fix, bytes) = examples::fix()?;
/// let wanted = Wanted::stack([(fix, Payload::parse(&bytes)?)]);
/// let nothing = Wanted::nothing().keep_unapplied();
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Wanted {
    pub(crate) payloads: Vec<WantedPayload>,
    pub(crate) keeps_unapplied: bool,
    pub(crate) one_by_one: bool,
    pub(crate) accepted: ProblemKinds,
}

impl Wanted {
    /// These payloads, from the bottom of the stack to its top: the first goes on Xen itself, each other on the one before.
    pub fn stack(payloads: impl IntoIterator<Item = (PayloadName, Payload)>) -> Self {
        let wanted = |(name, payload)| WantedPayload { name, payload: Arc::new(payload) };
        Self { payloads: payloads.into_iter().map(wanted).collect(), ..Self::empty() }
    }

    /// The payloads of a [`PayloadStore`](crate::PayloadStore), as [`stack_for`](crate::PayloadStore::stack_for) gives them.
    pub fn stored<'a>(stack: impl IntoIterator<Item = &'a StoredPayload>) -> Self {
        Self::stack(stack.into_iter().map(|stored| (stored.name().clone(), stored.payload().clone())))
    }

    /// This payload alone: a cumulative one, which goes on Xen itself.
    pub fn only(name: PayloadName, payload: Payload) -> Self {
        Self::stack([(name, payload)])
    }

    /// Xen as it was booted.
    pub fn nothing() -> Self {
        Self::stack([])
    }

    /// Reverts what is applied one by one and never by REPLACE, which Xen refuses
    /// ([`VetoingHooks`](crate::ErrorKind::VetoingHooks)) where an applied payload has hooks before or after actions:
    /// nothing tells that beforehand. The host runs without payloads in between, see [`Plan::gaps`](crate::Plan::gaps).
    pub fn one_by_one(mut self) -> Self {
        self.one_by_one = true;
        self
    }

    /// Accepts a kind of finding where it is only possible, as [`UploadOptions::accept`](crate::UploadOptions::accept) does.
    pub fn accept(mut self, kind: ProblemKind) -> Self {
        self.accepted.insert(kind);
        self
    }

    fn empty() -> Self {
        Self { payloads: Vec::new(), keeps_unapplied: false, one_by_one: false, accepted: ProblemKinds::default() }
    }

    /// Leaves payloads loaded that are not applied. Otherwise they are unloaded.
    pub fn keep_unapplied(mut self) -> Self {
        self.keeps_unapplied = true;
        self
    }
}
