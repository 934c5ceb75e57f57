//! The bars: the most that an operation of this crate may cost.

use super::contender::Kind;
use super::record::Run;
use super::step::{Step, Work};

/// The sizes of the smallest and the largest payload that is uploaded. Xen takes 2 MiB at most.
pub const SMALL: usize = 2 << 10;
pub const LARGE: usize = 1_992_294;

/// The multiple of its bar that an operation may reach before a run fails.
const ROOM: f64 = 1.03;

/// The most that an operation of this crate may cost, as a multiple of another contender's.
#[derive(Clone, Copy, Debug)]
pub struct Bar {
    pub step: Step,
    pub of: Kind,
    pub most: f64,
    /// A lower multiple that no version of this crate has reached.
    pub aim: Option<f64>,
}

const fn bar(work: Work, payloads: usize, size: usize, of: Kind, most: f64) -> Bar {
    Bar { step: Step::new(work, payloads, size), of, most, aim: None }
}

impl Bar {
    const fn aim(self, aim: f64) -> Self {
        Self { aim: Some(aim), ..self }
    }

    /// `1.12`, or `1.45 (aim 1.20)`.
    pub fn text(self) -> String {
        let aim = self.aim.map(|aim| format!(" (aim {aim:.2})")).unwrap_or_default();
        format!("{:.2}{aim}", self.most)
    }
}

pub const BARS: [Bar; 13] = [
    bar(Work::Status, 1, 0, Kind::Raw, 1.12),
    bar(Work::List, 1, 0, Kind::Raw, 1.25),
    bar(Work::List, 64, 0, Kind::Raw, 1.25),
    bar(Work::List, 500, 0, Kind::Raw, 1.25),
    bar(Work::List, 500, 0, Kind::Libxenctrl, 0.55),
    bar(Work::UploadFromFile, 0, SMALL, Kind::Raw, 1.42).aim(1.2),
    bar(Work::UploadFromFile, 0, SMALL, Kind::Libxenctrl, 1.3).aim(1.15),
    bar(Work::UploadFromFile, 0, LARGE, Kind::Raw, 1.02),
    bar(Work::Apply, 1, 0, Kind::Raw, 1.26).aim(1.18),
    bar(Work::Apply, 1, 0, Kind::Libxenctrl, 1.13).aim(1.05),
    bar(Work::OpenListClose, 0, 0, Kind::Libxenctrl, 0.9),
    bar(Work::OpenListClose, 1, 0, Kind::Libxenctrl, 0.9),
    bar(Work::ListProcess, 1, 0, Kind::Libxenctrl, 1.0),
];

/// The steps that have a bar, each once.
pub fn steps() -> Vec<Step> {
    let mut steps: Vec<Step> = BARS.iter().map(|bar| bar.step).collect();
    steps.dedup();
    steps
}

pub fn of(step: Step, kind: Kind) -> Option<Bar> {
    BARS.into_iter().find(|bar| bar.step == step && bar.of == kind)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Met,
    /// Over the bar, by less than what fails a run.
    Within,
    Missed,
    NotMeasured,
}

impl Verdict {
    pub fn of(ratio: Option<f64>, most: f64) -> Self {
        match ratio {
            None => Self::NotMeasured,
            Some(ratio) if ratio <= most => Self::Met,
            Some(ratio) if ratio <= most * ROOM => Self::Within,
            Some(_) => Self::Missed,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Met => "met",
            Self::Within => "over, within 3 %",
            Self::Missed => "missed",
            Self::NotMeasured => "not measured",
        }
    }
}

/// Prints all bars and how a run compares with them. Returns whether every one was measured and none was missed.
pub fn check(run: &Run) -> bool {
    println!("\n## Bars\n\n| operation | | ours / | ratio | bar | |\n|---|---|---|---:|---:|---|");
    let mut passed = true;
    for bar in BARS {
        let Bar { step, of, most, .. } = bar;
        let ratio = run.ratio(step, of);
        let verdict = Verdict::of(ratio, most);
        passed &= matches!(verdict, Verdict::Met | Verdict::Within);
        let ratio = ratio.map_or("–".into(), |ratio| format!("{ratio:.3}"));
        let (work, amount, of, verdict) = (step.work.name(), step.amount(), of.name(), verdict.name());
        println!("| {work} | {amount} | {of} | {ratio} | {} | {verdict} |", bar.text());
    }
    passed
}
