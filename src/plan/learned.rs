//! Facts about a host that only Xen's refusals show.

use std::collections::{BTreeMap, BTreeSet};

use super::step::Step;
use crate::error::{Duplicate, Error, ErrorKind};
use crate::types::{BuildId, PayloadName};

/// Facts that no inventory shows, collected from refusals.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Learned {
    /// Payloads that define a symbol of Xen or of a loaded payload.
    pub(super) clashing: BTreeSet<BuildId>,
    /// Payloads that share their build-id or a symbol with an unidentified loaded one.
    pub(super) ambiguous: BTreeSet<BuildId>,
    /// Loaded payloads that were found to have this build-id.
    pub(super) twins: BTreeMap<PayloadName, BuildId>,
    /// Loaded payloads that Xen does not apply again.
    pub(super) spent: BTreeSet<PayloadName>,
    /// True if hooks of an applied payload keep Xen from replacing it.
    pub(super) no_replace: bool,
    /// The payload that was applied last, if Xen named it.
    pub(super) top: Option<PayloadName>,
    /// Loaded payloads that do not depend on the payload below them, so that they can only be applied with `NODEPS`.
    pub(super) off_chain: BTreeSet<PayloadName>,
    /// Payloads below another one that Xen's log does not name.
    pub(super) buried: BTreeSet<PayloadName>,
}

impl Learned {
    /// Takes in the refusal of a step, and the names of the loaded payloads that are not identified. Returns true if it shows a
    /// new fact, which leads to another plan.
    pub(crate) fn learn(&mut self, step: &Step, error: &Error, unidentified: &[&PayloadName]) -> bool {
        match (step, error.kind()) {
            (Step::Upload { build_id, .. }, ErrorKind::AlreadyLoaded { by }) => match by {
                Duplicate::Symbol(_) | Duplicate::SomeSymbol => self.clashing.insert(build_id.clone()),
                Duplicate::Payload { name, .. } => self.twins.insert(name.clone(), build_id.clone()).is_none(),
                Duplicate::BuildId => match unidentified {
                    [twin] => self.twins.insert((*twin).clone(), build_id.clone()).is_none(),
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

    /// Drops the facts about the top of the stack, after an apply or a revert.
    pub(crate) fn forget_top(&mut self) {
        self.top = None;
        self.buried.clear();
    }
}
