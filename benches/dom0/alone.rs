//! Measurements in processes of their own. Opening and closing maps and unmaps memory, and its cost depends on the holes that
//! other work has left in a process.

use std::io::{BufRead, BufReader};

use super::child::{spawn, with_contender};
use super::clock::{Clock, Unit};
use super::contender::{Files, Kind};
use super::fixture::Fixture;
use super::measure::{WARM_UP, cost};
use super::step::Step;

/// The first argument of such a process.
pub const CHILD: &str = "--alone";

/// Several, since their memory lies at random addresses.
const PROCESSES: usize = 5;
const ROUNDS: usize = 5;

/// The costs of a step, done by one contender.
pub fn costs(kind: Kind, step: &Step, fixture: &Fixture, files: &Files, unit: Unit) -> Vec<u64> {
    let mut costs = Vec::new();
    for _ in 0..PROCESSES {
        let mut child = spawn(&[CHILD, unit.name()], kind, &[*step], fixture, files);
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        costs.extend(lines.map(|line| line.parse::<u64>().unwrap()));
        assert!(child.wait().unwrap().success(), "{} can't do {step:?} alone", kind.name());
    }
    costs
}

/// In the process: prints the cost of each round.
pub fn work(arguments: &[String]) {
    let [unit, task] = arguments else { panic!("two arguments") };
    let unit = [Unit::Instructions, Unit::Nanoseconds].into_iter().find(|known| known.name() == unit);
    // Verified by the parent.
    let clock = Clock::unverified(unit.expect("a unit"));
    with_contender(task, |contender, _, steps| {
        let costs: Vec<u64> = (0..WARM_UP + ROUNDS).map(|_| cost(&steps[0], contender, &clock).unwrap()).collect();
        for cost in &costs[WARM_UP..] {
            println!("{cost}");
        }
    });
}
