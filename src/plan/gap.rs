//! Gaps: the steps for which a host runs without payloads that it ran before.

use core::fmt;

use super::goal::Goal;
use super::situation::{Entry, Situation};
use super::step::Step;
use crate::payload::Reapply;
use crate::types::name::PayloadName;
use crate::xen::target::Target;

/// A payload that the host runs without for some steps of a plan: it was applied, and not all wanted payloads are applied yet.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Gap {
    /// The payload.
    pub payload: PayloadName,
    /// The step that takes it out of effect, counted from 0.
    pub from: usize,
    /// The step that ends the gap, counted from 0: it applies the payload again, or the last wanted payload.
    pub until: usize,
    /// False if the payload can't be put back if a later step fails: it has to be uploaded again for that, and its file is not
    /// at hand ([`Wanted::at_hand`](crate::Wanted::at_hand)).
    pub recoverable: bool,
}

impl fmt::Display for Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { payload, from, until, recoverable } = self;
        write!(f, "from step {} to step {} the host runs without {payload}", from + 1, until + 1)?;
        if *recoverable {
            Ok(())
        } else {
            f.write_str(", and it can not be put back if a step fails: its file is not at hand")
        }
    }
}

/// The gaps of these steps.
pub(super) fn gaps(start: &Situation, goal: &Goal, steps: &[Step], target: &Target) -> Vec<Gap> {
    let old = Goal::back_to(start, goal);
    let mut gaps: Vec<Gap> = Vec::new();
    let mut open: Vec<Gap> = Vec::new();
    let mut now = start.clone();
    for (index, step) in steps.iter().enumerate() {
        now = goal.after(&now, step);
        let missing: Vec<&PayloadName> = if goal.is_covered(&now) {
            Vec::new()
        } else {
            old.missing(&now).filter_map(|member| member.loaded_as.as_ref()).collect()
        };
        let (ended, still): (Vec<Gap>, Vec<Gap>) = open.into_iter().partition(|gap| !missing.contains(&&gap.payload));
        gaps.extend(ended.into_iter().map(|gap| Gap { until: index, ..gap }));
        open = still;
        for name in missing {
            if !open.iter().any(|gap| gap.payload == *name) {
                let recoverable = is_recoverable(start, &old, steps, name, target);
                open.push(Gap {
                    payload: name.clone(),
                    from: index,
                    until: steps.len().saturating_sub(1),
                    recoverable,
                });
            }
        }
    }
    gaps.extend(open);
    gaps.sort_by_key(|gap| (gap.from, gap.until));
    gaps
}

/// Returns false if a payload certainly can't be applied again after it was reverted.
fn is_recoverable(start: &Situation, old: &Goal, steps: &[Step], name: &PayloadName, target: &Target) -> bool {
    let Some(entry) = start.entry(name) else { return false };
    let file = entry.build_id.as_ref().and_then(|id| old.file(id));
    let at_hand = file.is_some_and(|file| file.payload.objections(target, old.accepted, true).is_empty());
    let unloaded = || {
        let last = steps.iter().rposition(|step| matches!(step, Step::Apply { .. } | Step::Replace { .. }));
        let before = steps.iter().take(last.unwrap_or(0));
        before.into_iter().any(|step| matches!(step, Step::Unload { name: other } if other == name))
    };
    let spent = |entry: &Entry| entry.footprint.as_ref().is_some_and(|footprint| footprint.reapply != Reapply::Allowed);
    at_hand || !(spent(entry) || unloaded())
}
