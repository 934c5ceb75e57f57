//! Measured costs. Contenders take turns, round by round, so that other work of the machine affects all alike.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use nix::sys::resource::UsageWho;
use serde::{Deserialize, Serialize};

use super::clock::{Clock, Unit, median, page_faults, processor_time};
use super::contender::{Contender, Kind, Outcome};
use super::fixture::{Fixture, calm};
use super::step::Step;

/// The duration of the measurement of consecutive steps.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    pub time: Duration,
    /// Rounds, whatever the time.
    pub least: usize,
    pub most: usize,
}

impl Effort {
    /// Counts are exact: rounds only leave out those with an interrupt.
    pub fn of(unit: Unit, brief: bool) -> Self {
        match (unit, brief) {
            (Unit::Instructions, true) => Self { time: Duration::ZERO, least: 5, most: 5 },
            (Unit::Instructions, false) => Self { time: Duration::ZERO, least: 11, most: 11 },
            (Unit::Nanoseconds, true) => Self { time: Duration::from_millis(700), least: 5, most: 200 },
            (Unit::Nanoseconds, false) => Self { time: Duration::from_secs(5), least: 30, most: 1000 },
        }
    }
}

/// Rounds before the first that counts.
pub const WARM_UP: usize = 3;

/// The most failures of a run.
const FAILURES: usize = 20;

/// The cost of a step, once.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    pub cost: u64,
    pub page_faults: u64,
}

/// The costs of each step to each contender.
#[derive(Debug, Default)]
pub struct Samples {
    taken: BTreeMap<(Step, Kind), Vec<Sample>>,
    /// Failures, and how often each happened. Failed steps were repeated.
    pub failures: BTreeMap<String, usize>,
}

/// The costs of a step to a contender, in all rounds.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Costs {
    pub rounds: usize,
    pub least: u64,
    pub median: u64,
    pub p90: u64,
    pub page_faults: u64,
}

impl Samples {
    pub fn all(&self) -> impl Iterator<Item = (Step, Kind, Costs)> {
        self.taken.iter().filter_map(|((step, kind), samples)| Some((*step, *kind, Costs::of(samples)?)))
    }

    /// Adds the samples of a step that was measured elsewhere.
    pub fn add(&mut self, step: Step, kind: Kind, samples: Vec<Sample>) {
        self.taken.entry((step, kind)).or_default().extend(samples);
    }

    /// Measures consecutive steps, for all contenders that can do them.
    pub fn measure(
        &mut self,
        steps: &[Step],
        contenders: &mut [Box<dyn Contender + '_>],
        fixture: &Fixture,
        (clock, effort): (&Clock, Effort),
    ) {
        let started = Instant::now();
        for round in 0..effort.most + WARM_UP {
            if round >= effort.least + WARM_UP && started.elapsed() >= effort.time {
                break;
            }
            for turn in 0..contenders.len() {
                // Nobody is always first.
                let turn = (round + turn) % contenders.len();
                let taken = self.round(steps, contenders[turn].as_mut(), fixture, clock);
                if round >= WARM_UP {
                    for (step, sample) in taken {
                        let kind = contenders[turn].kind();
                        self.taken.entry((step, kind)).or_default().push(sample);
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
    ) -> Vec<(Step, Sample)> {
        let mut taken = Vec::new();
        for step in steps {
            if !contender.can(step.work) {
                continue;
            }
            match sample(step, contender, clock) {
                Ok(sample) => taken.push((*step, sample)),
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

impl Costs {
    fn of(samples: &[Sample]) -> Option<Self> {
        let mut sorted: Vec<u64> = samples.iter().map(|sample| sample.cost).collect();
        sorted.sort_unstable();
        let at = |percent: usize| sorted.get(sorted.len() * percent / 100).or(sorted.last()).copied();
        let page_faults = median(samples.iter().map(|sample| sample.page_faults).collect())?;
        Some(Self { rounds: sorted.len(), least: *sorted.first()?, median: at(50)?, p90: at(90)?, page_faults })
    }
}

/// Does a step once.
pub fn sample(step: &Step, contender: &mut dyn Contender, clock: &Clock) -> Result<Sample, String> {
    contender.prepare(step);
    calm(step);
    let whose = if step.work.is_process() { UsageWho::RUSAGE_CHILDREN } else { UsageWho::RUSAGE_SELF };
    let (faults, worked) = (page_faults(whose), processor_time(whose));
    let start = clock.now();
    let outcome = contender.run(step);
    let mut cost = clock.since(start);
    if step.work.is_process() && clock.unit == Unit::Instructions {
        // The counter continues while a process sleeps.
        cost = processor_time(whose) - worked;
    }
    let page_faults = page_faults(whose) - faults;
    expected(step, outcome)?;
    Ok(Sample { cost, page_faults })
}

/// Checks that a step did what it is meant to.
pub fn expected(step: &Step, outcome: Outcome) -> Result<(), String> {
    let rows = outcome?;
    if step.work.is_list() && rows != step.payloads {
        return Err(format!("{rows} rows instead of {}", step.payloads));
    }
    Ok(())
}
