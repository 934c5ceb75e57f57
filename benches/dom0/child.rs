//! Processes of the bench, in each of which one contender does steps and nothing else happens: the cost of mapping memory depends
//! on what else a process has mapped.

use core::mem::take;
use std::env;
use std::fs;
use std::io::stdin;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nix::sys::resource::UsageWho;
use nix::unistd::getppid;
use serde::{Deserialize, Serialize};

use super::clock::{Clock, Unit, nanos, page_faults, processor_time};
use super::contender::{Contender, Files, Kind, Libxenctrl, Ours, Outcome, Raw};
use super::fixture::{Fixture, calm};
use super::step::Step;

/// The first argument of such a process.
pub const CHILD: &str = "--child";

/// Rounds before the first that counts, which fill what is kept from call to call.
pub const WARM_UP: usize = 3;

/// The most failures of a process.
const FAILURES: usize = 20;

/// The work of a process, which is its last argument.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Task {
    pub kind: Kind,
    pub steps: Vec<Step>,
    pub rounds: usize,
    pub unit: Unit,
    /// Times the hypercalls of this crate, which has a cost of its own.
    pub timed: bool,
    pub fixture: PathBuf,
    pub files: Files,
}

/// The cost of a step, once.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Sample {
    pub cost: u64,
    pub page_faults: u64,
    /// The part of the cost that is hypercalls, if they are timed.
    pub in_hypercalls: u64,
}

/// The output of a process.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Output {
    /// The samples of each step.
    pub samples: Vec<Vec<Sample>>,
    /// The most memory of the process.
    pub resident_kib: u64,
}

impl Task {
    /// Starts this program again, with Xen's libraries. The process begins when its standard input is closed.
    pub fn spawn(&self) -> Child {
        Command::new(env::current_exe().unwrap())
            .args([CHILD, &serde_json::to_string(self).unwrap()])
            .env("LD_LIBRARY_PATH", &self.files.directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap()
    }

    /// Does the work in a process.
    pub fn run(&self) -> Output {
        let output = self.spawn().wait_with_output().unwrap();
        assert!(output.status.success(), "{} can't do {:?}", self.kind.name(), self.steps);
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Does all rounds, and repeats those that fail.
    fn samples(&self, contender: &mut dyn Contender, fixture: &Fixture, spent: &Mutex<Duration>) -> Vec<Vec<Sample>> {
        // Verified by the parent.
        let clock = Clock::unverified(self.unit);
        let mut samples = vec![Vec::new(); self.steps.len()];
        let (mut round, mut failures) = (0, 0);
        while round < WARM_UP + self.rounds {
            let taken: Result<Vec<Sample>, String> =
                self.steps.iter().map(|step| sample(step, contender, &clock, spent)).collect();
            fixture.tidy(&self.steps);
            match taken {
                Ok(taken) if round >= WARM_UP => {
                    samples.iter_mut().zip(taken).for_each(|(samples, sample)| samples.push(sample));
                }
                Ok(_) => {}
                Err(error) => {
                    failures += 1;
                    assert!(failures <= FAILURES, "it fails too often: {error}");
                    eprintln!("{} failed, and tries again: {error}", self.kind.name());
                    continue;
                }
            }
            round += 1;
        }
        samples
    }
}

/// Does the work of this process, and prints its output.
pub fn work(task: &str) {
    stdin().read_line(&mut String::new()).unwrap();
    let task: Task = serde_json::from_str(task).unwrap();
    let fixture = Fixture::existing(&task.fixture).unwrap();
    let spent = Arc::new(Mutex::new(Duration::ZERO));
    let samples = match task.kind {
        Kind::Raw => task.samples(&mut Raw::new(&fixture), &fixture, &spent),
        Kind::Libxenctrl => {
            let library = task.files.library();
            task.samples(&mut Libxenctrl::new(&fixture, &task.files, &library), &fixture, &spent)
        }
        Kind::Ours => {
            let timer = task.timed.then(|| Arc::clone(&spent));
            task.samples(&mut Ours::new(&fixture, &task.files, timer), &fixture, &spent)
        }
    };
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM")).expect("the kernel reports it");
    let resident_kib = line.trim_matches(|c: char| !c.is_ascii_digit()).parse().unwrap();
    println!("{}", serde_json::to_string(&Output { samples, resident_kib }).unwrap());
}

/// Does a step once, between two calls of `getppid`, which are seen where the process is traced.
fn sample(
    step: &Step,
    contender: &mut dyn Contender,
    clock: &Clock,
    spent: &Mutex<Duration>,
) -> Result<Sample, String> {
    contender.prepare(step);
    calm(step);
    let whose = if step.work.is_process() { UsageWho::RUSAGE_CHILDREN } else { UsageWho::RUSAGE_SELF };
    let (faults, worked) = (page_faults(whose), processor_time(whose));
    getppid();
    let start = clock.now();
    let outcome = contender.run(step);
    let mut cost = clock.since(start);
    getppid();
    if step.work.is_process() && clock.unit == Unit::Instructions {
        // The counter continues while a process sleeps.
        cost = processor_time(whose) - worked;
    }
    let page_faults = page_faults(whose) - faults;
    let in_hypercalls = nanos(take(&mut *spent.lock().unwrap()));
    expected(step, outcome)?;
    Ok(Sample { cost, page_faults, in_hypercalls })
}

/// Checks that a step did what it is meant to.
fn expected(step: &Step, outcome: Outcome) -> Result<(), String> {
    let rows = outcome.map_err(|error| format!("{}: {error}", step.work.name()))?;
    if step.work.is_list() && rows != step.payloads {
        return Err(format!("{}: {rows} rows instead of {}", step.work.name(), step.payloads));
    }
    Ok(())
}
