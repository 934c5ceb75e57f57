//! Processes of the bench in which one contender does steps, and nothing else happens.

use std::env;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::contender::{Contender, Files, Kind, Libxenctrl, Ours, Raw};
use super::fixture::Fixture;
use super::step::Step;

/// Starts this program again, with first arguments that select the work of the process.
pub fn spawn(first: &[&str], kind: Kind, steps: &[Step], fixture: &Fixture, files: &Files) -> Child {
    Command::new(env::current_exe().unwrap())
        .args(first)
        .arg(kind.name())
        .args([fixture.directory(), &files.directory])
        .arg(files.minor.to_string())
        .args(steps.iter().map(Step::to_string))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// In the process: opens the contender, and works with the steps. The arguments are those after the first ones.
pub fn with_contender(
    mut arguments: impl Iterator<Item = String>,
    work: impl FnOnce(&mut dyn Contender, &Fixture, &[Step]),
) {
    let mut next = || arguments.next().expect("an argument");
    let kind: Kind = next().parse().unwrap();
    let fixture = Fixture::existing(Path::new(&next())).unwrap();
    let files = Files { directory: next().into(), minor: next().parse().unwrap() };
    let steps: Vec<Step> = arguments.map(|step| step.parse().unwrap()).collect();
    match kind {
        Kind::Raw => work(&mut Raw::new(&fixture), &fixture, &steps),
        Kind::Libxenctrl => {
            let library = files.library().expect("libxenctrl is there");
            work(&mut Libxenctrl::new(&fixture, &files, &library), &fixture, &steps);
        }
        Kind::Ours => work(&mut Ours::new(&fixture, &files, None), &fixture, &steps),
    }
}
