//! Measurements in processes of their own. Opening and closing maps and unmaps memory, and its cost depends on the holes that
//! other work has left in a process.

use std::array;
use std::io::{BufRead, BufReader};

use super::child::{spawn, with_contender};
use super::clock::{Clock, Unit};
use super::contender::{Files, Kind};
use super::fixture::Fixture;
use super::measure::{Sample, WARM_UP, sample};
use super::step::Step;

/// The first argument of such a process.
pub const CHILD: &str = "--alone";

/// Several, since their memory lies at random addresses.
const PROCESSES: usize = 5;
const ROUNDS: usize = 5;

/// The samples of a step, done by one contender.
pub fn samples(kind: Kind, step: &Step, fixture: &Fixture, files: &Files, unit: Unit) -> Vec<Sample> {
    let mut samples = Vec::new();
    for _ in 0..PROCESSES {
        let mut child = spawn(&[CHILD, unit.name()], kind, &[*step], fixture, files);
        for line in BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok) {
            let mut numbers = line.split(' ').map(|number| number.parse().unwrap());
            let [cost, page_faults] = array::from_fn(|_| numbers.next().expect("two numbers"));
            samples.push(Sample { cost, page_faults });
        }
        assert!(child.wait().unwrap().success(), "{} can't do {step:?} alone", kind.name());
    }
    samples
}

/// In the process: prints the cost of each round.
pub fn work(arguments: &[String]) {
    let [unit, task] = arguments else { panic!("two arguments") };
    let unit = [Unit::Instructions, Unit::Nanoseconds].into_iter().find(|known| known.name() == unit);
    // Verified by the parent.
    let clock = Clock::unverified(unit.expect("a unit"));
    with_contender(task, |contender, _, steps| {
        let samples: Vec<Sample> =
            (0..WARM_UP + ROUNDS).map(|_| sample(&steps[0], contender, &clock).unwrap()).collect();
        for Sample { cost, page_faults } in &samples[WARM_UP..] {
            println!("{cost} {page_faults}");
        }
    });
}
