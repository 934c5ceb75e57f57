//! A plan, carried out step by step.

use core::fmt;
use std::time::{Duration, Instant};

use super::LivepatchClient;
use super::deadline::Deadline;
use super::listing;
use super::options::UploadOptions;
use super::turn::Taken;
use super::uploading::Uploading;
use crate::diagnosis::in_progress;
use crate::error::{Action, Error, ErrorKind, Operation, Result};
use crate::name::PayloadName;
use crate::plan::{Moment, Plan, PlanError, Step, Wanted};
use crate::status::LoadedPayload;

/// What an observer of a plan sees.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum StepEvent<'a> {
    /// A step begins.
    #[non_exhaustive]
    Begin {
        /// The step.
        step: &'a Step,
        /// Which, counted from 0.
        index: usize,
        /// How many there are.
        total: usize,
    },
    /// A step has ended.
    #[non_exhaustive]
    End {
        /// The step.
        step: &'a Step,
        /// Which, counted from 0.
        index: usize,
        /// How many there are.
        total: usize,
        /// How long it took.
        took: Duration,
        /// Why it failed, if it did. It is the last step then.
        error: Option<&'a Error>,
    },
}

/// A plan that was not carried out to its end: what was done, what was not, and what is there now.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Interrupted {
    /// Why.
    pub error: Error,
    /// The steps that succeeded.
    pub done: Vec<Step>,
    /// The step that failed; `None` if all that were begun succeeded, and the host then was not as planned.
    /// [`Error::may_have_happened`] tells whether it may have been done all the same.
    pub failed: Option<Step>,
    /// The steps that were not begun.
    pub left: Vec<Step>,
    /// What is loaded now; `None` if the list could not be read.
    pub loaded: Option<Vec<LoadedPayload>>,
}

impl Interrupted {
    /// What is applied now, in the order of upload; `None` if the list could not be read.
    #[must_use]
    pub fn applied(&self) -> Option<Vec<&PayloadName>> {
        let rows = self.loaded.as_ref()?;
        Some(rows.iter().filter(|row| row.status.is_applied()).map(|row| &row.name).collect())
    }
}

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { error, done, failed, left, .. } = self;
        let total = done.len() + usize::from(failed.is_some()) + left.len();
        match failed {
            Some(_) => write!(f, "step {} of {total} failed: {error}", done.len() + 1)?,
            None => write!(f, "stopped after {} of {total} steps: {error}", done.len())?,
        }
        match self.applied().as_deref() {
            None => f.write_str("; what is applied now could not be read"),
            Some([]) => f.write_str("; nothing is applied now"),
            Some(names) => {
                let names: Vec<String> = names.iter().map(|name| format!("{name:?}")).collect();
                write!(f, "; applied now: {}", names.join(", "))
            }
        }
    }
}

impl core::error::Error for Interrupted {}

/// Why a host is not as it was wanted.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EnsureError {
    /// What is loaded could not be found out. Nothing was done.
    #[error("{0}")]
    Inventory(Error),
    /// There is no way to what is wanted. Nothing was done.
    #[error("{0}")]
    NoPlan(PlanError),
    /// It was not carried out to the end.
    #[error("{0}")]
    Interrupted(Box<Interrupted>),
}

impl LivepatchClient {
    /// Carries out a plan, step by step, while no other operation of this client changes anything.
    ///
    /// Before each step, and at the end, Xen's list has to be what the plan expects. If another tool has interfered,
    /// nothing more is done. The observer sees each step begin and end.
    ///
    /// # Errors
    /// What was done, what was not and what is there now; the cause is in [`Interrupted::error`]: an error of
    /// [`upload`](Self::upload), [`apply`](Self::apply), [`revert`](Self::revert), [`replace`](Self::replace) or
    /// [`unload`](Self::unload), or [`NotAsPlanned`](ErrorKind::NotAsPlanned).
    ///
    /// ```
    /// # use xen_livepatch::*;
    /// # let (_, client, fix, bytes) = examples::fix()?;
    /// let wanted = Wanted::only(fix, Payload::parse(&bytes)?);
    /// let plan = Plan::new(&client.inventory()?, &wanted)?;
    /// client.carry_out(&plan, |event| if let StepEvent::End { step, took, .. } = event {
    ///     println!("{step}: {took:?}");
    /// })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn carry_out(
        &self,
        plan: &Plan,
        mut observer: impl FnMut(StepEvent<'_>),
    ) -> core::result::Result<(), Box<Interrupted>> {
        Carrying { client: self, plan }.run(&mut observer)
    }

    /// Makes a host what is wanted: takes an inventory, plans and carries out the plan, which it returns.
    ///
    /// Where the host is as wanted already, that costs an [`inventory`](Self::inventory), which writes to the host's
    /// console, and nothing else.
    ///
    /// # Errors
    /// [`EnsureError`] says how far it came.
    ///
    /// ```
    /// # use xen_livepatch::*;
    /// # let (_, client, fix, bytes) = examples::fix()?;
    /// let wanted = Wanted::only(fix, Payload::parse(&bytes)?);
    /// assert_eq!(client.ensure(&wanted, |_| ())?.steps().len(), 2);
    /// assert!(client.ensure(&wanted, |_| ())?.is_empty());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn ensure(
        &self,
        wanted: &Wanted,
        observer: impl FnMut(StepEvent<'_>),
    ) -> core::result::Result<Plan, EnsureError> {
        let inventory = self.inventory().map_err(EnsureError::Inventory)?;
        let plan = Plan::new(&inventory, wanted).map_err(EnsureError::NoPlan)?;
        self.carry_out(&plan, observer).map_err(EnsureError::Interrupted)?;
        Ok(plan)
    }
}

/// Carries out one plan.
struct Carrying<'a> {
    client: &'a LivepatchClient,
    plan: &'a Plan,
}

impl Carrying<'_> {
    fn run(&self, observer: &mut dyn FnMut(StepEvent<'_>)) -> core::result::Result<(), Box<Interrupted>> {
        if self.plan.is_empty() {
            return Ok(());
        }
        let stop = |error, done, failed| Box::new(self.interrupted(error, done, failed));
        let deadline = Deadline::after(self.client.defaults.time());
        let turn = self.client.turn.take(deadline).ok_or_else(|| stop(in_progress(), 0, false))?;
        let total = self.plan.steps().len();
        let mut moment = self.plan.start().clone();
        for (index, step) in self.plan.steps().iter().enumerate() {
            self.expect(&moment).map_err(|error| stop(error, index, false))?;
            observer(StepEvent::Begin { step, index, total });
            let start = Instant::now();
            let result = self.step(step, &turn);
            let error = result.as_ref().err();
            observer(StepEvent::End { step, index, total, took: start.elapsed(), error });
            result.map_err(|error| stop(error, index, true))?;
            moment = moment.after(step);
        }
        self.expect(&moment).map_err(|error| stop(error, total, false))
    }

    /// Nobody else has changed anything.
    fn expect(&self, moment: &Moment) -> Result<()> {
        let now = listing::list(&self.client.channel)?;
        let loaded = now.rows.iter().map(|row| (&row.name, row.status.state));
        let expected = moment.loaded.iter().map(|(name, state)| (name, *state));
        if now.version == moment.version && loaded.eq(expected) {
            return Ok(());
        }
        let applied = now.rows.into_iter().filter(|row| row.status.is_applied());
        Err(Error::new(ErrorKind::NotAsPlanned { applied: applied.map(|row| row.name).collect() }))
    }

    fn step(&self, step: &Step, turn: &Taken<'_>) -> Result<()> {
        let client = self.client;
        let act = |action, name| client.action(action, name).run_in(Some(turn));
        match step {
            Step::Upload { name, .. } => {
                let bytes = self.plan.payload(name).map(crate::Payload::bytes).unwrap_or_default();
                let options = UploadOptions::new().accepting(self.plan.accepted());
                let turn = Some(turn);
                client.watched(Operation::Upload, name, |watch| {
                    Uploading { client, watch, name, options, turn }.bytes(bytes)
                })
            }
            Step::Apply { name } => act(Action::Apply, name),
            Step::Revert { name } => act(Action::Revert, name),
            Step::Replace { name, .. } => act(Action::Replace, name),
            Step::Unload { name } => act(Action::Unload, name),
        }
    }

    fn interrupted(&self, error: Error, done: usize, failed: bool) -> Interrupted {
        let mut steps = self.plan.steps().iter().cloned();
        let done = steps.by_ref().take(done).collect();
        let failed = if failed { steps.next() } else { None };
        let loaded = listing::list(&self.client.channel).ok().map(|listing| listing.rows);
        Interrupted { error, done, failed, left: steps.collect(), loaded }
    }
}
