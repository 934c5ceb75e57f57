//! The crash-loop guard: a payload that was new when the host went down is not applied again unattended.
//!
//! A payload is new, survived or suspect. Before the first step of a plan its payloads are written down and synced, with
//! the boot that begins them. The boot confirms those that are applied when it has lived for ten minutes with them, or
//! when it ends cleanly: they have survived, and stay so. An *earlier* boot that confirmed nothing went down, and the
//! payloads that it began and that had never survived are suspect from then on, until someone retries them and a boot
//! survives that. Whatever is below a suspect is applied all the same, or else the last level that survived.
//!
//! Nothing here stops a boot. State that can't be read becomes a warning, state that can't be written an exit status, and
//! the host is patched all the same. So that this hides no crash either, the state is kept twice, each copy is replaced
//! as a whole, and one of them is enough. A file that makes no sense is put aside, neither believed nor thrown away.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

mod off;
mod record;
mod store;
#[cfg(test)]
mod tests;

pub(crate) use off::OffSwitches;
pub(crate) use record::{Applied, Ending, Level, Record, Trigger, Verdict};
pub(crate) use store::Damaged;

use record::State;
use serde_json::{Value, json};
use store::{ReadState, StateFiles};

use crate::output::shown;

/// The directory of the state, unless another is given: the one that `StateDirectory=` of the unit makes.
pub(crate) const DIRECTORY: &str = "/var/lib/xen-livepatch";

/// The time that a boot has to live with payloads before it confirms them.
pub(crate) const LONG_ENOUGH: Duration = Duration::from_secs(600);

const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
const UPTIME: &str = "/proc/uptime";

/// The guard of one boot.
#[derive(Debug)]
pub(crate) struct Guard {
    store: StateFiles,
    /// The reason why it is not known, if it is not.
    boot: Result<Boot, String>,
}

/// The running boot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Boot {
    /// Another one each time the kernel starts.
    pub(crate) id: String,
    /// The seconds that it has lived.
    pub(crate) age: u64,
}

/// The part of a stack that may be applied unattended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Judgement {
    /// The number of payloads, from the bottom.
    pub(crate) allowed: usize,
    /// The payload that the rest is left out for.
    pub(crate) suspect: Option<Suspect>,
    /// The level that survived last, from the bottom, where it is another chain and more than what is allowed.
    pub(crate) last_survived: Option<Vec<String>>,
    /// Remarks for a person, such as that a copy of the state was damaged.
    pub(crate) warnings: Vec<String>,
}

/// A payload that was new when the host went down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Suspect {
    pub(crate) payload: String,
    /// The boot that went down.
    pub(crate) boot: String,
}

/// The outcome of writing something down.
#[derive(Debug, Default, PartialEq, Eq)]
#[must_use]
pub(crate) struct Written {
    /// Remarks for a person, as in [`Judgement`]. Empty when all is well.
    pub(crate) warnings: Vec<String>,
    /// The reason why it was not written down.
    pub(crate) failed: Option<String>,
}

/// The reason why a boot could not be confirmed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unconfirmed {
    /// No attempt can be known to be this boot's.
    #[error("this boot's id can't be read: {0}")]
    NoBootId(String),
    /// All that there is of the state makes no sense.
    #[error("no payload can be confirmed: {}", joined(.0))]
    Damaged(Vec<Damaged>),
    /// A power cut would make suspects of what this boot has survived.
    #[error("the payloads that this boot has survived can't be written down: {0}")]
    Unwritten(String),
}

/// The boot is confirmed.
#[derive(Debug)]
#[must_use]
pub(crate) struct Confirmed {
    /// The payloads that have survived this boot since it was confirmed last.
    pub(crate) survived: Vec<String>,
    /// The payloads of this boot that can't be confirmed yet.
    pub(crate) waiting: Vec<String>,
    /// As in [`Judgement`].
    pub(crate) warnings: Vec<String>,
}

/// The verdicts, for a person or a program to read.
#[derive(Debug, Default)]
pub(crate) struct Report {
    /// The running boot, if it is known.
    boot: Option<String>,
    /// Payloads of this boot that have not survived any boot.
    pub(crate) pending: Vec<Record>,
    /// The last level of each Xen.
    pub(crate) survived: Vec<Level>,
    /// Payloads that are not applied unattended.
    pub(crate) suspects: Vec<Record>,
    /// Files that can't be read or make no sense. A payload may be missing above for that.
    pub(crate) damaged: Vec<Damaged>,
    /// Files that made no sense, and were put aside.
    pub(crate) aside: Vec<PathBuf>,
}

impl Guard {
    /// The guard of this boot, with its state in a directory that need not exist.
    pub(crate) fn at(directory: impl Into<PathBuf>) -> Self {
        Self::in_boot(directory, boot(Path::new(BOOT_ID), Path::new(UPTIME)))
    }

    /// The guard of a given boot, or of one that is not known.
    pub(crate) fn in_boot(directory: impl Into<PathBuf>, boot: Result<Boot, String>) -> Self {
        Self { store: StateFiles::new(&directory.into()), boot }
    }

    /// Judges a stack of payloads, from the bottom, that somebody wants applied on this Xen. A payload that is applied
    /// already is not applied by anybody. Changes nothing.
    pub(crate) fn judge(&self, xen: &str, stack: &[String], applied: &Applied) -> Judgement {
        let (state, warnings) = self.settled();
        let is_refused =
            |payload: &String| state.verdict(xen, payload) == Verdict::Suspect && !applied.contains(payload);
        let Some(allowed) = stack.iter().position(is_refused) else {
            return Judgement { allowed: stack.len(), suspect: None, last_survived: None, warnings };
        };
        let record = stack.get(allowed).and_then(|payload| state.record(xen, payload));
        let suspect = record.map(|record| Suspect {
            payload: record.payload.clone(),
            boot: record.suspect_in.clone().unwrap_or_default(),
        });
        let level = state.level(xen).filter(|level| level.payloads.len() > allowed);
        let last_survived = level.map(|level| level.payloads.clone());
        Judgement { allowed, suspect, last_survived, warnings }
    }

    /// Writes down that the payloads of this stack are about to be applied. On return that has reached the disk, or the
    /// outcome names the reason why not.
    pub(crate) fn begin(&self, xen: &str, stack: &[String], applied: &Applied, by: Trigger) -> Written {
        self.write(|state, boot| state.begin((&boot.id, boot.age), (xen, stack), applied, by))
    }

    /// To be called with what is applied after an attempt: a payload that did not come to be applied, or that was taken
    /// out, is no longer at risk.
    pub(crate) fn take_back(&self, xen: &str, applied: &Applied) -> Written {
        self.write(|state, boot| state.take_back(&boot.id, xen, applied))
    }

    fn write(&self, change: impl FnOnce(&mut State, &Boot)) -> Written {
        let _lock = self.store.lock();
        let ReadState { mut state, damaged, .. } = self.store.read();
        let mut warnings = warnings(&damaged);
        let boot = match &self.boot {
            Ok(boot) => boot,
            Err(reason) => return Written { warnings, failed: Some(format!("the boot id can't be read: {reason}")) },
        };
        let before = state.clone();
        state.settle(Some(&boot.id));
        change(&mut state, boot);
        if state == before && damaged.is_empty() {
            return Written { warnings, failed: None };
        }
        match self.store.save(state, &damaged) {
            Ok(more) => {
                warnings.extend(more);
                Written { warnings, failed: None }
            }
            Err(reason) => Written { warnings, failed: Some(reason) },
        }
    }

    /// Returns true if this boot began anything that it has not confirmed yet, or if that can't be known.
    pub(crate) fn has_pending(&self) -> bool {
        let ReadState { state, damaged, good } = self.store.read();
        let is_own = |record: &Record| {
            let boot = record.pending.as_ref().map(|pending| &pending.boot);
            boot.is_some_and(|pending| self.boot.as_ref().is_ok_and(|boot| boot.id == *pending))
        };
        // A confirmation that fails names the reason.
        (good == 0 && !damaged.is_empty()) || self.boot.is_err() || state.records.iter().any(is_own)
    }

    /// Marks as survived what this boot began and what is applied now. `applied` is `None` where that can't be found out:
    /// then nothing survives, but after a shutdown nothing becomes suspect either.
    ///
    /// # Errors
    /// [`Unconfirmed`] when that can't be written down.
    pub(crate) fn confirm(
        &self,
        xen: &str,
        applied: Option<&Applied>,
        ending: Ending,
    ) -> Result<Confirmed, Unconfirmed> {
        let boot = self.boot.as_ref().map_err(|reason| Unconfirmed::NoBootId(reason.clone()))?;
        let _lock = self.store.lock();
        let read = self.store.read();
        if read.is_lost() {
            return Err(Unconfirmed::Damaged(read.damaged));
        }
        let mut warnings = warnings(&read.damaged);
        let mut state = read.state;
        let before = state.clone();
        state.settle(Some(&boot.id));
        let survived = state.confirm((&boot.id, boot.age), xen, applied, ending);
        let waiting = state.records.iter().filter(|record| record.pending.is_some());
        let waiting = waiting.map(|record| record.payload.clone()).collect();
        if state != before {
            warnings.extend(self.store.save(state, &read.damaged).map_err(Unconfirmed::Unwritten)?);
        }
        Ok(Confirmed { survived, waiting, warnings })
    }

    /// The verdicts. Changes nothing.
    pub(crate) fn report(&self) -> Report {
        let ReadState { mut state, damaged, .. } = self.store.read();
        state.settle(self.boot_id());
        let mut report = Report {
            boot: self.boot_id().map(str::to_owned),
            survived: state.levels,
            damaged,
            aside: self.store.aside(),
            ..Report::default()
        };
        for record in state.records {
            match record.verdict() {
                Verdict::Survived => {}
                _ if record.pending.is_some() => report.pending.push(record),
                Verdict::Suspect => report.suspects.push(record),
                Verdict::New => {}
            }
        }
        report
    }

    fn boot_id(&self) -> Option<&str> {
        self.boot.as_ref().ok().map(|boot| boot.id.as_str())
    }

    fn settled(&self) -> (State, Vec<String>) {
        let ReadState { mut state, damaged, .. } = self.store.read();
        state.settle(self.boot_id());
        (state, warnings(&damaged))
    }
}

/// The id of this boot.
pub(crate) fn boot_id() -> Result<String, String> {
    first_word(Path::new(BOOT_ID))
}

fn first_word(file: &Path) -> Result<String, String> {
    let text = std::fs::read_to_string(file).map_err(|error| format!("{}: {error}", shown(file)))?;
    text.split_whitespace().next().map(str::to_owned).ok_or_else(|| format!("{} is empty", shown(file)))
}

fn boot(id: &Path, uptime: &Path) -> Result<Boot, String> {
    let id = first_word(id)?;
    let age = first_word(uptime)?;
    let seconds = age.split('.').next().and_then(|seconds| seconds.parse().ok());
    Ok(Boot { id, age: seconds.ok_or_else(|| format!("{}: {age:?} is not a time", shown(uptime)))? })
}

/// A boot id as `journalctl --boot` takes it.
pub(crate) fn for_journal(boot: &str) -> String {
    boot.replace('-', "")
}

fn warnings(damaged: &[Damaged]) -> Vec<String> {
    let warning = |damaged: &Damaged| format!("{damaged}. A payload that the host went down with may be taken for new");
    damaged.iter().map(warning).collect()
}

fn joined(damaged: &[Damaged]) -> String {
    damaged.iter().map(Damaged::to_string).collect::<Vec<_>>().join("; ")
}

/// Payloads in a sentence, by their build-ids.
pub(crate) fn payloads(ids: &[String]) -> String {
    match ids {
        [] => "no payload".to_owned(),
        [payload] => format!("payload {payload}"),
        payloads => format!("payloads {}", payloads.join(", ")),
    }
}

impl Report {
    /// For programs: an object for each matter.
    pub(crate) fn as_json(&self) -> Value {
        let object = |what: &str, boot: &str, xen: &str, payloads: &[String]| json!({ "what": what, "boot_id": boot, "xen": xen, "payloads": payloads });
        let of = |what: &'static str, record: &Record, boot: Option<&String>| {
            object(what, boot.map_or("", String::as_str), &record.xen, std::slice::from_ref(&record.payload))
        };
        let pending = self
            .pending
            .iter()
            .map(|record| of("pending", record, record.pending.as_ref().map(|pending| &pending.boot)));
        let survived = self.survived.iter().map(|level| object("survived", &level.boot, &level.xen, &level.payloads));
        let suspects = self.suspects.iter().map(|record| of("suspect", record, record.suspect_in.as_ref()));
        let damaged = self.damaged.iter().map(|damaged| json!({ "what": "damaged", "text": damaged.to_string() }));
        let aside = self.aside.iter().map(|path| json!({ "what": "put_aside", "text": shown(path) }));
        pending.chain(survived).chain(suspects).chain(damaged).chain(aside).collect()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for record in &self.pending {
            let by = match record.pending.as_ref().map(|pending| pending.by) {
                Some(Trigger::Boot) => "at boot",
                Some(Trigger::Retry) => "as a retry",
                Some(Trigger::Hand) | None => "by hand",
            };
            let Record { xen, payload, .. } = record;
            let then = if record.verdict() == Verdict::Suspect { "it stays suspect" } else { "it is suspect" };
            writeln!(
                f,
                "not confirmed yet: payload {payload} on Xen {xen}, applied {by}; if the host goes down now, {then}"
            )?;
        }
        for Level { xen, boot, payloads: ids } in &self.survived {
            let ids = payloads(ids);
            if self.boot.as_ref() == Some(boot) {
                writeln!(f, "survived by this boot: {ids} on Xen {xen}")?;
            } else {
                writeln!(f, "survived last, by boot {}: {ids} on Xen {xen}", for_journal(boot))?;
            }
        }
        for Record { xen, payload, suspect_in, .. } in &self.suspects {
            let boot = for_journal(suspect_in.as_deref().unwrap_or_default());
            writeln!(
                f,
                "suspect, not applied unattended: payload {payload} on Xen {xen}; it was new when the host went down in \
                 boot {boot}"
            )?;
        }
        for damaged in &self.damaged {
            writeln!(f, "damaged: {damaged}")?;
        }
        for path in &self.aside {
            writeln!(f, "put aside, it made no sense: {}", shown(path))?;
        }
        Ok(())
    }
}
