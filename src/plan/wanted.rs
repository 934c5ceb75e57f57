//! The payloads that a host should have applied.

use std::path::PathBuf;
use std::sync::Arc;

use super::error::PlanError;
use super::store::{PayloadStore, Selection, StoreProblem, StoredPayload};
use crate::loader::ProblemKinds;
use crate::payload::{Payload, ProblemKind};
use crate::types::{BuildId, PayloadName};
use crate::xen::Target;

/// A payload, and the name to load it under if it isn't loaded yet.
#[derive(Clone, Debug)]
pub(crate) struct WantedPayload {
    /// Its file, if a directory is wanted.
    pub(crate) path: Option<PathBuf>,
    pub(crate) name: PayloadName,
    pub(crate) payload: Arc<Payload>,
}

/// The exact set of payloads that a host should have applied.
///
/// Payloads are identified by their build-ids; one that is loaded under another name counts.
///
/// ```
/// # use xen_livepatch::*;
/// # let (_, client, fix, bytes) = doctest::fix()?;
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
    pub(crate) no_gap: bool,
    /// Files of payloads that may be loaded. They show which are linked with which, and can be uploaded again.
    pub(crate) at_hand: Vec<Arc<Payload>>,
    /// Files that might be wanted, but could not be used.
    pub(crate) problems: Vec<StoreProblem>,
}

impl Wanted {
    /// These payloads, from the bottom of the stack to its top: the first depends on Xen itself, each other on the one
    /// before. They are shared, not copied, if they are given as `Arc<Payload>`.
    pub fn stack<P: Into<Arc<Payload>>>(payloads: impl IntoIterator<Item = (PayloadName, P)>) -> Self {
        let wanted = |(name, payload): (_, P)| WantedPayload { path: None, name, payload: payload.into() };
        Self { payloads: payloads.into_iter().map(wanted).collect(), ..Self::nothing() }
    }

    /// The payloads of single files, from the bottom of the stack to its top.
    ///
    /// For a directory there is [`PayloadStore::wanted_for`](crate::PayloadStore::wanted_for).
    pub fn stored<'a>(stack: impl IntoIterator<Item = &'a StoredPayload>) -> Self {
        Self::stack(stack.into_iter().map(|stored| (stored.name().clone(), Arc::clone(stored.payload()))))
    }

    /// This payload alone: a cumulative one, which depends on Xen itself.
    pub fn only(name: PayloadName, payload: impl Into<Arc<Payload>>) -> Self {
        Self::stack([(name, payload)])
    }

    /// Xen as it was booted.
    pub fn nothing() -> Self {
        Self {
            payloads: Vec::new(),
            keeps_unapplied: false,
            one_by_one: false,
            accepted: ProblemKinds::default(),
            no_gap: false,
            at_hand: Vec::new(),
            problems: Vec::new(),
        }
    }

    /// Reverts payloads one by one and never by REPLACE. The host runs without payloads in between, see
    /// [`Plan::gaps`](crate::Plan::gaps).
    ///
    /// Otherwise a client plans again when Xen refuses REPLACE because of a payload's hooks
    /// ([`VetoingHooks`](crate::ErrorKind::VetoingHooks)).
    pub fn one_by_one(mut self) -> Self {
        self.one_by_one = true;
        self
    }

    /// Refuses every plan with a [gap](crate::Gap): [`PlanError::Gap`](crate::PlanError::Gap). A run that has to plan again
    /// ends if the new plan would have one.
    pub fn no_gap(mut self) -> Self {
        self.no_gap = true;
        self
    }

    /// Adds files of payloads that may be loaded on the host, without wanting them.
    ///
    /// They show which loaded payloads share symbols. If the way forward ends in a [gap](crate::Gap), the old payloads may
    /// have to be uploaded again from them.
    pub fn at_hand<P: Into<Arc<Payload>>>(mut self, payloads: impl IntoIterator<Item = P>) -> Self {
        self.at_hand.extend(payloads.into_iter().map(Into::into));
        self
    }

    /// Wants these payloads of a store instead, from the bottom up; all else stays the same.
    pub fn in_place_of<'a>(self, stack: impl IntoIterator<Item = &'a StoredPayload>) -> Self {
        Self { payloads: Self::stored(stack).payloads, ..self }
    }

    /// The files that might be wanted, but could not be used.
    ///
    /// While there are any, a plan only adds payloads. It reverts and replaces none, and unloads only one that has to be
    /// uploaded again.
    #[must_use]
    pub fn problems(&self) -> &[StoreProblem] {
        &self.problems
    }

    /// Returns true if no payload is wanted: Xen as it was booted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.payloads.is_empty()
    }

    /// Wants only the lowest `len` of its payloads.
    pub fn lowest(mut self, len: usize) -> Self {
        self.payloads.truncate(len);
        self
    }

    /// Its payloads with the names to load them under, from the bottom up.
    pub fn payloads(&self) -> impl Iterator<Item = (&PayloadName, &Arc<Payload>)> {
        self.payloads.iter().map(|wanted| (&wanted.name, &wanted.payload))
    }

    /// The files [at hand](Self::at_hand).
    #[must_use]
    pub fn payloads_at_hand(&self) -> &[Arc<Payload>] {
        &self.at_hand
    }

    /// Returns true if payloads that are not applied are left loaded: [`keep_unapplied`](Self::keep_unapplied).
    #[must_use]
    pub const fn keeps_unapplied(&self) -> bool {
        self.keeps_unapplied
    }

    /// Returns true if payloads are reverted one by one: [`one_by_one`](Self::one_by_one).
    #[must_use]
    pub const fn is_one_by_one(&self) -> bool {
        self.one_by_one
    }

    /// Returns true if plans with a gap are refused: [`no_gap`](Self::no_gap).
    #[must_use]
    pub const fn refuses_gaps(&self) -> bool {
        self.no_gap
    }

    /// The names under which its payloads are loaded where they are not loaded yet, from the bottom up.
    pub fn names(&self) -> impl Iterator<Item = &PayloadName> {
        self.payloads.iter().map(|wanted| &wanted.name)
    }

    /// The build-ids of its payloads, from the bottom up; `None` for one that has none.
    pub fn build_ids(&self) -> impl Iterator<Item = Option<&BuildId>> {
        self.payloads.iter().map(|wanted| wanted.payload.build_id())
    }

    /// Accepts a kind of finding that is only possible, as [`UploadOptions::accept`](crate::UploadOptions::accept) does.
    pub fn accept(mut self, kind: ProblemKind) -> Self {
        self.accepted.insert(kind);
        self
    }

    /// The files of its payloads, and those at hand.
    pub(super) fn files(&self) -> impl Iterator<Item = &Arc<Payload>> {
        self.payloads.iter().map(|wanted| &wanted.payload).chain(&self.at_hand)
    }

    /// Leaves unapplied payloads loaded. Otherwise they are unloaded.
    pub fn keep_unapplied(mut self) -> Self {
        self.keeps_unapplied = true;
        self
    }
}

impl PayloadStore {
    /// The stack for a Xen: the payload that a link `livepatch.livepatch` chooses, with those that it depends on; without
    /// such a link, all payloads for this Xen.
    ///
    /// [`Wanted::problems`] has every file that might belong to it and could not be used, with its path, and every ambiguity.
    /// If there are any, the stack is the part that is whole and unambiguous, from Xen up to the damaged file, the hole or the
    /// fork. **It can be too short, or empty, then**: a plan for it adds payloads, and reverts none.
    ///
    /// The stack is empty without a problem if there is no payload for this Xen.
    ///
    /// # Errors
    /// [`PlanError::XenUnknown`] when the target has no build-id.
    pub fn wanted_for(&self, target: &Target) -> Result<Wanted, PlanError> {
        let xen = target.known_build_id().ok_or(PlanError::XenUnknown { why: None })?;
        let Selection { stack, here, problems } = self.select(target, xen);
        let wanted = |stored: &StoredPayload| WantedPayload {
            path: Some(stored.path().into()),
            name: stored.name().clone(),
            payload: Arc::clone(stored.payload()),
        };
        Ok(Wanted {
            payloads: stack.into_iter().map(wanted).collect(),
            at_hand: here.into_iter().map(|stored| Arc::clone(stored.payload())).collect(),
            problems,
            ..Wanted::nothing()
        })
    }
}
