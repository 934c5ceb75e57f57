//! The crash-loop guard: what crashed this Xen once is not applied again at the next boot.
//!
//! Before the first step of a plan the attempt is written down and synced: in which boot, on which Xen, which payloads. A
//! boot that survives confirms its attempts: after ten minutes, or when it ends cleanly. So an attempt of an *earlier*
//! boot that was never confirmed is one after which the host went down, and the same attempt is refused from then on,
//! boot after boot, until someone retries it and it is survived.
//!
//! Nothing here stops a boot. What can't be read or written becomes a warning, and the host is patched all the same. So
//! that this hides no crash either, the state is kept twice, each copy is replaced as a whole, and one of them is
//! enough. A file that makes no sense is put aside, neither believed nor thrown away.

use std::fmt;
use std::path::{Path, PathBuf};

mod off;
mod record;
mod store;
#[cfg(test)]
mod tests;

pub(crate) use off::OffSwitches;
pub(crate) use record::{Attempt, Record};
pub(crate) use store::Damaged;

use serde_json::{Value, json};
use store::Store;

use crate::shown::shown;

/// Where the state is, unless told otherwise: what `StateDirectory=` of the unit makes.
pub(crate) const FOLDER: &str = "/var/lib/xen-livepatch";

const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// The guard of one boot.
#[derive(Debug)]
pub(crate) struct Guard {
    store: Store,
    /// Why it is not known, if it is not.
    boot: Result<String, String>,
}

/// What to do with an attempt that the host went down after in an earlier boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IfCrashed {
    /// Not repeat it.
    Refuse,
    /// Repeat it: someone wants to know.
    Retry,
}

/// The attempt may begin.
#[derive(Debug)]
#[must_use]
pub(crate) struct Begun {
    /// What a person should know: that nothing guards this attempt since it could not be written down, that an earlier
    /// state was damaged. Empty when all is well.
    pub(crate) warnings: Vec<String>,
}

/// The attempt must not begin: the host went down after the same one.
#[derive(Debug)]
pub(crate) struct Refused {
    /// That attempt.
    pub(crate) crashed: Record,
    /// As in [`Begun`].
    pub(crate) warnings: Vec<String>,
}

/// Why a boot could not be confirmed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unconfirmed {
    /// No attempt can be told to be this boot's.
    #[error("this boot's id can't be read: {0}")]
    NoBootId(String),
    /// All that there is of the state makes no sense.
    #[error("no attempt can be confirmed: {}", joined(.0))]
    Damaged(Vec<Damaged>),
    /// The next boot will refuse what this one survived.
    #[error("what this boot has survived can't be written down: {0}")]
    Unwritten(String),
}

/// The boot is confirmed.
#[derive(Debug)]
#[must_use]
pub(crate) struct Confirmed {
    /// Attempts of this boot that were not confirmed before.
    pub(crate) attempts: Vec<Attempt>,
    /// As in [`Begun`].
    pub(crate) warnings: Vec<String>,
}

/// What is known, for a person to read: one line for each matter, none when there is nothing to tell.
#[derive(Debug, Default)]
pub(crate) struct Report {
    /// Attempts of this boot that it has not survived yet.
    pub(crate) pending: Vec<Record>,
    /// Attempts that this boot has survived.
    pub(crate) survived: Vec<Record>,
    /// Attempts that the host went down after: they are not repeated.
    pub(crate) crashed: Vec<Record>,
    /// Files that can't be read or make no sense. An attempt may be missing above for that.
    pub(crate) damaged: Vec<Damaged>,
    /// Files that made no sense, and were put aside.
    pub(crate) aside: Vec<PathBuf>,
}

impl Guard {
    /// The guard of this boot, with its state in a folder that need not be there yet.
    pub(crate) fn at(folder: impl Into<PathBuf>) -> Self {
        Self::in_boot(folder, boot_id(Path::new(BOOT_ID)))
    }

    /// The guard of a boot with this id, or without one, for a reason.
    pub(crate) fn in_boot(folder: impl Into<PathBuf>, boot: Result<String, String>) -> Self {
        Self { store: Store::new(folder.into()), boot }
    }

    /// Writes down that this is about to be attempted. When it returns that has reached the disk, or a warning says why not.
    ///
    /// # Errors
    ///
    /// [`Refused`] when the host went down after the same attempt in an earlier boot. Nothing is written then, so that
    /// the next boot refuses it as well.
    pub(crate) fn begin(&self, attempt: &Attempt, if_crashed: IfCrashed) -> Result<Begun, Box<Refused>> {
        let _lock = self.store.lock();
        let loaded = self.store.load();
        let mut warnings = warnings(&loaded.damaged);
        if let (Some(crashed), IfCrashed::Refuse) = (self.crashed_before(&loaded.state.records, attempt), if_crashed) {
            return Err(Box::new(Refused { crashed, warnings }));
        }
        let written = self.boot.clone().map_err(|why| format!("the boot id can't be read: {why}")).and_then(|boot| {
            let mut state = loaded.state;
            state.begin(boot, attempt);
            self.store.save(state, &loaded.damaged)
        });
        match written {
            Ok(more) => warnings.extend(more),
            Err(why) => warnings.push(format!(
                "this attempt is not guarded, it will be repeated even if the host goes down after it: {why}"
            )),
        }
        Ok(Begun { warnings })
    }

    /// To be called when the attempt ended with an error and the host lives. A retry is taken back then: the payloads may
    /// never have been applied, so that this boot can't have survived them, and they are refused as before it. Any other
    /// attempt stays as it is, for a part of it may be in effect. Returns warnings.
    pub(crate) fn failed(&self, attempt: &Attempt) -> Vec<String> {
        let Ok(boot) = &self.boot else { return Vec::new() };
        let _lock = self.store.lock();
        let loaded = self.store.load();
        let mut state = loaded.state;
        if !state.take_back(boot, attempt) {
            return Vec::new();
        }
        self.store
            .save(state, &loaded.damaged)
            .unwrap_or_else(|why| vec![format!("the retry can't be taken back: {why}")])
    }

    /// What [`begin`](Self::begin) would refuse. Changes nothing.
    pub(crate) fn would_refuse(&self, attempt: &Attempt) -> Option<Refused> {
        let crashed = self.crashed_before(&self.store.load().state.records, attempt)?;
        Some(Refused { crashed, warnings: Vec::new() })
    }

    /// Marks what was attempted in this boot as survived.
    ///
    /// # Errors
    ///
    /// [`Unconfirmed`] when that can't be written down. The next boot then refuses to repeat what this one survived.
    pub(crate) fn confirm(&self) -> Result<Confirmed, Unconfirmed> {
        let boot = self.boot.as_ref().map_err(|why| Unconfirmed::NoBootId(why.clone()))?;
        let _lock = self.store.lock();
        let loaded = self.store.load();
        if loaded.is_lost() {
            return Err(Unconfirmed::Damaged(loaded.damaged));
        }
        let mut warnings = warnings(&loaded.damaged);
        let mut state = loaded.state;
        let attempts = state.confirm(boot);
        if !attempts.is_empty() {
            warnings.extend(self.store.save(state, &loaded.damaged).map_err(Unconfirmed::Unwritten)?);
        }
        Ok(Confirmed { attempts, warnings })
    }

    /// What is known. Changes nothing.
    pub(crate) fn report(&self) -> Report {
        let loaded = self.store.load();
        let mut report = Report { damaged: loaded.damaged, aside: self.store.aside(), ..Report::default() };
        for record in loaded.state.records {
            if self.crashed(&record) {
                report.crashed.push(record);
            } else if !record.survived {
                report.pending.push(record);
            } else if self.is_of_this_boot(&record) {
                report.survived.push(record);
            }
        }
        report
    }

    fn crashed_before(&self, records: &[Record], attempt: &Attempt) -> Option<Record> {
        records.iter().find(|record| record.attempt == *attempt && self.crashed(record)).cloned()
    }

    fn is_of_this_boot(&self, record: &Record) -> bool {
        self.boot.as_ref().is_ok_and(|boot| record.boot == *boot)
    }

    /// Without a boot id every attempt counts as an earlier boot's: the one mistake that can be made up for.
    fn crashed(&self, record: &Record) -> bool {
        !record.survived && !self.is_of_this_boot(record)
    }
}

/// The id of the running boot: another one each time the kernel starts.
fn boot_id(file: &Path) -> Result<String, String> {
    let text = std::fs::read_to_string(file).map_err(|error| format!("{}: {error}", shown(file)))?;
    match text.trim() {
        "" => Err(format!("{} is empty", shown(file))),
        id => Ok(id.to_owned()),
    }
}

fn warnings(damaged: &[Damaged]) -> Vec<String> {
    damaged
        .iter()
        .map(|damaged| format!("{damaged}. If the host went down after an attempt, that may not be known any more"))
        .collect()
}

fn joined(damaged: &[Damaged]) -> String {
    damaged.iter().map(Damaged::to_string).collect::<Vec<_>>().join("; ")
}

impl Report {
    /// For programs: an object for each matter.
    pub(crate) fn as_json(&self) -> Value {
        let of = |what: &'static str, records: &[Record]| {
            let object = move |record: &Record| {
                json!({
                    "what": what, "boot_id": record.boot, "xen": record.attempt.xen, "payloads": record.attempt.payloads
                })
            };
            records.iter().map(object).collect::<Vec<_>>()
        };
        let damaged = self.damaged.iter().map(|damaged| json!({ "what": "damaged", "text": damaged.to_string() }));
        let aside = self.aside.iter().map(|path| json!({ "what": "put_aside", "text": shown(path) }));
        let records = [("pending", &self.pending), ("survived", &self.survived), ("crashed", &self.crashed)];
        records.into_iter().flat_map(|(what, records)| of(what, records)).chain(damaged).chain(aside).collect()
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Record { boot, attempt, .. } = &self.crashed;
        write!(
            f,
            "not repeated: {attempt} was begun in boot {boot}, and the host went down before that was confirmed: it \
             crashed, or lost power (see journalctl --boot={boot}). Nothing was done. To try it again: \
             the same command with --retry"
        )
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Record { attempt, .. } in &self.pending {
            writeln!(f, "not confirmed yet: {attempt}; if the host goes down now, it is not repeated")?;
        }
        for Record { attempt, .. } in &self.survived {
            writeln!(f, "survived by this boot: {attempt}")?;
        }
        for Record { boot, attempt, .. } in &self.crashed {
            writeln!(f, "not repeated, the host went down after it in boot {boot}: {attempt}")?;
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
