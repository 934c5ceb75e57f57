//! From what runs to what should.

use std::path::{Path, PathBuf};

use clap::ArgMatches;
use serde_json::{Value, json};
use xen_livepatch::{
    BuildId, EnsureError, Inventory, LivepatchClient, Payload, PayloadName, PayloadStore, Plan, StepEvent,
    StoredPayload, Wanted,
};

use super::guarded::{Guarded, Stack, takes_out};
use crate::failure::{Failure, as_json};
use crate::guard::OffSwitches;
use crate::host::{Access, accepted, with_client};
use crate::output::{self, Done, Output};
use crate::progress::Progress;
use crate::shown::shown;

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
    let input = read(&paths)?;
    let access = if dry { Access::Reads } else { Access::Changes };
    with_client(arguments, access, |client| {
        let (all, stored) = wanted_stack(client, &paths, input)?;
        let inventory = client.inventory()?;
        let mut guarded = Guarded::new(arguments, &inventory);
        let is_for_none = all.is_empty() && !nothing;
        let (stack, left_out) = guarded.allowed(all, &stored);
        let mut wanted = accepted(arguments).fold(Wanted::stack(stack.iter().cloned()), Wanted::accept);
        if arguments.get_flag("keep-unapplied") {
            wanted = wanted.keep_unapplied();
        }
        if arguments.get_flag("one-by-one") {
            wanted = wanted.one_by_one();
        }
        let plan = Plan::new(&inventory, &wanted)?;
        if is_for_none && !plan.is_empty() {
            let paths: Vec<String> = paths.iter().map(|path| shown(path)).collect();
            let text = format!("nothing in {} is for this Xen", paths.join(", "));
            return Err(Failure::new(
                "nothing_wanted",
                format_args!("{text}; to have everything reverted: ensure --nothing"),
            ));
        }
        if is_for_none {
            output::note("nothing of that is for this Xen");
        }
        // What runs is not taken out because something else is suspect.
        if let Some(left_out) = left_out.clone().filter(|_| stack.is_empty() || takes_out(&plan)) {
            return Err(left_out.and("nothing was done"));
        }
        let but = |done: Done| match left_out {
            Some(left_out) => done.but(left_out),
            None => done,
        };
        if dry {
            return Ok(but(Done::new(format!("{inventory}\n{plan}\n"), report(&plan, Some(&inventory)))));
        }
        if plan.is_empty() {
            return Ok(but(Done::new(format!("{inventory}\nno action needed\n"), report(&plan, Some(&inventory)))));
        }
        guarded.begin(&stack);
        output.line(&inventory.to_string());
        guarded.end(client, carry_out(client, &plan, output)).map(but)
    })
}

/// The plan, and what runs then, where that could be found out.
fn report(plan: &Plan, inventory: Option<&Inventory>) -> Value {
    json!({ "plan": as_json(plan), "inventory": inventory.map(as_json) })
}

/// Carries a plan out, and finds out what runs then.
fn carry_out(client: &LivepatchClient, plan: &Plan, output: &Output) -> Result<(Done, Option<Inventory>), Failure> {
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
        Ok(after) => Ok((Done::new(format!("{after}\n"), report(plan, Some(&after))), Some(after))),
        // All has been done all the same.
        Err(error) => {
            output::note(&format!("all steps were done, but what runs now is not known: {error}"));
            Ok((Done::new("", report(plan, None)), None))
        }
    }
}

/// What the command line names, read: files, lowest first, or a directory.
enum Input {
    Files(Stack),
    Directory(PayloadStore),
}

fn read(paths: &[&Path]) -> Result<Input, Failure> {
    Ok(match paths {
        [directory] if directory.is_dir() => Input::Directory(PayloadStore::read(directory)?),
        files => {
            let read = |file: &&Path| Ok((PayloadName::of_file(file)?, Payload::read(file)?));
            Input::Files(files.iter().map(read).collect::<Result<_, Failure>>()?)
        }
    })
}

/// The stack that is wanted, and all payloads that are there for this Xen.
fn wanted_stack(client: &LivepatchClient, paths: &[&Path], input: Input) -> Result<(Stack, Stack), Failure> {
    match (input, paths) {
        (Input::Files(files), _) => Ok((files, Stack::new())),
        (Input::Directory(store), paths) => of_store(client, paths.first().copied().unwrap_or(Path::new("")), &store),
    }
}

fn of_store(client: &LivepatchClient, directory: &Path, store: &PayloadStore) -> Result<(Stack, Stack), Failure> {
    let xen = client.build_id()?;
    // Without what can't be read the host would be brought down to what is left.
    let problems: Vec<_> = store.problems().iter().filter(|(path, _)| !is_for_another(directory, path, &xen)).collect();
    if let [(_, error), more @ ..] = &problems[..] {
        let others = if more.is_empty() { String::new() } else { format!(" (and {} more files)", more.len()) };
        return Err(Failure::new("unreadable", format_args!("{error}{others}")));
    }
    let stack = store.stack_for(&xen).map_err(|ambiguity| Failure::new("ambiguous", ambiguity))?;
    let copied = |stored: &StoredPayload| (stored.name().clone(), stored.payload().clone());
    Ok((stack.into_iter().map(copied).collect(), store.for_xen(&xen).into_iter().map(copied).collect()))
}

/// Returns true if a file is below a directory that bears the build-id of another Xen.
fn is_for_another(directory: &Path, file: &Path, xen: &BuildId) -> bool {
    let below = file.parent().and_then(|parent| parent.strip_prefix(directory).ok()).unwrap_or_else(|| Path::new(""));
    let ids = below.iter().filter_map(|name| name.to_str()?.parse::<BuildId>().ok());
    // A shorter one may be any word of the letters a to f.
    let mut ids = ids.filter(|id| id.as_bytes().len() >= 16);
    ids.any(|id| id != *xen)
}
