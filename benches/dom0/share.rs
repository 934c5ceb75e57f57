//! Where the time of this crate goes: how much of each operation is hypercalls, and how much is its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use super::contender::{Contender, Files, Ours};
use super::fixture::{Fixture, calm};
use super::measure::{Effort, WARM_UP, expected};
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
    let spent = Arc::new(AtomicU64::new(0));
    let mut ours = Ours::timed(fixture, files, Arc::clone(&spent));
    let mut taken: Vec<(Vec<u64>, Vec<u64>)> = vec![Default::default(); steps.len()];
    for round in 0..effort.least + WARM_UP {
        for (step, (wholes, hypercalls)) in steps.iter().zip(&mut taken) {
            ours.prepare(step);
            calm(step);
            spent.store(0, Ordering::Relaxed);
            let start = Instant::now();
            let outcome = ours.run(step);
            let whole = start.elapsed();
            if expected(step, outcome).is_err() {
                break;
            }
            if round >= WARM_UP {
                wholes.push(u64::try_from(whole.as_nanos()).unwrap_or(u64::MAX));
                hypercalls.push(spent.load(Ordering::Relaxed));
            }
        }
        fixture.tidy(steps);
    }
    let median = |mut times: Vec<u64>| {
        times.sort_unstable();
        times.get(times.len() / 2).copied()
    };
    let shares = steps.iter().zip(taken).filter_map(|(step, (wholes, hypercalls))| {
        Some(Share { step: *step, whole: median(wholes)?, hypercalls: median(hypercalls)? })
    });
    shares.collect()
}
