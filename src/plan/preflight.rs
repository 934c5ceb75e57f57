//! Checks of the wanted payloads before any step.

use super::error::PlanError;
use super::goal::{Goal, Member, Scope};
use super::situation::Files;
use super::step::{PlannedPayload, Step};
use super::wanted::{Wanted, WantedPayload};
use crate::inventory::Inventory;
use crate::loader::Finding;
use crate::types::PayloadName;
use crate::xen::Target;

/// Turns the wanted payloads into a goal, if they make a stack on this Xen.
pub(super) fn goal(inventory: &Inventory, wanted: &Wanted, files: Files) -> Result<Goal, PlanError> {
    let mut members: Vec<Member> = Vec::new();
    for WantedPayload { path, name, payload } in &wanted.payloads {
        if let Some((size, without_debug)) = payload.excess() {
            return Err(PlanError::TooLarge { name: name.clone(), size, without_debug });
        }
        let id = payload.build_id().ok_or_else(|| PlanError::NoBuildId { name: name.clone() })?;
        if let Some(first) = members.iter().find(|other| other.build_id.as_ref() == Some(id)) {
            return Err(PlanError::Twice { first: first.name.clone(), second: name.clone() });
        }
        let xen = inventory.build_id.as_ref().ok_or(PlanError::XenUnknown { why: inventory.no_build_id })?;
        if let Some(expected) = payload.xen_depends().filter(|expected| *expected != xen) {
            let (expected, found) = (expected.clone(), xen.clone());
            return Err(PlanError::BuiltForAnotherXen { name: name.clone(), expected, found });
        }
        let below = members.last();
        let found = below.and_then(|below| below.build_id.as_ref()).unwrap_or(xen);
        if payload.depends() != Some(found) {
            let (expected, below) = (payload.depends().cloned(), below.map(|below| below.name.clone()));
            return Err(PlanError::DependsOnAnother { name: name.clone(), expected, below, found: found.clone() });
        }
        let file = files.find(id, payload.depends()).cloned();
        let member = Member {
            path: path.clone(),
            name: name.clone(),
            was_loaded: false,
            build_id: Some(id.clone()),
            depends: payload.depends().cloned(),
            file,
            nodeps: false,
        };
        let clashes = |below: &&Member| {
            let both = below.footprint().zip(member.footprint());
            both.is_some_and(|(below, own)| below.clashes_with(own))
        };
        if let Some(first) = members.iter().find(clashes) {
            return Err(PlanError::SameSymbol { first: first.name.clone(), second: name.clone() });
        }
        members.push(member);
    }
    Ok(Goal {
        members,
        scope: match (wanted.problems.is_empty(), wanted.keeps_unapplied) {
            (false, _) => Scope::Additions,
            (true, true) => Scope::Applied,
            (true, false) => Scope::Everything,
        },
        one_by_one: wanted.one_by_one,
        accepted: wanted.accepted,
        xen: inventory.build_id.clone(),
        files,
        ordered: true,
    })
}

/// The first of the payloads to upload that does not pass the check for this Xen, and the findings that keep it out.
pub(super) fn unfit<'s>(
    goal: &Goal,
    target: &Target,
    steps: &'s [Step],
) -> Option<(&'s PayloadName, &'s PlannedPayload, Vec<Finding>)> {
    steps.iter().find_map(|step| {
        let Step::Upload { name, payload, .. } = step else { return None };
        let findings = payload.objections(target, goal.accepted, true);
        (!findings.is_empty()).then_some((name, payload, findings))
    })
}
