//! Processes of the bench in which one contender does steps, and nothing else happens.

use std::env;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use serde::{Deserialize, Serialize};

use super::contender::{Contender, Files, Kind, Libxenctrl, Ours, Raw};
use super::fixture::Fixture;
use super::step::Step;

/// The work of such a process, which is its last argument.
#[derive(Serialize, Deserialize)]
struct Task {
    kind: Kind,
    steps: Vec<Step>,
    fixture: PathBuf,
    files: Files,
}

/// Starts this program again, with first arguments that select the work of the process.
pub fn spawn(first: &[&str], kind: Kind, steps: &[Step], fixture: &Fixture, files: &Files) -> Child {
    let task = Task { kind, steps: steps.to_vec(), fixture: fixture.directory.clone(), files: files.clone() };
    Command::new(env::current_exe().unwrap())
        .args(first)
        .arg(serde_json::to_string(&task).unwrap())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// In the process: opens the contender, and works with the steps.
pub fn with_contender(task: &str, work: impl FnOnce(&mut dyn Contender, &Fixture, &[Step])) {
    let Task { kind, steps, fixture, files } = serde_json::from_str(task).unwrap();
    let fixture = Fixture::existing(&fixture).unwrap();
    match kind {
        Kind::Raw => work(&mut Raw::new(&fixture), &fixture, &steps),
        Kind::Libxenctrl => {
            let library = files.library().expect("libxenctrl is there");
            work(&mut Libxenctrl::new(&fixture, &files, &library), &fixture, &steps);
        }
        Kind::Ours => work(&mut Ours::new(&fixture, &files, None), &fixture, &steps),
    }
}
