//! The part of each operation of this crate that is hypercalls.

use core::mem::take;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::clock::{Clock, median, nanos};
use super::contender::{Files, Ours};
use super::fixture::Fixture;
use super::measure::{Effort, WARM_UP, sample};
use super::step::Step;

/// Does the steps with a client that times its hypercalls, and returns the medians. A nanosecond is an instruction if the
/// clock counts them.
pub fn in_hypercalls(
    steps: &[Step],
    fixture: &Fixture,
    files: &Files,
    (clock, effort): (&Clock, Effort),
) -> Vec<(Step, u64)> {
    let spent = Arc::new(Mutex::new(Duration::ZERO));
    let mut ours = Ours::new(fixture, files, Some(Arc::clone(&spent)));
    let mut taken: Vec<Vec<u64>> = vec![Vec::new(); steps.len()];
    for round in 0..effort.least + WARM_UP {
        for (step, hypercalls) in steps.iter().zip(&mut taken) {
            let done = sample(step, &mut ours, clock);
            let spent = take(&mut *spent.lock().unwrap());
            if done.is_err() {
                break;
            }
            if round >= WARM_UP {
                hypercalls.push(nanos(spent));
            }
        }
        fixture.tidy(steps);
    }
    steps.iter().zip(taken).filter_map(|(step, hypercalls)| Some((*step, median(hypercalls)?))).collect()
}
