//! What came of it all.

use std::collections::{BTreeMap, HashSet};
use std::fmt;

#[derive(Default)]
pub struct Census {
    seen: HashSet<u64>,
    pub generated: usize,
    /// Judged to be harmful or to go unnoticed, by what the check finds: never uploaded.
    pub skipped: BTreeMap<String, usize>,
    /// Sent to Xen, by what it answered.
    pub uploaded: BTreeMap<i32, usize>,
    /// Of those that it took, by what it answered to an apply.
    pub applied: BTreeMap<i32, usize>,
    /// Applied, and reverted again.
    pub reverted: usize,
    /// Refused by Xen, though the check finds nothing, by what it answered.
    pub unforeseen: BTreeMap<i32, usize>,
    /// Sent though the check says that Xen refuses them.
    pub refused: usize,
    /// Of those, the ones that Xen took, or applied where the check says that it refuses that: their numbers and why.
    pub refused_wrongly: Vec<(u64, String)>,
    /// What the check says that Xen answers, and what it answered: where that is not the same, how often, and the first.
    pub misjudged: BTreeMap<(i32, i32, String), (usize, u64)>,
}

impl Census {
    /// Whether these bytes are new (FNV-1a of words tells).
    pub fn is_new(&mut self, file: &[u8]) -> bool {
        let mut hash = 0xcbf2_9ce4_8422_2325_u64 ^ file.len() as u64;
        for chunk in file.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            hash = (hash ^ u64::from_le_bytes(word)).wrapping_mul(0x0100_0000_01b3);
            hash ^= hash >> 29;
        }
        self.seen.insert(hash)
    }

    pub fn sent(&self) -> usize {
        self.uploaded.values().sum()
    }
}

pub fn count<K: Ord>(map: &mut BTreeMap<K, usize>, key: K) {
    *map.entry(key).or_default() += 1;
}

impl fmt::Display for Census {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} payloads generated", self.generated)?;
        writeln!(f, "{} distinct ones uploaded, {} applied and reverted", self.sent(), self.reverted)?;
        writeln!(f, "answers to an upload: {:?}", self.uploaded)?;
        writeln!(f, "answers to an apply: {:?}", self.applied)?;
        writeln!(f, "answered otherwise than the check says: {:#?}", self.misjudged)?;
        writeln!(f, "refused by Xen, though the check finds nothing: {:?}", self.unforeseen)?;
        writeln!(
            f,
            "{} that the check says Xen refuses, {} refused wrongly",
            self.refused,
            self.refused_wrongly.len()
        )?;
        for (number, why) in &self.refused_wrongly {
            writeln!(f, "refused wrongly: {number}: {why}")?;
        }
        writeln!(f, "never uploaded: {:#?}", self.skipped)
    }
}
