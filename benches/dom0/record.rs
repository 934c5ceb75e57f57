//! The results of a run: a line of JSON for each operation of each contender.

use std::error::Error;
use std::fs;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::child::Sample;
use super::clock::median;
use super::contender::Kind;
use super::step::Step;
use super::trace::Count;

/// The cost of an operation to a contender.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Record {
    pub xen: String,
    pub unix_time: u64,
    #[serde(flatten)]
    pub step: Step,
    pub contender: Kind,
    pub unit: String,
    #[serde(flatten)]
    pub costs: Costs,
    #[serde(flatten)]
    pub count: Option<Count>,
    /// The part of the cost that is hypercalls.
    pub in_hypercalls: Option<u64>,
    /// The instructions outside the kernel, by function, most first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub functions: Vec<(String, u64)>,
}

/// The costs of a step to a contender, in all rounds.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Costs {
    pub rounds: usize,
    pub least: u64,
    pub median: u64,
    pub p90: u64,
    pub page_faults: u64,
}

impl Costs {
    pub fn of(samples: &[Sample]) -> Self {
        let mut sorted: Vec<u64> = samples.iter().map(|sample| sample.cost).collect();
        sorted.sort_unstable();
        let at = |percent: usize| sorted[sorted.len() * percent / 100];
        let page_faults = median(samples.iter().map(|sample| sample.page_faults));
        Self { rounds: sorted.len(), least: at(0), median: at(50), p90: at(90), page_faults }
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
        let mut steps: Vec<Step> = self.records.iter().map(|record| record.step).collect();
        steps.dedup();
        steps
    }

    pub fn find(&self, step: Step, kind: Kind) -> Option<&Record> {
        self.records.iter().find(|record| record.step == step && record.contender == kind)
    }

    /// The cost of this crate as a multiple of another contender's.
    pub fn ratio(&self, step: Step, to: Kind) -> Option<f64> {
        let median = |kind| self.find(step, kind).map(|record| record.costs.median as f64);
        Some(median(Kind::Ours)? / median(to)?).filter(|ratio| ratio.is_finite())
    }
}

pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
}
