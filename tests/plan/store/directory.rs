//! A directory of payload files, and the outcome for a Xen.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use xen_livepatch::plan::StoreFault;
use xen_livepatch::sim::{Defect, FunctionPatch, PayloadBuilder};
use xen_livepatch::{BuildId, PayloadStore, Target, Wanted};

/// A directory that is gone at the end.
pub(crate) struct Directory(pub(crate) PathBuf);

/// The outcome for a Xen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// The names of the stack.
    pub(crate) names: Vec<String>,
    pub(crate) ids: Vec<Option<BuildId>>,
    /// The words of the problems, with the first path of each.
    pub(crate) problems: Vec<(&'static str, String)>,
}

impl Directory {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let directory = std::env::temp_dir().join(format!("xen-livepatch-store-{}-{count}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        Self(directory)
    }

    pub(crate) fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        let path = self.0.join(name);
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
        fs::remove_file(self.0.join(name)).unwrap();
    }

    pub(crate) fn read(&self) -> PayloadStore {
        PayloadStore::read(&self.0).unwrap()
    }

    pub(crate) fn relative(&self, path: &Path) -> String {
        path.strip_prefix(&self.0).unwrap_or(path).display().to_string()
    }

    /// The paths of the problems that are seen without a Xen.
    pub(crate) fn problems(&self) -> Vec<String> {
        self.read().problems().iter().map(|problem| self.relative(problem.path())).collect()
    }

    pub(crate) fn wanted(&self, target: &Target) -> Wanted {
        self.read().wanted_for(target).unwrap()
    }

    pub(crate) fn outcome(&self, target: &Target) -> Outcome {
        let wanted = self.wanted(target);
        for problem in wanted.problems() {
            for path in problem.paths() {
                let text = problem.to_string();
                assert!(text.contains(&xen_livepatch::escaped(path.as_os_str().as_encoded_bytes())), "no path: {text}");
            }
        }
        let problem = |problem: &xen_livepatch::StoreProblem| (problem.fault().word(), self.relative(problem.path()));
        Outcome {
            names: wanted.names().map(ToString::to_string).collect(),
            ids: wanted.build_ids().map(Option::<&BuildId>::cloned).collect(),
            problems: wanted.problems().iter().map(problem).collect(),
        }
    }

    /// The names of a stack without problems.
    pub(crate) fn stack(&self, target: &Target) -> Vec<String> {
        let outcome = self.outcome(target);
        assert_eq!(outcome.problems, [], "{outcome:?}");
        outcome.names
    }

    /// The names of the stack, and the texts of the ambiguities.
    pub(crate) fn ambiguities(&self, target: &Target) -> (Vec<String>, Vec<xen_livepatch::plan::Ambiguity>) {
        let wanted = self.wanted(target);
        let ambiguity = |problem: &xen_livepatch::StoreProblem| match problem.fault() {
            StoreFault::Ambiguous(ambiguity) => ambiguity.clone(),
            other => panic!("{other}"),
        };
        (wanted.names().map(ToString::to_string).collect(), wanted.problems().iter().map(ambiguity).collect())
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
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

fn builder(own: u8, base: u8, xen: u8) -> PayloadBuilder {
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
