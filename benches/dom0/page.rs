//! The results of full runs in the documentation: the data file, the plots, and tables between markers in two pages.

use std::error::Error;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use super::bars::{self, Bar, LARGE, Verdict};
use super::contender::Kind;
use super::draw::draw;
use super::record::Run;
use super::report::thousands;
use super::step::{Step, Work};

const DATA: &str = "benchmarks.jsonl";
const PAGE: &str = "benchmarks.md";
const README: &str = "README.md";

/// The operations that the README names.
const NAMED: [Step; 3] =
    [Step::new(Work::List, 64, 0), Step::new(Work::OpenListClose, 1, 0), Step::new(Work::UploadFromFile, 0, LARGE)];

/// The functions of an operation that the page names.
const FUNCTIONS: usize = 4;

/// Writes them from the files of full runs; the README's table from the first.
pub fn write(files: &[PathBuf], directory: &Path) -> Result<(), Box<dyn Error>> {
    let runs = files.iter().map(|file| Run::read(file)).collect::<Result<Vec<_>, _>>()?;
    let [first, ..] = &runs[..] else { return Err("no runs".into()) };
    if let Some(record) = runs.iter().flat_map(|run| &run.records).find(|record| record.unit != "instructions") {
        return Err(format!("a run on {} measured {}", record.xen, record.unit).into());
    }
    fs::write(directory.join(DATA), runs.iter().flat_map(Run::lines).map(|line| line + "\n").collect::<String>())?;
    draw(&runs, directory)?;
    let page = directory.join(PAGE);
    replace(&page, "ratios", &ratios(&runs))?;
    replace(&page, "functions", &functions(first))?;
    replace(Path::new(README), "named", &named(first))
}

/// Replaces the text of a file between `<!-- bench: NAME -->` and `<!-- end -->`.
fn replace(file: &Path, name: &str, text: &str) -> Result<(), Box<dyn Error>> {
    let (begin, end) = (format!("<!-- bench: {name} -->\n"), "<!-- end -->");
    let old = fs::read_to_string(file)?;
    let split = old.split_once(&begin).and_then(|(before, rest)| Some((before, rest.split_once(end)?.1)));
    let (before, after) = split.ok_or(format!("{} has no place for {name}", file.display()))?;
    fs::write(file, format!("{before}{begin}{text}{end}{after}"))?;
    println!("{}: {name}", file.display());
    Ok(())
}

fn ratios(runs: &[Run]) -> String {
    let mut text = String::from("| operation | |");
    for of in ["raw", "libxenctrl"] {
        for run in runs {
            write!(text, " ours / {of}, {} |", run.xen()).unwrap();
        }
        text += " bar |";
    }
    text += "\n|---|---|";
    text += &"---:|".repeat(2 * runs.len() + 2);
    for step in bars::steps() {
        write!(text, "\n| {} | {} |", step.work.name(), step.amount()).unwrap();
        for of in [Kind::Raw, Kind::Libxenctrl] {
            let bar = bars::of(step, of);
            for run in runs {
                let ratio = run.ratio(step, of);
                let missed = bar.is_some_and(|bar| Verdict::of(ratio, bar.most) == Verdict::Missed);
                let stars = if missed { "**" } else { "" };
                let ratio = ratio.map_or("–".into(), |ratio| format!("{ratio:.2}"));
                write!(text, " {stars}{ratio}{stars} |").unwrap();
            }
            write!(text, " {} |", bar.map_or("–".into(), Bar::text)).unwrap();
        }
    }
    text + "\n"
}

fn functions(run: &Run) -> String {
    let mut text = String::from("| operation | | all | in hypercalls | other kernel | own | of these, by function |\n");
    text += "|---|---|---:|---:|---:|---:|---|\n";
    for step in bars::steps() {
        let Some(record) = run.find(step, Kind::Ours).filter(|record| !record.functions.is_empty()) else { continue };
        let own: u64 = record.functions.iter().map(|(_, count)| count).sum();
        let hypercalls = record.in_hypercalls.unwrap_or_default();
        let kernel = record.costs.median.saturating_sub(own + hypercalls);
        let greatest = record.functions.iter().take(FUNCTIONS);
        let greatest: Vec<String> = greatest
            .map(|(function, count)| format!("`{}` {}", function.replace("xen_livepatch::", ""), thousands(*count)))
            .collect();
        let [all, hypercalls, kernel, own] = [record.costs.median, hypercalls, kernel, own].map(thousands);
        let (work, amount, greatest) = (step.work.name(), step.amount(), greatest.join(", "));
        writeln!(text, "| {work} | {amount} | {all} | {hypercalls} | {kernel} | {own} | {greatest} |").unwrap();
    }
    text
}

fn named(run: &Run) -> String {
    let mut text = String::from("| operation | instructions, ours / libxenctrl | system calls |\n|---|---:|---|\n");
    for step in NAMED {
        let ratio = run.ratio(step, Kind::Libxenctrl).map_or("–".into(), |ratio| format!("{ratio:.2}"));
        let calls = |kind| Some(run.find(step, kind)?.count?.system_calls);
        let calls = calls(Kind::Ours).zip(calls(Kind::Libxenctrl));
        let calls = calls.map_or("–".into(), |(ours, theirs)| format!("{ours} instead of {theirs}"));
        writeln!(text, "| {}, {} | {ratio} | {calls} |", step.work.name(), step.amount()).unwrap();
    }
    text
}
