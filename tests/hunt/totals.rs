//! The totals of a hunt.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

#[derive(Default)]
pub struct Totals {
    seen: HashSet<u64>,
    pub generated: usize,
    /// Payloads that the check calls harmful or unnoticed, by its findings: never uploaded.
    pub skipped: BTreeMap<String, usize>,
    /// Payloads that were uploaded, by Xen's result.
    pub uploaded: BTreeMap<i32, usize>,
    /// Payloads that were applied, by Xen's result.
    pub applied: BTreeMap<i32, usize>,
    /// Payloads that were applied and reverted.
    pub reverted: usize,
    /// Payloads that Xen refused although the check finds nothing, by Xen's result.
    pub unforeseen: BTreeMap<i32, usize>,
    /// Payloads that were uploaded although the check expects a refusal.
    pub refused: usize,
    /// The numbers and findings of those that Xen took, or applied although the check expects a refusal of that.
    pub refused_wrongly: Vec<(u64, String)>,
    /// The expected result, another one of Xen, and the finding: how often, and the first payload.
    pub misjudged: BTreeMap<(i32, i32, String), (usize, u64)>,
}

impl Totals {
    /// Returns true if these bytes are new, by their hash.
    pub fn is_new(&mut self, file: &[u8]) -> bool {
        let mut hasher = DefaultHasher::new();
        file.hash(&mut hasher);
        self.seen.insert(hasher.finish())
    }

    pub fn sent(&self) -> usize {
        self.uploaded.values().sum()
    }
}

pub fn count<K: Ord>(map: &mut BTreeMap<K, usize>, key: K) {
    *map.entry(key).or_default() += 1;
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} payloads generated", self.generated)?;
        writeln!(f, "{} distinct ones uploaded, {} applied and reverted", self.sent(), self.reverted)?;
        writeln!(f, "answers to an upload: {:?}", self.uploaded)?;
        writeln!(f, "answers to an apply: {:?}", self.applied)?;
        writeln!(f, "results other than the check expects: {:#?}", self.misjudged)?;
        writeln!(f, "refused by Xen, though the check finds nothing: {:?}", self.unforeseen)?;
        writeln!(
            f,
            "{} that the check expects Xen to refuse, {} refused wrongly",
            self.refused,
            self.refused_wrongly.len()
        )?;
        for (number, why) in &self.refused_wrongly {
            writeln!(f, "refused wrongly: {number}: {why}")?;
        }
        writeln!(f, "never uploaded: {:#?}", self.skipped)
    }
}
