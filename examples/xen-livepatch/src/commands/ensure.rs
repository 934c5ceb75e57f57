//! `ensure`: brings a host to the wanted payloads.

use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::{Value, json};
use xen_livepatch::{
    ErrorKind, Inventory, InventoryEntry, LivepatchClient, PayloadName, PayloadStore, Plan, PlanError, Step,
    StoreProblem, StoredPayload, Target, Wanted,
};

use super::Context;
use super::carry_out::carry_out;
use super::files::no_payloads;
use super::guarded::Guarded;
use crate::arguments::Ensure;
use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::guard;
use crate::host::{Access, with_client};
use crate::memory::{KeptFiles, LastEnsure};
use crate::output::Done;
use crate::terminal::{self, shown};
use crate::trust::Trust;

pub(super) fn ensure(context: Context<'_>, arguments: &Ensure) -> Result<Done, Failure> {
    if arguments.boot {
        if let Some(off) = guard::switched_off() {
            return Ok(Done::new(
                format!("nothing is done: {off}\n"),
                json!({ "changed": false, "switched_off": off }),
            ));
        }
    }
    let outcome = run(context, arguments);
    if !arguments.dry_run {
        // Best effort: it is for metrics alone.
        let _ = LastEnsure::new(&outcome).keep(context.options.simulate.as_deref());
    }
    outcome
}

fn run(context: Context<'_>, arguments: &Ensure) -> Result<Done, Failure> {
    // Files are read before the lock is taken, since a pipe may take its time; a directory is read after that, since it may
    // change while this waits for the lock.
    let early = if directory(&arguments.paths).is_some() { None } else { Some(Input::read(context, arguments)?) };
    let access = if arguments.dry_run { Access::Reads } else { Access::Changes };
    let kept = KeptFiles::of(context.options.simulate.as_deref());
    with_client(context.options, access, |client| {
        let input = early.map_or_else(|| Input::read(context, arguments), Ok)?;
        Run { context, arguments, client, kept }.run(&input)
    })
}

/// The directory on the command line, if it names one instead of files.
fn directory(paths: &[PathBuf]) -> Option<&Path> {
    match paths {
        [path] if path.is_dir() => Some(path),
        _ => None,
    }
}

/// The payloads that the command line names, read from their files.
enum Input {
    /// `--nothing`.
    Nothing,
    /// Files, lowest first.
    Files(Vec<StoredPayload>),
    /// One file, with the name to load it under.
    Named(PayloadName, StoredPayload),
    Directory(PathBuf, PayloadStore),
}

impl Input {
    fn read(Context { options, .. }: Context<'_>, arguments: &Ensure) -> Result<Self, Failure> {
        let Ensure { paths, name, trusted, .. } = arguments;
        let trust = Trust::for_uploads(options, trusted.as_deref())?;
        let name = name.as_deref().map(super::name).transpose()?;
        Ok(match (name, &paths[..], directory(paths)) {
            (None, [], _) => Self::Nothing,
            (None, _, Some(directory)) => Self::Directory(directory.to_path_buf(), trust.read_directory(directory)?),
            (None, files, None) => {
                Self::Files(files.iter().map(|file| trust.read_file(file)).collect::<Result<_, _>>()?)
            }
            (Some(name), [file], None) => Self::Named(name, trust.read_file(file)?),
            (Some(_), ..) => return Err(Failure::new("usage", "--name is for one FILE")),
        })
    }

    fn wanted(&self, target: &Target) -> Result<Wanted, Failure> {
        Ok(match self {
            Self::Nothing => Wanted::nothing(),
            Self::Files(files) => Wanted::stored(files),
            Self::Named(name, file) => Wanted::only(name.clone(), file.payload().clone()),
            Self::Directory(_, store) => store.wanted_for(target)?,
        })
    }

    fn directory(&self) -> Option<(&Path, &PayloadStore)> {
        match self {
            Self::Directory(path, store) => Some((path, store)),
            _ => None,
        }
    }
}

/// The level of a host, compared with the wanted level.
#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Level {
    AsWanted,
    NotAsWanted,
    /// There are payloads, and none is for this Xen.
    NothingForThisXen,
    /// There are no payloads.
    NothingThere,
}

impl Level {
    pub(super) const ALL: [Self; 4] = [Self::AsWanted, Self::NotAsWanted, Self::NothingForThisXen, Self::NothingThere];

    /// The level of a host with all payloads as wanted or not; or that of a directory without payloads for this Xen.
    pub(super) fn new(fruitless: Option<&PayloadStore>, is_as_wanted: bool) -> Self {
        match fruitless {
            Some(store) if store.payloads().is_empty() && store.problems().is_empty() => Self::NothingThere,
            Some(_) => Self::NothingForThisXen,
            None if is_as_wanted => Self::AsWanted,
            None => Self::NotAsWanted,
        }
    }

    /// The exit status of a dry run.
    const fn status(self) -> ExitStatus {
        match self {
            Self::AsWanted => ExitStatus::Done,
            Self::NotAsWanted => ExitStatus::NotAsWanted,
            Self::NothingForThisXen => ExitStatus::NoneForThisXen,
            Self::NothingThere => ExitStatus::NoPayloads,
        }
    }
}

/// The report on a run, without its plan.
struct Report {
    changed: bool,
    level: Level,
    wanted: Vec<String>,
    ignored: Vec<String>,
    problems: Vec<StoreProblem>,
}

impl Report {
    fn json(&self, plan: Option<&Plan>, inventory: Option<&Inventory>) -> Value {
        json!({
            "changed": self.changed,
            "level": self.level,
            "wanted": self.wanted,
            "plan": plan,
            "inventory": inventory,
            "ignored": self.ignored,
            "problems": self.problems,
        })
    }

    /// Replaces the problems, which a plan may add to those of its directory. Prints the new ones on stderr.
    fn set_problems(&mut self, problems: Vec<StoreProblem>) {
        for problem in problems.iter().filter(|problem| !self.problems.contains(problem)) {
            terminal::note(&problem.to_string());
        }
        self.problems = problems;
    }

    /// The paths of the files that could not be used.
    fn paths(&self) -> String {
        let paths = self.problems.iter().flat_map(StoreProblem::paths);
        paths.map(|path| shown(path)).collect::<Vec<_>>().join(", ")
    }

    fn incomplete_status(&self) -> ExitStatus {
        // A file that changes while it is read may be complete a moment later.
        let is_retryable = self.problems.iter().any(StoreProblem::is_retryable);
        if is_retryable { ExitStatus::Retry } else { ExitStatus::Incomplete }
    }

    /// The failure of a run that would have to remove payloads although some files could not be used.
    fn nothing_removed(&self, inventory: &Inventory) -> Failure {
        let text = format!("nothing is removed or replaced while some files could not be used: {}", self.paths());
        let failure = Failure::with_status(self.incomplete_status(), "incomplete", text);
        failure.with_result(self.json(None, Some(inventory)))
    }

    /// The flaw of a run that had to skip files, if it had to.
    fn incomplete(&self) -> Option<Failure> {
        let text = format!("wanted payloads may be missing, since some files could not be used: {}", self.paths());
        let status = self.incomplete_status();
        (!self.problems.is_empty()).then(|| Failure::with_status(status, "incomplete", text))
    }
}

struct Run<'a> {
    context: Context<'a>,
    arguments: &'a Ensure,
    client: &'a LivepatchClient,
    kept: KeptFiles,
}

impl Run<'_> {
    fn run(&self, input: &Input) -> Result<Done, Failure> {
        let Self { context, arguments, client, .. } = *self;
        let inventory = self.inventory()?;
        let target = client.target()?;
        let all = self.with_options(input.wanted(&target)?).at_hand(self.kept.payloads());
        let mut guarded = Guarded::new(context.options, arguments, &inventory);
        let (stored, foreign) = match input.directory() {
            Some((_, store)) => (store.for_target(&target), store.for_another(&target)),
            None => (Vec::new(), Vec::new()),
        };
        let fruitless = input.directory().filter(|_| all.is_empty() && all.problems().is_empty());
        let mut report = Report {
            changed: false,
            level: Level::NotAsWanted,
            wanted: all.names().map(ToString::to_string).collect(),
            ignored: foreign.iter().map(|stored| shown(stored.path())).collect(),
            problems: Vec::new(),
        };
        report.set_problems(all.problems().to_vec());
        for path in &report.ignored {
            terminal::note(&format!("{path}: ignored, since it is for another Xen"));
        }
        let (wanted, left_out) = guarded.allowed(all, &stored);
        let plan = match Plan::new(&inventory, &wanted) {
            Err(PlanError::Incomplete { problems, .. }) => {
                report.set_problems(problems);
                return Err(report.nothing_removed(&inventory));
            }
            plan => plan?,
        };
        report.set_problems(plan.problems().to_vec());
        remark(&plan);
        if let Input::Named(name, file) = input {
            let same = |entry: &&InventoryEntry| entry.build_id.as_ref() == file.payload().build_id();
            if let Some(entry) = inventory.payloads.iter().find(same).filter(|entry| entry.name != *name) {
                terminal::note(&format!("{name}: it is loaded already, and keeps its name: {}", entry.name));
            }
        }
        let is_as_wanted = plan.is_empty() && left_out.is_none() && report.problems.is_empty();
        report.level = Level::new(fruitless.map(|(_, store)| store), is_as_wanted);
        if let Some((directory, _)) = fruitless {
            // A new Xen needs no live patches yet.
            let is_fine = arguments.boot && plan.is_empty() && !arguments.dry_run;
            if !is_fine {
                return Err(nothing_wanted(directory, &report, plan.is_empty(), &inventory));
            }
            terminal::note("no payload is for this Xen");
        }
        // No payload is removed because another one is suspect.
        if let Some(left_out) =
            left_out.clone().filter(|_| wanted.is_empty() || plan.steps().iter().any(Step::takes_out))
        {
            return Err(left_out.and("nothing was done"));
        }
        let flaw = left_out.or_else(|| report.incomplete());
        let is_whole = flaw.is_none();
        let with_flaw = |done: Done| match flaw {
            Some(flaw) => done.with_flaw(flaw),
            None => done,
        };
        let result = || report.json(Some(&plan), Some(&inventory));
        if arguments.dry_run {
            let done = Done::new(format!("{inventory}\n{plan}\n"), result());
            return Ok(with_flaw(done.with_status(report.level.status())));
        }
        if plan.is_empty() {
            return Ok(with_flaw(Done::new(format!("{inventory}\nno action needed\n"), result())));
        }
        guarded.begin(&wanted);
        context.output.line(&inventory.to_string());
        for (_, payload) in wanted.payloads() {
            // Best effort: the file makes it easier to put the payload back.
            let _ = self.kept.keep(payload);
        }
        let done = carry_out(client, &plan, context.output).map(|after| {
            report.changed = true;
            if is_whole {
                report.level = Level::AsWanted;
            }
            let text = after.as_ref().map(|after| format!("{after}\n")).unwrap_or_default();
            (Done::new(text, report.json(Some(&plan), after.as_ref())), after)
        });
        guarded.end(client, done).map(with_flaw)
    }

    /// Takes an inventory; before a change, once no action is pending, if the host is free before the deadline.
    fn inventory(&self) -> Result<Inventory, Failure> {
        if self.arguments.dry_run {
            return Ok(self.client.inventory()?);
        }
        match self.client.settled_inventory() {
            // A busy host may have all that is wanted. If it has not, the first step fails.
            Err(error) if *error.kind() == ErrorKind::OperationInProgress => Ok(self.client.inventory()?),
            inventory => Ok(inventory?),
        }
    }

    fn with_options(&self, wanted: Wanted) -> Wanted {
        let Ensure { accept, keep_unapplied, one_by_one, no_gap, .. } = self.arguments;
        let wanted = accept.iter().copied().fold(wanted, Wanted::accept);
        let wanted = if *keep_unapplied { wanted.keep_unapplied() } else { wanted };
        let wanted = if *one_by_one { wanted.one_by_one() } else { wanted };
        if *no_gap { wanted.no_gap() } else { wanted }
    }
}

/// Prints on stderr what a plan leaves open.
fn remark(plan: &Plan) {
    for conflict in plan.unproven() {
        let names: Vec<String> = conflict.payloads.iter().map(ToString::to_string).collect();
        let (names, function) = (names.join(", "), &conflict.function);
        terminal::note(&format!("{names}: it is unknown which was applied last and so provides {function}"));
    }
    for (name, reason) in plan.unidentifiable() {
        terminal::note(&format!("{name}: it can't be identified once it is loaded: {reason}"));
    }
    for name in plan.leftovers() {
        terminal::note(&format!("{name}: it stays loaded, since an applied payload may be linked against it"));
    }
}

/// The failure of a command that found no payload for this Xen.
fn nothing_wanted(directory: &Path, report: &Report, none_to_revert: bool, inventory: &Inventory) -> Failure {
    let text = match report.level {
        Level::NothingThere => no_payloads(directory),
        _ => format!("no payload in {} is for this Xen", shown(directory)),
    };
    let remedy = if none_to_revert { "" } else { "; to revert everything: ensure --nothing" };
    let failure = Failure::with_status(report.level.status(), "nothing_wanted", format!("{text}{remedy}"));
    failure.with_result(report.json(None, Some(inventory)))
}
