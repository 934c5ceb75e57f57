//! The verdicts on payloads, and the file format that keeps them.

use serde_json::{Map, Value, json};

/// The version of the format. A change that an older reader would misunderstand makes it another one.
const VERSION: u64 = 2;

/// The number of payloads that are kept: more than a host has fixes in the life of a Xen, and little to read.
pub(super) const MOST: usize = 256;

/// The number of Xens whose last level is kept.
pub(super) const MOST_LEVELS: usize = 16;

/// The caller that had a payload applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum By {
    /// The boot, unattended.
    Boot,
    /// A person, with `--retry`.
    Retry,
    /// A person or a program, with a plain `ensure`.
    Hand,
}

/// The verdict on a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing is known about it.
    New,
    /// It was seen applied in a boot that lived long enough with it, or that ended cleanly with it.
    Survived,
    /// It was new in a boot that went down while it was applied, or about to be.
    Suspect,
}

/// A payload that was begun in a boot which is not confirmed yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pending {
    /// The id of that boot.
    pub(crate) boot: String,
    pub(crate) by: By,
    /// The seconds that the boot had lived by then.
    pub(crate) since: u64,
}

/// The evidence on a payload, on one Xen. Build-ids are in hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) xen: String,
    pub(crate) payload: String,
    /// The boot in which it was begun first.
    pub(crate) first: String,
    /// The number of boots that survived it, and the last of them.
    pub(crate) survived: u64,
    pub(crate) survived_in: Option<String>,
    /// The last boot that went down with it while it had not survived any.
    pub(crate) suspect_in: Option<String>,
    pub(crate) pending: Option<Pending>,
}

/// The stack of payloads that a boot survived last, on one Xen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Level {
    pub(crate) xen: String,
    pub(crate) boot: String,
    /// From the bottom.
    pub(crate) payloads: Vec<String>,
}

/// The payloads that are applied, as far as they are identified.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Applied {
    /// The build-ids of the stack, from the bottom.
    pub(crate) stack: Vec<String>,
    /// The build-ids of those that are applied beside it.
    pub(crate) others: Vec<String>,
    /// True if some are applied that are not identified.
    pub(crate) unidentified: bool,
}

/// The reason to believe that a boot survives what is applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// It has lived this many seconds since the attempt.
    Lived(u64),
    /// It ends cleanly now.
    Shutdown,
}

/// All that is known, the oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct State {
    /// Grows by one each time it is written: distinguishes the newer of two copies.
    pub(super) generation: u64,
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
        match (self.survived, &self.suspect_in) {
            (1.., _) => Verdict::Survived,
            (0, Some(_)) => Verdict::Suspect,
            (0, None) => Verdict::New,
        }
    }

    fn is_of(&self, xen: &str, payload: &str) -> bool {
        self.xen == xen && self.payload == payload
    }

    fn is_pending_in(&self, boot: &str) -> bool {
        self.pending.as_ref().is_some_and(|pending| pending.boot == boot)
    }

    /// The boot that it was begun in went down.
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

    /// Adds what a copy of the same age has. Of two that contradict each other the worse counts.
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
    /// Ends the attempts of all boots but the running one. Without its id every attempt counts as an earlier boot's: the
    /// one mistake that can be made up for.
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

    /// The last level of a Xen, if all of it has survived.
    pub(super) fn level(&self, xen: &str) -> Option<&Level> {
        let survived = |payload: &String| self.verdict(xen, payload) == Verdict::Survived;
        self.levels.iter().find(|level| level.xen == xen && level.payloads.iter().all(survived))
    }

    /// Adds the payloads of a stack that is about to be applied. Those that are applied already are at risk since they were
    /// begun; those that this boot has survived are at none.
    pub(super) fn begin(
        &mut self,
        (boot, now): (&str, u64),
        (xen, stack): (&str, &[String]),
        applied: &Applied,
        by: By,
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

    /// The place of a record among those that have to go when there are too many: the lowest goes first.
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

    /// Ends the risk of payloads of this boot that are not applied: they were never applied, or were taken out.
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

    /// Marks as survived what this boot began and what is applied now, and returns it. What is not applied is no longer at
    /// risk. Payloads that were begun too late are left alone: they may be on their way. At a shutdown nothing else that
    /// this boot began becomes suspect.
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

    /// Drops the records of payloads of which nothing is known.
    fn forget_the_unknown(&mut self) {
        self.records.retain(|record| record.pending.is_some() || record.verdict() != Verdict::New);
    }

    /// Keeps the level that is applied, up to the first payload that has not survived. The level before stays while
    /// one is still at risk.
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

    /// The newer of two copies. Copies of one age are equal, unless one was damaged and can be read all the same: then
    /// all that either has counts, and no crash is lost.
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
    pub(super) fn to_json(&self) -> String {
        let payloads: Vec<Value> = self.records.iter().map(Record::to_json).collect();
        let level = |level: &Level| json!({ "xen": level.xen, "boot_id": level.boot, "payloads": level.payloads });
        let levels: Vec<Value> = self.levels.iter().map(level).collect();
        let generation = self.generation;
        let value = json!({ "version": VERSION, "generation": generation, "payloads": payloads, "levels": levels });
        format!("{value:#}\n")
    }

    /// Reads what [`to_json`](Self::to_json) wrote, or returns what is wrong with it.
    pub(super) fn from_json(bytes: &[u8]) -> Result<Self, String> {
        if bytes.is_empty() {
            return Err("it is empty".to_owned());
        }
        let value: Value = serde_json::from_slice(bytes).map_err(|error| format!("it is not JSON: {error}"))?;
        match value.get("version").and_then(Value::as_u64) {
            Some(VERSION) => {}
            Some(other) => return Err(format!("it has the format {other}, and only {VERSION} is known here")),
            None => return Err("its format is not given".to_owned()),
        }
        let generation = value.get("generation").and_then(Value::as_u64).ok_or("it has no generation")?;
        let list = |name: &str| value.get(name).and_then(Value::as_array).ok_or(format!("it has no {name}"));
        let records = list("payloads")?.iter().enumerate().map(|(index, record)| {
            Record::from_json(record).ok_or_else(|| format!("payload {} in it is incomplete", index + 1))
        });
        let levels = list("levels")?.iter().enumerate().map(|(index, level)| {
            Level::from_json(level).ok_or_else(|| format!("level {} in it is incomplete", index + 1))
        });
        Ok(Self { generation, records: records.collect::<Result<_, _>>()?, levels: levels.collect::<Result<_, _>>()? })
    }
}

impl By {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Boot => "boot",
            Self::Retry => "retry",
            Self::Hand => "hand",
        }
    }

    fn of_word(word: &str) -> Option<Self> {
        [Self::Boot, Self::Retry, Self::Hand].into_iter().find(|by| by.word() == word)
    }
}

fn text(value: &Value, name: &str) -> Option<String> {
    Some(value.get(name)?.as_str()?.to_owned())
}

/// The value of a key that must be there, and may be null.
fn optional<T>(value: &Value, name: &str, read: impl FnOnce(&Value) -> Option<T>) -> Result<Option<T>, ()> {
    match value.get(name).ok_or(())? {
        Value::Null => Ok(None),
        value => read(value).map(Some).ok_or(()),
    }
}

impl Record {
    fn to_json(&self) -> Value {
        let pending = self
            .pending
            .as_ref()
            .map(|Pending { boot, by, since }| json!({ "boot_id": boot, "by": by.word(), "since": since }));
        let mut object = Map::new();
        object.insert("xen".into(), self.xen.clone().into());
        object.insert("payload".into(), self.payload.clone().into());
        object.insert("first_in".into(), self.first.clone().into());
        object.insert("survived".into(), self.survived.into());
        object.insert("survived_in".into(), self.survived_in.clone().into());
        object.insert("suspect_in".into(), self.suspect_in.clone().into());
        object.insert("pending".into(), pending.into());
        object.into()
    }

    fn from_json(value: &Value) -> Option<Self> {
        let boot = |value: &Value| value.as_str().map(str::to_owned);
        Some(Self {
            xen: text(value, "xen")?,
            payload: text(value, "payload")?,
            first: text(value, "first_in")?,
            survived: value.get("survived")?.as_u64()?,
            survived_in: optional(value, "survived_in", boot).ok()?,
            suspect_in: optional(value, "suspect_in", boot).ok()?,
            pending: optional(value, "pending", Pending::from_json).ok()?,
        })
    }
}

impl Pending {
    fn from_json(value: &Value) -> Option<Self> {
        Some(Self {
            boot: text(value, "boot_id")?,
            by: By::of_word(value.get("by")?.as_str()?)?,
            since: value.get("since")?.as_u64()?,
        })
    }
}

impl Level {
    fn from_json(value: &Value) -> Option<Self> {
        let text_of = |value: &Value| value.as_str().map(str::to_owned);
        let payloads = value.get("payloads")?.as_array()?.iter().map(text_of).collect::<Option<_>>()?;
        Some(Self { xen: text(value, "xen")?, boot: text(value, "boot_id")?, payloads })
    }
}
