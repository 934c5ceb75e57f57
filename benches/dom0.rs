//! What operations cost on a real Xen: the bare hypercall, libxenctrl of its release, and this crate, in one process and
//! one boot, in turns. `cargo real-xen-bench` boots a Xen and runs this in its dom0.
//!
//!     dom0 [--brief] [--only WORK] [--files FOLDER]
//!     dom0 --draw FOLDER FILE...
//!
//! `--brief` takes seconds instead of minutes, for a look at whether it runs, and `--only` keeps to the work whose name has
//! this in it. FOLDER, `/files` unless named, has
//! `libxenctrl.so.4.MINOR` with what it needs, Xen's own tool as `c-xen-livepatch`, and `xen-livepatch`; what isn't there is
//! left out. `--draw` needs no Xen: it draws how the times in the files of runs grow.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::cast_precision_loss,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a bench stops at the first surprise, and prints what it found"
)]
#![allow(unreachable_pub, reason = "the modules of one program")]

#[path = "dom0/contender.rs"]
mod contender;
#[path = "dom0/count.rs"]
mod count;
#[path = "dom0/draw.rs"]
mod draw;
#[path = "dom0/fixture.rs"]
mod fixture;
#[path = "dom0/foreign.rs"]
mod foreign;
#[path = "dom0/measure.rs"]
mod measure;
#[path = "dom0/report.rs"]
mod report;
#[path = "dom0/share.rs"]
mod share;
#[path = "dom0/step.rs"]
mod step;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use contender::{Contender, Files, Libxenctrl, Ours, Raw};
use count::{Counts, count};
use fixture::{Fixture, Made};
use measure::{Effort, Samples};
use report::Report;
use share::{Share, share};
use step::{Step, Work};

/// How many payloads are listed.
const LISTS: [usize; 7] = [0, 1, 10, 64, 200, 500, 1000];
const BRIEF_LISTS: [usize; 3] = [0, OPENED, 64];

/// With how many payloads a list is also read by those who have to open Xen first.
const OPENED: usize = 10;

/// The sizes of payloads that are uploaded. The last is near to what Xen takes at most, 2 MiB.
const SMALL: usize = 2 << 10;
const LARGE: usize = 1_992_294;
const SIZES: [usize; 7] = [SMALL, 16 << 10, 64 << 10, 256 << 10, 512 << 10, 1 << 20, LARGE];
const BRIEF_SIZES: [usize; 3] = [SMALL, 64 << 10, LARGE];

const FOLDER: &str = "/tmp/xen-livepatch-bench";

struct Bench<'a> {
    contenders: Vec<Box<dyn Contender + 'a>>,
    fixture: &'a Fixture,
    files: &'a Files,
    effort: Effort,
    /// What the names of work have in them that is wanted.
    only: String,
    samples: Samples,
    counts: Vec<Counts>,
    shares: Vec<Share>,
}

impl Bench<'_> {
    /// Measures steps that follow one another, and counts what they cost.
    fn scene(&mut self, steps: &[Step]) {
        if !steps.iter().any(|step| step.work.name().contains(&self.only)) {
            return;
        }
        for step in steps {
            eprintln!("{}, {}", step.work.name(), step.amount());
        }
        self.samples.measure(steps, &mut self.contenders, self.fixture, self.effort);
        if !steps.iter().any(|step| step.work.is_process()) {
            self.shares.extend(share(steps, self.fixture, self.files, self.effort));
        }
        for contender in &self.contenders {
            let steps: Vec<Step> =
                steps.iter().copied().filter(|step| contender.can(step.work) && !step.work.is_process()).collect();
            if !steps.is_empty() {
                self.counts.push(count(contender.kind(), &steps, self.fixture, self.files));
            }
        }
    }

    fn lists(&mut self, loaded: usize) {
        if loaded > 0 {
            self.scene(&[Step::new(Work::Status, loaded, 0)]);
        }
        self.scene(&[Step::new(Work::List, loaded, 0)]);
        if loaded == OPENED {
            self.scene(&[Step::new(Work::OpenListClose, loaded, 0)]);
            self.scene(&[Step::new(Work::ListProcess, loaded, 0)]);
        }
    }

    fn uploads(&mut self, size: usize) {
        for upload in [Work::UploadFromMemory, Work::UploadFromFile] {
            self.scene(&[Step::new(upload, 0, size), Step::new(Work::Unload, 0, size)]);
        }
        self.scene(&[Step::new(Work::Check, 0, size)]);
    }
}

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1).peekable();
    if arguments.next_if(|argument| argument == count::CHILD).is_some() {
        count::work(arguments);
        return ExitCode::SUCCESS;
    }
    if arguments.next_if(|argument| argument == "--draw").is_some() {
        let folder = arguments.next().map(PathBuf::from).unwrap_or_default();
        let files: Vec<PathBuf> = arguments.filter(|argument| argument != "--bench").map(PathBuf::from).collect();
        return match draw::draw(&files, &folder) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("{error}");
                ExitCode::FAILURE
            }
        };
    }
    let (mut brief, mut only, mut folder) = (false, String::new(), PathBuf::from("/files"));
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--brief" => brief = true,
            "--only" => only = arguments.next().unwrap_or_default(),
            "--files" => folder = arguments.next().map(PathBuf::from).unwrap_or(folder),
            // What cargo adds.
            "--bench" => {}
            other => {
                eprintln!("unknown argument {other}: wanted is [--brief] [--only WORK] [--files FOLDER]");
                return ExitCode::from(2);
            }
        }
    }
    let client = match Ours::open(None) {
        Ok(client) => client,
        Err(error) => {
            eprintln!("no real Xen here, try `cargo real-xen-bench`: {error}");
            return ExitCode::FAILURE;
        }
    };
    let made = Made::of(&client).expect("Xen says what it is");
    let (sizes, lists) = if brief { (&BRIEF_SIZES[..], &BRIEF_LISTS[..]) } else { (&SIZES[..], &LISTS[..]) };
    let fixture = Fixture::new(Path::new(FOLDER), &made, sizes).expect("bare hypercalls work");
    let files = Files { folder, minor: made.version.release().1 };
    let library = files.library();
    let mut contenders: Vec<Box<dyn Contender>> =
        vec![Box::new(Raw::new(&fixture)), Box::new(Ours::new(&fixture, &files, None))];
    match &library {
        Some(library) => contenders.push(Box::new(Libxenctrl::new(&fixture, &files, library))),
        None => eprintln!("{} has no libxenctrl of this Xen: left out", files.folder.display()),
    }

    let effort = if brief { Effort::BRIEF } else { Effort::FULL };
    let (samples, counts, shares) = (Samples::default(), Vec::new(), Vec::new());
    let mut bench = Bench { contenders, fixture: &fixture, files: &files, effort, only, samples, counts, shares };
    fixture.load(&made, &client, 0);
    for size in sizes {
        bench.uploads(*size);
    }
    fixture.load_applied(&made);
    bench.scene(&[Step::new(Work::Apply, 1, 0), Step::new(Work::Revert, 1, 0)]);
    fixture.load(&made, &client, 0);
    bench.scene(&[Step::new(Work::Load, 0, 0)]);
    bench.scene(&[Step::new(Work::LoadProcess, 0, 0)]);
    for loaded in lists {
        fixture.load(&made, &client, *loaded);
        bench.lists(*loaded);
    }
    fixture.load(&made, &client, 0);

    let Bench { samples, counts, shares, .. } = bench;
    let (samples, counts, shares) = (&samples, &counts[..], &shares[..]);
    let (clock, xen) = (measure::clock(), made.version.to_string());
    Report { xen, brief, clock, samples, counts, shares, small: SMALL, large: LARGE, opened: OPENED }.print();
    ExitCode::SUCCESS
}
