//! The unit of costs: instructions, on a machine whose clock counts them, or time.

use std::time::{Duration, Instant};

use nix::sys::resource::{Usage, UsageWho, getrusage};
use serde::{Deserialize, Serialize};

use super::foreign::counter::{count_down, instructions, multiply};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Unit {
    Instructions,
    Nanoseconds,
}

impl Unit {
    pub fn name(self) -> &'static str {
        match self {
            Self::Instructions => "instructions",
            Self::Nanoseconds => "nanoseconds",
        }
    }

    /// The measured rounds of a process. Counts of instructions differ only by interrupts and by addresses.
    pub fn rounds(self) -> usize {
        match self {
            Self::Instructions => 5,
            Self::Nanoseconds => 40,
        }
    }

    /// The name of a thousand of them.
    pub fn thousand(self) -> &'static str {
        match self {
            Self::Instructions => "thousand instructions",
            Self::Nanoseconds => "µs",
        }
    }
}

/// The part by which a count may be off, in both directions.
const TOLERANCE: f64 = 0.005;

#[derive(Clone, Copy, Debug)]
pub struct Clock {
    pub unit: Unit,
    /// The cost of reading the clock, which is taken off each cost.
    pub reading: u64,
    origin: Instant,
}

impl Clock {
    /// A clock in this unit. Fails if the machine does not count instructions.
    pub fn new(unit: Unit) -> Result<Self, String> {
        let clock = Self::unverified(unit);
        if unit == Unit::Instructions {
            clock.verify()?;
        }
        Ok(clock)
    }

    pub fn unverified(unit: Unit) -> Self {
        let mut clock = Self { unit, reading: 0, origin: Instant::now() };
        clock.reading = median((0..1001).map(|_| clock.since(clock.now())));
        clock
    }

    pub fn now(&self) -> u64 {
        match self.unit {
            Unit::Instructions => instructions(),
            Unit::Nanoseconds => nanos(self.origin.elapsed()),
        }
    }

    pub fn since(&self, start: u64) -> u64 {
        self.now().saturating_sub(start).saturating_sub(self.reading)
    }

    /// Compares counts with two loops of known length. No processor's own time agrees with both.
    fn verify(&self) -> Result<(), String> {
        for (name, run) in [("count down", count_down as fn(u64)), ("multiply", multiply)] {
            const EXPECTED: u64 = 300_000;
            let count = || {
                let start = self.now();
                run(EXPECTED);
                self.since(start)
            };
            // The least: the kernel's timer interrupts some.
            compare(name, EXPECTED, (0..7).map(|_| count()).min().unwrap_or_default())?;
        }
        // Long enough for the microseconds in which the kernel reports it.
        let (start, before) = (self.now(), processor_time(UsageWho::RUSAGE_SELF));
        count_down(20_000_000);
        compare("processor time", self.since(start), processor_time(UsageWho::RUSAGE_SELF) - before)
    }
}

fn compare(what: &str, expected: u64, counted: u64) -> Result<(), String> {
    if (counted as f64 / expected as f64 - 1.0).abs() <= TOLERANCE {
        return Ok(());
    }
    Err(format!(
        "the clock of this machine does not count instructions ({what}: {counted} instead of {expected}): boot with \
         REAL_XEN_CLOCK=instructions, or measure time with --clock"
    ))
}

/// The processor time of this process, or of its children that have ended, in nanoseconds, which excludes sleep. If the clock counts
/// instructions, it is their number, to a thousand.
pub fn processor_time(whose: UsageWho) -> u64 {
    let usage = usage(whose);
    let (user, system) = (usage.user_time(), usage.system_time());
    let micros = (user.tv_sec() + system.tv_sec()) * 1_000_000 + user.tv_usec() + system.tv_usec();
    u64::try_from(micros).unwrap_or_default() * 1000
}

/// The page faults of this process, or of its children that have ended.
pub fn page_faults(whose: UsageWho) -> u64 {
    u64::try_from(usage(whose).minor_page_faults()).unwrap_or_default()
}

fn usage(whose: UsageWho) -> Usage {
    getrusage(whose).expect("the kernel reports usage")
}

/// The median of at least one value.
pub fn median(values: impl Iterator<Item = u64>) -> u64 {
    let mut values: Vec<u64> = values.collect();
    values.sort_unstable();
    values[values.len() / 2]
}

pub fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
