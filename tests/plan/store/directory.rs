//! A directory of payload files, and the outcome for a Xen.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::prelude::*;

/// A directory that is gone at the end.
pub(crate) struct Directory(pub(crate) TempDir);

/// The outcome for a Xen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// The names of the stack.
    pub(crate) names: Vec<String>,
    pub(crate) ids: Vec<Option<BuildId>>,
    /// The reasons of the problems, with their paths.
    pub(crate) problems: Vec<(String, Vec<String>)>,
}

impl Directory {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// A directory of these files, which are named without their suffix.
    pub(crate) fn of<const N: usize>(files: [(&str, Vec<u8>); N]) -> Self {
        let directory = Self::new();
        for (name, contents) in files {
            directory.put(format!("{name}.livepatch"), &contents);
        }
        directory
    }

    /// The path of a file, whose parents are made.
    pub(crate) fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        let path = self.0.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    }

    pub(crate) fn put(&self, name: impl AsRef<Path>, contents: &[u8]) {
        fs::write(self.path(name), contents).unwrap();
    }

    pub(crate) fn link(&self, name: &str, target: impl AsRef<Path>) {
        symlink(target, self.path(name)).unwrap();
    }

    pub(crate) fn remove(&self, name: impl AsRef<Path>) {
        fs::remove_file(self.path(name)).unwrap();
    }

    pub(crate) fn read(&self) -> PayloadStore {
        PayloadStore::read(self.0.path()).unwrap()
    }

    pub(crate) fn relative(&self, path: &Path) -> String {
        path.strip_prefix(self.0.path()).unwrap_or(path).display().to_string()
    }

    pub(crate) fn wanted(&self, target: &Target) -> Wanted {
        self.read().wanted_for(target).unwrap()
    }

    pub(crate) fn outcome(&self, target: &Target) -> Outcome {
        self.outcome_of(&self.wanted(target))
    }

    fn outcome_of(&self, wanted: &Wanted) -> Outcome {
        for problem in wanted.problems() {
            let (text, report) = (problem.to_string(), serde_json::to_value(problem).unwrap());
            let paths = problem.paths().iter().map(|path| escaped(path.as_os_str().as_encoded_bytes()));
            let paths: Vec<String> = paths.collect();
            assert!(paths.iter().all(|path| text.contains(path)), "no path: {text}");
            assert_eq!(report["paths"], serde_json::json!(paths));
        }
        let paths = |problem: &StoreProblem| problem.paths().iter().map(|path| self.relative(path)).collect();
        Outcome {
            names: wanted.names().map(ToString::to_string).collect(),
            ids: wanted.build_ids().map(Option::<&BuildId>::cloned).collect(),
            problems: wanted.problems().iter().map(|problem| (reason(problem.fault()), paths(problem))).collect(),
        }
    }

    /// The names of the stack, and after each bar a problem: the word of its reason, or the ambiguity, and its paths.
    pub(crate) fn summary(&self, wanted: &Wanted) -> String {
        let outcome = self.outcome_of(wanted);
        let problems = outcome.problems.iter().map(|(reason, paths)| format!(" | {reason} {}", paths.join(" ")));
        outcome.names.join(" ") + &problems.collect::<String>()
    }

    /// The words of the problems that are seen without a Xen, each with its path.
    pub(crate) fn problems(&self) -> Vec<(&'static str, String)> {
        let store = self.read();
        let problem = |problem: &StoreProblem| (problem.fault().word(), self.relative(problem.path()));
        store.problems().iter().map(problem).collect()
    }
}

/// The word of a reason, or of an ambiguity with the first byte of its build-id.
fn reason(fault: &StoreFault) -> String {
    let StoreFault::Ambiguous(ambiguity) = fault else { return fault.word().into() };
    let id = ambiguity.build_id().map(|id| format!(" {:x}", id.as_bytes()[0]));
    ambiguity.word().to_owned() + &id.unwrap_or_default()
}

pub(crate) fn id(byte: u8) -> BuildId {
    BuildId::new([byte; 20])
}

/// The Xen 4.20 with this build-id.
pub(crate) fn xen(byte: u8) -> Target {
    Target::new((4, 20)).build_id(id(byte))
}

/// The Xen 4.11 with this build-id, which takes payloads that name no Xen.
pub(crate) fn old_xen(byte: u8) -> Target {
    Target::new((4, 11)).build_id(id(byte))
}

pub(crate) fn builder(own: u8, base: u8, xen: u8) -> PayloadBuilder {
    let function = FunctionPatch::returning("xen_extra_version", format!("-{own}"));
    PayloadBuilder::new(&id(own), &id(base), &id(xen)).function(function)
}

/// A payload for this Xen.
pub(crate) fn payload_for(own: u8, base: u8, xen: u8) -> Vec<u8> {
    builder(own, base, xen).build()
}

/// A payload for Xen 0xa0.
pub(crate) fn payload(own: u8, base: u8) -> Vec<u8> {
    payload_for(own, base, 0xa0)
}

/// One for Xen 4.13 or older, which does not name the Xen that it is for.
pub(crate) fn old_payload(own: u8, base: u8) -> Vec<u8> {
    builder(own, base, 0xa0).for_release((4, 11)).defect(".livepatch.xen_depends", Defect::Missing).build()
}
