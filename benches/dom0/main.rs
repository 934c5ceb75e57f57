//! The costs of operations on a real Xen with the bare hypercall, with libxenctrl of its release, and with this crate, in one process
//! and one boot, in turns. `cargo real-xen-bench` boots a Xen and runs this in its dom0.
//!
//! Costs are instructions, counted by a machine that is booted for it, or times with `--clock`; `--help` lists the options. `--files`
//! names a directory with `libxenctrl.so.4.MINOR` and the libraries that it needs, Xen's own tool as `c-xen-livepatch`, and
//! `xen-livepatch`. A full run ends with a check of the bars, as `--check` does.
//!
//! `--page` needs no Xen: from the files of full runs it writes `benchmarks.jsonl` and the plots into a directory, and the tables of
//! its `benchmarks.md` and of `README.md`.
//!
//! Exit statuses: 0, or 1 for a missed bar, 2 for wrong arguments, 3 without a Xen, or if the machine's clock does not count
//! instructions.
#![cfg(test)]
#![allow(clippy::as_conversions, clippy::cast_precision_loss, reason = "counts and times are small")]
#![allow(unreachable_pub, reason = "the modules of one program")]

mod alone;
mod bars;
mod child;
mod clock;
mod contender;
mod count;
mod draw;
mod fixture;
mod foreign;
mod measure;
mod options;
mod page;
mod profile;
mod record;
mod report;
mod share;
mod step;
mod symbols;
#[path = "../../tests/common/system_calls.rs"]
mod system_calls;

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::process::ExitCode;

use bars::{LARGE, SMALL};
use clap::Parser;
use clock::{Clock, Unit};
use contender::{Contender, Files, Kind, Libxenctrl, Ours, Raw};
use count::{Count, count};
use fixture::{Fixture, Made};
use measure::{Effort, Samples};
use options::{Mode, Options};
use profile::profile;
use record::{Record, Run};
use share::in_hypercalls;
use step::{Step, Work};

/// Numbers of listed payloads.
const LISTS: [usize; 7] = [0, 1, 10, 64, 200, 500, 1000];
const BRIEF_LISTS: [usize; 3] = [0, 1, 64];

/// The most payloads of a list that is also read by a new client.
const OPENED: usize = 1;

/// The sizes of payloads that are uploaded.
const SIZES: [usize; 7] = [SMALL, 16 << 10, 64 << 10, 256 << 10, 512 << 10, 1 << 20, LARGE];
const BRIEF_SIZES: [usize; 3] = [SMALL, 64 << 10, LARGE];

/// Payloads above this take too long to be uploaded instruction by instruction.
const MOST_PROFILED: usize = 64 << 10;

const DIRECTORY: &str = "/tmp/xen-livepatch-bench";

const MISSED: u8 = 1;
const NOTHING_MEASURED: u8 = 3;

struct Bench<'a> {
    contenders: Vec<Box<dyn Contender + 'a>>,
    fixture: &'a Fixture,
    files: &'a Files,
    options: &'a Options,
    clock: Clock,
    effort: Effort,
    samples: Samples,
    counts: BTreeMap<(Step, Kind), Count>,
    in_hypercalls: HashMap<Step, u64>,
    functions: HashMap<Step, Vec<(String, u64)>>,
}

impl Bench<'_> {
    /// Measures consecutive steps, if one of them is selected.
    fn scene(&mut self, steps: &[Step]) {
        let has_bar = steps.iter().any(|step| bars::steps().contains(step));
        let named = steps.iter().any(|step| step.work.name().contains(self.options.only()));
        if !named || (self.options.bars_only() && !has_bar) {
            return;
        }
        for step in steps {
            eprintln!("{}, {}", step.work.name(), step.amount());
        }
        let how = (&self.clock, self.effort);
        if let [step @ Step { work: Work::OpenListClose, .. }] = steps {
            for kind in self.contenders.iter().filter(|contender| contender.can(step.work)).map(|c| c.kind()) {
                let samples = alone::samples(kind, step, self.fixture, self.files, self.clock.unit);
                self.samples.add(*step, kind, samples);
            }
        } else {
            self.samples.measure(steps, &mut self.contenders, self.fixture, how);
        }
        let traceable = !steps.iter().any(|step| step.work.is_process());
        if traceable && self.options.counts() {
            self.in_hypercalls.extend(in_hypercalls(steps, self.fixture, self.files, how));
            self.count(steps);
        }
        let short = steps.iter().all(|step| step.size <= MOST_PROFILED);
        if traceable && short && has_bar && self.options.profiles() {
            self.functions.extend(profile(steps, self.fixture, self.files));
        }
    }

    /// Counts the system calls of steps.
    fn count(&mut self, steps: &[Step]) {
        for contender in &self.contenders {
            let steps: Vec<Step> = steps.iter().copied().filter(|step| contender.can(step.work)).collect();
            if !steps.is_empty() {
                let counts = count(contender.kind(), &steps, self.fixture, self.files);
                self.counts.extend(counts.into_iter().map(|(step, count)| ((step, contender.kind()), count)));
            }
        }
    }

    fn lists(&mut self, loaded: usize) {
        if loaded > 0 {
            self.scene(&[Step::new(Work::Status, loaded, 0)]);
        }
        self.scene(&[Step::new(Work::List, loaded, 0)]);
        if loaded <= OPENED {
            self.scene(&[Step::new(Work::OpenListClose, loaded, 0)]);
        }
        if loaded == OPENED {
            self.scene(&[Step::new(Work::ListProcess, loaded, 0)]);
        }
    }

    fn uploads(&mut self, size: usize) {
        for upload in [Work::UploadFromMemory, Work::UploadFromFile] {
            self.scene(&[Step::new(upload, 0, size), Step::new(Work::Unload, 0, size)]);
        }
        self.scene(&[Step::new(Work::Check, 0, size)]);
    }

    fn records(&self, xen: &str) -> Run {
        let time = record::now();
        let records = self.samples.all().map(|(step, kind, costs)| {
            let ours = kind == Kind::Ours;
            Record {
                xen: xen.into(),
                unix_time: time,
                step,
                contender: kind,
                unit: self.clock.unit.name().into(),
                costs,
                count: self.counts.get(&(step, kind)).copied(),
                in_hypercalls: self.in_hypercalls.get(&step).copied().filter(|_| ours),
                functions: self.functions.get(&step).cloned().filter(|_| ours).unwrap_or_default(),
            }
        });
        Run { records: records.collect() }
    }
}

fn main() -> ExitCode {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    for (child, work) in [(count::CHILD, count::work as fn(_)), (alone::CHILD, alone::work)] {
        if arguments.first().is_some_and(|argument| argument == child) {
            work(&arguments[1..]);
            return ExitCode::SUCCESS;
        }
    }
    // Added by cargo.
    arguments.retain(|argument| argument != "--bench");
    let options = Options::parse_from([String::from("dom0")].into_iter().chain(arguments));
    let done = match &options.page[..] {
        [directory, files @ ..] => page::write(files, directory).map_err(|error| (MISSED, error.to_string())),
        [] => run(&options),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err((status, error)) => {
            eprintln!("{error}");
            ExitCode::from(status)
        }
    }
}

/// Measures and prints the selected operations. An error has an exit status.
fn run(options: &Options) -> Result<(), (u8, String)> {
    let unit = if options.clock { Unit::Nanoseconds } else { Unit::Instructions };
    let nothing = |error: String| (NOTHING_MEASURED, error);
    let client = Ours::open(None).map_err(|error| nothing(format!("no real Xen: {error}")))?;
    let clock = Clock::new(unit).map_err(nothing)?;
    let made = Made::of(&client).expect("Xen reports its version");
    let (all_sizes, all_lists) =
        if options.mode() == Mode::Brief { (&BRIEF_SIZES[..], &BRIEF_LISTS[..]) } else { (&SIZES[..], &LISTS[..]) };
    let wanted = |with: &dyn Fn(&Step) -> bool| !options.bars_only() || bars::steps().iter().any(with);
    let sizes: Vec<usize> =
        all_sizes.iter().copied().filter(|size| wanted(&|step| step.size == *size && step.work.is_upload())).collect();
    let lists =
        all_lists.iter().copied().filter(|loaded| wanted(&|step| step.payloads == *loaded && step.work.is_list()));

    let fixture = Fixture::new(Path::new(DIRECTORY), &made, &sizes).expect("bare hypercalls work");
    let files = Files { directory: options.files.clone(), minor: made.version.release().1 };
    let library = files.library();
    let mut contenders: Vec<Box<dyn Contender>> =
        vec![Box::new(Raw::new(&fixture)), Box::new(Ours::new(&fixture, &files, None))];
    match &library {
        Some(library) => contenders.push(Box::new(Libxenctrl::new(&fixture, &files, library))),
        None => eprintln!("{} has no libxenctrl of this Xen: left out", files.directory.display()),
    }
    let effort = Effort::of(unit, options.mode() != Mode::Full);
    let (samples, counts, in_hypercalls, functions) = Default::default();
    let (fixture, files) = (&fixture, &files);
    let mut bench =
        Bench { contenders, fixture, files, options, clock, effort, samples, counts, in_hypercalls, functions };
    fixture.load(&made, &client, 0);
    for size in sizes {
        bench.uploads(size);
    }
    fixture.load_applied(&made);
    bench.scene(&[Step::new(Work::Apply, 1, 0), Step::new(Work::Revert, 1, 0)]);
    fixture.load(&made, &client, 0);
    bench.scene(&[Step::new(Work::Load, 0, 0)]);
    bench.scene(&[Step::new(Work::LoadProcess, 0, 0)]);
    for loaded in lists {
        fixture.load(&made, &client, loaded);
        bench.lists(loaded);
    }
    fixture.load(&made, &client, 0);
    print(&bench, &made.version.to_string())
}

fn print(bench: &Bench<'_>, xen: &str) -> Result<(), (u8, String)> {
    let (options, Clock { unit, reading, .. }) = (bench.options, bench.clock);
    let run = bench.records(xen);
    if options.mode() == Mode::Full && options.only().is_empty() {
        for line in run.lines() {
            println!("{line}");
        }
    }
    println!("\n# Xen {xen}\n\nReading the clock costs {reading} {}, which are taken off each cost.", unit.name());
    for (failure, times) in &bench.samples.failures {
        println!("\nFailed {times} times, and was tried again: {failure}");
    }
    report::costs(&run, unit.thousand());
    if options.counts() {
        report::counts(&run, unit.thousand());
    }
    report::profiles(&run);
    // The bars are about instructions.
    if unit == Unit::Instructions && !bars::check(&run) && options.is_held_to_bars() {
        return Err((MISSED, "an operation costs too much, or was not measured".into()));
    }
    Ok(())
}
