//! Carries out plans as transactions.
//!
//! In a gap a run waits for nothing but Xen: no observer is called, and a busy host is tried again until the deadline. If a
//! step fails for good there, the old level is put back.

use std::thread;
use std::time::{Duration, Instant};

use super::LivepatchClient;
use super::action_lock::ActionGuard;
use super::deadline::{Deadline, Pauses};
use super::events::{Events, StepEvent};
use super::inventory;
use super::listing::{self, Listing};
use super::options::{ActionOptions, UploadOptions};
use super::outcome::{EnsureError, Ensured, Interrupted, Outcome};
use crate::error::{Error, ErrorKind, Result};
use crate::plan::{Goal, Learned, Plan, Situation, Step, Wanted, way_back};
use crate::types::{Action, Flags};

/// The most plans of one run that follow a refusal; no host has so many facts to show. Plans that find the payload on top of
/// the stack are not counted: in the worst case each applied payload is tried for each place.
const MOST_PLANS: usize = 64;

/// The most attempts at a step or a list in a gap that may fail for a reason other than a busy host.
const ATTEMPTS: u32 = 4;

/// The longest pause between two attempts at a step in a gap.
const LONGEST_PAUSE: Duration = Duration::from_millis(200);

/// The least time for the way back, whatever the deadline of the way forward was.
const LEAST_BACK: Duration = Duration::from_secs(10);

impl LivepatchClient {
    /// Carries out a plan, step by step, while no other operation of this client changes anything.
    ///
    /// Before each step, and at the end, Xen's list has to be the one that the plan expects. If another tool has interfered,
    /// nothing more is done. The observer is called when a step begins and ends. It may take an inventory, but not act.
    ///
    /// A refusal may show a fact that no inventory shows: hooks that veto, a symbol that two payloads define, or another
    /// payload on top of the stack. Then a new plan is made, and reported to the observer before it is carried out.
    ///
    /// # Gaps
    /// In a [gap](Plan::gaps) a step that a busy host refuses is tried again until the deadline, the observer is not called,
    /// and another tool's interference leads to a new plan. If a step fails for good, the old level is put back, within a
    /// deadline of its own, of ten seconds at least. The observer is called before the gap is entered and after it is closed.
    /// **Signals are left to the caller**: a program that is killed in a gap leaves the host in it. Block those that can be
    /// blocked from [`GapOpens`](StepEvent::GapOpens) to [`GapCloses`](StepEvent::GapCloses).
    ///
    /// A REPLACE that Xen gives up half-way ([`ActiveWaitqueue`](ErrorKind::ActiveWaitqueue)) leads into a gap that no plan
    /// shows, so each REPLACE has these events. The old level is put back from there, too.
    ///
    /// # Errors
    /// [`Interrupted`] has the outcome, the steps that were done and the payloads that are loaded now. Its error is one of those
    /// of [`upload`](Self::upload), [`apply`](Self::apply), [`revert`](Self::revert), [`replace`](Self::replace) or
    /// [`unload`](Self::unload), or [`NotAsPlanned`](ErrorKind::NotAsPlanned).
    ///
    /// ```
    /// # use std::io::Write as _;
    /// # use xen_livepatch::*;
    /// # let (_, client, fix, bytes) = doctest::fix()?;
    /// let wanted = Wanted::only(fix, Payload::parse(&bytes)?);
    /// let plan = Plan::new(&client.inventory()?, &wanted)?;
    /// client.carry_out(&plan, |event| if let StepEvent::End { step, took, .. } = event {
    ///     // Unlike `println!`, it does not panic where nothing can be written.
    ///     let _ = writeln!(std::io::stdout(), "{step}: {took:?}");
    /// })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn carry_out(
        &self,
        plan: &Plan,
        observer: impl FnMut(StepEvent),
    ) -> core::result::Result<(), Box<Interrupted>> {
        if plan.is_empty() { Ok(()) } else { self.execute(plan, observer).map(drop) }
    }

    fn execute(
        &self,
        plan: &Plan,
        mut observer: impl FnMut(StepEvent),
    ) -> core::result::Result<Executed, Box<Interrupted>> {
        let deadline = Deadline::after(self.defaults.deadline_or_default());
        let turn = self.action_lock.acquire(deadline).map_err(|error| Box::new(not_begun(self, plan, error)))?;
        let goal = Goal::clone(&plan.goal);
        Run {
            client: self,
            turn: &turn,
            plan: plan.clone(),
            old: Goal::back_to(&plan.start, &goal),
            goal,
            now: plan.start.clone(),
            learned: plan.learned.clone(),
            done: Vec::new(),
            took_out: false,
            gap_ends: deadline,
            going_back: false,
            looked_again: false,
            events: Events::new(&mut observer),
        }
        .run()
    }

    /// Brings a host to the wanted payloads: takes an inventory, plans, and carries out the plan. Returns the plan, and the
    /// inventory that the host ends with.
    ///
    /// If the host has them already, that costs an [`inventory`](Self::inventory) and nothing else. The observer and gaps are
    /// those of [`carry_out`](Self::carry_out). The last inventory comes from the list that a run ends with, so it costs no
    /// other list and presses no key, unless a payload is not identified.
    ///
    /// # Errors
    /// [`EnsureError`]; its [`outcome`](EnsureError::outcome) is the level of the host. It is
    /// [`Reached`](Outcome::Reached) if only the last inventory failed.
    ///
    /// ```
    /// # use xen_livepatch::*;
    /// # let (_, client, fix, bytes) = doctest::fix()?;
    /// let wanted = Wanted::only(fix, Payload::parse(&bytes)?);
    /// let ensured = client.ensure(&wanted, |_| ())?;
    /// assert_eq!((ensured.plan.steps().len(), ensured.inventory.to_string()), (2, "Xen 4.20-fix + fix".into()));
    /// assert!(client.ensure(&wanted, |_| ())?.plan.is_empty());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn ensure(
        &self,
        wanted: &Wanted,
        observer: impl FnMut(StepEvent),
    ) -> core::result::Result<Ensured, EnsureError> {
        let mut inventory = inventory::settled(self, || inventory::take_identified(self, None))?;
        let plan = Plan::new(&inventory, wanted)?;
        if !plan.is_empty() {
            let Executed { done, last } = self.execute(&plan, observer)?;
            inventory = inventory::of_list(self, last).map_err(|error| {
                let not_begun = not_begun(self, &plan, error);
                Box::new(Interrupted {
                    outcome: Outcome::Reached,
                    before: done.len(),
                    done,
                    left: Vec::new(),
                    ..not_begun
                })
            })?;
        }
        if plan.problems().is_empty() {
            return Ok(Ensured { plan, inventory });
        }
        let problems = plan.problems().to_vec();
        Err(EnsureError::Incomplete { problems, plan: Some(Box::new(plan)) })
    }
}

fn not_begun(client: &LivepatchClient, plan: &Plan, error: Error) -> Interrupted {
    Interrupted {
        error,
        outcome: Outcome::Unchanged,
        done: Vec::new(),
        failed: None,
        left: plan.steps().to_vec(),
        back: Vec::new(),
        back_error: None,
        loaded: listing::list(&client.channel).ok().map(|listing| listing.rows),
        unidentified: Vec::new(),
        before: 0,
    }
}

/// A plan that was carried out.
struct Executed {
    done: Vec<Step>,
    /// The list at its end.
    last: Listing,
}

/// A premature end of the way forward.
struct Stop {
    error: Error,
    /// The step that failed; `None` if the host was not as planned before it.
    failed: Option<Step>,
    left: Vec<Step>,
    /// The number of steps of its plan before it.
    before: usize,
}

/// A plan that is being carried out.
struct Run<'a> {
    client: &'a LivepatchClient,
    turn: &'a ActionGuard<'a>,
    plan: Plan,
    goal: Goal,
    /// The old level.
    old: Goal,
    now: Situation,
    learned: Learned,
    done: Vec<Step>,
    /// True once a step has taken a payload out of effect, or may have.
    took_out: bool,
    /// The deadline of all attempts in the gap that is open.
    gap_ends: Deadline,
    /// True once the steps lead back to the old level.
    going_back: bool,
    /// True once an inventory was taken again because an upload collided with an unidentified payload.
    looked_again: bool,
    events: Events<'a>,
}

impl Run<'_> {
    fn run(mut self) -> core::result::Result<Executed, Box<Interrupted>> {
        let applied = self.now.applied().count();
        let most = MOST_PLANS + applied * applied;
        let mut plans = 0;
        let stop = loop {
            let stop = match self.forward() {
                Ok(last) => {
                    self.events.close();
                    self.client.identities.keep(&self.client.channel, &last.rows, last.version);
                    return Ok(Executed { done: self.done, last });
                }
                Err(stop) => stop,
            };
            plans += 1;
            if plans >= most || !self.plan_again(&stop) {
                break stop;
            }
        };
        self.apply_below(&stop);
        Err(Box::new(self.give_up(stop)))
    }

    /// Applies the wanted payloads below one that Xen has refused to load, if nothing has to be taken out for them: a host at
    /// boot is better off with a part than with nothing.
    fn apply_below(&mut self, stop: &Stop) {
        let Some(Step::Upload { build_id, .. }) = &stop.failed else { return };
        let below = self.goal.position(build_id).and_then(|index| self.plan.lowest(index));
        let Some(below) = below.filter(|_| !self.took_out && self.refresh().is_ok()) else { return };
        if let Ok(plan) = below.again(self.now.clone(), self.learned.clone()) {
            self.now = plan.start.clone();
            self.events.report(StepEvent::Replanned { plan: Box::new(plan.clone()) });
            self.plan = plan;
            // The first error is the cause to report.
            let _ = self.forward();
        }
    }

    /// Carries out the steps of the plan, and returns the list at their end.
    fn forward(&mut self) -> core::result::Result<Listing, Stop> {
        let plan = self.plan.clone();
        let total = plan.steps().len();
        let stop = |error, index: usize, failed: Option<&Step>| {
            let left = plan.steps().iter().skip(index + usize::from(failed.is_some()));
            Stop { error, failed: failed.cloned(), left: left.cloned().collect(), before: index }
        };
        for (index, step) in plan.steps().iter().enumerate() {
            self.check_as_planned().map_err(|error| stop(error, index, None))?;
            let opens = plan.gaps().iter().any(|gap| gap.from == index) && !self.events.is_in_gap();
            let guest = self.turn.waiting_guest().filter(|_| opens || matches!(step, Step::Replace { .. }));
            if let Some(error) = guest {
                // Nothing would be applied in place of what is taken out.
                return Err(stop(error.of(step.name()), index, None));
            }
            if opens {
                self.events.open(plan.gaps());
                // The observer may have taken its time.
                self.gap_ends = Deadline::after(self.client.defaults.deadline_or_default());
                self.check_as_planned().map_err(|error| stop(error, index, None))?;
            }
            self.events.report(StepEvent::Begin { step: step.clone(), index, total });
            if matches!(step, Step::Replace { .. }) {
                // Xen may give it up after it has reverted the others.
                self.events.open(&[]);
            }
            let start = Instant::now();
            let result = self.perform(step, self.events.is_in_gap().then_some(self.gap_ends));
            let (took, error) = (start.elapsed(), result.as_ref().err().cloned());
            self.events.report(StepEvent::End { step: step.clone(), index, total, took, error });
            let may_have = |error: &Error| error.may_have_happened() || !self.is_as_before();
            self.took_out |= step.takes_out() && result.as_ref().err().is_none_or(may_have);
            result.map_err(|error| stop(error, index, Some(step)))?;
            self.done.push(step.clone());
            self.follow(step);
            if !self.is_worse_off() {
                self.events.close();
            }
        }
        self.check_as_planned().map_err(|error| stop(error, total, None))
    }

    /// Updates the situation after a step.
    fn follow(&mut self, step: &Step) {
        self.now = self.now.clone().after(step);
        if matches!(step, Step::Apply { .. } | Step::Revert { .. } | Step::Replace { .. }) {
            self.learned.forget_top();
        }
    }

    /// Reads the list, which has to be the one that the plan expects.
    fn check_as_planned(&self) -> Result<Listing> {
        let now = self.list()?;
        if self.now.is_shown_by(&now.rows, now.version) {
            return Ok(now);
        }
        let applied = now.rows.into_iter().filter(|row| row.status.is_applied());
        Err(Error::new(ErrorKind::NotAsPlanned { applied: applied.map(|row| row.name).collect() }))
    }

    /// Reads the list; in a gap, again after an error.
    fn list(&self) -> Result<Listing> {
        let mut attempt = 1;
        loop {
            match listing::list(&self.client.channel) {
                Err(_) if self.events.is_in_gap() && attempt < ATTEMPTS => {
                    attempt += 1;
                    thread::sleep(Duration::from_millis(5));
                }
                result => return result,
            }
        }
    }

    /// Returns the level that the steps lead to.
    fn level(&self) -> &Goal {
        if self.going_back { &self.old } else { &self.plan.goal }
    }

    /// Performs a step; with a deadline, tries again until then.
    fn perform(&self, step: &Step, deadline: Option<Deadline>) -> Result<()> {
        let Some(deadline) = deadline else { return self.step(step, ActionOptions::new()) };
        let mut pauses = Pauses::up_to(LONGEST_PAUSE);
        let mut others = 0;
        loop {
            let options = ActionOptions::new().quiesce_retries(u32::MAX).deadline(deadline.remaining());
            let Err(error) = self.step(step, options) else { return Ok(()) };
            if self.has_happened(step, &error, deadline) {
                return Ok(());
            }
            let busy = matches!(
                error.kind(),
                ErrorKind::QuiesceTimeout
                    | ErrorKind::ActiveWaitqueue { .. }
                    | ErrorKind::OperationInProgress
                    | ErrorKind::HookMayBeRunning
            );
            // Memory comes and goes, and on the way back there is nothing better to do than to wait for it.
            let starved = matches!(error.kind(), ErrorKind::XenOutOfMemory);
            let busy = busy || (starved && self.going_back);
            others += u32::from(!busy);
            // A result that contradicts the list may be a passing one.
            let odd = matches!(error.kind(), ErrorKind::UnexpectedAnswer { .. } | ErrorKind::Overtaken { .. });
            let again = busy || ((error.is_retryable() || starved || odd) && others < ATTEMPTS);
            if !again || !self.is_as_before() || !deadline.sleep(pauses.next()) {
                return Err(error);
            }
        }
    }

    /// Returns true if the list shows that a step is done although it ended with an error.
    fn has_happened(&self, step: &Step, error: &Error, deadline: Deadline) -> bool {
        // It may still be under way.
        let expected = self.now.clone().after(step);
        let shown = self.client.free_host(deadline, |rows, version| expected.is_shown_by(rows, version));
        // Another tool's upload under the same name may be any payload.
        let foreign = matches!(step, Step::Upload { .. }) && !error.may_have_happened();
        !foreign && shown.is_ok_and(|(shown, _)| shown)
    }

    /// Returns true if the list still shows what was expected before the step.
    fn is_as_before(&self) -> bool {
        self.list().is_ok_and(|now| self.now.is_shown_by(&now.rows, now.version))
    }

    fn step(&self, step: &Step, options: ActionOptions) -> Result<()> {
        let client = self.client;
        let act =
            |action, name, flags| client.action(action, name).flags(flags).options(options).run_in(Some(self.turn));
        let none = Flags::empty();
        match step {
            Step::Upload { name, payload, .. } => {
                let options = UploadOptions { accepted: self.level().accepted, ..UploadOptions::new() };
                client.upload_payload(name, payload, options, Some(self.turn))
            }
            Step::Apply { name, nodeps } => act(Action::Apply, name, if *nodeps { Flags::NODEPS } else { none }),
            Step::Revert { name } => act(Action::Revert, name, none),
            Step::Replace { name, .. } => act(Action::Replace, name, none),
            Step::Unload { name } => act(Action::Unload, name, none),
        }
    }

    /// Reads the list again, and takes an inventory if payloads were uploaded or unloaded.
    fn refresh(&mut self) -> Result<()> {
        let listing = self.list()?;
        if self.now.is_shown_by(&listing.rows, listing.version) {
            return Ok(());
        }
        if let Some(now) = self.now.with_states(&listing.rows, listing.version) {
            self.now = now;
            return Ok(());
        }
        self.look()
    }

    /// Waits for Xen to finish, and reads the list again.
    fn settle(&mut self, deadline: Deadline) -> Result<()> {
        self.client.free_host(deadline, |_, _| ())?;
        self.refresh()
    }

    fn learn(&mut self, step: &Step, error: &Error) -> bool {
        let unidentified: Vec<_> = self.now.unidentified().into_iter().map(|entry| &entry.name).collect();
        self.learned.learn(step, error, &unidentified)
    }

    /// Plans again, if a refusal has shown a new fact, or, in a gap, if another tool has interfered.
    fn plan_again(&mut self, stop: &Stop) -> bool {
        let before = self.now.clone();
        let learned = stop.failed.as_ref().is_some_and(|step| self.learn(step, &stop.error));
        if self.refresh().is_err() {
            return false;
        }
        if !self.is_worse_off() {
            self.events.close();
        }
        let interfered = self.events.is_in_gap() && self.now != before;
        let learned = self.look_again(stop) || learned;
        if !learned && !interfered {
            return false;
        }
        let Ok(plan) = self.plan.again(self.now.clone(), self.learned.clone()) else { return false };
        self.now = plan.start.clone();
        self.events.report(StepEvent::Replanned { plan: Box::new(plan.clone()) });
        self.plan = plan;
        true
    }

    /// Takes an inventory if an upload collided with an unidentified payload. Returns true if that identified one.
    fn look_again(&mut self, stop: &Stop) -> bool {
        let met = matches!(stop.failed, Some(Step::Upload { .. }))
            && matches!(stop.error.kind(), ErrorKind::AlreadyLoaded { .. });
        let unidentified = self.now.unidentified().len();
        if !met || unidentified == 0 || std::mem::replace(&mut self.looked_again, true) {
            return false;
        }
        self.look().is_ok() && self.now.unidentified().len() < unidentified
    }

    /// Takes an inventory.
    fn look(&mut self) -> Result<()> {
        let inventory = inventory::take_identified(self.client, Some(self.turn))?;
        let mut now = self.plan.situation(&inventory, &self.learned);
        now.order_like(&self.now.order);
        self.now = now;
        Ok(())
    }

    /// Puts the old level back, and reports the outcome.
    fn give_up(mut self, stop: Stop) -> Interrupted {
        let Stop { error, failed, left, before } = stop;
        let deadline = Deadline::after(self.client.defaults.deadline_or_default().max(LEAST_BACK));
        let (back, back_error) = self.go_back(deadline);
        let may_go_on = [Some(&error), back_error.as_ref()].into_iter().flatten().any(Error::may_have_happened);
        let refreshed = if may_go_on { self.settle(deadline) } else { self.refresh() };
        self.events.close();
        let outcome = match refreshed {
            Err(_) => Outcome::Unknown,
            Ok(()) => self.outcome(!back.is_empty()),
        };
        let loaded = listing::list(&self.client.channel).ok().map(|listing| listing.rows);
        let met = matches!(error.kind(), ErrorKind::AlreadyLoaded { .. });
        let unidentified = self.now.unidentified().into_iter().filter(|_| met);
        let unidentified = unidentified.filter_map(|entry| Some((entry.name.clone(), entry.unidentified?))).collect();
        Interrupted { error, outcome, done: self.done, failed, left, back, back_error, loaded, unidentified, before }
    }

    fn outcome(&self, went_back: bool) -> Outcome {
        let (goal, old, now) = (&self.goal, &self.old, &self.now);
        if goal.is_level_of(now) {
            Outcome::Reached
        } else if old.is_level_of(now) && !went_back {
            Outcome::Unchanged
        } else if old.is_level_of(now) && old.ordered {
            Outcome::Restored
        } else if self.is_worse_off() {
            Outcome::Worse
        } else {
            Outcome::Partial
        }
    }

    /// Returns true if a payload that ran before is missing, and a wanted one as well.
    fn is_worse_off(&self) -> bool {
        !self.old.is_covered(&self.now) && !self.goal.is_covered(&self.now)
    }

    /// Puts the old level back, if this run has taken something out and the host is worse off. Returns the steps that were
    /// done, and the error that ended them.
    fn go_back(&mut self, deadline: Deadline) -> (Vec<Step>, Option<Error>) {
        if !self.took_out {
            // Another tool may have, on purpose.
            return (Vec::new(), None);
        }
        self.going_back = true;
        let mut done = Vec::new();
        let mut last = None;
        let mut plans = 0;
        'plans: while plans < MOST_PLANS {
            plans += 1;
            if let Err(error) = self.settle(deadline) {
                last = Some(error);
                if deadline.sleep(Duration::from_millis(20)) {
                    continue;
                }
                break;
            }
            if !self.is_worse_off() {
                return (done, None);
            }
            let Some(steps) = self.steps_back() else { break };
            if steps.is_empty() {
                break;
            }
            // A REPLACE that Xen gave up half way leads into a gap that no plan showed.
            self.events.hold();
            for step in &steps {
                let start = Instant::now();
                let result = self.perform(step, Some(deadline));
                let (took, error) = (start.elapsed(), result.as_ref().err().cloned());
                self.events.report(StepEvent::Back { step: step.clone(), took, error });
                match result {
                    Ok(()) => {
                        done.push(step.clone());
                        self.follow(step);
                    }
                    Err(error) => {
                        let before = self.now.clone();
                        let learned = self.learn(step, &error);
                        last = Some(error);
                        let moved = self.refresh().is_ok() && self.now != before;
                        if learned || moved {
                            continue 'plans;
                        }
                        break 'plans;
                    }
                }
            }
        }
        let worse = self.is_worse_off();
        (done, last.filter(|_| worse))
    }

    /// Returns the steps back to the old level, or, if no more can be put back and nothing else is applied, to its lower part.
    fn steps_back(&self) -> Option<Vec<Step>> {
        way_back(&self.now, &self.old, &self.learned).or_else(|| {
            let lower = (1..self.old.len()).rev().map(|len| self.old.lowest(len));
            let lower = lower.filter(|level| level.contains_all_of(&self.now));
            lower.into_iter().find_map(|level| way_back(&self.now, &level, &self.learned))
        })
    }
}
