//! A plan carried out with progress, with announced gaps, and with signals held while a gap is open.

use std::cell::RefCell;

use xen_livepatch::{Inventory, LivepatchClient, Outcome, Plan, StepEvent};

use crate::failure::Failure;
use crate::output::Output;
use crate::progress::Progress;
use crate::signals::Held;
use crate::terminal;

/// Carries out a plan, then takes an inventory, which is `None` if that failed.
pub(super) fn carry_out(client: &LivepatchClient, plan: &Plan, output: &Output) -> Result<Option<Inventory>, Failure> {
    let progress = {
        // The thread that draws a bar inherits the held signals, so that they are delivered to this one.
        let _held = Held::new();
        Progress::new(output, plan.steps().len())
    };
    let held = RefCell::new(None);
    let outcome = client.carry_out(plan, |event| match event {
        StepEvent::Begin { step, .. } => progress.begin(&step.to_string()),
        StepEvent::End { step, index, total, took, error, .. } => {
            let ended = if error.is_some() { "failed after" } else { "done in" };
            progress.end(&format!("{} of {total}: {step}: {ended} {took:.1?}", index + 1));
        }
        // Also before a REPLACE, which may end in an unforeseen gap.
        StepEvent::GapOpens { gaps, .. } => {
            for gap in gaps {
                progress.end(&gap.to_string());
            }
            held.borrow_mut().get_or_insert_with(Held::new);
        }
        StepEvent::GapCloses => drop(held.borrow_mut().take()),
        StepEvent::Replanned { plan, .. } => progress.end(&format!("new plan, since Xen refused this step:\n{plan}")),
        StepEvent::Back { step, took, error, .. } => {
            let ended = if error.is_some() { "failed after" } else { "done in" };
            progress.end(&format!("back: {step}: {ended} {took:.1?}"));
        }
        _ => {}
    });
    drop(progress);
    match outcome {
        Ok(()) => {}
        // Only cleaning up failed.
        Err(interrupted) if interrupted.outcome == Outcome::Reached => {
            terminal::note(&format!("warning: {interrupted}"));
        }
        Err(interrupted) => return Err(interrupted.into()),
    }
    match client.inventory() {
        Ok(after) => Ok(Some(after)),
        // The plan was carried out nevertheless.
        Err(error) => {
            terminal::note(&format!("all steps were done, but the present state is unknown: {error}"));
            Ok(None)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::{Arc, Mutex};

    use xen_livepatch::sim::{Call, FunctionPatch, PayloadBuilder, SimulatedXen};
    use xen_livepatch::{Payload, PayloadName, Release, Wanted};

    use super::*;

    const HANGUP: u32 = 1;
    const INTERRUPT: u32 = 2;
    const TERMINATE: u32 = 15;
    const STOP_BY_KEY: u32 = 20;

    /// The signals that this thread blocks, one bit each.
    fn blocked() -> u64 {
        let status = fs::read_to_string("/proc/thread-self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("SigBlk:")).unwrap();
        u64::from_str_radix(line.trim(), 16).unwrap()
    }

    fn holds_signals(mask: u64) -> bool {
        [HANGUP, INTERRUPT, TERMINATE, STOP_BY_KEY].iter().all(|signal| mask & (1 << (signal - 1)) != 0)
    }

    fn wanted(xen: &SimulatedXen, id: &str) -> Wanted {
        let payload = PayloadBuilder::for_xen(xen, id).function(FunctionPatch::returning("do_xen_version", id));
        Wanted::only(PayloadName::new("fix").unwrap(), Payload::parse(&payload.build()).unwrap())
    }

    #[test]
    fn signals_wait_while_a_gap_is_open_and_no_longer() {
        let xen = SimulatedXen::new(Release::V4_17);
        let client = LivepatchClient::builder().connect(xen.clone()).unwrap();
        client.ensure(&wanted(&xen, "one"), |_| ()).unwrap();
        let plan = Plan::new(&client.inventory().unwrap(), &wanted(&xen, "two").one_by_one()).unwrap();
        assert_eq!(plan.gaps().len(), 1);
        let seen = Arc::new(Mutex::new(Vec::new()));
        for call in [Call::Revert, Call::Apply, Call::Unload] {
            let seen = Arc::clone(&seen);
            xen.on(call).nth(1).before(move |_| seen.lock().unwrap().push(holds_signals(blocked())));
        }
        let output = Output::for_usage(&[]);
        let before = blocked();
        carry_out(&client, &plan, &output).unwrap();
        // The gap is from the revert to the apply; the old payload is unloaded afterwards.
        assert_eq!(*seen.lock().unwrap(), [true, true, false]);
        assert_eq!(blocked(), before);
        assert!(!holds_signals(before));
    }
}
