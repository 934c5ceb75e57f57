//! A directory of a test's own, removed at its end.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

pub(crate) struct Scratch(pub(crate) PathBuf);

impl Scratch {
    pub(crate) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("xen-livepatch-{name}-{}", std::process::id()));
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub(crate) fn file(&self, bytes: &[u8]) -> PathBuf {
        let path = self.0.join("payload");
        fs::write(&path, bytes).unwrap();
        path
    }

    pub(crate) fn run(&self, program: &str, arguments: &[&str]) {
        let status = Command::new(program).args(arguments).current_dir(&self.0).status();
        assert!(status.unwrap_or_else(|error| panic!("{program}: {error}")).success(), "{program} {arguments:?}");
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}
