//! The crash-loop guard: a payload that was new when the host went down is not applied again unattended.
//!
//! A payload is new, survived or suspect. Before the first step of a plan, its payloads are recorded on the disk together
//! with the boot that begins them. The boot confirms the applied ones after ten minutes, or when it ends cleanly: they have
//! survived, for good. An *earlier* boot that confirmed nothing went down. The payloads that it began become suspect unless
//! they had survived before, until they are retried and a boot survives that. The payloads below a suspect are applied, or
//! else the last level that survived.
//!
//! The guard never stops a boot. If the state can't be read, that is a warning; if it can't be written, an exit status; the
//! host is patched nevertheless. So that no crash is forgotten, the state is kept in two copies, each replaced as a whole,
//! and one copy is enough. A damaged file is put aside: it is neither used nor deleted.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

mod off;
mod record;
mod store;
#[cfg(test)]
mod tests;

pub(crate) use off::switched_off;
pub(crate) use record::{Applied, Ending, Level, Pending, Record, Trigger, Verdict};
pub(crate) use store::Damaged;

use crate::terminal::shown;
use record::State;
use serde::Serialize;
use store::{ReadState, StateFiles};

/// The default directory of the state, which `StateDirectory=` of the unit creates.
pub(crate) const DIRECTORY: &str = "/var/lib/xen-livepatch";

/// The time that a boot must run with payloads before it confirms them.
pub(crate) const LONG_ENOUGH: Duration = Duration::from_secs(600);

const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
const UPTIME: &str = "/proc/uptime";

#[derive(Debug)]
pub(crate) struct Guard {
    store: StateFiles,
    /// The boot, or the reason why it is unknown.
    boot: Result<Boot, String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Boot {
    /// A new id each time the kernel starts.
    pub(crate) id: String,
    /// The seconds since the kernel started.
    pub(crate) age: u64,
}

/// The part of a stack that may be applied unattended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Judgement {
    /// The number of its payloads, from the bottom.
    pub(crate) allowed: usize,
    /// The suspect that causes the rest to be skipped.
    pub(crate) suspect: Option<Suspect>,
    /// The level that survived last, from the bottom, if it has more payloads than are allowed.
    pub(crate) last_survived: Option<Vec<String>>,
    /// Remarks for people, such as that a copy of the state is damaged.
    pub(crate) warnings: Vec<String>,
}

/// A payload that was new when the host went down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Suspect {
    pub(crate) payload: String,
    /// The boot that went down.
    pub(crate) boot: String,
}

/// The outcome of writing the state.
#[derive(Debug, Default, PartialEq, Eq)]
#[must_use]
pub(crate) struct Written {
    pub(crate) warnings: Vec<String>,
    /// The reason why it was not written.
    pub(crate) failed: Option<String>,
}

#[derive(Debug)]
#[must_use]
pub(crate) struct Confirmed {
    /// The payloads that have survived this boot since the last confirmation.
    pub(crate) survived: Vec<String>,
    /// The payloads of this boot that it is too early to confirm.
    pub(crate) waiting: Vec<String>,
    pub(crate) warnings: Vec<String>,
}

/// The verdicts, for people and programs.
#[derive(Debug)]
pub(crate) struct Report {
    /// The running boot, if known.
    boot: Option<String>,
    pub(crate) entries: Vec<Entry>,
}

/// A verdict, or a fault of the state. Its JSON is a promise: see `boot` in `schema.json`.
#[derive(Debug, Serialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub(crate) enum Entry {
    /// A payload that this boot began and has not confirmed.
    Pending {
        #[serde(flatten)]
        level: Level,
        #[serde(skip)]
        by: Trigger,
        #[serde(skip)]
        is_suspect: bool,
    },
    /// The last level of a Xen.
    Survived(Level),
    /// A payload that is not applied unattended, with the boot that went down.
    Suspect(Level),
    /// An unreadable or damaged file, whose payloads may be missing in the other entries.
    Damaged { text: String },
    /// A damaged file that was put aside.
    PutAside { text: String },
}

impl Guard {
    /// The guard of this boot, with its state in a directory, which need not exist.
    pub(crate) fn at(directory: impl Into<PathBuf>) -> Self {
        Self::in_boot(directory, boot(Path::new(BOOT_ID), Path::new(UPTIME)))
    }

    /// The guard of a boot, or of an unknown one.
    pub(crate) fn in_boot(directory: impl Into<PathBuf>, boot: Result<Boot, String>) -> Self {
        Self { store: StateFiles::new(&directory.into()), boot }
    }

    /// Judges a stack of payloads, from the bottom, that is wanted on a Xen. Suspects that are applied already are allowed.
    /// Changes nothing.
    pub(crate) fn judge(&self, xen: &str, stack: &[String], applied: &Applied) -> Judgement {
        let (state, warnings) = self.settled();
        let refused = stack.iter().enumerate().find_map(|(at, payload)| {
            let boot = state.record(xen, payload).and_then(Record::suspect_boot)?;
            let suspect = Suspect { payload: payload.clone(), boot: boot.to_owned() };
            (!applied.contains(payload)).then_some((at, suspect))
        });
        let Some((allowed, suspect)) = refused else {
            return Judgement { allowed: stack.len(), suspect: None, last_survived: None, warnings };
        };
        let level = state.level(xen).filter(|level| level.payloads.len() > allowed);
        let last_survived = level.map(|level| level.payloads.clone());
        Judgement { allowed, suspect: Some(suspect), last_survived, warnings }
    }

    /// Records that the payloads of a stack are about to be applied. On return the record is on the disk, or the outcome
    /// contains the reason why not.
    pub(crate) fn begin(&self, xen: &str, stack: &[String], applied: &Applied, by: Trigger) -> Written {
        self.write(|state, boot| state.begin((&boot.id, boot.age), (xen, stack), applied, by))
    }

    /// Ends the risk of payloads that this boot began and that are not applied now.
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

    /// Returns true if this boot has begun payloads that it has not confirmed, or if that can't be known.
    pub(crate) fn has_pending(&self) -> bool {
        let ReadState { state, damaged, good } = self.store.read();
        let is_own = |record: &Record| {
            let boot = record.pending.as_ref().map(|pending| &pending.boot);
            boot.is_some_and(|pending| self.boot.as_ref().is_ok_and(|boot| boot.id == *pending))
        };
        // A confirmation fails then, with the reason.
        (good == 0 && !damaged.is_empty()) || self.boot.is_err() || state.records.iter().any(is_own)
    }

    /// Marks the applied payloads that this boot began as survived. If `applied` is unknown, none survives, but after a
    /// shutdown none becomes suspect either.
    ///
    /// # Errors
    /// The reason why that can't be recorded: the payloads that this boot has survived would be suspect after a power cut.
    pub(crate) fn confirm(&self, xen: &str, applied: Option<&Applied>, ending: Ending) -> Result<Confirmed, String> {
        let boot = self.boot.as_ref().map_err(|reason| format!("this boot's id can't be read: {reason}"))?;
        let _lock = self.store.lock();
        let read = self.store.read();
        if read.is_lost() {
            let damaged: Vec<String> = read.damaged.iter().map(Damaged::to_string).collect();
            return Err(format!("no payload can be confirmed: {}", damaged.join("; ")));
        }
        let mut warnings = warnings(&read.damaged);
        let mut state = read.state;
        let before = state.clone();
        state.settle(Some(&boot.id));
        let survived = state.confirm((&boot.id, boot.age), xen, applied, ending);
        let waiting = state.records.iter().filter(|record| record.pending.is_some());
        let waiting = waiting.map(|record| record.payload.clone()).collect();
        if state != before {
            let saved = self.store.save(state, &read.damaged);
            let unrecorded = |reason| format!("the payloads that this boot has survived can't be recorded: {reason}");
            warnings.extend(saved.map_err(unrecorded)?);
        }
        Ok(Confirmed { survived, waiting, warnings })
    }

    /// The verdicts. Changes nothing.
    pub(crate) fn report(&self) -> Report {
        let ReadState { mut state, damaged, .. } = self.store.read();
        state.settle(self.boot_id());
        let (mut pending, mut suspects) = (Vec::new(), Vec::new());
        for record in state.records {
            let verdict = record.verdict();
            let level = |boot| Level { xen: record.xen, boot, payloads: vec![record.payload] };
            match (verdict, record.pending, record.suspect_in) {
                (Verdict::Survived, ..) | (_, None, None) => {}
                (_, Some(Pending { boot, by, .. }), _) => {
                    let is_suspect = verdict == Verdict::Suspect;
                    pending.push(Entry::Pending { level: level(boot), by, is_suspect });
                }
                (_, None, Some(boot)) => suspects.push(Entry::Suspect(level(boot))),
            }
        }
        let survived = state.levels.into_iter().map(Entry::Survived);
        let damaged = damaged.iter().map(|damaged| Entry::Damaged { text: damaged.to_string() });
        let aside = self.store.aside().into_iter().map(|path| Entry::PutAside { text: shown(&path) });
        let entries = pending.into_iter().chain(survived).chain(suspects).chain(damaged).chain(aside).collect();
        Report { boot: self.boot_id().map(str::to_owned), entries }
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

/// A boot id in the form of `journalctl --boot`.
pub(crate) fn for_journal(boot: &str) -> String {
    boot.replace('-', "")
}

fn warnings(damaged: &[Damaged]) -> Vec<String> {
    let warning = |damaged: &Damaged| format!("{damaged}. A suspect may be mistaken for a new payload");
    damaged.iter().map(warning).collect()
}

/// A phrase for payloads, by their build-ids.
pub(crate) fn payloads(ids: &[String]) -> String {
    match ids {
        [] => "no payload".to_owned(),
        [payload] => format!("payload {payload}"),
        payloads => format!("payloads {}", payloads.join(", ")),
    }
}

impl Report {
    pub(crate) fn count(&self, is_counted: impl Fn(&Entry) -> bool) -> usize {
        self.entries.iter().filter(|entry| is_counted(entry)).count()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let on = |Level { xen, payloads: ids, .. }: &Level| format!("{} on Xen {xen}", payloads(ids));
        for entry in &self.entries {
            match entry {
                Entry::Pending { level, by, is_suspect } => {
                    let by = match by {
                        Trigger::Boot => "at boot",
                        Trigger::Retry => "as a retry",
                        Trigger::Hand => "by hand",
                    };
                    let then = if *is_suspect { "it stays suspect" } else { "it is suspect" };
                    writeln!(f, "not confirmed yet: {}, applied {by}; if the host goes down now, {then}", on(level))?;
                }
                Entry::Survived(level) if self.boot.as_ref() == Some(&level.boot) => {
                    writeln!(f, "confirmed by this boot: {}", on(level))?;
                }
                Entry::Survived(level) => {
                    writeln!(f, "survived last, by boot {}: {}", for_journal(&level.boot), on(level))?;
                }
                Entry::Suspect(level) => writeln!(
                    f,
                    "suspect, not applied unattended: {}; it was new when the host went down in boot {}",
                    on(level),
                    for_journal(&level.boot)
                )?,
                Entry::Damaged { text } => writeln!(f, "damaged: {text}")?,
                Entry::PutAside { text } => writeln!(f, "put aside, since it is damaged: {text}")?,
            }
        }
        Ok(())
    }
}
