//! The guard in the commands that use it, and `confirm`.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::json;
use xen_livepatch::{BuildId, Inventory, InventoryEntry, LivepatchClient, StoredPayload, Wanted};

use super::Context;
use crate::arguments::{Confirm, Ensure};
use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::guard::{self, Applied, Ending, Guard, Judgement, LONG_ENOUGH, Suspect, Trigger, Written, for_journal};
use crate::host::{Access, with_client};
use crate::options::CommonOptions;
use crate::output::Done;
use crate::systemd;
use crate::terminal;

/// The guard with its state in the given directory, or in the default one.
pub(super) fn guard(options: &CommonOptions, state: Option<&Path>) -> Guard {
    Guard::at(options.directory(state, "boot", guard::DIRECTORY))
}

/// Ends the risk of payloads that a command other than `ensure` has removed: a later crash does not make them suspect.
/// This costs an inventory, and only while payloads of this boot are at risk.
pub(super) fn taken_out(options: &CommonOptions, client: &LivepatchClient) {
    let guard = guard(options, None);
    if !guard.has_pending() {
        return;
    }
    // A payload that stays at risk needlessly may have to be retried later, which is no reason to fail.
    if let Ok(inventory) = client.inventory() {
        let Written { warnings, failed } = guard.take_back(&hex(inventory.build_id.as_ref()), &applied(&inventory));
        warn(&warnings);
        warn(failed.as_slice());
    }
}

/// A run of `ensure` under the guard.
pub(super) struct Guarded {
    guard: Guard,
    by: Trigger,
    /// The build-id of the running Xen.
    xen: String,
    /// The payloads that were applied before.
    applied: Applied,
    /// True if systemd is to confirm the payloads later.
    arms_timer: bool,
    /// The error that kept the payloads from being recorded.
    unrecorded: Option<String>,
}

impl Guarded {
    pub(super) fn new(options: &CommonOptions, ensure: &Ensure, inventory: &Inventory) -> Self {
        let by = match (ensure.retry, ensure.boot) {
            (true, _) => Trigger::Retry,
            (_, true) => Trigger::Boot,
            _ => Trigger::Hand,
        };
        let is_host = options.simulate.is_none() && ensure.state.is_none();
        Self {
            guard: guard(options, ensure.state.as_deref()),
            by,
            xen: hex(inventory.build_id.as_ref()),
            applied: applied(inventory),
            arms_timer: is_host && systemd::runs(),
            unrecorded: None,
        }
    }

    /// Returns the part of the wanted payloads that may be applied, or the level that survived last if its files are there,
    /// and the failure that names skipped payloads. Only unattended runs skip any.
    pub(super) fn allowed(&self, wanted: Wanted, stored: &[&StoredPayload]) -> (Wanted, Option<Failure>) {
        let ids = ids(&wanted);
        let Judgement { allowed, suspect, last_survived, warnings } = self.guard.judge(&self.xen, &ids, &self.applied);
        let Some(suspect) = suspect else { return (wanted, None) };
        let names: Vec<String> = wanted.names().map(|name| format!("{name:?}")).collect();
        let (_, left_out) = names.split_at(allowed);
        let name = left_out.first().expect("the suspect is one of the wanted payloads");
        match self.by {
            Trigger::Retry => return (wanted, None),
            Trigger::Hand => {
                terminal::note(&format!(
                    "warning: {}; applied nevertheless, because this is not an unattended boot",
                    is_suspect(name, &suspect)
                ));
                return (wanted, None);
            }
            Trigger::Boot => warn(&warnings),
        }
        let find = |id: &String| stored.iter().copied().find(|stored| hex(stored.payload().build_id()) == *id);
        let last: Option<Vec<&StoredPayload>> = last_survived.and_then(|level| level.iter().map(find).collect());
        let text = format!(
            "{}. Not applied unattended: {}. To apply them, add --retry",
            is_suspect(name, &suspect),
            left_out.join(", ")
        );
        let mut failure = Failure::with_status(ExitStatus::SuspectLeftOut, "not_survived", text);
        let Some(last) = last else { return (wanted.lowest(allowed), Some(failure)) };
        let names: Vec<String> = last.iter().map(|stored| format!("{:?}", stored.name())).collect();
        failure.details.push(format!("applied instead, since it survived last: {}", names.join(", ")));
        (wanted.in_place_of(last), Some(failure))
    }

    /// Records the payloads that are about to be applied. Must be called before the first step.
    pub(super) fn begin(&mut self, wanted: &Wanted) {
        let Written { warnings, failed } = self.guard.begin(&self.xen, &ids(wanted), &self.applied, self.by);
        warn(&warnings);
        self.unrecorded = failed;
        if self.arms_timer && !wanted.is_empty() {
            if let Err(reason) = systemd::arm_timer() {
                let remedy = format!("run {} confirm in ten minutes", terminal::command());
                warn(&[format!("systemd does not confirm these payloads ({reason}): {remedy}")]);
            }
        }
    }

    /// Ends the run that [`begin`](Self::begin) began: payloads that are not applied now are no longer at risk. Adds a
    /// failure to record that.
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
        let Written { warnings, failed } = taken_back.filter(|_| self.unrecorded.is_none()).unwrap_or_default();
        warn(&warnings);
        let unguarded = self.unrecorded.or(failed).map(|reason| {
            format!(
                "these payloads are not guarded: they will be applied again even if the host goes down with them, since \
                 they could not be recorded: {reason}"
            )
        });
        match (outcome, unguarded) {
            (Ok(done), Some(text)) => {
                Ok(done.with_flaw(Failure::with_status(ExitStatus::Unguarded, "not_guarded", text)))
            }
            (Ok(done), None) => Ok(done),
            (Err(failure), unguarded) => {
                warn(unguarded.as_slice());
                Err(failure)
            }
        }
    }
}

/// Marks the payloads of this boot that are applied now as survived.
pub(super) fn confirm(Context { options, .. }: Context<'_>, arguments: &Confirm) -> Result<Done, Failure> {
    let guard = guard(options, arguments.state.as_deref());
    if !guard.has_pending() {
        return Ok(Done::new("", json!({ "survived": [], "waiting": [] })));
    }
    let after = arguments.after.unwrap_or(LONG_ENOUGH);
    let ending =
        if arguments.shutdown && is_shutting_down(options) { Ending::Shutdown } else { Ending::Lived(after.as_secs()) };
    let inventory = with_client(options, Access::Reads, |client| Ok(client.inventory()?));
    let (xen, applied, unknown) = match inventory {
        Ok(inventory) => (hex(inventory.build_id.as_ref()), Some(applied(&inventory)), None),
        // No payload is seen to have survived, but the host does not go down with them either.
        Err(failure) => (String::new(), None, Some(failure)),
    };
    let confirmed = guard.confirm(&xen, applied.as_ref(), ending);
    let confirmed = confirmed.map_err(|error| Failure::new("not_confirmed", error))?;
    warn(&confirmed.warnings);
    let mut text = String::new();
    for survived in &confirmed.survived {
        let _ = writeln!(text, "confirmed by this boot: payload {survived} on Xen {xen}");
    }
    let result = json!({ "survived": confirmed.survived, "waiting": confirmed.waiting });
    if let Some(failure) = unknown {
        return Err(failure.with_result(result));
    }
    if confirmed.survived.is_empty() && !confirmed.waiting.is_empty() {
        let (waiting, after) = (guard::payloads(&confirmed.waiting), humantime::format_duration(after));
        let text = format!("not confirmed yet, because not applied for {after} in this boot: {waiting}");
        return Err(Failure::with_status(ExitStatus::Retry, "too_early", text).with_result(result));
    }
    Ok(Done::new(text, result))
}

/// Returns true if the boot ends cleanly now, as `--shutdown` claims. Only systemd can deny that.
fn is_shutting_down(options: &CommonOptions) -> bool {
    if options.simulate.is_some() || !systemd::runs() {
        return true;
    }
    match systemd::is_stopping() {
        Ok(true) => true,
        Ok(false) => {
            terminal::note("the system is not shutting down");
            false
        }
        Err(reason) => {
            terminal::note(&format!("can't find out if the system is shutting down: {reason}"));
            false
        }
    }
}

/// The applied payloads, for the guard.
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

/// A build-id in hexadecimal; empty without one.
pub(super) fn hex(id: Option<&BuildId>) -> String {
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
        terminal::note(&format!("warning: {warning}"));
    }
}
