//! The guard as `ensure`, `confirm` and `status` use it.

use std::fmt::Write as _;
use std::path::PathBuf;

use clap::ArgMatches;
use serde_json::json;
use xen_livepatch::{BuildId, Inventory, InventoryEntry, LivepatchClient, StoredPayload, Wanted};

use crate::failure::{AGAIN, Failure, NOT_GUARDED, NOT_SURVIVED};
use crate::guard::{self, Applied, By, Ending, Guard, Judgement, LONG_ENOUGH, Suspect, Written, for_journal};
use crate::host::{Access, with_client};
use crate::output::{self, Done};
use crate::simulation::simulated;
use crate::systemd;

/// The guard with its state in the directory that the command line names.
pub(super) fn guard(arguments: &ArgMatches) -> Guard {
    let simulated = || simulated(arguments).map(|directory| directory.join("boot"));
    // Not every command has that option.
    let given = arguments.try_get_one::<PathBuf>("state").ok().flatten().cloned();
    Guard::at(given.or_else(simulated).unwrap_or_else(|| guard::DIRECTORY.into()))
}

/// Ends the risk of payloads that another command than `ensure` has taken out: a later crash is not held against them.
/// That costs an inventory, and only while payloads of this boot are at risk.
pub(super) fn taken_out(arguments: &ArgMatches, client: &LivepatchClient) {
    let guard = guard(arguments);
    if !guard.has_pending() {
        return;
    }
    // A payload that stays at risk without need may have to be retried later. That is no reason to fail.
    if let Ok(inventory) = client.inventory() {
        let Written { warnings, failed } = guard.take_back(&hex(inventory.build_id.as_ref()), &applied(&inventory));
        warn(&warnings);
        warn(failed.as_slice());
    }
}

/// An `ensure` under the guard.
pub(super) struct Guarded {
    guard: Guard,
    by: By,
    /// The build-id of the running Xen.
    xen: String,
    /// The payloads that were applied before.
    applied: Applied,
    /// True if systemd is to confirm the payloads later.
    arms: bool,
    /// The reason why the payloads could not be written down, if they could not.
    unwritten: Option<String>,
}

impl Guarded {
    pub(super) fn new(arguments: &ArgMatches, inventory: &Inventory) -> Self {
        let by = match (arguments.get_flag("retry"), arguments.get_flag("boot")) {
            (true, _) => By::Retry,
            (_, true) => By::Boot,
            _ => By::Hand,
        };
        let is_at_its_place = simulated(arguments).is_none() && !arguments.contains_id("state");
        Self {
            guard: guard(arguments),
            by,
            xen: hex(inventory.build_id.as_ref()),
            applied: applied(inventory),
            arms: is_at_its_place && systemd::runs(),
            unwritten: None,
        }
    }

    /// The part of the wanted payloads that may be applied, or the level that survived last if its files are there; and the
    /// failure that names the payloads that are left out, if any are. Only unattended runs leave any out.
    pub(super) fn allowed(&self, wanted: Wanted, stored: &[&StoredPayload]) -> (Wanted, Option<Failure>) {
        let ids = ids(&wanted);
        let Judgement { allowed, suspect, last_survived, warnings } = self.guard.judge(&self.xen, &ids, &self.applied);
        let Some(suspect) = suspect else { return (wanted, None) };
        let names: Vec<String> = wanted.names().map(|name| format!("{name:?}")).collect();
        let (_, left_out) = names.split_at(allowed.min(names.len()));
        let name = left_out.first().cloned().unwrap_or_default();
        match self.by {
            By::Retry => return (wanted, None),
            By::Hand => {
                output::note(&format!("warning: {}; applied all the same, by hand", is_suspect(&name, &suspect)));
                return (wanted, None);
            }
            By::Boot => warn(&warnings),
        }
        let find = |id: &String| stored.iter().copied().find(|stored| hex(stored.payload().build_id()) == *id);
        let last: Option<Vec<&StoredPayload>> = last_survived.and_then(|level| level.iter().map(find).collect());
        let text = format!(
            "{}. Not applied unattended: {}. To try again: the same command with --retry",
            is_suspect(&name, &suspect),
            left_out.join(", ")
        );
        let mut failure = Failure::with_status(NOT_SURVIVED, "not_survived", text);
        let Some(last) = last else { return (wanted.lowest(allowed), Some(failure)) };
        let names: Vec<String> = last.iter().map(|stored| format!("{:?}", stored.name())).collect();
        failure.details.push(format!("applied in its place, since it survived last: {}", names.join(", ")));
        (wanted.in_place_of(last), Some(failure))
    }

    /// Writes down the payloads that are about to be applied. To be called before the first step.
    pub(super) fn begin(&mut self, wanted: &Wanted) {
        let Written { warnings, failed } = self.guard.begin(&self.xen, &ids(wanted), &self.applied, self.by);
        warn(&warnings);
        self.unwritten = failed;
        if self.arms && !wanted.is_empty() {
            if let Err(reason) = systemd::arm_timer() {
                let remedy = "run xen-livepatch confirm in ten minutes";
                warn(&[format!("systemd does not confirm these payloads ({reason}): {remedy}")]);
            }
        }
    }

    /// Ends the run that [`begin`](Self::begin) began: payloads that are not applied now are at risk no longer. Adds the
    /// failure to write that down, if there was one.
    pub(super) fn end(
        self,
        client: &LivepatchClient,
        outcome: Result<(Done, Option<Inventory>), Failure>,
    ) -> Result<Done, Failure> {
        let (outcome, after) = match outcome {
            Ok((done, after)) => (Ok(done), after),
            Err(failure) => (Err(failure), client.inventory().ok()),
        };
        let taken_back = after.map(|after| self.guard.take_back(&self.xen, &applied(&after)));
        let Written { warnings, failed } = taken_back.filter(|_| self.unwritten.is_none()).unwrap_or_default();
        warn(&warnings);
        let unguarded = self.unwritten.or(failed).map(|reason| {
            format!(
                "these payloads are not guarded: they will be applied again even if the host goes down with them, since \
                 that could not be written down: {reason}"
            )
        });
        match (outcome, unguarded) {
            (Ok(done), Some(text)) => Ok(done.but(Failure::with_status(NOT_GUARDED, "not_guarded", text))),
            (Ok(done), None) => Ok(done),
            (Err(failure), unguarded) => {
                warn(unguarded.as_slice());
                Err(failure)
            }
        }
    }
}

/// Marks the payloads of this boot that are applied now as survived.
pub(crate) fn confirm(arguments: &ArgMatches) -> Result<Done, Failure> {
    let guard = guard(arguments);
    if !guard.has_pending() {
        return Ok(Done::new("", json!({ "survived": [], "waiting": [] })));
    }
    let after = arguments.get_one("after").copied().unwrap_or(LONG_ENOUGH);
    let ending = if ends(arguments) { Ending::Shutdown } else { Ending::Lived(after.as_secs()) };
    let inventory = with_client(arguments, Access::Reads, |client| Ok(client.inventory()?));
    let (xen, applied, unknown) = match inventory {
        Ok(inventory) => (hex(inventory.build_id.as_ref()), Some(applied(&inventory)), None),
        // Nothing can be seen to have survived. Still the host does not go down with it.
        Err(failure) => (String::new(), None, Some(failure)),
    };
    let confirmed = guard.confirm(&xen, applied.as_ref(), ending);
    let confirmed = confirmed.map_err(|error| Failure::new("not_confirmed", error))?;
    warn(&confirmed.warnings);
    let mut text = String::new();
    for survived in &confirmed.survived {
        let _ = writeln!(text, "survived by this boot: payload {survived} on Xen {xen}");
    }
    let result = json!({ "survived": confirmed.survived, "waiting": confirmed.waiting });
    if let Some(failure) = unknown {
        return Err(failure.with_result(result));
    }
    if confirmed.survived.is_empty() && !confirmed.waiting.is_empty() {
        let (waiting, after) = (guard::payloads(&confirmed.waiting), humantime::format_duration(after));
        let text = format!("{waiting}: not confirmed yet, since this boot has not lived for {after} with that");
        return Err(Failure::with_status(AGAIN, "too_early", text).with_result(result));
    }
    Ok(Done::new(text, result))
}

/// Returns true if the boot ends cleanly now. On hosts without systemd, the option alone decides.
fn ends(arguments: &ArgMatches) -> bool {
    if !arguments.get_flag("shutdown") || simulated(arguments).is_some() || !systemd::runs() {
        return arguments.get_flag("shutdown");
    }
    match systemd::is_stopping() {
        Ok(true) => true,
        Ok(false) => {
            output::note("the system is not shutting down");
            false
        }
        Err(reason) => {
            output::note(&format!("it is not known whether the system is shutting down: {reason}"));
            false
        }
    }
}

/// The payloads that are applied, for the guard.
fn applied(inventory: &Inventory) -> Applied {
    let ids = |entries: Vec<&InventoryEntry>| -> Vec<String> {
        entries.into_iter().filter_map(|entry| entry.build_id.as_ref()).map(ToString::to_string).collect()
    };
    let is_unknown = |entry: &InventoryEntry| entry.is_applied() && entry.build_id.is_none();
    Applied {
        stack: ids(inventory.stack()),
        others: ids(inventory.off_chain()),
        unidentified: inventory.payloads.iter().any(is_unknown),
    }
}

fn hex(id: Option<&BuildId>) -> String {
    id.map(ToString::to_string).unwrap_or_default()
}

fn is_suspect(name: &str, Suspect { payload, boot }: &Suspect) -> String {
    let boot = for_journal(boot);
    format!(
        "{name} (build-id {payload}) is suspect: it was new in boot {boot}, and the host went down before that boot confirmed \
         it, by a crash or a power cut (see journalctl --boot={boot})"
    )
}

/// The build-ids of the wanted payloads.
fn ids(wanted: &Wanted) -> Vec<String> {
    wanted.build_ids().map(hex).collect()
}

fn warn(warnings: &[String]) {
    for warning in warnings {
        output::note(&format!("warning: {warning}"));
    }
}
