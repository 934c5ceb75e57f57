//! From what runs to what should.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use clap::ArgMatches;
use serde_json::{Value, json};
use xen_livepatch::{
    BuildId, EnsureError, Inventory, LivepatchClient, PayloadStore, Plan, StepEvent, StoreProblem, StoredPayload,
    Wanted,
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
    let mut aside = Aside::default();
    let done = with_client(arguments, access, |client| {
        let selected = wanted_stack(client, &paths, &mut aside)?;
        let inventory = client.inventory()?;
        let mut wanted = accepted(arguments).fold(selected, Wanted::accept);
        if arguments.get_flag("keep-unapplied") {
            wanted = wanted.keep_unapplied();
        }
        if arguments.get_flag("one-by-one") {
            wanted = wanted.one_by_one();
        }
        let plan = Plan::new(&inventory, &wanted)?;
        let is_unasked = wanted.is_empty() && wanted.problems().is_empty() && !nothing;
        if is_unasked && !plan.is_empty() {
            let paths: Vec<String> = paths.iter().map(|path| shown(path)).collect();
            let text = format!("nothing in {} is for this Xen", paths.join(", "));
            return Err(Failure::new(
                "nothing_wanted",
                format_args!("{text}; to have everything reverted: ensure --nothing"),
            ));
        }
        let guarded = arguments.get_flag("boot") || arguments.get_flag("retry");
        if is_unasked {
            output::note("nothing of that is for this Xen");
        }
        if dry {
            let asks = guarded && !arguments.get_flag("retry");
            let refused = asks.then(|| guard(arguments).would_refuse(&attempt(&inventory, &wanted))).flatten();
            if let Some(refused) = refused {
                return Err(not_survived(&refused));
            }
            return Ok(Done::new(format!("{inventory}\n{plan}\n"), report(&plan, Some(&inventory))));
        }
        if plan.is_empty() {
            return Ok(Done::new(format!("{inventory}\nno action needed\n"), report(&plan, Some(&inventory))));
        }
        let guarded = guarded.then(|| Guarded::begin(arguments, attempt(&inventory, &wanted))).transpose()?;
        output.line(&inventory.to_string());
        let done = carry_out(client, &plan, output);
        if let (Err(_), Some(guarded)) = (&done, guarded) {
            guarded.failed();
        }
        done
    })?;
    aside.reported_with(done, output)
}

fn attempt(inventory: &Inventory, wanted: &Wanted) -> Attempt {
    let hex = |id: &BuildId| id.to_string();
    Attempt {
        xen: inventory.build_id.as_ref().map(hex).unwrap_or_default(),
        payloads: wanted.build_ids().flatten().map(hex).collect(),
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

/// The files of a directory that are not used.
#[derive(Default)]
struct Aside {
    /// Those that are for another Xen.
    ignored: Vec<String>,
    /// Those that may be wanted, but could not be used.
    problems: Vec<StoreProblem>,
}

impl Aside {
    fn warn(&self) {
        for problem in &self.problems {
            output::note(&problem.to_string());
        }
        for path in &self.ignored {
            output::note(&format!("{path}: ignored, since it is for another Xen"));
        }
    }

    /// Adds the files to a result. It is a failure while there are problems.
    fn reported_with(&self, mut done: Done, output: &Output) -> Result<Done, Failure> {
        if let Value::Object(result) = &mut done.result {
            if result.contains_key("plan") {
                result.insert("ignored".into(), json!(self.ignored));
                result.insert("problems".into(), self.problems.iter().map(as_json).collect());
            }
        }
        if self.problems.is_empty() {
            return Ok(done);
        }
        output.line(done.text.trim_end());
        let text = "this may not be all that is wanted, since some files could not be used";
        Err(Failure::new("incomplete", text).with_result(done.result))
    }
}

/// The payloads that the command line names: files, lowest first, or a directory.
fn wanted_stack(client: &LivepatchClient, paths: &[&Path], aside: &mut Aside) -> Result<Wanted, Failure> {
    match paths {
        [directory] if directory.is_dir() => of_directory(client, directory, aside),
        files => {
            let files = files.iter().map(StoredPayload::read).collect::<Result<Vec<_>, _>>()?;
            Ok(Wanted::stored(&files))
        }
    }
}

fn of_directory(client: &LivepatchClient, directory: &Path, aside: &mut Aside) -> Result<Wanted, Failure> {
    let store = PayloadStore::read(directory)?;
    let target = client.target()?;
    let wanted = store.wanted_for(&target)?;
    aside.ignored = store.for_another(&target).into_iter().map(|stored| shown(stored.path())).collect();
    aside.problems = wanted.problems().to_vec();
    aside.warn();
    Ok(wanted)
}
