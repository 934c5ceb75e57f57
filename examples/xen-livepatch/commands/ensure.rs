//! From what runs to what should.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use clap::ArgMatches;
use serde_json::{Value, json};
use xen_livepatch::{
    BuildId, EnsureError, Inventory, LivepatchClient, Payload, PayloadName, PayloadStore, Plan, StepEvent, Wanted,
};

use crate::failure::{Failure, NOT_SURVIVED, as_json};
use crate::guard::{self, Attempt, Guard, IfCrashed, OffSwitches, Refused};
use crate::host::{Access, accepted, with_client};
use crate::output::{self, Done, Output};
use crate::progress::Progress;
use crate::shown::shown;
use crate::simulation::simulated;

pub(crate) fn ensure(arguments: &ArgMatches, output: &Output) -> Result<Done, Failure> {
    let paths: Vec<&Path> = arguments.get_many::<PathBuf>("what").into_iter().flatten().map(PathBuf::as_path).collect();
    let nothing = arguments.get_flag("nothing");
    let dry = arguments.get_flag("dry-run");
    if arguments.get_flag("boot") {
        if let Some(off) = OffSwitches::default().thrown() {
            let text = format!("nothing is done: {off}");
            return Ok(Done::new(format!("{text}\n"), json!({ "switched_off": off.to_string() })));
        }
    }
    let access = if dry { Access::Reads } else { Access::Changes };
    with_client(arguments, access, |client| {
        let stack = wanted_stack(client, &paths)?;
        let inventory = client.inventory()?;
        let mut wanted = accepted(arguments).fold(Wanted::stack(stack.iter().cloned()), Wanted::accept);
        if arguments.get_flag("keep-unapplied") {
            wanted = wanted.keep_unapplied();
        }
        if arguments.get_flag("one-by-one") {
            wanted = wanted.one_by_one();
        }
        let plan = Plan::new(&inventory, &wanted)?;
        if stack.is_empty() && !nothing && !plan.is_empty() {
            let paths: Vec<String> = paths.iter().map(|path| shown(path)).collect();
            let text = format!("nothing in {} is for this Xen", paths.join(", "));
            return Err(Failure::new(
                "nothing_wanted",
                format_args!("{text}; to have everything reverted: ensure --nothing"),
            ));
        }
        let guarded = arguments.get_flag("boot") || arguments.get_flag("retry");
        if stack.is_empty() && !nothing {
            output::note("nothing of that is for this Xen");
        }
        if dry {
            let asks = guarded && !arguments.get_flag("retry");
            let refused = asks.then(|| guard(arguments).would_refuse(&attempt(&inventory, &stack))).flatten();
            if let Some(refused) = refused {
                return Err(not_survived(&refused));
            }
            return Ok(Done::new(format!("{inventory}\n{plan}\n"), report(&plan, Some(&inventory))));
        }
        if plan.is_empty() {
            return Ok(Done::new(format!("{inventory}\nno action needed\n"), report(&plan, Some(&inventory))));
        }
        let guarded = guarded.then(|| Guarded::begin(arguments, attempt(&inventory, &stack))).transpose()?;
        output.line(&inventory.to_string());
        let done = carry_out(client, &plan, output);
        if let (Err(_), Some(guarded)) = (&done, guarded) {
            guarded.failed();
        }
        done
    })
}

fn attempt(inventory: &Inventory, stack: &[(PayloadName, Payload)]) -> Attempt {
    let hex = |id: &BuildId| id.to_string();
    Attempt {
        xen: inventory.build_id.as_ref().map(hex).unwrap_or_default(),
        payloads: stack.iter().filter_map(|(_, payload)| payload.build_id().map(hex)).collect(),
    }
}

fn not_survived(refused: &Refused) -> Failure {
    warn(&refused.warnings);
    Failure::with_status(NOT_SURVIVED, "not_survived", refused)
}

/// An attempt that was written down before its first step.
struct Guarded {
    guard: Guard,
    attempt: Attempt,
}

impl Guarded {
    fn begin(arguments: &ArgMatches, attempt: Attempt) -> Result<Self, Failure> {
        let if_crashed = if arguments.get_flag("retry") { IfCrashed::Retry } else { IfCrashed::Refuse };
        let guard = guard(arguments);
        match guard.begin(&attempt, if_crashed) {
            Ok(begun) => warn(&begun.warnings),
            Err(refused) => return Err(not_survived(&refused)),
        }
        Ok(Self { guard, attempt })
    }

    fn failed(&self) {
        warn(&self.guard.failed(&self.attempt));
    }
}

/// The guard with its state where the command line has it.
pub(super) fn guard(arguments: &ArgMatches) -> Guard {
    let simulated = || simulated(arguments).map(|folder| folder.join("boot"));
    let given = arguments.get_one::<PathBuf>("state").cloned();
    Guard::at(given.or_else(simulated).unwrap_or_else(|| guard::FOLDER.into()))
}

fn warn(warnings: &[String]) {
    for warning in warnings {
        output::note(&format!("warning: {warning}"));
    }
}

/// This boot has survived what was attempted in it.
pub(crate) fn confirm(arguments: &ArgMatches) -> Result<Done, Failure> {
    let confirmed = guard(arguments).confirm().map_err(|error| Failure::new("not_confirmed", error))?;
    warn(&confirmed.warnings);
    let texts: Vec<String> = confirmed.attempts.iter().map(ToString::to_string).collect();
    let mut text = String::new();
    for survived in &texts {
        let _ = writeln!(text, "survived by this boot: {survived}");
    }
    Ok(Done::new(text, json!({ "survived": texts })))
}

/// The plan, and what runs then, where that could be found out.
fn report(plan: &Plan, inventory: Option<&Inventory>) -> Value {
    json!({ "plan": as_json(plan), "inventory": inventory.map(as_json) })
}

fn carry_out(client: &LivepatchClient, plan: &Plan, output: &Output) -> Result<Done, Failure> {
    let progress = Progress::new(output, plan.steps().len());
    let outcome = client.carry_out(plan, |event| match event {
        StepEvent::Begin { step, .. } => progress.begin(&step.to_string()),
        StepEvent::End { step, index, total, took, error, .. } => {
            let ended = if error.is_some() { "failed after" } else { "done in" };
            progress.end(&format!("{} of {total}: {step}: {ended} {took:.1?}", index.saturating_add(1)));
        }
        _ => {}
    });
    drop(progress);
    outcome.map_err(|interrupted| Failure::from(EnsureError::Interrupted(interrupted)))?;
    match client.inventory() {
        Ok(after) => Ok(Done::new(format!("{after}\n"), report(plan, Some(&after)))),
        // All has been done all the same.
        Err(error) => {
            output::note(&format!("all steps were done, but what runs now is not known: {error}"));
            Ok(Done::new("", report(plan, None)))
        }
    }
}

/// What the command line names: files, lowest first, or a folder.
fn wanted_stack(client: &LivepatchClient, paths: &[&Path]) -> Result<Vec<(PayloadName, Payload)>, Failure> {
    match paths {
        [folder] if folder.is_dir() => of_folder(client, folder),
        files => files.iter().map(|file| Ok((PayloadName::of_file(file)?, Payload::read(file)?))).collect(),
    }
}

fn of_folder(client: &LivepatchClient, folder: &Path) -> Result<Vec<(PayloadName, Payload)>, Failure> {
    let store = PayloadStore::read(folder)?;
    let xen = client.build_id()?;
    // Without what can't be read the host would be brought down to what is left.
    let problems: Vec<_> = store.problems().iter().filter(|(path, _)| !is_for_another(folder, path, &xen)).collect();
    if let [(_, error), more @ ..] = &problems[..] {
        let others = if more.is_empty() { String::new() } else { format!(" (and {} more files)", more.len()) };
        return Err(Failure::new("unreadable", format_args!("{error}{others}")));
    }
    let stack = store.stack_for(&xen).map_err(|ambiguity| Failure::new("ambiguous", ambiguity))?;
    Ok(stack.into_iter().map(|stored| (stored.name().clone(), stored.payload().clone())).collect())
}

/// Whether a file is below a folder that bears the build-id of another Xen.
fn is_for_another(folder: &Path, file: &Path, xen: &BuildId) -> bool {
    let below = file.parent().and_then(|parent| parent.strip_prefix(folder).ok()).unwrap_or_else(|| Path::new(""));
    let ids = below.iter().filter_map(|name| name.to_str()?.parse::<BuildId>().ok());
    // A shorter one may be any word of the letters a to f.
    let mut ids = ids.filter(|id| id.as_bytes().len() >= 16);
    ids.any(|id| id != *xen)
}
