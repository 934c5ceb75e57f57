//! What is kept of each attempt, and how it is written.

use std::fmt;

use serde_json::{Value, json};

/// The version of the format. A change that an older reader would misunderstand makes it another one.
const VERSION: u64 = 1;

/// How many attempts are kept: more than a host has fixes in the life of a Xen, and little to read.
pub(super) const MOST: usize = 32;

/// What is attempted: payloads, the lowest of the stack first, on a Xen. All are build-ids in hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Attempt {
    /// The running Xen.
    pub(crate) xen: String,
    /// All payloads of the stack that is wanted.
    pub(crate) payloads: Vec<String>,
}

/// An attempt, and what came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    /// The id of the boot in which it was last begun.
    pub(crate) boot: String,
    /// What was attempted.
    pub(crate) attempt: Attempt,
    /// Whether that boot was confirmed after it.
    pub(crate) survived: bool,
    /// For a retry: the boot in which the host went down after the same attempt.
    pub(crate) crashed_in: Option<String>,
}

/// All that is known: for each attempt what came of it when it was last made, the latest last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct State {
    /// Grows by one each time it is written: tells the newer of two copies.
    pub(super) generation: u64,
    pub(super) records: Vec<Record>,
}

impl State {
    /// Adds the attempt, which takes the place of the same one made earlier.
    pub(super) fn begin(&mut self, boot: String, attempt: &Attempt) {
        let earlier = self.records.iter().find(|record| record.attempt == *attempt && !record.survived);
        let crashed_in = earlier.and_then(|earlier| match &earlier.crashed_in {
            _ if earlier.boot != boot => Some(earlier.boot.clone()),
            crashed_in => crashed_in.clone(),
        });
        self.records.retain(|record| record.attempt != *attempt);
        // Those that matter least go first: what was survived, then crashes of a Xen that is not running.
        while self.records.len() >= MOST {
            let least = self.records.iter().position(|record| record.survived);
            let least = least.or_else(|| self.records.iter().position(|record| record.attempt.xen != attempt.xen));
            self.records.remove(least.unwrap_or(0));
        }
        self.records.push(Record { boot, attempt: attempt.clone(), survived: false, crashed_in });
    }

    /// Takes back a retry that this boot has begun. Returns whether there was one.
    pub(super) fn take_back(&mut self, boot: &str, attempt: &Attempt) -> bool {
        let retry = self.records.iter_mut().find(|record| record.attempt == *attempt && record.boot == boot);
        let Some((record, crashed_in)) = retry.and_then(|record| record.crashed_in.take().map(|boot| (record, boot)))
        else {
            return false;
        };
        record.boot = crashed_in;
        true
    }

    /// Marks the attempts of a boot as survived, and returns those that were not before.
    pub(super) fn confirm(&mut self, boot: &str) -> Vec<Attempt> {
        let pending = self.records.iter_mut().filter(|record| record.boot == boot && !record.survived);
        pending
            .map(|record| {
                record.survived = true;
                record.crashed_in = None;
                record.attempt.clone()
            })
            .collect()
    }

    /// The newer of two copies. Copies of one age are equal, unless one was damaged and can be read all the same: then
    /// all that either has counts, and no crash is lost.
    pub(super) fn newer(self, other: Self) -> Self {
        if self.generation != other.generation {
            return if self.generation > other.generation { self } else { other };
        }
        let mut both = self;
        for record in other.records {
            match both.records.iter_mut().find(|known| known.attempt == record.attempt) {
                Some(known) if known.survived => *known = record,
                Some(_) => {}
                None => both.records.push(record),
            }
        }
        both
    }

    /// What is written into a file.
    pub(super) fn to_json(&self) -> String {
        let attempts: Vec<Value> = self.records.iter().map(Record::to_json).collect();
        format!("{:#}\n", json!({ "version": VERSION, "generation": self.generation, "attempts": attempts }))
    }

    /// Reads what [`to_json`](Self::to_json) wrote, or says what is wrong with it.
    pub(super) fn from_json(bytes: &[u8]) -> Result<Self, String> {
        if bytes.is_empty() {
            return Err("it is empty".to_owned());
        }
        let value: Value = serde_json::from_slice(bytes).map_err(|error| format!("it is not JSON: {error}"))?;
        match value.get("version").and_then(Value::as_u64) {
            Some(VERSION) => {}
            Some(other) => return Err(format!("it has the format {other}, and only {VERSION} is known here")),
            None => return Err("it does not say which format it has".to_owned()),
        }
        let generation = value.get("generation").and_then(Value::as_u64).ok_or("it has no generation")?;
        let attempts = value.get("attempts").and_then(Value::as_array).ok_or("it has no attempts")?;
        let records = attempts.iter().enumerate().map(|(index, attempt)| {
            Record::from_json(attempt).ok_or_else(|| format!("attempt {} in it is incomplete", index + 1))
        });
        Ok(Self { generation, records: records.collect::<Result<_, _>>()? })
    }
}

impl Record {
    fn to_json(&self) -> Value {
        json!({
            "boot_id": self.boot,
            "xen": self.attempt.xen,
            "payloads": self.attempt.payloads,
            "survived": self.survived,
            "crashed_in": self.crashed_in,
        })
    }

    fn from_json(value: &Value) -> Option<Self> {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let payloads = value.get("payloads")?.as_array()?.iter().map(text).collect::<Option<_>>()?;
        Some(Self {
            boot: text(value.get("boot_id")?)?,
            attempt: Attempt { xen: text(value.get("xen")?)?, payloads },
            survived: value.get("survived")?.as_bool()?,
            crashed_in: match value.get("crashed_in")? {
                Value::Null => None,
                boot => Some(text(boot)?),
            },
        })
    }
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.payloads.as_slice() {
            [] => write!(f, "no payload")?,
            [payload] => write!(f, "payload {payload}")?,
            payloads => write!(f, "payloads {}", payloads.join(", "))?,
        }
        write!(f, " on Xen {}", self.xen)
    }
}
