//! The clock: contenders take turns, round by round, so that what the machine does meanwhile meets all alike.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::contender::{Contender, Kind, Outcome};
use super::fixture::{Fixture, calm};
use super::foreign::counter::instructions;
use super::step::{Step, Work};

/// How long to measure a scene.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    pub time: Duration,
    /// Rounds, whatever the time.
    pub least: usize,
    pub most: usize,
}

impl Effort {
    pub const FULL: Self = Self { time: Duration::from_secs(5), least: 30, most: 1000 };
    pub const BRIEF: Self = Self { time: Duration::from_millis(700), least: 5, most: 200 };
}

/// Rounds before the first that counts.
pub const WARM_UP: usize = 3;

/// More failures than this are not bad luck.
const FAILURES: usize = 20;

/// What each contender took for each step, in nanoseconds.
#[derive(Debug, Default)]
pub struct Samples {
    taken: BTreeMap<(Step, Kind), Vec<u64>>,
    /// What went wrong, and how often. It was tried again.
    pub failures: BTreeMap<String, usize>,
}

/// What a step took.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    pub rounds: usize,
    pub least: u64,
    pub median: u64,
    pub p90: u64,
}

impl Samples {
    pub fn steps(&self) -> Vec<Step> {
        let mut steps: Vec<Step> = self.taken.keys().map(|(step, _)| *step).collect();
        steps.dedup();
        steps
    }

    pub fn of(&self, step: Step, kind: Kind) -> Option<Times> {
        let mut sorted = self.taken.get(&(step, kind))?.clone();
        sorted.sort_unstable();
        let at = |percent: usize| sorted.get(sorted.len() * percent / 100).or(sorted.last()).copied();
        Some(Times { rounds: sorted.len(), least: *sorted.first()?, median: at(50)?, p90: at(90)? })
    }

    /// Measures steps that follow one another, for all who can do them.
    pub fn measure(
        &mut self,
        steps: &[Step],
        contenders: &mut [Box<dyn Contender + '_>],
        fixture: &Fixture,
        effort: Effort,
    ) {
        let started = Instant::now();
        for round in 0..effort.most + WARM_UP {
            if round >= effort.least + WARM_UP && started.elapsed() >= effort.time {
                break;
            }
            for turn in 0..contenders.len() {
                // Nobody is always first.
                let turn = (round + turn) % contenders.len();
                let took = self.round(steps, contenders[turn].as_mut(), fixture);
                if round >= WARM_UP {
                    for (step, time) in took {
                        let kind = contenders[turn].kind();
                        self.taken.entry((step, kind)).or_default().push(time);
                    }
                }
            }
        }
    }

    fn round(&mut self, steps: &[Step], contender: &mut dyn Contender, fixture: &Fixture) -> Vec<(Step, u64)> {
        let mut took = Vec::new();
        for step in steps {
            if !contender.can(step.work) {
                continue;
            }
            match time(step, contender) {
                Ok(time) => took.push((*step, time)),
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
        took
    }
}

/// Does a step once: what it took, in nanoseconds.
pub fn time(step: &Step, contender: &mut dyn Contender) -> Result<u64, String> {
    contender.prepare(step);
    calm(step);
    let start = instructions();
    let outcome = contender.run(step);
    let time = instructions() - start;
    expected(step, outcome)?;
    Ok(time)
}

/// Whether a step did what it is meant to.
pub fn expected(step: &Step, outcome: Outcome) -> Result<(), String> {
    let rows = outcome?;
    let lists = matches!(step.work, Work::List | Work::OpenListClose | Work::ListProcess);
    if lists && rows != step.payloads {
        return Err(format!("{rows} rows instead of {}", step.payloads));
    }
    Ok(())
}

/// What reading the clock adds to each time.
pub fn clock() -> u64 {
    median((0..1001).map(|_| nanos(Instant::now().elapsed())).collect()).unwrap_or_default()
}

pub fn median(mut times: Vec<u64>) -> Option<u64> {
    times.sort_unstable();
    times.get(times.len() / 2).copied()
}

pub fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
