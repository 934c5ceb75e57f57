//! How a plan is made.

use std::sync::Arc;

use super::problem::PlanError;
use super::steps::{Moment, Plan, Step};
use super::wanted::{Wanted, WantedPayload};
use crate::build_id::BuildId;
use crate::inventory::{Inventory, InventoryEntry};
use crate::name::PayloadName;
use crate::payload::Reapply;

impl Plan {
    /// Plans the way from what an inventory shows to what is wanted.
    ///
    /// # Errors
    /// Why there is none. That Xen itself, a payload's hooks or its expectations refuse a step is seen only when it is
    /// carried out.
    pub fn new(inventory: &Inventory, wanted: &Wanted) -> Result<Self, PlanError> {
        plan(inventory, wanted)
    }
}

fn plan(inventory: &Inventory, wanted: &Wanted) -> Result<Plan, PlanError> {
    let wanted_payloads = identified(inventory, wanted)?;
    let way = Way::between(inventory, &wanted_payloads, wanted.one_by_one)?;
    let maker = Maker { inventory, wanted: &wanted_payloads, keeps: wanted.keeps_unapplied, way };
    let fates = maker.fates();
    let steps = maker.steps(&fates)?;
    let uploads = wanted_payloads.iter().zip(&fates).filter(|(_, fate)| fate.is_upload());
    let payloads = uploads.map(|(payload, _)| (payload.name.clone(), Arc::clone(payload.payload))).collect();
    Ok(Plan { steps, start: Moment::of(inventory), payloads, accepted: wanted.accepted })
}

/// A wanted payload with its build-id.
struct Identified<'a> {
    name: &'a PayloadName,
    payload: &'a Arc<crate::payload::Payload>,
    id: &'a BuildId,
}

/// The wanted payloads, of which each goes on the one before.
fn identified<'a>(inventory: &Inventory, wanted: &'a Wanted) -> Result<Vec<Identified<'a>>, PlanError> {
    let mut stack: Vec<Identified<'a>> = Vec::new();
    for WantedPayload { name, payload } in &wanted.payloads {
        // Before anything is reverted for it.
        if let Some((size, without_debug)) = payload.excess() {
            return Err(PlanError::TooLarge { name: name.clone(), size, without_debug });
        }
        let id = payload.build_id().ok_or_else(|| PlanError::NoBuildId { name: name.clone() })?;
        if let Some(first) = stack.iter().find(|other| other.id == id || other.name == name) {
            return Err(PlanError::Twice { first: first.name.clone(), second: name.clone() });
        }
        let xen = inventory.build_id.as_ref().ok_or(PlanError::XenUnknown { why: inventory.no_build_id })?;
        if let Some(expected) = payload.xen_depends().filter(|expected| *expected != xen) {
            let (expected, found) = (expected.clone(), xen.clone());
            return Err(PlanError::BuiltForAnotherXen { name: name.clone(), expected, found });
        }
        let found = stack.last().map_or(xen, |below| below.id);
        if payload.depends() != Some(found) {
            let (expected, below) = (payload.depends().cloned(), stack.last().map(|below| below.name.clone()));
            return Err(PlanError::DependsOnAnother { name: name.clone(), expected, below, found: found.clone() });
        }
        stack.push(Identified { name, payload, id });
    }
    Ok(stack)
}

/// How what is applied becomes what is wanted.
enum Way<'a> {
    /// So many of the lowest stay; those above are reverted, from the top down.
    Revert { kept: usize, reverted: Vec<&'a InventoryEntry> },
    /// All is reverted by replacing it with the lowest that is wanted.
    Replace,
}

impl<'a> Way<'a> {
    fn between(inventory: &'a Inventory, wanted: &[Identified<'_>], one_by_one: bool) -> Result<Self, PlanError> {
        let applied: Vec<_> = inventory.applied().collect();
        if let Some(unknown) = applied.iter().find(|entry| entry.build_id.is_none() && !wanted.is_empty()) {
            return Err(PlanError::Unknown { name: unknown.name.clone(), why: unknown.unidentified });
        }
        let order = order(inventory, &applied);
        let kept = order.as_ref().map_or(0, |order| {
            let pairs = order.iter().zip(wanted);
            pairs.take_while(|(there, wanted)| there.build_id.as_ref() == Some(wanted.id)).count()
        });
        if order.as_ref().is_some_and(|order| order.len() == kept) {
            return Ok(Self::Revert { kept, reverted: Vec::new() });
        }
        if kept == 0 && !one_by_one && wanted.first().is_some_and(|first| first.can_replace(&applied)) {
            return Ok(Self::Replace);
        }
        let names = || applied.iter().map(|entry| entry.name.clone()).collect();
        let mut reverted = order.ok_or_else(|| PlanError::OrderUnknown { applied: names() })?.split_off(kept);
        reverted.reverse();
        Ok(Self::Revert { kept, reverted })
    }

    const fn kept(&self) -> usize {
        match self {
            Self::Revert { kept, .. } => *kept,
            Self::Replace => 0,
        }
    }
}

impl Identified<'_> {
    /// Whether a payload has to go before this one can be uploaded.
    fn collides(&self, entry: &InventoryEntry) -> bool {
        entry.name == *self.name || entry.build_id.as_ref() == Some(self.id)
    }

    /// Whether REPLACE can put it in the place of all that is applied. It does nothing for one that is applied already.
    fn can_replace(&self, applied: &[&InventoryEntry]) -> bool {
        self.payload.is_replaceable() && !applied.iter().any(|entry| self.collides(entry))
    }
}

/// What is applied from the bottom up, if that follows from what each goes on.
fn order<'a>(inventory: &'a Inventory, applied: &[&'a InventoryEntry]) -> Option<Vec<&'a InventoryEntry>> {
    if let [only] = applied {
        return Some(vec![*only]);
    }
    let stack = inventory.stack();
    (stack.len() == applied.len()).then_some(stack)
}

/// What becomes of a wanted payload that isn't applied as it should be.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate<'a> {
    /// It stays applied.
    Stays(&'a InventoryEntry),
    /// It is loaded, and is applied as it is.
    Loaded(&'a InventoryEntry),
    /// It is uploaded before anything else is changed.
    Early,
    /// It is uploaded once others are reverted.
    Late,
}

impl Fate<'_> {
    const fn is_upload(&self) -> bool {
        matches!(self, Self::Early | Self::Late)
    }
}

fn is_used(entry: &InventoryEntry, fates: &[Fate<'_>]) -> bool {
    fates.iter().any(|fate| matches!(fate, Fate::Stays(used) | Fate::Loaded(used) if used.name == entry.name))
}

struct Maker<'a> {
    inventory: &'a Inventory,
    wanted: &'a [Identified<'a>],
    keeps: bool,
    way: Way<'a>,
}

impl<'a> Maker<'a> {
    fn of_id(&self, id: &BuildId) -> Option<(usize, &'a InventoryEntry)> {
        self.inventory.payloads.iter().enumerate().find(|(_, entry)| entry.build_id.as_ref() == Some(id))
    }

    fn fates(&self) -> Vec<Fate<'a>> {
        let mut fates = Vec::new();
        // A payload is linked with those that it goes on when it is uploaded: they have to be there before, and to stay.
        let mut below = Some(0);
        let mut late = false;
        for (wanted, index) in self.wanted.iter().zip(0..) {
            let there = self.of_id(wanted.id);
            let reapplies = wanted.payload.reapply(self.inventory.xen.release()) == Reapply::Allowed;
            let fate = match there {
                Some((at, entry)) if index < self.way.kept() => {
                    below = below.map(|below: usize| below.max(at));
                    Fate::Stays(entry)
                }
                Some((at, entry)) if reapplies && below.is_some_and(|below| below <= at) => {
                    below = Some(at);
                    Fate::Loaded(entry)
                }
                _ => {
                    below = None;
                    late |= self.inventory.applied().any(|entry| wanted.collides(entry));
                    if late { Fate::Late } else { Fate::Early }
                }
            };
            fates.push(fate);
        }
        fates
    }

    /// Whether what is not applied, and not wanted, is unloaded.
    fn goes(&self, entry: &InventoryEntry, fates: &[Fate<'a>]) -> bool {
        let uploads = || self.wanted.iter().zip(fates).filter(|(_, fate)| fate.is_upload());
        !self.keeps || uploads().any(|(wanted, _)| wanted.collides(entry))
    }

    fn steps(&self, fates: &[Fate<'a>]) -> Result<Vec<Step>, PlanError> {
        let mut steps = Vec::new();
        let unload = |entry: &InventoryEntry| Step::Unload { name: entry.name.clone() };
        let unused = || self.inventory.payloads.iter().rev().filter(|entry| !is_used(entry, fates));
        for entry in unused().filter(|entry| !entry.is_applied()) {
            if self.goes(entry, fates) {
                steps.push(unload(entry));
            } else if entry.build_id.is_none() && fates.iter().any(Fate::is_upload) {
                return Err(PlanError::Unknown { name: entry.name.clone(), why: entry.unidentified });
            }
        }
        let early = self.wanted.iter().zip(fates).filter(|(_, fate)| **fate == Fate::Early);
        steps.extend(early.map(|(wanted, _)| wanted.upload()));
        let mut unloaded: Vec<&PayloadName> = Vec::new();
        let mut rest = self.wanted.iter().zip(fates).skip(self.way.kept());
        match &self.way {
            Way::Revert { reverted, .. } => {
                steps.extend(reverted.iter().map(|entry| Step::Revert { name: entry.name.clone() }));
            }
            Way::Replace => {
                let reverts = self.inventory.applied().map(|entry| entry.name.clone()).collect();
                steps.extend(rest.next().map(|(wanted, fate)| Step::Replace { name: wanted.loaded_as(fate), reverts }));
            }
        }
        for (wanted, fate) in rest {
            if *fate == Fate::Late {
                for entry in unused().filter(|entry| entry.is_applied() && wanted.collides(entry)) {
                    if !unloaded.contains(&&entry.name) {
                        steps.push(unload(entry));
                        unloaded.push(&entry.name);
                    }
                }
                steps.push(wanted.upload());
            }
            steps.push(Step::Apply { name: wanted.loaded_as(fate) });
        }
        let reverted = unused().filter(|entry| entry.is_applied() && !unloaded.contains(&&entry.name));
        steps.extend(reverted.filter(|entry| self.goes(entry, fates)).map(unload));
        self.check_names(fates)?;
        Ok(steps)
    }

    /// What stays has no name that is needed.
    fn check_names(&self, fates: &[Fate<'a>]) -> Result<(), PlanError> {
        let uploads = self.wanted.iter().zip(fates).filter(|(_, fate)| fate.is_upload());
        let used = |name: &PayloadName| self.inventory.payloads.iter().any(|e| e.name == *name && is_used(e, fates));
        match uploads.map(|(wanted, _)| wanted.name).find(|name| used(name)) {
            Some(name) => Err(PlanError::NameTaken { name: name.clone() }),
            None => Ok(()),
        }
    }
}

impl Identified<'_> {
    fn upload(&self) -> Step {
        Step::Upload { name: self.name.clone(), build_id: self.id.clone() }
    }

    /// The name under which it is loaded when it is applied.
    fn loaded_as(&self, fate: &Fate<'_>) -> PayloadName {
        match fate {
            Fate::Stays(entry) | Fate::Loaded(entry) => entry.name.clone(),
            Fate::Early | Fate::Late => self.name.clone(),
        }
    }
}
