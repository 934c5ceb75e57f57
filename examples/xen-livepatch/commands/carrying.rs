//! A plan that is carried out before the eyes of a person: progress, gaps, and signals that wait until a gap is closed.

use std::cell::RefCell;

use xen_livepatch::{EnsureError, Inventory, LivepatchClient, Outcome, Plan, Step, StepEvent};

use crate::failure::Failure;
use crate::output::{self, Output};
use crate::progress::Progress;
use crate::signals::Held;

/// Carries a plan out, and finds out what runs then.
pub(super) fn carry_out(client: &LivepatchClient, plan: &Plan, output: &Output) -> Result<Option<Inventory>, Failure> {
    let progress = {
        // A thread that draws a bar keeps the signals that are held now, so that they come to this one.
        let _held = Held::new();
        Progress::new(output, plan.steps().len())
    };
    let held = RefCell::new(None);
    let outcome = client.carry_out(plan, |event| match event {
        StepEvent::Begin { step, .. } => {
            progress.begin(&step.to_string());
            // Xen may give it up when it has reverted the others, and they are then put back.
            if matches!(step, Step::Replace { .. }) {
                held.borrow_mut().get_or_insert_with(Held::new);
            }
        }
        StepEvent::End { step, index, total, took, error, .. } => {
            drop(held.borrow_mut().take());
            let ended = if error.is_some() { "failed after" } else { "done in" };
            progress.end(&format!("{} of {total}: {step}: {ended} {took:.1?}", index.saturating_add(1)));
        }
        StepEvent::GapOpens { gaps, .. } => {
            for gap in gaps {
                progress.end(&gap.to_string());
            }
            held.borrow_mut().get_or_insert_with(Held::new);
        }
        StepEvent::GapCloses => drop(held.borrow_mut().take()),
        StepEvent::Replanned { plan, .. } => progress.end(&format!("another plan, since Xen refused that:\n{plan}")),
        StepEvent::Back { step, took, error, .. } => {
            let ended = if error.is_some() { "failed after" } else { "done in" };
            progress.end(&format!("back: {step}: {ended} {took:.1?}"));
        }
        _ => {}
    });
    drop(progress);
    match outcome {
        Ok(()) => {}
        // The rest is tidying up.
        Err(interrupted) if interrupted.outcome == Outcome::Reached => output::note(&format!("warning: {interrupted}")),
        Err(interrupted) => return Err(EnsureError::Interrupted(interrupted).into()),
    }
    match client.inventory() {
        Ok(after) => Ok(Some(after)),
        // All has been done all the same.
        Err(error) => {
            output::note(&format!("all steps were done, but what runs now is not known: {error}"));
            Ok(None)
        }
    }
}
