//! Where the time of this crate goes: how much of each operation is hypercalls, and how much is its own.

use core::mem::take;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::contender::{Files, Ours};
use super::fixture::Fixture;
use super::measure::{Effort, WARM_UP, median, nanos, time};
use super::step::Step;

/// Medians in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub struct Share {
    pub step: Step,
    pub whole: u64,
    pub hypercalls: u64,
}

/// Does the steps with a client that times its hypercalls, which takes a little time of its own.
pub fn share(steps: &[Step], fixture: &Fixture, files: &Files, effort: Effort) -> Vec<Share> {
    let spent = Arc::new(Mutex::new(Duration::ZERO));
    let mut ours = Ours::new(fixture, files, Some(Arc::clone(&spent)));
    let mut taken: Vec<(Vec<u64>, Vec<u64>)> = vec![Default::default(); steps.len()];
    for round in 0..effort.least + WARM_UP {
        for (step, (wholes, hypercalls)) in steps.iter().zip(&mut taken) {
            let whole = time(step, &mut ours);
            let spent = take(&mut *spent.lock().unwrap());
            let Ok(whole) = whole else { break };
            if round >= WARM_UP {
                wholes.push(whole);
                hypercalls.push(nanos(spent));
            }
        }
        fixture.tidy(steps);
    }
    let shares = steps.iter().zip(taken).filter_map(|(step, (wholes, hypercalls))| {
        Some(Share { step: *step, whole: median(wholes)?, hypercalls: median(hypercalls)? })
    });
    shares.collect()
}
