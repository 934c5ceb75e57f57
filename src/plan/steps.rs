//! A plan: steps, as data.

use core::fmt;
use std::sync::Arc;

use super::files::Files;
use super::gap::{self, Gap};
use super::goal::Goal;
use super::learned::Learned;
use super::planner::{self, Route};
use super::preflight;
use super::problem::PlanError;
use super::situation::Situation;
use super::store::StoreProblem;
use super::wanted::Wanted;
use crate::build_id::BuildId;
use crate::inventory::{Conflict, Inventory, Unidentified};
use crate::name::PayloadName;
use crate::release::Release;
use crate::target::Target;

/// One step of a plan: an operation of a client.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Step {
    /// Upload a payload.
    #[non_exhaustive]
    Upload {
        /// The name to upload it under.
        name: PayloadName,
        /// Its build-id.
        build_id: BuildId,
    },
    /// Apply a payload on top of what is applied.
    #[non_exhaustive]
    Apply {
        /// The payload.
        name: PayloadName,
        /// True for one that depends on something other than what is below it, which is applied with
        /// [`Flags::NODEPS`](crate::Flags::NODEPS). Only the way back to what was applied before has such steps.
        nodeps: bool,
    },
    /// Revert the payload on top.
    #[non_exhaustive]
    Revert {
        /// The payload.
        name: PayloadName,
    },
    /// Revert everything and apply a payload, while all CPUs stand still.
    #[non_exhaustive]
    Replace {
        /// The payload.
        name: PayloadName,
        /// What is reverted, in the order of upload.
        reverts: Vec<PayloadName>,
    },
    /// Unload a payload that is not applied.
    #[non_exhaustive]
    Unload {
        /// The payload.
        name: PayloadName,
    },
}

impl Step {
    /// The payload that it is about.
    #[must_use]
    pub const fn name(&self) -> &PayloadName {
        match self {
            Self::Upload { name, .. }
            | Self::Apply { name, .. }
            | Self::Revert { name }
            | Self::Replace { name, .. }
            | Self::Unload { name } => name,
        }
    }

    /// The operation in one word, which stays as it is from version to version.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Upload { .. } => "upload",
            Self::Apply { .. } => "apply",
            Self::Revert { .. } => "revert",
            Self::Replace { .. } => "replace",
            Self::Unload { .. } => "unload",
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.word(), self.name())?;
        match self {
            Self::Upload { build_id, .. } => write!(f, " (build-id {build_id})"),
            Self::Replace { reverts, .. } => {
                let names: Vec<String> = reverts.iter().map(ToString::to_string).collect();
                write!(f, " (reverts {})", names.join(", "))
            }
            Self::Apply { nodeps: true, .. } => f.write_str(" (NODEPS)"),
            _ => Ok(()),
        }
    }
}

/// The steps from what is loaded to what is wanted.
///
/// Payloads are uploaded before anything else is changed, under another name where theirs is taken, so that one that Xen
/// refuses changes nothing. What is applied is replaced in one step where Xen can do that. Where it can't, the host runs
/// without some payloads for a while: [`gaps`](Self::gaps).
///
/// ```
/// # use xen_livepatch::*;
/// # let (_, client, fix, bytes) = examples::fix()?;
/// let wanted = Wanted::only(fix, Payload::parse(&bytes)?);
/// let plan = Plan::new(&client.inventory()?, &wanted)?;
/// assert_eq!(plan.to_string().lines().count(), 2);
/// client.carry_out(&plan, |_| ())?;
/// assert!(Plan::new(&client.inventory()?, &wanted)?.is_empty());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Plan {
    route: Route,
    gaps: Vec<Gap>,
    problems: Vec<StoreProblem>,
    unproven: Vec<Conflict>,
    start: Situation,
    goal: Arc<Goal>,
    learned: Learned,
    no_gap: bool,
    target: Target,
}

impl Plan {
    /// Plans the way from an inventory to what is wanted.
    ///
    /// Everything that can be known beforehand is checked here: whether the payloads make a stack on this Xen, whether the
    /// files that are to be uploaded pass the check for it, and which of them can't be loaded at the same time.
    ///
    /// # Errors
    /// The reason why there is no plan. Xen, the hooks of a payload or its expectations may still refuse a step.
    pub fn new(inventory: &Inventory, wanted: &Wanted) -> Result<Self, PlanError> {
        let release = inventory.target.releases().first().copied().unwrap_or(Release::V4_22);
        let files = Files::of(wanted, release);
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

    /// Plans anew for the same goal, from another situation and with what was learned since.
    pub(crate) fn again(&self, mut start: Situation, learned: Learned) -> Result<Self, PlanError> {
        start.learn(&learned);
        let route = planner::route(&start, &self.goal, &learned).map_err(|error| match error {
            PlanError::Incomplete { .. } => PlanError::Incomplete { problems: self.problems.clone() },
            error => error,
        })?;
        preflight::check_uploads(&self.goal, &self.target, &route.steps)?;
        let gaps = gap::gaps(&start, &self.goal, &route.steps, &self.target);
        if self.no_gap && !gaps.is_empty() {
            return Err(PlanError::Gap { gaps });
        }
        Ok(Self { route, gaps, start, learned, ..self.clone() })
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

    /// The payloads that the host runs without for a while, and for which steps: those that were applied and are not, until
    /// all that is wanted is applied. Payloads that one step replaces by all that is wanted leave no gap, nor do those that
    /// are only reverted.
    #[must_use]
    pub fn gaps(&self) -> Vec<Gap> {
        self.gaps.clone()
    }

    /// The files that might belong to what is wanted, but could not be used: [`Wanted::problems`].
    ///
    /// While there are any, a plan only adds to what is applied, and what it leads to may not be all that is wanted.
    #[must_use]
    pub fn problems(&self) -> &[StoreProblem] {
        &self.problems
    }

    /// Payloads that stay loaded although they are not wanted, because an applied one may be linked with them: Xen counts no
    /// references. With their files [at hand](Wanted::at_hand) that can be excluded.
    #[must_use]
    pub fn leftovers(&self) -> &[PayloadName] {
        &self.route.leftovers
    }

    /// Functions that several payloads replace that are applied and stay so, while it is not known which of them was applied
    /// last and is in effect.
    ///
    /// Their dependencies give an order. It is another one if `NODEPS` was used, and Xen reports none; its log shows it as
    /// long as it reaches back and has lines at the level of information.
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

    /// Payloads that are to be uploaded and that no inventory will identify in another process, because a text of theirs
    /// looks like a part of Xen's dump; with the reason.
    #[must_use]
    pub fn unidentifiable(&self) -> Vec<(PayloadName, Unidentified)> {
        let uploads = self.steps().iter().filter_map(|step| match step {
            Step::Upload { name, build_id } => Some((name, self.goal.file(build_id)?)),
            _ => None,
        });
        uploads.filter_map(|(name, file)| Some((name.clone(), file.payload.check_identifiable(name).err()?))).collect()
    }

    pub(crate) const fn start(&self) -> &Situation {
        &self.start
    }

    pub(crate) fn goal(&self) -> &Goal {
        &self.goal
    }

    pub(crate) const fn learned(&self) -> &Learned {
        &self.learned
    }

    /// The situation that an inventory shows.
    pub(crate) fn situation(&self, inventory: &Inventory, learned: &Learned) -> Situation {
        Situation::of(inventory, &self.goal.files, learned)
    }
}

/// The steps back to a level that was there before. There is no gap to refuse: the host is in one.
pub(crate) fn way_back(now: &Situation, old: &Goal, learned: &Learned) -> Option<Vec<Step>> {
    planner::route(now, old, learned).ok().map(|route| route.steps)
}

/// A line for each step, and a line for each gap.
impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("nothing to do");
        }
        let steps = self.steps().iter().zip(1..).map(|(step, number)| format!("{number}. {step}"));
        let gaps = self.gaps.iter().map(ToString::to_string);
        let left = self
            .leftovers()
            .iter()
            .map(|name| format!("{name} stays loaded: an applied payload may be linked with it"));
        let hidden = self.unidentifiable().into_iter();
        let hidden = hidden.map(|(name, reason)| format!("{name} can not be identified once it is loaded: {reason}"));
        let lines: Vec<String> = steps.chain(gaps).chain(left).chain(hidden).collect();
        f.write_str(&lines.join("\n"))
    }
}
