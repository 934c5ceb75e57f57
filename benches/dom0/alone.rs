//! Operations that are measured in processes of their own. To open and to close means to map and to unmap memory, and the cost
//! of that depends on the holes that other work has left in a process.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::{array, env};

use super::clock::{Clock, Unit};
use super::contender::{Contender, Files, Kind, Libxenctrl, Ours, Raw};
use super::fixture::Fixture;
use super::measure::{Sample, WARM_UP, sample};
use super::step::Step;

/// The first argument of such a process.
pub const CHILD: &str = "--alone";

/// Processes, since where their memory lies is chance, and rounds in each.
const PROCESSES: usize = 5;
const ROUNDS: usize = 5;

/// The samples of a step, done by one contender and nothing else.
pub fn samples(kind: Kind, step: &Step, fixture: &Fixture, files: &Files, unit: Unit) -> Vec<Sample> {
    let mut samples = Vec::new();
    for _ in 0..PROCESSES {
        let mut child = Command::new(env::current_exe().unwrap())
            .args([CHILD, unit.name(), kind.name()])
            .args([fixture.folder(), &files.folder])
            .arg(files.minor.to_string())
            .arg(step.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        for line in BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok) {
            let mut numbers = line.split(' ').map(|number| number.parse().unwrap());
            let [cost, page_faults] = array::from_fn(|_| numbers.next().expect("two numbers"));
            samples.push(Sample { cost, page_faults });
        }
        assert!(child.wait().unwrap().success(), "{} can't do {step} alone", kind.name());
    }
    samples
}

/// The child: prints what each round costs.
pub fn work(mut arguments: impl Iterator<Item = String>) {
    let unit = arguments.next();
    let unit = [Unit::Instructions, Unit::Nanoseconds].into_iter().find(|known| Some(known.name()) == unit.as_deref());
    // Verified by the parent.
    let clock = Clock::unverified(unit.expect("a unit"));
    with_contender(arguments, |contender, _, steps| {
        let mut samples = Vec::new();
        for _ in 0..WARM_UP + ROUNDS {
            samples.push(sample(&steps[0], contender, &clock).unwrap());
        }
        for Sample { cost, page_faults } in &samples[WARM_UP..] {
            println!("{cost} {page_faults}");
        }
    });
}

/// Has a contender work in a child of the bench: the arguments are its name, the directories of the fixture and of files, Xen's
/// minor version, and steps.
pub fn with_contender(
    mut arguments: impl Iterator<Item = String>,
    work: impl FnOnce(&mut dyn Contender, &Fixture, &[Step]),
) {
    let mut next = || arguments.next().expect("an argument");
    let kind: Kind = next().parse().unwrap();
    let fixture = Fixture::existing(Path::new(&next())).unwrap();
    let files = Files { folder: next().into(), minor: next().parse().unwrap() };
    let steps: Vec<Step> = arguments.map(|step| step.parse().unwrap()).collect();
    match kind {
        Kind::Raw => work(&mut Raw::new(&fixture), &fixture, &steps),
        Kind::Libxenctrl => {
            let library = files.library().expect("libxenctrl is there");
            work(&mut Libxenctrl::new(&fixture, &files, &library), &fixture, &steps);
        }
        Kind::Ours => work(&mut Ours::new(&fixture, &files, None), &fixture, &steps),
    }
}
