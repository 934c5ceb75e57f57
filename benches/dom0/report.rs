//! What came of it: tables to read, and the same numbers as JSON, a line each, to draw from.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::json;

use super::contender::Kind;
use super::count::Counts;
use super::measure::{Samples, Times};
use super::share::Share;
use super::step::{Step, Work};

/// What is to be reached: the most that a median of ours may be of the bare hypercall's and of libxenctrl's.
#[derive(Clone, Copy, Debug)]
struct Bar {
    step: Step,
    of_raw: Option<f64>,
    of_libxenctrl: Option<f64>,
}

fn bars(small: usize, large: usize, opened: usize) -> Vec<Bar> {
    let bar = |work, payloads, size, of_raw: f64, of_libxenctrl: f64| Bar {
        step: Step::new(work, payloads, size),
        of_raw: Some(of_raw),
        of_libxenctrl: Some(of_libxenctrl),
    };
    vec![
        bar(Work::Status, 1, 0, 1.1, 0.9),
        bar(Work::List, 1, 0, 1.2, 0.2),
        bar(Work::List, 10, 0, 1.25, 0.2),
        bar(Work::List, 64, 0, 1.4, 0.2),
        bar(Work::List, 500, 0, 1.6, 0.3),
        bar(Work::List, 1000, 0, 1.6, 0.3),
        bar(Work::UploadFromFile, 0, small, 1.1, 1.0),
        bar(Work::UploadFromFile, 0, large, 1.05, 0.85),
        bar(Work::Apply, 1, 0, 1.4, 1.0),
        Bar { of_raw: None, ..bar(Work::OpenListClose, opened, 0, 0.0, 0.5) },
    ]
}

#[derive(Debug)]
pub struct Report<'a> {
    pub xen: String,
    pub brief: bool,
    /// What reading the clock adds to each time, in nanoseconds.
    pub clock: u64,
    pub samples: &'a Samples,
    pub counts: &'a [Counts],
    pub shares: &'a [Share],
    /// The sizes and the number of payloads that the bars are about.
    pub small: usize,
    pub large: usize,
    pub opened: usize,
}

impl Report<'_> {
    pub fn print(&self) {
        self.print_lines();
        let Self { xen, brief, clock, .. } = self;
        let how = if *brief { "a brief run" } else { "a full run" };
        println!("\n# Xen {xen}, {how}\n\nReading the clock takes {clock} ns of each time.");
        for (failure, times) in &self.samples.failures {
            println!("\nFailed {times} times, and was tried again: {failure}");
        }
        self.print_times();
        self.print_bars();
        self.print_shares();
        self.print_counts();
    }

    fn ratio(&self, step: Step, to: Kind) -> Option<f64> {
        let median = |kind| self.samples.of(step, kind).map(|times| times.median as f64);
        Some(median(Kind::Ours)? / median(to)?).filter(|ratio| ratio.is_finite())
    }

    fn print_times(&self) {
        println!("\n## Times\n\nMedian (p90) in microseconds.\n");
        println!("| work | | raw | libxenctrl | ours | ours / raw | ours / libxenctrl |");
        println!("|---|---|---:|---:|---:|---:|---:|");
        for step in self.samples.steps() {
            let cells = Kind::ALL.map(|kind| self.samples.of(step, kind).map_or("–".into(), micros));
            let [raw, libxenctrl, ours] = cells;
            let of = |kind| self.ratio(step, kind).map_or("–".into(), |ratio| format!("{ratio:.2}"));
            let (name, amount) = (step.work.name(), step.amount());
            let (to_raw, to_libxenctrl) = (of(Kind::Raw), of(Kind::Libxenctrl));
            println!("| {name} | {amount} | {raw} | {libxenctrl} | {ours} | {to_raw} | {to_libxenctrl} |");
        }
    }

    fn print_bars(&self) {
        println!(
            "\n## Bars\n\n| work | | ours / raw | bar | ours / libxenctrl | bar | |\n|---|---|---:|---:|---:|---:|---|"
        );
        for Bar { step, of_raw, of_libxenctrl } in bars(self.small, self.large, self.opened) {
            let raw = self.ratio(step, Kind::Raw);
            let libxenctrl = self.ratio(step, Kind::Libxenctrl);
            let shown = |number: Option<f64>| number.map_or("–".into(), |number| format!("{number:.2}"));
            let over = |ratio: Option<f64>, bar: Option<f64>| ratio.zip(bar).is_some_and(|(ratio, bar)| ratio > bar);
            let missing = (of_raw.is_some() && raw.is_none()) || (of_libxenctrl.is_some() && libxenctrl.is_none());
            let verdict = match (over(raw, of_raw), over(libxenctrl, of_libxenctrl)) {
                (true, true) => "missed, missed",
                (true, false) => "missed (raw)",
                (false, true) => "missed (libxenctrl)",
                (false, false) if missing => "not measured",
                (false, false) => "met",
            };
            println!(
                "| {} | {} | {} | {} | {} | {} | {verdict} |",
                step.work.name(),
                step.amount(),
                shown(raw),
                shown(of_raw),
                shown(libxenctrl),
                shown(of_libxenctrl)
            );
        }
    }

    fn print_shares(&self) {
        println!(
            "\n## Where the time of ours goes\n\nMedians in microseconds, with a client that times its hypercalls.\n"
        );
        println!("| work | | whole | in hypercalls | its own |\n|---|---|---:|---:|---:|");
        for Share { step, whole, hypercalls } in self.shares {
            let (name, amount) = (step.work.name(), step.amount());
            let [whole, hypercalls, own] =
                [*whole, *hypercalls, whole.saturating_sub(*hypercalls)].map(|nanos| nanos as f64 / 1000.0);
            println!("| {name} | {amount} | {whole:.1} | {hypercalls:.1} | {own:.1} |");
        }
    }

    fn print_counts(&self) {
        println!("\n## System calls, of these hypercalls, and memory\n");
        println!(
            "Locked: the most at any moment, with what is kept from call to call. Resident: the most of a process"
        );
        println!("that did nothing but this, or an upload and its unload, or an apply and its revert.\n");
        println!("| work | | | system calls | hypercalls | locked | resident |\n|---|---|---|---:|---:|---:|---:|");
        for counts in self.counts {
            for (step, count) in &counts.of {
                println!(
                    "| {} | {} | {} | {} | {} | {} KiB | {} KiB |",
                    step.work.name(),
                    step.amount(),
                    counts.kind.name(),
                    count.system_calls,
                    count.hypercalls,
                    count.locked / 1024,
                    counts.resident
                );
            }
        }
    }

    /// JSON, a line for each number of things that belong together.
    fn print_lines(&self) {
        let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
        let Self { xen, brief, clock, .. } = self;
        println!("{}", json!({"line": "run", "xen": xen, "brief": brief, "clock_ns": clock, "unix_time": seconds}));
        for step in self.samples.steps() {
            for kind in Kind::ALL {
                let Some(Times { rounds, least, median, p90 }) = self.samples.of(step, kind) else { continue };
                println!(
                    "{}",
                    json!({
                        "line": "time", "xen": xen, "work": step.work.name(), "payloads": step.payloads, "bytes": step.size,
                        "contender": kind.name(), "rounds": rounds, "min_ns": least, "median_ns": median, "p90_ns": p90,
                    })
                );
            }
        }
        for counts in self.counts {
            for (step, count) in &counts.of {
                println!(
                    "{}",
                    json!({
                        "line": "count", "xen": xen, "work": step.work.name(), "payloads": step.payloads, "bytes": step.size,
                        "contender": counts.kind.name(), "system_calls": count.system_calls,
                        "hypercalls": count.hypercalls, "locked_bytes": count.locked, "resident_kib": counts.resident,
                    })
                );
            }
        }
    }
}

fn micros(times: Times) -> String {
    let micros = |nanos: u64| nanos as f64 / 1000.0;
    format!("{:.1} ({:.1})", micros(times.median), micros(times.p90))
}
