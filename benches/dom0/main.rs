//! The costs of operations on a real Xen with the bare hypercall, with libxenctrl of its release, and with this crate, in one boot, in
//! turns, each in processes of its own. `cargo real-xen-bench` boots a Xen and runs this in its dom0.
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

mod bars;
mod child;
mod clock;
mod contender;
mod draw;
mod fixture;
mod foreign;
mod options;
mod page;
mod record;
mod report;
mod step;
mod symbols;
#[path = "../../tests/common/system_calls.rs"]
mod system_calls;
mod trace;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;

use bars::{LARGE, SMALL};
use child::{Sample, Task};
use clap::Parser;
use clock::{Clock, Unit, median};
use contender::{Files, Kind, Ours};
use fixture::{Fixture, Made};
use options::Options;
use record::{Costs, Record, Run};
use step::{Step, Work};
use trace::{Traced, trace};

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

/// The processes of each contender for a step, several because their memory lies at random addresses.
const PROCESSES: usize = 5;

struct Bench<'a> {
    files: &'a Files,
    options: &'a Options,
    clock: Clock,
    samples: BTreeMap<(Step, Kind), Vec<Sample>>,
    traced: BTreeMap<(Step, Kind), Traced>,
    in_hypercalls: BTreeMap<Step, u64>,
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
        let contenders: Vec<Kind> =
            Kind::ALL.into_iter().filter(|kind| steps.iter().all(|step| self.files.can(*kind, step.work))).collect();
        // In turns, so that other work of the machine affects all alike.
        for _ in 0..PROCESSES {
            for kind in &contenders {
                for (step, samples) in steps.iter().zip(self.task(*kind, steps).run().samples) {
                    self.samples.entry((*step, *kind)).or_default().extend(samples);
                }
            }
        }
        if steps.iter().any(|step| step.work.is_process()) {
            return;
        }
        let short = steps.iter().all(|step| step.size <= MOST_PROFILED);
        let profiles = self.options.profiles() && has_bar && short;
        for kind in contenders {
            let functions_wanted = profiles && kind == Kind::Ours;
            if self.options.counts() || functions_wanted {
                let traced = trace(&self.task(kind, steps), functions_wanted);
                self.traced.extend(steps.iter().map(|step| (*step, kind)).zip(traced));
            }
        }
        if self.options.counts() {
            let timed = Task { timed: true, ..self.task(Kind::Ours, steps) }.run();
            let medians = timed.samples.iter().map(|samples| median(samples.iter().map(|sample| sample.in_hypercalls)));
            self.in_hypercalls.extend(steps.iter().copied().zip(medians));
        }
    }

    fn task(&self, kind: Kind, steps: &[Step]) -> Task {
        Task {
            kind,
            steps: steps.to_vec(),
            rounds: self.clock.unit.rounds(),
            unit: self.clock.unit,
            timed: false,
            fixture: DIRECTORY.into(),
            files: self.files.clone(),
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
        let records = self.samples.iter().map(|(&(step, kind), samples)| {
            let traced = self.traced.get(&(step, kind)).cloned();
            let (count, functions) =
                traced.map_or_else(Default::default, |(count, functions)| (Some(count), functions));
            Record {
                xen: xen.into(),
                unix_time: time,
                step,
                contender: kind,
                unit: self.clock.unit.name().into(),
                costs: Costs::of(samples),
                count,
                in_hypercalls: self.in_hypercalls.get(&step).copied().filter(|_| kind == Kind::Ours),
                functions,
            }
        });
        Run { records: records.collect() }
    }
}

fn main() -> ExitCode {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [child::CHILD, task] = arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        child::work(task);
        return ExitCode::SUCCESS;
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
        if options.brief { (&BRIEF_SIZES[..], &BRIEF_LISTS[..]) } else { (&SIZES[..], &LISTS[..]) };
    let wanted = |with: &dyn Fn(&Step) -> bool| !options.bars_only() || bars::steps().iter().any(with);
    let sizes: Vec<usize> =
        all_sizes.iter().copied().filter(|size| wanted(&|step| step.size == *size && step.work.is_upload())).collect();
    let lists =
        all_lists.iter().copied().filter(|loaded| wanted(&|step| step.payloads == *loaded && step.work.is_list()));

    let fixture = Fixture::new(Path::new(DIRECTORY), &made, &sizes).expect("bare hypercalls work");
    let files = Files { directory: options.files.clone(), minor: made.version.release().1 };
    if !files.can(Kind::Libxenctrl, Work::List) {
        eprintln!("{} has no libxenctrl of this Xen: left out", files.directory.display());
    }
    let (samples, traced, in_hypercalls) = Default::default();
    let mut bench = Bench { files: &files, options, clock, samples, traced, in_hypercalls };
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
    if options.is_full() && options.only().is_empty() {
        for line in run.lines() {
            println!("{line}");
        }
    }
    println!("\n# Xen {xen}\n\nReading the clock costs {reading} {}, which are taken off each cost.", unit.name());
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
