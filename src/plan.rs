//! Patch levels: the payloads that a host should have, and the steps to them.
//!
//! A plan is data. It follows from an [`Inventory`] and a [`Wanted`], without a hypercall.
//! [`LivepatchClient::carry_out`](crate::LivepatchClient::carry_out) executes it.

mod error;
mod goal;
mod learned;
mod planner;
mod preflight;
mod situation;
mod step;
mod store;
#[cfg(all(test, feature = "sim"))]
mod tests;
mod wanted;

use core::fmt;
use std::sync::Arc;

#[cfg(feature = "serde")]
pub(crate) use error::Details;
pub use error::PlanError;
pub(crate) use error::joined;
pub(crate) use goal::Goal;
pub(crate) use learned::Learned;
pub(crate) use planner::way_back;
pub(crate) use situation::Situation;
pub use step::{Gap, PlannedPayload, Step};
pub use store::{Ambiguity, PayloadStore, StoreFault, StoreProblem, StoredPayload};
pub use wanted::Wanted;

use crate::inventory::{Conflict, Inventory, Unidentified};
use crate::loader::Finding;
use crate::types::PayloadName;
use crate::xen::Target;
use planner::Route;
use situation::Files;

/// The steps from the loaded payloads to the wanted ones.
///
/// New payloads are uploaded before any is reverted, under another name if theirs is taken, so that a payload that Xen refuses
/// to load changes nothing. They replace the applied payloads in one step if Xen can do that. If it can't, the host runs
/// without some payloads for a while: [`gaps`](Self::gaps).
///
/// ```
/// # use xen_livepatch::*;
/// # let (_, client, fix, bytes) = doctest::fix()?;
/// let wanted = Wanted::only(fix, Payload::parse(&bytes)?);
/// let plan = Plan::new(&client.inventory()?, &wanted)?;
/// assert_eq!(plan.to_string().lines().count(), 2);
/// client.carry_out(&plan, |_| ())?;
/// assert!(Plan::new(&client.inventory()?, &wanted)?.is_empty());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    route: Route,
    gaps: Vec<Gap>,
    problems: Vec<StoreProblem>,
    unproven: Vec<Conflict>,
    pub(crate) start: Situation,
    pub(crate) goal: Arc<Goal>,
    pub(crate) learned: Learned,
    no_gap: bool,
    target: Target,
}

impl Plan {
    /// Plans the steps from an inventory to the wanted payloads.
    ///
    /// Everything that can be known beforehand is checked here: the payloads have to make a stack on this Xen, the files to
    /// upload have to pass the check for it, and no two of them may define the same symbol.
    ///
    /// # Errors
    /// The reason why there is no plan. A step of a plan may still be refused by Xen, by a payload's hooks or by its
    /// expectations.
    pub fn new(inventory: &Inventory, wanted: &Wanted) -> Result<Self, PlanError> {
        let release = inventory.target.range().0;
        let files = Files::of(wanted.files(), release);
        let learned = Learned::default();
        let start = Situation::of(inventory, &files, &learned);
        let goal = Arc::new(preflight::goal(inventory, wanted, files)?);
        let blank = Self {
            route: Route::default(),
            gaps: Vec::new(),
            problems: wanted.problems.clone(),
            unproven: if start.order_is_known { Vec::new() } else { inventory.conflicts() },
            start,
            goal,
            learned,
            no_gap: wanted.no_gap,
            target: inventory.target.clone(),
        };
        blank.again(blank.start.clone(), Learned::default())
    }

    /// Plans anew for the same goal, from another situation and with the facts that were learned since.
    pub(crate) fn again(&self, mut start: Situation, learned: Learned) -> Result<Self, PlanError> {
        start.learn(&learned);
        let route = planner::route(&start, &self.goal, &learned).map_err(|error| match error {
            PlanError::Incomplete { .. } => PlanError::Incomplete { problems: self.problems.clone() },
            error => error,
        })?;
        if let Some((name, payload, findings)) = preflight::unfit(&self.goal, &self.target, &route.steps) {
            let without = self.without(payload, &findings);
            let without = without.ok_or_else(|| PlanError::Unfit { name: name.clone(), findings })?;
            return without.again(start, learned);
        }
        let gaps = planner::gaps(&start, &self.goal, &route.steps, &self.target);
        if self.no_gap && !gaps.is_empty() {
            return Err(PlanError::Gap { gaps });
        }
        Ok(Self { route, gaps, start, learned, ..self.clone() })
    }

    /// A blank plan, for [`again`](Self::again), that only adds, without a payload of a directory that this Xen does not accept,
    /// and without those above it.
    fn without(&self, payload: &PlannedPayload, findings: &[Finding]) -> Option<Self> {
        let (index, path) = self.goal.stored(payload.build_id()?)?;
        let problem = StoreProblem::unfit(path, findings.first()?);
        let problems = self.problems.iter().cloned().chain([problem]).collect();
        Some(Self { goal: Arc::new(self.goal.part(index)), problems, ..self.clone() })
    }

    /// A blank plan, for [`again`](Self::again), that only adds the lowest `len` payloads of the goal; `None` for none.
    pub(crate) fn lowest(&self, len: usize) -> Option<Self> {
        (len > 0).then(|| Self { goal: Arc::new(self.goal.part(len)), ..self.clone() })
    }

    /// The steps in order.
    #[must_use]
    pub fn steps(&self) -> &[Step] {
        &self.route.steps
    }

    /// Returns true if there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.route.steps.is_empty()
    }

    /// The payloads that the host runs without for a while, each with its steps: they were applied, and not all wanted
    /// payloads are applied yet. There is no gap if one step replaces them by all wanted payloads, or if they are only
    /// reverted.
    #[must_use]
    pub fn gaps(&self) -> &[Gap] {
        &self.gaps
    }

    /// The files that might be wanted, but could not be used: [`Wanted::problems`].
    ///
    /// While there are any, a plan takes nothing out of effect, and it may lead to less than is wanted.
    #[must_use]
    pub fn problems(&self) -> &[StoreProblem] {
        &self.problems
    }

    /// The payloads that stay loaded although they are not wanted, because an applied one may be linked with them: Xen counts
    /// no references. The files [at hand](Wanted::at_hand) show which are.
    #[must_use]
    pub fn leftovers(&self) -> &[PayloadName] {
        &self.route.leftovers
    }

    /// The functions that are replaced by several payloads of unknown order, all of which stay applied. The payload applied
    /// last is in effect.
    ///
    /// Dependencies give an order, but the real one may differ if `NODEPS` was used. Xen reports none. Its log shows the
    /// order as far as it reaches back, if it has lines at the level of information.
    #[must_use]
    pub fn unproven(&self) -> Vec<Conflict> {
        let reverted = |name: &PayloadName| {
            self.steps().iter().any(|step| match step {
                Step::Revert { name: other } => other == name,
                Step::Replace { reverts, .. } => reverts.contains(name),
                _ => false,
            })
        };
        let stays = |conflict: &Conflict| conflict.payloads.iter().filter(|name| !reverted(name)).count() > 1;
        self.unproven.iter().filter(|conflict| stays(conflict)).cloned().collect()
    }

    /// The payloads to upload that no other process can identify later, because a text of theirs looks like a part of Xen's
    /// dump, with the reason.
    #[must_use]
    pub fn unidentifiable(&self) -> Vec<(PayloadName, Unidentified)> {
        let hidden = |step: &Step| match step {
            Step::Upload { name, payload, .. } => Some((name.clone(), payload.check_identifiable(name).err()?)),
            _ => None,
        };
        self.steps().iter().filter_map(hidden).collect()
    }

    /// The situation that an inventory shows.
    pub(crate) fn situation(&self, inventory: &Inventory, learned: &Learned) -> Situation {
        Situation::of(inventory, &self.goal.files, learned)
    }
}

#[cfg(feature = "serde")]
crate::types::fields::serialize_fields! {
    Plan as |plan| {
        steps: plan.steps(),
        gaps: plan.gaps(),
        leftovers: plan.leftovers(),
        problems: plan.problems(),
        unproven: plan.unproven(),
        unidentifiable: plan.unidentifiable().into_iter().map(|(name, _)| name).collect::<Vec<_>>(),
    }
}

/// A line for each step, each gap, and each payload that stays loaded or that can't be identified later.
impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let none = self.is_empty().then(|| "nothing to do".to_owned());
        let steps = self.steps().iter().zip(1..).map(|(step, number)| format!("{number}. {step}"));
        let gaps = self.gaps.iter().map(ToString::to_string);
        let left = self
            .leftovers()
            .iter()
            .map(|name| format!("{name} stays loaded: an applied payload may be linked with it"));
        let hidden = self.unidentifiable().into_iter();
        let hidden = hidden.map(|(name, reason)| format!("{name} can not be identified once it is loaded: {reason}"));
        let lines: Vec<String> = none.into_iter().chain(steps).chain(gaps).chain(left).chain(hidden).collect();
        f.write_str(&lines.join("\n"))
    }
}
