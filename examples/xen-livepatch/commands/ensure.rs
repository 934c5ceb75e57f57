//! `ensure`: brings a host to the wanted payloads.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::ArgMatches;
use serde_json::{Value, json};
use xen_livepatch::{
    Inventory, InventoryEntry, LivepatchClient, PayloadName, PayloadStore, Plan, PlanError, Step, StoreProblem,
    StoredPayload, Target, Wanted,
};

use super::carry_out::carry_out;
use super::guarded::Guarded;
use crate::failure::{self, Failure, as_json};
use crate::guard::OffSwitches;
use crate::host::{Access, accepted, patience, with_client};
use crate::memory::KeptFiles;
use crate::output::{self, Done, Output};
use crate::shown::shown;
use crate::simulation::simulated;

pub(crate) fn ensure(arguments: &ArgMatches, output: &Output) -> Result<Done, Failure> {
    if arguments.get_flag("boot") {
        if let Some(off) = OffSwitches::default().thrown() {
            let text = format!("nothing is done: {off}");
            return Ok(Done::new(format!("{text}\n"), json!({ "switched_off": off.to_string() })));
        }
    }
    // Before the lock is taken, since a pipe may keep it waiting. What a directory has may change while this waits for it.
    let early = if Input::is_directory(arguments) { None } else { Some(Input::read(arguments)?) };
    let access = if arguments.get_flag("dry-run") { Access::Reads } else { Access::Changes };
    let kept = KeptFiles::of(simulated(arguments));
    with_client(arguments, access, |client| {
        let input = early.map_or_else(|| Input::read(arguments), Ok)?;
        Ensuring { arguments, output, client, kept }.run(&input)
    })
}

/// The payloads that the command line names, read from their files.
enum Input {
    /// `--nothing`.
    Nothing,
    /// Files, lowest first.
    Files(Vec<StoredPayload>),
    /// One file, with the name that it is to be loaded under.
    Named(PayloadName, StoredPayload),
    /// A directory.
    Directory(PathBuf, PayloadStore),
}

impl Input {
    fn is_directory(arguments: &ArgMatches) -> bool {
        let mut paths = arguments.get_many::<PathBuf>("what").into_iter().flatten();
        paths.next().is_some_and(|path| path.is_dir()) && paths.next().is_none()
    }

    fn read(arguments: &ArgMatches) -> Result<Self, Failure> {
        let paths: Vec<&PathBuf> = arguments.get_many("what").into_iter().flatten().collect();
        let is_named = arguments.get_one::<OsString>("name").is_some();
        let name = is_named.then(|| super::name(arguments)).transpose()?;
        let input = match paths[..] {
            [] => Self::Nothing,
            [directory] if directory.is_dir() => Self::Directory(directory.clone(), PayloadStore::read(directory)?),
            _ => Self::Files(paths.into_iter().map(StoredPayload::read).collect::<Result<_, _>>()?),
        };
        match (name, input) {
            (None, input) => Ok(input),
            (Some(name), Self::Files(mut files)) if files.len() == 1 => match files.pop() {
                Some(file) => Ok(Self::Named(name, file)),
                None => Ok(Self::Nothing),
            },
            (Some(_), _) => Err(Failure::new("usage", "--name is for one FILE")),
        }
    }

    /// The payloads that are wanted on a Xen.
    fn wanted(&self, target: &Target) -> Result<Wanted, Failure> {
        Ok(match self {
            Self::Nothing => Wanted::nothing(),
            Self::Files(files) => Wanted::stored(files),
            Self::Named(name, file) => Wanted::only(name.clone(), file.payload().clone()),
            Self::Directory(_, store) => store.wanted_for(target)?,
        })
    }

    /// The payloads of a directory that are for a Xen.
    fn stored(&self, target: &Target) -> Vec<&StoredPayload> {
        match self {
            Self::Directory(_, store) => store.for_target(target),
            _ => Vec::new(),
        }
    }

    /// The files of a directory that are for another Xen.
    fn ignored(&self, target: &Target) -> Vec<String> {
        match self {
            Self::Directory(_, store) => store.for_another(target).iter().map(|stored| shown(stored.path())).collect(),
            _ => Vec::new(),
        }
    }

    fn is_empty_directory(&self) -> bool {
        matches!(self, Self::Directory(_, store) if store.payloads().is_empty() && store.problems().is_empty())
    }

    /// The directory, in an error.
    fn place(&self) -> String {
        match self {
            Self::Directory(path, _) => shown(path),
            _ => String::new(),
        }
    }
}

/// The level of a host, compared with the one that is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    AsWanted,
    NotAsWanted,
    /// There are payloads, and none is for this Xen.
    NothingForThisXen,
    /// There are no payloads.
    NothingThere,
}

impl Level {
    const fn word(self) -> &'static str {
        match self {
            Self::AsWanted => "as_wanted",
            Self::NotAsWanted => "not_as_wanted",
            Self::NothingForThisXen => "nothing_for_this_xen",
            Self::NothingThere => "nothing_there",
        }
    }

    /// The exit status of a dry run.
    const fn status(self) -> u8 {
        match self {
            Self::AsWanted => 0,
            Self::NotAsWanted => failure::NOT_AS_WANTED,
            Self::NothingForThisXen => failure::NOTHING_FOR_THIS_XEN,
            Self::NothingThere => failure::NOTHING_THERE,
        }
    }
}

/// The report on a run, beside its plan.
struct Report {
    level: Level,
    wanted: Vec<String>,
    ignored: Vec<String>,
    problems: Vec<StoreProblem>,
}

impl Report {
    fn json(&self, plan: Option<&Plan>, inventory: Option<&Inventory>) -> Value {
        json!({
            "level": self.level.word(),
            "wanted": self.wanted,
            "plan": plan.map(as_json),
            "inventory": inventory.map(as_json),
            "ignored": self.ignored,
            "problems": self.problems.iter().map(as_json).collect::<Vec<_>>(),
        })
    }

    /// Takes in the problems of a directory, and then those of a plan, which may be more. Names the new ones on stderr.
    fn found(&mut self, problems: Vec<StoreProblem>) {
        for problem in problems.iter().filter(|problem| !self.problems.contains(problem)) {
            output::note(&problem.to_string());
        }
        self.problems = problems;
    }

    /// The paths of the files that could not be used.
    fn paths(&self) -> String {
        let paths = self.problems.iter().flat_map(StoreProblem::paths);
        paths.map(|path| shown(path)).collect::<Vec<_>>().join(", ")
    }

    /// A file that changes while it is read may be whole a moment later.
    fn incomplete_status(&self) -> u8 {
        let again = self.problems.iter().any(StoreProblem::is_retryable);
        if again { failure::AGAIN } else { failure::INCOMPLETE }
    }

    /// The failure of a run that would have to take something out, while some files could not be used.
    fn nothing_taken_out(&self, inventory: &Inventory) -> Failure {
        let text = format!("nothing is removed or replaced while some files could not be used: {}", self.paths());
        let failure = Failure::with_status(self.incomplete_status(), "incomplete", text);
        failure.with_result(self.json(None, Some(inventory)))
    }

    /// The failure of a run that had to leave out files, if it had to.
    fn incomplete(&self) -> Option<Failure> {
        let text = format!("this may not be all that is wanted, since some files could not be used: {}", self.paths());
        let status = self.incomplete_status();
        (!self.problems.is_empty()).then(|| Failure::with_status(status, "incomplete", text))
    }
}

struct Ensuring<'a> {
    arguments: &'a ArgMatches,
    output: &'a Output,
    client: &'a LivepatchClient,
    /// The kept files of loaded payloads.
    kept: KeptFiles,
}

impl Ensuring<'_> {
    fn run(&self, input: &Input) -> Result<Done, Failure> {
        let inventory = self.inventory()?;
        let target = self.client.target()?;
        let all = self.with_options(input.wanted(&target)?).at_hand(self.kept.payloads());
        let mut guarded = Guarded::new(self.arguments, &inventory);
        let is_for_none = all.is_empty() && all.problems().is_empty() && !matches!(input, Input::Nothing);
        let mut report = Report {
            level: Level::NotAsWanted,
            wanted: all.names().map(ToString::to_string).collect(),
            ignored: input.ignored(&target),
            problems: Vec::new(),
        };
        report.found(all.problems().to_vec());
        for path in &report.ignored {
            output::note(&format!("{path}: ignored, since it is for another Xen"));
        }
        let (wanted, left_out) = guarded.allowed(all, &input.stored(&target));
        let plan = match Plan::new(&inventory, &wanted) {
            Err(PlanError::Incomplete { problems, .. }) => {
                report.found(problems);
                return Err(report.nothing_taken_out(&inventory));
            }
            plan => plan?,
        };
        report.found(plan.problems().to_vec());
        remark(&plan);
        if let Input::Named(name, file) = input {
            let same = |entry: &&InventoryEntry| entry.build_id.as_ref() == file.payload().build_id();
            if let Some(entry) = inventory.payloads.iter().find(same).filter(|entry| entry.name != *name) {
                output::note(&format!("{name}: it is loaded already, and keeps its name: {}", entry.name));
            }
        }
        report.level = match () {
            () if is_for_none && input.is_empty_directory() => Level::NothingThere,
            () if is_for_none => Level::NothingForThisXen,
            () if plan.is_empty() && left_out.is_none() && report.problems.is_empty() => Level::AsWanted,
            () => Level::NotAsWanted,
        };
        // A boot of a new Xen, which needs no live patches yet, is a good one.
        let is_good = self.arguments.get_flag("boot") && plan.is_empty() && !self.is_dry();
        if is_for_none && !is_good {
            return Err(nothing_wanted(input, &report, plan.is_empty(), &inventory));
        }
        if is_for_none {
            output::note("nothing of that is for this Xen");
        }
        // Nothing that runs is taken out because something else is suspect.
        if let Some(left_out) =
            left_out.clone().filter(|_| wanted.is_empty() || plan.steps().iter().any(Step::takes_out))
        {
            return Err(left_out.and("nothing was done"));
        }
        let flaw = left_out.or_else(|| report.incomplete());
        let is_whole = flaw.is_none();
        let but = |done: Done| match flaw {
            Some(flaw) => done.but(flaw),
            None => done,
        };
        if self.is_dry() {
            let text = format!("{inventory}\n{plan}\n");
            let done = Done::new(text, report.json(Some(&plan), Some(&inventory))).with_status(report.level.status());
            return Ok(but(done));
        }
        if plan.is_empty() {
            return Ok(but(Done::new(
                format!("{inventory}\nno action needed\n"),
                report.json(Some(&plan), Some(&inventory)),
            )));
        }
        guarded.begin(&wanted);
        self.output.line(&inventory.to_string());
        for (_, payload) in wanted.payloads() {
            // Best effort: without its file, a payload is only harder to put back.
            let _ = self.kept.keep(payload);
        }
        let done = carry_out(self.client, &plan, self.output).map(|after| {
            if is_whole {
                report.level = Level::AsWanted;
            }
            let text = after.as_ref().map(|after| format!("{after}\n")).unwrap_or_default();
            (Done::new(text, report.json(Some(&plan), after.as_ref())), after)
        });
        guarded.end(self.client, done).map(but)
    }

    /// An inventory without what is under way: of another tool, or of a call that was killed.
    fn inventory(&self) -> Result<Inventory, Failure> {
        let inventory = self.client.inventory()?;
        let under_way: Vec<_> = inventory.payloads.iter().filter(|entry| entry.status.in_progress()).collect();
        if under_way.is_empty() || self.is_dry() {
            return Ok(inventory);
        }
        let patience = patience(self.arguments);
        for entry in under_way {
            // If it does not end, the plan finds that out too.
            let _ = self.client.wait(&entry.name, patience);
        }
        Ok(self.client.inventory()?)
    }

    fn is_dry(&self) -> bool {
        self.arguments.get_flag("dry-run")
    }

    fn with_options(&self, wanted: Wanted) -> Wanted {
        let flag = |name| self.arguments.get_flag(name);
        let wanted = accepted(self.arguments).fold(wanted, Wanted::accept);
        let wanted = if flag("keep-unapplied") { wanted.keep_unapplied() } else { wanted };
        let wanted = if flag("one-by-one") { wanted.one_by_one() } else { wanted };
        if flag("no-gap") { wanted.no_gap() } else { wanted }
    }
}

/// Names what a plan leaves open, on stderr.
fn remark(plan: &Plan) {
    for conflict in plan.unproven() {
        let names: Vec<String> = conflict.payloads.iter().map(ToString::to_string).collect();
        let (names, function) = (names.join(", "), &conflict.function);
        output::note(&format!("{names}: it is not known which was applied last and is in effect in {function}"));
    }
    for (name, reason) in plan.unidentifiable() {
        output::note(&format!("{name}: it can't be identified once it is loaded: {reason}"));
    }
    for name in plan.leftovers() {
        output::note(&format!("{name}: it stays loaded, since an applied payload may be linked with it"));
    }
}

/// The failure of a command that names payloads of which none is for this Xen.
fn nothing_wanted(input: &Input, report: &Report, none_to_revert: bool, inventory: &Inventory) -> Failure {
    let text = match report.level {
        Level::NothingThere => format!("no file that ends in .livepatch is in {}", input.place()),
        _ => format!("nothing in {} is for this Xen", input.place()),
    };
    let remedy = if none_to_revert { "" } else { "; to have everything reverted: ensure --nothing" };
    let failure = Failure::with_status(report.level.status(), "nothing_wanted", format!("{text}{remedy}"));
    failure.with_result(report.json(None, Some(inventory)))
}
