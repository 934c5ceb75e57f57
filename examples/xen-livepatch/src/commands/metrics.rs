//! `metrics`: the state of a host for Prometheus.

use std::path::{Path, PathBuf};
use std::slice;

use serde_json::json;
use xen_livepatch::{Inventory, InventoryEntry, PayloadStore, Plan, PlanError, State, StoreProblem, Target};

use super::ensure::Level;
use super::guarded::{guard, hex};
use super::on_disk;
use crate::arguments::Metrics;
use crate::exposition::Exposition;
use crate::failure::{Failure, as_word};
use crate::files;
use crate::guard::{self, Entry};
use crate::host::{Access, with_client};
use crate::hypervisors;
use crate::memory::{KeptFiles, LastEnsure};
use crate::options::CommonOptions;
use crate::output::Done;
use crate::terminal::shown;
use crate::trust::Trust;
use crate::widen::to_u64;

/// The most paths of unusable files. Their number is a metric of its own.
const MOST_PATHS: usize = 20;

pub(super) fn metrics(options: &CommonOptions, arguments: &Metrics) -> Result<Done, Failure> {
    let directory = on_disk::directory(options, arguments.directory.as_deref(), "DIR")?;
    let mut metrics = Collector::default();
    metrics.collect(options, arguments, &directory);
    let Collector { text, mut failures } = metrics;
    let text = text.into_text();
    let mut done = Done::new(text.clone(), json!({ "text": text }));
    if let Some(file) = &arguments.output {
        // The place of /dev/null must not be taken.
        if file.symlink_metadata().is_ok_and(|about| !about.is_file()) {
            return Err(Failure::new("file", format_args!("{}: it is not a regular file", shown(file))));
        }
        files::replace(file, 0o644, text.as_bytes()).map_err(|error| Failure::file(file, &error))?;
        done.text.clear();
    }
    if failures.is_empty() {
        return Ok(done);
    }
    let mut first = failures.remove(0);
    first.details.extend(failures.into_iter().map(|failure| failure.message));
    Ok(done.with_flaw(first))
}

/// The files of a directory, judged for the running Xen.
struct Judged {
    level: Result<Level, Failure>,
    wanted: usize,
    another_xen: usize,
    problems: Vec<StoreProblem>,
}

#[derive(Default)]
struct Collector {
    text: Exposition,
    failures: Vec<Failure>,
}

impl Collector {
    fn collect(&mut self, options: &CommonOptions, arguments: &Metrics, directory: &Path) {
        let trust = Trust::for_uploads(options, arguments.trusted.as_deref());
        let trust = self.keep_failure(trust);
        let store = trust.as_ref().map(|trust| trust.read_directory(directory));
        let asked = with_client(options, Access::Reads, |client| Ok((client.inventory()?, client.target()?)));
        let asked = self.keep_failure(asked);
        let store = store.and_then(|store| self.keep_failure(store));
        self.text.number("up", "1 if Xen has answered.", asked.is_some());
        if let Some((inventory, _)) = &asked {
            self.xen(inventory);
            self.payloads(inventory, store.as_ref());
        }
        if let Some(trust) = &trust {
            let help = "The keys by one of which payloads have to be signed; with 0, they need no signature.";
            self.text.number("trusted_keys", help, to_u64(trust.key_count()));
        }
        let mut level = None;
        if let Some(store) = &store {
            let kept = KeptFiles::of(options.simulate.as_deref());
            let judged = asked.as_ref().map(|(inventory, target)| judge(store, inventory, target, &kept));
            let judged = judged.and_then(|judged| self.keep_failure(judged));
            self.store(judged.as_ref(), store);
            level = judged.and_then(|judged| self.keep_failure(judged.level));
        }
        self.level(level);
        self.last_ensure(options);
        let running = asked.as_ref().map(|(inventory, _)| inventory);
        self.guard(options, arguments, running);
        self.installed(options, arguments, running);
        let kinds: Vec<String> = self.failures.iter().map(|failure| failure.kind().to_owned()).collect();
        let help = "1 for each kind of error that kept a part of these metrics from being read.";
        self.text.gauge("error", help, ["kind"], kinds.into_iter().map(|kind| ([kind], 1)));
    }

    fn keep_failure<T>(&mut self, outcome: Result<T, Failure>) -> Option<T> {
        outcome.map_err(|failure| self.failures.push(failure)).ok()
    }

    fn xen(&mut self, inventory: &Inventory) {
        let labels = [inventory.xen.to_string(), hex(inventory.build_id.as_ref())];
        self.text.gauge("xen_info", "The running Xen.", ["version", "build_id"], [(labels, 1)]);
    }

    fn payloads(&mut self, inventory: &Inventory, store: Option<&PayloadStore>) {
        let in_store = |entry: &InventoryEntry| {
            let (store, id) = (store?, entry.build_id.as_ref()?);
            Some(store.payloads().iter().any(|stored| stored.payload().build_id() == Some(id)))
        };
        let payload = |entry: &InventoryEntry| {
            let state = match entry.status.state {
                State::Applied => "applied",
                State::Checked => "checked",
                _ => "unknown",
            };
            [name(entry), hex(entry.build_id.as_ref()), state.to_owned(), flag(in_store(entry))]
        };
        let entries = &inventory.payloads;
        let help = "The loaded payloads; in_store is 1 if the file is in the directory.";
        let labels = ["name", "build_id", "state", "in_store"];
        self.text.gauge("payload", help, labels, entries.iter().map(|entry| (payload(entry), 1)));
        let help = "1 while an action on a payload is under way.";
        let pending = entries.iter().map(|entry| ([name(entry)], entry.status.in_progress().into()));
        self.text.gauge("payload_pending", help, ["name"], pending);
    }

    fn store(&mut self, judged: Option<&Judged>, store: &PayloadStore) {
        let problems = judged.map_or(store.problems(), |judged| &judged.problems);
        let known = judged.map(|judged| [("wanted", judged.wanted), ("another_xen", judged.another_xen)]);
        let unusable = problems.iter().map(|problem| problem.paths().len()).sum();
        let files = known.into_iter().flatten().chain([("problem", unusable)]);
        let files = files.map(|(state, number)| ([state.to_owned()], to_u64(number)));
        let help = "The payload files that are wanted, for another Xen, or can't be used.";
        self.text.gauge("store_files", help, ["state"], files);
        let paths = problems.iter().flat_map(|problem| problem.paths().iter().map(move |path| (problem, path)));
        let paths = paths.take(MOST_PATHS);
        let problems = paths.map(|(problem, path)| ([problem.fault().word().to_owned(), shown(path)], 1));
        let help = "The first files that can't be used, with the reason.";
        self.text.gauge("store_problem", help, ["kind", "path"], problems);
    }

    fn level(&mut self, level: Option<Level>) {
        let levels = Level::ALL.map(Some).into_iter().chain([None]);
        let levels = levels.map(|one| ([one.map_or("unknown".into(), |level| as_word(&level))], (one == level).into()));
        self.text.gauge("level", "1 for the level that ensure --dry-run reports.", ["level"], levels);
    }

    fn last_ensure(&mut self, options: &CommonOptions) {
        let Some(last) = LastEnsure::read(options.simulate.as_deref()) else { return };
        let help = "The time at which ensure ended last in this boot, dry runs excepted.";
        self.text.number("last_ensure_timestamp_seconds", help, last.time);
        let help = "The exit status of the last ensure, with the kind of its error.";
        self.text.gauge("last_ensure_status", help, ["kind"], [([last.kind], last.status.into())]);
    }

    fn guard(&mut self, options: &CommonOptions, arguments: &Metrics, running: Option<&Inventory>) {
        let report = guard(options, arguments.state.as_deref()).report();
        if let Some(running) = running {
            let xen = hex(running.build_id.as_ref());
            let suspects = report.count(|entry| matches!(entry, Entry::Suspect(level) if level.xen == xen));
            let help = "The payloads for the running Xen that are not applied unattended.";
            self.text.number("guard_suspects", help, to_u64(suspects));
        }
        let help = "The payloads that this boot has not confirmed yet.";
        let pending = report.count(|entry| matches!(entry, Entry::Pending { .. }));
        self.text.number("guard_unconfirmed", help, to_u64(pending));
        let help = "1 if applying payloads at boot is switched off.";
        self.text.number("guard_off", help, guard::switched_off().is_some());
        let help = "The damaged files of the guard's state, those put aside included.";
        let damaged = report.count(|entry| matches!(entry, Entry::Damaged { .. } | Entry::PutAside { .. }));
        self.text.number("guard_damaged", help, to_u64(damaged));
    }

    fn installed(&mut self, options: &CommonOptions, arguments: &Metrics, running: Option<&Inventory>) {
        let default = PathBuf::from("/boot");
        let directories = match &arguments.boot_directories[..] {
            [] if options.simulate.is_none() => slice::from_ref(&default),
            given => given,
        };
        let found = directories.iter().flat_map(|directory| hypervisors::installed(directory));
        let found: Vec<_> = found.filter_map(|found| self.keep_failure(found)).collect();
        let installed = found.into_iter().map(|(path, id)| {
            let is_running = running.and_then(|running| Some(*running.build_id.as_ref()? == id));
            ([shown(&path), id.to_string(), flag(is_running)], 1)
        });
        let help = "The installed hypervisors; running is 1 for the running one.";
        self.text.gauge("installed_xen", help, ["file", "build_id", "running"], installed);
    }
}

/// Judges files as `ensure --dry-run` does.
fn judge(store: &PayloadStore, inventory: &Inventory, target: &Target, kept: &KeptFiles) -> Result<Judged, Failure> {
    let wanted = store.wanted_for(target)?.at_hand(kept.payloads());
    let fruitless = (wanted.is_empty() && wanted.problems().is_empty()).then_some(store);
    let mut problems = wanted.problems().to_vec();
    let level = match Plan::new(inventory, &wanted) {
        Ok(plan) => {
            problems = plan.problems().to_vec();
            Ok(Level::new(fruitless, plan.is_empty() && problems.is_empty()))
        }
        Err(PlanError::Incomplete { problems: more, .. }) => {
            problems = more;
            Ok(Level::NotAsWanted)
        }
        Err(error) => Err(error.into()),
    };
    Ok(Judged { level, wanted: wanted.names().count(), another_xen: store.for_another(target).len(), problems })
}

/// The name of a payload as the command line accepts it: unlike the text for people, no two payloads have the same.
fn name(entry: &InventoryEntry) -> String {
    as_word(&entry.name)
}

/// A label for a fact that may be unknown.
fn flag(fact: Option<bool>) -> String {
    fact.map_or("unknown", |fact| if fact { "1" } else { "0" }).to_owned()
}
