//! How long a host runs without what was applied.

use core::fmt;

use super::steps::{Plan, Step};
use crate::name::PayloadName;

/// The host runs without a payload that was applied, until all is as wanted.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Gap {
    /// The payload.
    pub payload: PayloadName,
    /// The step that reverts it, counted from 0.
    pub from: usize,
    /// The step that applies it again, or else the last one that applies anything, which may be its successor.
    pub until: usize,
}

impl fmt::Display for Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { payload, from, until } = self;
        write!(f, "from step {} to step {} the host runs without {payload}", from + 1, until + 1)
    }
}

impl Plan {
    /// For which steps the host runs without which of the payloads that are applied now, before all is as wanted.
    #[must_use]
    pub fn gaps(&self) -> Vec<Gap> {
        gaps(&self.steps)
    }
}

/// What is only reverted, and what is replaced in one step, leaves no gap.
fn gaps(steps: &[Step]) -> Vec<Gap> {
    let applies = |step: &Step| matches!(step, Step::Apply { .. } | Step::Replace { .. });
    let Some(last) = steps.iter().rposition(applies) else { return Vec::new() };
    let reverts = steps.iter().enumerate().filter(|(index, step)| matches!(step, Step::Revert { .. }) && *index < last);
    let until = |from: usize, name: &PayloadName| {
        let again = steps.iter().enumerate().skip(from).find(|(_, step)| applies(step) && step.name() == name);
        again.map_or(last, |(index, _)| index)
    };
    reverts.map(|(from, step)| Gap { payload: step.name().clone(), from, until: until(from, step.name()) }).collect()
}
