//! Measured costs. Contenders take turns, round by round, so that other work of the machine affects all alike.

use std::collections::BTreeMap;

use nix::sys::resource::UsageWho;

use super::clock::{Clock, Unit, median, processor_time};
use super::contender::{Contender, Kind, Outcome};
use super::fixture::{Fixture, calm};
use super::step::Step;

/// Rounds before the first that counts.
pub const WARM_UP: usize = 3;

/// The most failures of a run.
const FAILURES: usize = 20;

/// The costs of each step to each contender.
#[derive(Debug, Default)]
pub struct Samples {
    taken: BTreeMap<(Step, Kind), Vec<u64>>,
    /// Failures, and how often each happened. Failed steps were repeated.
    pub failures: BTreeMap<String, usize>,
}

impl Samples {
    /// The medians.
    pub fn all(&self) -> impl Iterator<Item = (Step, Kind, u64)> {
        self.taken.iter().filter_map(|((step, kind), costs)| Some((*step, *kind, median(costs.clone())?)))
    }

    /// Adds the costs of a step that was measured elsewhere.
    pub fn add(&mut self, step: Step, kind: Kind, costs: Vec<u64>) {
        self.taken.entry((step, kind)).or_default().extend(costs);
    }

    /// Measures consecutive steps, for all contenders that can do them.
    pub fn measure(
        &mut self,
        steps: &[Step],
        contenders: &mut [Box<dyn Contender + '_>],
        fixture: &Fixture,
        (clock, rounds): (&Clock, usize),
    ) {
        for round in 0..rounds + WARM_UP {
            for turn in 0..contenders.len() {
                // Nobody is always first.
                let turn = (round + turn) % contenders.len();
                let taken = self.round(steps, contenders[turn].as_mut(), fixture, clock);
                if round >= WARM_UP {
                    for (step, cost) in taken {
                        let kind = contenders[turn].kind();
                        self.taken.entry((step, kind)).or_default().push(cost);
                    }
                }
            }
        }
    }

    fn round(
        &mut self,
        steps: &[Step],
        contender: &mut dyn Contender,
        fixture: &Fixture,
        clock: &Clock,
    ) -> Vec<(Step, u64)> {
        let mut taken = Vec::new();
        for step in steps {
            if !contender.can(step.work) {
                continue;
            }
            match cost(step, contender, clock) {
                Ok(cost) => taken.push((*step, cost)),
                Err(error) => {
                    let failure = format!("{}, {}: {error}", contender.kind().name(), step.work.name());
                    *self.failures.entry(failure).or_default() += 1;
                    let failures = self.failures.values().sum::<usize>();
                    assert!(failures <= FAILURES, "it fails too often: {:#?}", self.failures);
                    break;
                }
            }
        }
        fixture.tidy(steps);
        taken
    }
}

/// Does a step once, and returns its cost.
pub fn cost(step: &Step, contender: &mut dyn Contender, clock: &Clock) -> Result<u64, String> {
    contender.prepare(step);
    calm(step);
    let worked = processor_time(UsageWho::RUSAGE_CHILDREN);
    let start = clock.now();
    let outcome = contender.run(step);
    let mut cost = clock.since(start);
    if step.work.is_process() && clock.unit == Unit::Instructions {
        // The counter continues while a process sleeps.
        cost = processor_time(UsageWho::RUSAGE_CHILDREN) - worked;
    }
    expected(step, outcome)?;
    Ok(cost)
}

/// Checks that a step did what it is meant to.
pub fn expected(step: &Step, outcome: Outcome) -> Result<(), String> {
    let rows = outcome?;
    if step.work.is_list() && rows != step.payloads {
        return Err(format!("{rows} rows instead of {}", step.payloads));
    }
    Ok(())
}
