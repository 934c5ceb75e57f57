//! Facts that Xen showed only when it refused a step.

use std::collections::{BTreeMap, BTreeSet};

use super::step::Step;
use crate::error::{Duplicate, Error, ErrorKind};
use crate::types::build_id::BuildId;
use crate::types::name::PayloadName;

/// Facts about a host that no inventory shows, from refusals.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Learned {
    /// Payloads that define a symbol which a loaded one, or Xen, defines too.
    clashing: BTreeSet<BuildId>,
    /// Payloads that have their build-id or a symbol in common with a loaded one that is not identified.
    ambiguous: BTreeSet<BuildId>,
    /// Loaded payloads that were found to have this build-id.
    twins: BTreeMap<PayloadName, BuildId>,
    /// Loaded payloads that Xen does not apply again.
    spent: BTreeSet<PayloadName>,
    /// Hooks of an applied payload keep Xen from replacing it.
    no_replace: bool,
    /// The payload that was applied last.
    top: Option<PayloadName>,
    /// Loaded payloads that depend on something else than what they would go on.
    off_chain: BTreeSet<PayloadName>,
    /// Payloads over which another one is applied, which Xen's log does not name.
    buried: BTreeSet<PayloadName>,
}

impl Learned {
    /// Takes in the refusal of a step, with the loaded payloads that were not identified. Returns true if it showed something
    /// new that leads to another plan.
    pub(crate) fn learn(&mut self, step: &Step, error: &Error, unidentified: &[PayloadName]) -> bool {
        match (step, error.kind()) {
            (Step::Upload { build_id, .. }, ErrorKind::AlreadyLoaded { by }) => match by {
                Duplicate::Symbol(_) | Duplicate::SomeSymbol => self.clashing.insert(build_id.clone()),
                Duplicate::Payload { name, .. } => self.twins.insert(name.clone(), build_id.clone()).is_none(),
                Duplicate::BuildId => match unidentified {
                    [twin] => self.twins.insert(twin.clone(), build_id.clone()).is_none(),
                    _ => false,
                },
                // No loaded payload has its build-id.
                Duplicate::BuildIdOrSymbol if unidentified.is_empty() => self.clashing.insert(build_id.clone()),
                Duplicate::BuildIdOrSymbol | Duplicate::Unknown => self.ambiguous.insert(build_id.clone()),
                Duplicate::Name => false,
            },
            (Step::Replace { .. }, ErrorKind::VetoingHooks) => !std::mem::replace(&mut self.no_replace, true),
            (Step::Revert { .. }, ErrorKind::NotOnTop { top: Some(top) }) => {
                self.top.replace(top.clone()).as_ref() != Some(top)
            }
            (Step::Revert { name }, ErrorKind::NotOnTop { top: None }) => self.buried.insert(name.clone()),
            (
                Step::Apply { name, nodeps: false } | Step::Replace { name, .. },
                ErrorKind::DependsOnAnother { .. } | ErrorKind::DependencyOrExpectation,
            ) => self.off_chain.insert(name.clone()),
            (Step::Apply { name, .. }, ErrorKind::ReapplyNeedsReupload) => self.spent.insert(name.clone()),
            _ => false,
        }
    }

    /// The payload that was applied last, where Xen named it.
    pub(super) fn top(&self) -> Option<&PayloadName> {
        self.top.as_ref()
    }

    /// Something was applied or reverted since.
    pub(crate) fn forget_top(&mut self) {
        self.top = None;
        self.buried.clear();
    }

    pub(super) fn is_buried(&self, name: &PayloadName) -> bool {
        self.buried.contains(name)
    }

    pub(super) fn twin(&self, name: &PayloadName) -> Option<&BuildId> {
        self.twins.get(name)
    }

    pub(super) fn clashes(&self, build_id: &BuildId) -> bool {
        self.clashing.contains(build_id)
    }

    pub(super) fn may_be_loaded(&self, build_id: &BuildId) -> bool {
        self.ambiguous.contains(build_id)
    }

    pub(super) fn is_spent(&self, name: &PayloadName) -> bool {
        self.spent.contains(name)
    }

    /// Returns true if it can only be applied with `NODEPS`.
    pub(super) fn is_off_chain(&self, name: &PayloadName) -> bool {
        self.off_chain.contains(name)
    }

    pub(super) fn can_replace(&self) -> bool {
        !self.no_replace
    }
}
