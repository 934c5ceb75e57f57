//! The verdicts on payloads, and the file format for them.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The version of the format. It changes whenever an older reader would misunderstand the new format.
const VERSION: u64 = 2;

/// The number of payloads that are kept: more than the fixes of one Xen.
pub(super) const MOST: usize = 256;

/// The number of Xens whose last level is kept.
pub(super) const MOST_LEVELS: usize = 16;

/// The kind of `ensure` that applies a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Trigger {
    /// `--boot`: unattended.
    Boot,
    /// `--retry`.
    Retry,
    /// Neither: by hand, or by a program.
    Hand,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing is known about it.
    New,
    /// A boot that ran long enough with it applied, or ended cleanly with it, has confirmed it.
    Survived,
    /// It was new in a boot that went down while it was applied or about to be applied.
    Suspect,
}

/// The application of a payload in a boot that has not confirmed it yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Pending {
    /// The id of the boot.
    #[serde(rename = "boot_id")]
    pub(crate) boot: String,
    pub(crate) by: Trigger,
    /// The age of the boot in seconds when it began.
    pub(crate) since: u64,
}

/// The history of a payload on one Xen. Build-ids are in hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) xen: String,
    pub(crate) payload: String,
    /// The first boot that began to apply it.
    #[serde(rename = "first_in")]
    pub(crate) first: String,
    /// The number of boots that survived it, and the last of them.
    pub(crate) survived: u64,
    // A missing field is damage, which `Option` alone would hide.
    #[serde(deserialize_with = "Option::deserialize")]
    pub(crate) survived_in: Option<String>,
    /// The last boot that went down with it before it had survived any boot.
    #[serde(deserialize_with = "Option::deserialize")]
    pub(crate) suspect_in: Option<String>,
    #[serde(deserialize_with = "Option::deserialize")]
    pub(crate) pending: Option<Pending>,
}

/// The last stack of payloads that a boot of one Xen survived.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Level {
    pub(crate) xen: String,
    #[serde(rename = "boot_id")]
    pub(crate) boot: String,
    /// Build-ids, from the bottom.
    pub(crate) payloads: Vec<String>,
}

/// The applied payloads, as far as they are identified.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Applied {
    /// The build-ids of the stack, from the bottom.
    pub(crate) stack: Vec<String>,
    /// The build-ids of the payloads applied off the chain.
    pub(crate) others: Vec<String>,
    /// True if an applied payload is not identified.
    pub(crate) unidentified: bool,
}

/// The evidence that a boot survives the applied payloads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// It has run for this many seconds since they were applied.
    Lived(u64),
    /// It ends cleanly now.
    Shutdown,
}

/// The state of the guard, oldest entries first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct State {
    /// The version of the format, once it was written.
    version: u64,
    /// The number of times that it was written, which distinguishes the newer of two copies.
    pub(super) generation: u64,
    #[serde(rename = "payloads")]
    pub(super) records: Vec<Record>,
    pub(super) levels: Vec<Level>,
}

impl Applied {
    pub(crate) fn contains(&self, payload: &str) -> bool {
        self.stack.iter().chain(&self.others).any(|applied| applied == payload)
    }
}

impl Record {
    fn new(xen: &str, payload: &str, boot: &str) -> Self {
        Self {
            xen: xen.to_owned(),
            payload: payload.to_owned(),
            first: boot.to_owned(),
            survived: 0,
            survived_in: None,
            suspect_in: None,
            pending: None,
        }
    }

    pub(crate) fn verdict(&self) -> Verdict {
        match self.suspect_boot() {
            Some(_) => Verdict::Suspect,
            None if self.survived > 0 => Verdict::Survived,
            None => Verdict::New,
        }
    }

    /// The boot that went down with it, if it is suspect.
    pub(super) fn suspect_boot(&self) -> Option<&str> {
        self.suspect_in.as_deref().filter(|_| self.survived == 0)
    }

    fn is_of(&self, xen: &str, payload: &str) -> bool {
        self.xen == xen && self.payload == payload
    }

    fn is_pending_in(&self, boot: &str) -> bool {
        self.pending.as_ref().is_some_and(|pending| pending.boot == boot)
    }

    /// Marks it as suspect, since the boot that began it went down.
    fn crash(&mut self) {
        if let Some(pending) = self.pending.take() {
            if self.survived == 0 {
                self.suspect_in = Some(pending.boot);
            }
        }
    }

    fn survive(&mut self, boot: &str) {
        self.pending = None;
        self.suspect_in = None;
        if self.survived_in.as_deref() != Some(boot) {
            self.survived = self.survived.saturating_add(1);
            self.survived_in = Some(boot.to_owned());
        }
    }

    /// Merges the record of a copy of the same age. The worse of two contradicting records counts.
    fn merge(&mut self, other: Self) {
        if other.survived < self.survived {
            self.survived = other.survived;
            self.survived_in = other.survived_in;
        }
        self.suspect_in = self.suspect_in.take().or(other.suspect_in);
        self.pending = self.pending.take().or(other.pending);
    }
}

impl State {
    /// Ends the pending applications of all boots except the running one. Without its id, all of them count as those of
    /// earlier boots: that mistake can be corrected by a retry.
    pub(super) fn settle(&mut self, boot: Option<&str>) {
        for record in &mut self.records {
            if !boot.is_some_and(|boot| record.is_pending_in(boot)) {
                record.crash();
            }
        }
    }

    pub(super) fn record(&self, xen: &str, payload: &str) -> Option<&Record> {
        self.records.iter().find(|record| record.is_of(xen, payload))
    }

    pub(super) fn verdict(&self, xen: &str, payload: &str) -> Verdict {
        self.record(xen, payload).map_or(Verdict::New, Record::verdict)
    }

    /// The last level of a Xen, if all its payloads have survived.
    pub(super) fn level(&self, xen: &str) -> Option<&Level> {
        let survived = |payload: &String| self.verdict(xen, payload) == Verdict::Survived;
        self.levels.iter().find(|level| level.xen == xen && level.payloads.iter().all(survived))
    }

    /// Adds the payloads of a stack that is about to be applied. Payloads that are applied already stay at risk since they
    /// were begun, or at none if this boot has survived them.
    pub(super) fn begin(
        &mut self,
        (boot, now): (&str, u64),
        (xen, stack): (&str, &[String]),
        applied: &Applied,
        by: Trigger,
    ) {
        self.take_back(boot, xen, applied);
        for payload in stack.iter().filter(|payload| !payload.is_empty()) {
            let at = self.records.iter().position(|record| record.is_of(xen, payload));
            let mut record = at.map_or_else(|| Record::new(xen, payload, boot), |at| self.records.remove(at));
            let is_applied = applied.contains(payload);
            let known = is_applied && (record.is_pending_in(boot) || record.survived_in.as_deref() == Some(boot));
            if !known {
                record.pending = Some(Pending { boot: boot.to_owned(), by, since: now });
            }
            self.records.push(record);
        }
        while self.records.len() > MOST {
            let ranks = self.records.iter().enumerate().map(|(at, record)| (self.rank(record, xen), at));
            let Some((_, least)) = ranks.min() else { break };
            self.records.remove(least);
        }
    }

    /// The rank of a record. If there are too many, the one of the lowest rank is dropped.
    fn rank(&self, record: &Record, xen: &str) -> u8 {
        let is_own = record.xen == xen;
        let is_suspect = record.verdict() == Verdict::Suspect;
        let is_in_level =
            || self.levels.iter().any(|level| level.xen == xen && level.payloads.contains(&record.payload));
        match (record.pending.is_some(), is_own, is_suspect) {
            (true, ..) => 5,
            (_, false, false) => 0,
            (_, false, true) => 1,
            (_, true, true) => 4,
            (_, true, false) if is_in_level() => 3,
            (_, true, false) => 2,
        }
    }

    /// Ends the risk of payloads of this boot that are not applied.
    pub(super) fn take_back(&mut self, boot: &str, xen: &str, applied: &Applied) {
        if !applied.unidentified {
            for record in &mut self.records {
                if record.xen == xen && record.is_pending_in(boot) && !applied.contains(&record.payload) {
                    record.pending = None;
                }
            }
        }
        self.forget_the_unknown();
    }

    /// Marks applied payloads that this boot began as survived, and returns them. Payloads that are not applied are no longer
    /// at risk. Payloads that were begun too recently are left alone, since they may be about to be applied. After a
    /// shutdown, no other payload that this boot began becomes suspect.
    pub(super) fn confirm(
        &mut self,
        (boot, now): (&str, u64),
        xen: &str,
        applied: Option<&Applied>,
        ending: Ending,
    ) -> Vec<String> {
        let mut survived = Vec::new();
        for record in &mut self.records {
            let Some(pending) = record.pending.as_ref().filter(|pending| pending.boot == boot) else { continue };
            let is_old_enough = match ending {
                Ending::Shutdown => true,
                Ending::Lived(long) => now >= pending.since.saturating_add(long),
            };
            let applied = applied.filter(|_| is_old_enough && record.xen == xen);
            if applied.is_some_and(|applied| applied.contains(&record.payload)) {
                record.survive(boot);
                survived.push(record.payload.clone());
            } else if ending == Ending::Shutdown || applied.is_some_and(|applied| !applied.unidentified) {
                record.pending = None;
            }
        }
        self.forget_the_unknown();
        if let Some(applied) = applied {
            self.keep_level(boot, xen, &applied.stack);
        }
        survived
    }

    /// Drops the records of new payloads that are not pending.
    fn forget_the_unknown(&mut self) {
        self.records.retain(|record| record.pending.is_some() || record.verdict() != Verdict::New);
    }

    /// Keeps the applied level, up to the first payload that has not survived. While a payload is at risk, the previous
    /// level stays.
    fn keep_level(&mut self, boot: &str, xen: &str, stack: &[String]) {
        let has_survived = |payload: &&String| self.verdict(xen, payload) == Verdict::Survived;
        let payloads: Vec<String> = stack.iter().take_while(has_survived).cloned().collect();
        let is_at_risk = |payload: &String| self.record(xen, payload).is_some_and(|record| record.pending.is_some());
        if payloads.is_empty() || stack.iter().any(is_at_risk) {
            return;
        }
        self.levels.retain(|level| level.xen != xen);
        if self.levels.len() >= MOST_LEVELS {
            self.levels.remove(0);
        }
        self.levels.push(Level { xen: xen.to_owned(), boot: boot.to_owned(), payloads });
    }

    /// The newer of two copies. Copies of the same age are equal unless one was damaged and is still readable: then they are
    /// merged, so that no crash is forgotten.
    pub(super) fn newer(self, other: Self) -> Self {
        if self.generation != other.generation {
            return if self.generation > other.generation { self } else { other };
        }
        let mut both = self;
        for record in other.records {
            match both.records.iter_mut().find(|known| known.is_of(&record.xen, &record.payload)) {
                Some(known) => known.merge(record),
                None => both.records.push(record),
            }
        }
        both.levels.retain(|level| other.levels.contains(level));
        both
    }

    /// The text of a file.
    pub(super) fn into_json(mut self) -> String {
        self.version = VERSION;
        let text = serde_json::to_string_pretty(&self).expect("the state has only text as keys");
        format!("{text}\n")
    }

    /// Reads the result of [`into_json`](Self::into_json), or returns the fault in it.
    pub(super) fn from_json(bytes: &[u8]) -> Result<Self, String> {
        if bytes.is_empty() {
            return Err("it is empty".to_owned());
        }
        let value: Value = serde_json::from_slice(bytes).map_err(|error| format!("it is not JSON: {error}"))?;
        match value.get("version").and_then(Value::as_u64) {
            Some(VERSION) => {}
            Some(other) => return Err(format!("it has format {other}, and this program reads only format {VERSION}")),
            None => return Err("its format is not given".to_owned()),
        }
        serde_json::from_value(value).map_err(|error| format!("it is incomplete: {error}"))
    }
}
