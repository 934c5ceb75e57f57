//! The results of a run: a line of JSON for each operation of each contender.

use std::error::Error;
use std::fs;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::contender::Kind;
use super::step::{Step, Work};

/// The cost of an operation to a contender.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Record {
    pub xen: String,
    pub unix_time: u64,
    pub work: String,
    /// The number of loaded payloads.
    pub payloads: usize,
    /// The size of the payload, if it matters.
    pub bytes: usize,
    pub contender: String,
    pub unit: String,
    pub rounds: usize,
    pub least: u64,
    pub median: u64,
    pub p90: u64,
    pub page_faults: u64,
    pub system_calls: Option<u64>,
    pub hypercalls: Option<u64>,
    pub locked_bytes: Option<u64>,
    /// The most memory of a process that did nothing else.
    pub resident_kib: Option<u64>,
    /// The part of the cost that is hypercalls.
    pub in_hypercalls: Option<u64>,
    /// The instructions outside the kernel, by function, most first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub functions: Vec<(String, u64)>,
}

impl Record {
    pub fn is(&self, step: Step, kind: Kind) -> bool {
        self.contender == kind.name()
            && self.work == step.work.name()
            && (self.payloads, self.bytes) == (step.payloads, step.size)
    }

    pub fn step(&self) -> Option<Step> {
        Some(Step::new(Work::named(&self.work)?, self.payloads, self.bytes))
    }
}

/// All records of a run, on one Xen.
#[derive(Clone, Debug, Default)]
pub struct Run {
    pub records: Vec<Record>,
}

impl Run {
    pub fn read(path: &Path) -> Result<Self, Box<dyn Error>> {
        let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
        let records = text.lines().map(serde_json::from_str).collect::<Result<Vec<Record>, _>>()?;
        if records.is_empty() {
            return Err(format!("{}: no measurements", path.display()).into());
        }
        Ok(Self { records })
    }

    pub fn lines(&self) -> impl Iterator<Item = String> {
        self.records.iter().map(|record| serde_json::to_string(record).expect("a record is valid JSON"))
    }

    pub fn xen(&self) -> &str {
        self.records.first().map_or("", |record| &record.xen)
    }

    /// The steps, each once.
    pub fn steps(&self) -> Vec<Step> {
        let mut steps: Vec<Step> = self.records.iter().filter_map(Record::step).collect();
        steps.dedup();
        steps
    }

    pub fn find(&self, step: Step, kind: Kind) -> Option<&Record> {
        self.records.iter().find(|record| record.is(step, kind))
    }

    /// The cost of this crate as a multiple of another contender's.
    pub fn ratio(&self, step: Step, to: Kind) -> Option<f64> {
        let median = |kind| self.find(step, kind).map(|record| record.median as f64);
        Some(median(Kind::Ours)? / median(to)?).filter(|ratio| ratio.is_finite())
    }
}

pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
}
