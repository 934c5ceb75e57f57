//! The steps from one level to another.
//!
//! New payloads are uploaded first, under free names. REPLACE reverts the old level and applies the first new payload in one
//! moment. Nothing is unloaded before the new level is applied, except payloads that keep a new one from being uploaded. A
//! payload that an applied one may be linked with is never unloaded: Xen does not count references.

use super::error::PlanError;
use super::goal::{Goal, Member, Scope};
use super::learned::Learned;
use super::situation::{Entry, Situation, may_need};
use super::step::{Gap, PlannedPayload, Step};
use crate::payload::Reapply;
use crate::types::{BuildId, PayloadName};
use crate::xen::Target;

/// The way to a payload of the new level.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Fate {
    /// It is applied, and stays.
    Stays,
    /// It is loaded under this name, and is applied as it is.
    Loaded(PayloadName),
    /// It is uploaded under this name: at once, or late, after the payloads in its way were reverted.
    Upload { name: PayloadName, payload: PlannedPayload, late: bool },
}

/// Steps, and the payloads that stay loaded after them although nothing needs them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Route {
    pub(crate) steps: Vec<Step>,
    /// Payloads that are not unloaded because an applied one may be linked with them.
    pub(crate) leftovers: Vec<PayloadName>,
}

/// Finds the steps from a situation to a goal.
pub(crate) fn route(start: &Situation, goal: &Goal, learned: &Learned) -> Result<Route, PlanError> {
    let pairs = start.applied().zip(&goal.members);
    let kept = pairs.take_while(|(entry, member)| member.is(entry)).count();
    let extra: Vec<&Entry> = start.applied().skip(kept).collect();
    if goal.scope == Scope::Additions && !extra.is_empty() {
        return Err(PlanError::Incomplete { problems: Vec::new() });
    }
    let mut router = Router { start, goal, learned, kept, extra, now: start.clone(), route: Route::default() };
    let fates = router.fates()?;
    // First those that can be uploaded before anything else changes.
    for (member, fate) in goal.members.iter().zip(&fates) {
        if let Fate::Upload { name, payload, late: false } = fate {
            router.upload(member, name, payload, &fates)?;
        }
    }
    router.switch(&fates)?;
    router.clean_up(&fates);
    Ok(router.route)
}

struct Router<'a> {
    start: &'a Situation,
    goal: &'a Goal,
    learned: &'a Learned,
    /// The number of payloads at the bottom that stay applied.
    kept: usize,
    /// The applied payloads above them.
    extra: Vec<&'a Entry>,
    /// The situation after the steps so far.
    now: Situation,
    route: Route,
}

impl<'a> Router<'a> {
    fn fates(&self) -> Result<Vec<Fate>, PlanError> {
        let mut fates = Vec::new();
        let mut used: Vec<&PayloadName> = Vec::new();
        let mut late = false;
        let mut names: Vec<PayloadName> = Vec::new();
        // The places of the payloads below, in the order of upload; `None` for one that is yet to be uploaded.
        let mut below: Vec<(&Member, Option<usize>)> = Vec::new();
        for (index, member) in self.goal.members.iter().enumerate() {
            let there = self.start.entries.iter().enumerate().find(|(_, entry)| member.is(entry));
            let stays = index < self.kept;
            let usable = |(at, entry): &(usize, &Entry)| {
                stays || (self.applies_again(member, entry) && is_linked(member, *at, &below))
            };
            if let Some((at, entry)) = there.filter(usable) {
                below.push((member, Some(at)));
                used.push(&entry.name);
                fates.push(if stays { Fate::Stays } else { Fate::Loaded(entry.name.clone()) });
                continue;
            }
            below.push((member, None));
            let Some(payload) = member.file.clone() else {
                return Err(PlanError::NoFile { name: member.name.clone() });
            };
            let (gone, after_reverts) = self.in_the_way(member, &used)?;
            late |= after_reverts;
            let name = self.free_name(&member.name, identity(&payload), &gone, &names);
            names.push(name.clone());
            fates.push(Fate::Upload { name, payload, late });
        }
        Ok(fates)
    }

    /// Returns true if Xen applies a loaded payload that may have been reverted.
    fn applies_again(&self, member: &Member, entry: &Entry) -> bool {
        if self.learned.spent.contains(&entry.name) {
            return false;
        }
        // If nothing is known of a payload, it is tried: Xen refuses the apply without any other effect.
        member.reapply(entry).is_none_or(|reapply| reapply == Reapply::Allowed)
    }

    /// The loaded payloads that keep one from being uploaded, and true if something has to be reverted before all of them can
    /// be unloaded.
    fn in_the_way(&self, member: &Member, used: &[&PayloadName]) -> Result<(Vec<&'a Entry>, bool), PlanError> {
        let (mut found, mut after_reverts) = (Vec::new(), false);
        for entry in self.start.entries.iter().filter(|entry| self.collide(member, entry)) {
            let needers = self.start.needers(entry);
            let kept = || self.start.order.iter().take(self.kept);
            let stays = |entry: &Entry| used.contains(&&entry.name) || kept().any(|name| *name == entry.name);
            if stays(entry) || needers.iter().any(|needer| stays(needer)) {
                return Err(PlanError::InTheWay { name: member.name.clone(), loaded: entry.name.clone() });
            }
            after_reverts |= entry.is_applied() || needers.iter().any(|needer| needer.is_applied());
            found.push(entry);
        }
        Ok((found, after_reverts))
    }

    /// Returns true if Xen refuses to load a payload while another one is there.
    fn collide(&self, member: &Member, entry: &Entry) -> bool {
        let same_id = member.build_id.is_some() && member.build_id == entry.build_id;
        let symbol = match (member.footprint(), &entry.footprint) {
            (Some(own), Some(loaded)) => own.clashes_with(loaded),
            _ => member.build_id.as_ref().is_some_and(|id| self.learned.clashing.contains(id)),
        };
        same_id || symbol || self.may_be_the_same(member, entry)
    }

    /// Returns true for an unidentified payload that nothing needs, if one of those keeps `member` from being uploaded.
    fn may_be_the_same(&self, member: &Member, entry: &Entry) -> bool {
        let ambiguous = member.build_id.as_ref().is_some_and(|id| self.learned.ambiguous.contains(id));
        let needed = || self.start.needers(entry).iter().any(|needer| needer.is_applied());
        ambiguous && entry.build_id.is_none() && !entry.is_applied() && !needed()
    }

    /// The name of a payload, or if that is taken, one made of it and the build-id.
    fn free_name(&self, own: &PayloadName, id: &BuildId, gone: &[&Entry], taken: &[PayloadName]) -> PayloadName {
        let is_gone = |entry: &Entry| gone.iter().any(|gone| gone.name == entry.name);
        let is_free = |name: &PayloadName| !taken.contains(name) && self.start.entry(name).is_none_or(is_gone);
        let others = (0..).map(|number| own.distinguished(id, number));
        core::iter::once(own.clone()).chain(others).find(is_free).expect("a number is left")
    }

    fn push(&mut self, step: Step) {
        self.now = self.now.clone().after(&step);
        self.route.steps.push(step);
    }

    fn upload(
        &mut self,
        member: &Member,
        name: &PayloadName,
        payload: &PlannedPayload,
        fates: &[Fate],
    ) -> Result<(), PlanError> {
        let blocking: Vec<PayloadName> = {
            let colliding = self.now.entries.iter().rev().filter(|entry| self.collide(member, entry));
            colliding.map(|entry| entry.name.clone()).collect()
        };
        for blocking in blocking {
            self.unload(&blocking, fates)?;
        }
        self.push(Step::Upload { name: name.clone(), build_id: identity(payload).clone(), payload: payload.clone() });
        Ok(())
    }

    /// Unloads a payload, after those that may be linked with it.
    fn unload(&mut self, name: &PayloadName, fates: &[Fate]) -> Result<(), PlanError> {
        let Some(entry) = self.now.entry(name) else { return Ok(()) };
        let needers: Vec<(PayloadName, bool)> = self
            .now
            .needers(entry)
            .into_iter()
            .rev()
            .map(|needer| (needer.name.clone(), needer.is_applied() || self.is_used(&needer.name, fates)))
            .collect();
        if let Some((needer, _)) = needers.iter().find(|(_, stays)| *stays) {
            return Err(PlanError::InTheWay { name: needer.clone(), loaded: name.clone() });
        }
        for (needer, _) in &needers {
            self.unload(needer, fates)?;
        }
        self.push(Step::Unload { name: name.clone() });
        Ok(())
    }

    /// Takes the unwanted payloads out of effect, and applies the missing ones.
    fn switch(&mut self, fates: &[Fate]) -> Result<(), PlanError> {
        let goal = self.goal;
        let mut rest = goal.members.iter().zip(fates).skip(self.kept);
        if self.can_replace(fates) {
            if let Some((_, Fate::Loaded(name) | Fate::Upload { name, .. })) = rest.next() {
                let reverts = self.start.entries.iter().filter(|entry| entry.is_applied());
                let reverts = reverts.map(|entry| entry.name.clone()).collect();
                self.push(Step::Replace { name: name.clone(), reverts });
            }
        } else {
            for name in self.extra.iter().rev().map(|entry| entry.name.clone()).collect::<Vec<_>>() {
                self.push(Step::Revert { name });
            }
        }
        for (member, fate) in rest {
            let name = match fate {
                Fate::Stays => continue,
                Fate::Loaded(name) => name,
                Fate::Upload { name, payload, late } => {
                    if *late {
                        self.upload(member, name, payload, fates)?;
                    }
                    name
                }
            };
            self.push(Step::Apply { name: name.clone(), nodeps: self.needs_nodeps(member) });
        }
        Ok(())
    }

    /// Returns true for a payload that was applied on top of something that it does not depend on. Refusals show that only
    /// for unidentified payloads: wanted ones depend on the payload below them.
    fn needs_nodeps(&self, member: &Member) -> bool {
        let is_off_chain = member.was_loaded && self.learned.off_chain.contains(&member.name);
        member.nodeps || (member.depends.is_none() && is_off_chain)
    }

    /// Returns true if REPLACE can put the first payload in the place of all that is applied.
    fn can_replace(&self, fates: &[Fate]) -> bool {
        let (Some(first), Some(fate)) = (self.goal.members.first(), fates.first()) else { return false };
        let unapplied = match fate {
            Fate::Upload { late, .. } => !late,
            // Xen ignores a REPLACE by a payload that is applied.
            Fate::Loaded(name) => self.start.entry(name).is_some_and(|entry| !entry.is_applied()),
            Fate::Stays => false,
        };
        let vetoes = |entry: &&Entry| entry.footprint.as_ref().is_some_and(|footprint| footprint.vetoes);
        let first_vetoes = match fate {
            Fate::Loaded(name) => self.start.entry(name).as_ref().is_some_and(vetoes),
            _ => first.footprint().is_some_and(|footprint| footprint.vetoes),
        };
        let on_xen = !self.needs_nodeps(first) && (first.depends.is_none() || first.depends == self.goal.xen);
        let ways = !self.goal.one_by_one && !self.learned.no_replace;
        ways && unapplied
            && on_xen
            && self.kept == 0
            && !self.extra.is_empty()
            && !first_vetoes
            && !self.extra.iter().any(vetoes)
    }

    /// Returns true if a payload is part of the new level, loaded before or uploaded by a step so far.
    fn is_used(&self, name: &PayloadName, fates: &[Fate]) -> bool {
        let uploaded =
            self.route.steps.iter().any(|step| matches!(step, Step::Upload { name: new, .. } if new == name));
        uploaded || fates.iter().any(|fate| matches!(fate, Fate::Loaded(used) if used == name))
    }

    /// Unloads the payloads that nothing needs.
    fn clean_up(&mut self, fates: &[Fate]) {
        if self.goal.scope != Scope::Everything {
            return;
        }
        let unused: Vec<PayloadName> = {
            let unapplied = self.now.entries.iter().rev().filter(|entry| !entry.is_applied());
            unapplied.map(|entry| entry.name.clone()).filter(|name| !self.is_used(name, fates)).collect()
        };
        for name in unused {
            if self.unload(&name, fates).is_err() {
                self.route.leftovers.push(name);
            }
        }
    }
}

/// The build-id of a payload to upload.
fn identity(payload: &PlannedPayload) -> &BuildId {
    payload.build_id().expect("a member's file was found by its build-id")
}

/// Returns true if a payload that was uploaded in this place is linked with the payloads below it as far as it needs them:
/// they were loaded before.
fn is_linked(member: &Member, at: usize, below: &[(&Member, Option<usize>)]) -> bool {
    let needs = |below: &Member| may_need(member.footprint(), below.footprint());
    below.iter().all(|(below, place)| place.is_some_and(|place| place <= at) || !needs(below))
}

/// The steps back to an old level. They may lead through gaps: the host is in one.
pub(crate) fn way_back(now: &Situation, old: &Goal, learned: &Learned) -> Option<Vec<Step>> {
    route(now, old, learned).ok().map(|route| route.steps)
}

/// The gaps of these steps.
pub(super) fn gaps(start: &Situation, goal: &Goal, steps: &[Step], target: &Target) -> Vec<Gap> {
    let old = Goal::back_to(start, goal);
    let mut gaps: Vec<Gap> = Vec::new();
    let mut open: Vec<Gap> = Vec::new();
    let mut now = start.clone();
    let Some(last) = steps.len().checked_sub(1) else { return gaps };
    for (index, step) in steps.iter().enumerate() {
        now = now.after(step);
        let missing: Vec<&Member> = if goal.is_covered(&now) { Vec::new() } else { old.missing(&now).collect() };
        let is_missing = |gap: &Gap| missing.iter().any(|member| member.name == gap.payload);
        let (still, ended): (Vec<Gap>, Vec<Gap>) = open.into_iter().partition(is_missing);
        gaps.extend(ended.into_iter().map(|gap| Gap { until: index, ..gap }));
        open = still;
        for member in missing {
            let payload = &member.name;
            if !open.iter().any(|gap| gap.payload == *payload) {
                let recoverable = is_recoverable(start, member, &old, steps, target);
                // Until another step ends it, up to the last.
                open.push(Gap { payload: payload.clone(), from: index, until: last, recoverable });
            }
        }
    }
    gaps.extend(open);
    gaps.sort_by_key(|gap| (gap.from, gap.until));
    gaps
}

/// Returns false if a payload of the old level certainly can't be applied again after it was reverted.
fn is_recoverable(start: &Situation, member: &Member, old: &Goal, steps: &[Step], target: &Target) -> bool {
    let file = member.file.as_ref();
    let at_hand = file.is_some_and(|file| file.objections(target, old.accepted, true).is_empty());
    let is_unloaded = || {
        let applies = |step: &Step| matches!(step, Step::Apply { .. } | Step::Replace { .. });
        let Some(last) = steps.iter().rposition(applies) else { return false };
        steps.iter().take(last).any(|step| matches!(step, Step::Unload { name } if *name == member.name))
    };
    let footprint = start.entry(&member.name).and_then(|entry| entry.footprint.as_ref());
    let is_spent = footprint.is_some_and(|footprint| footprint.reapply != Reapply::Allowed);
    at_hand || !(is_spent || is_unloaded())
}
