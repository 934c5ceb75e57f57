//! A simulated host in a directory of its own, and the tool on it.

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

pub(crate) struct Demo {
    place: TempDir,
    tool: PathBuf,
}

impl Demo {
    /// A Xen 4.17 with payload files of these names, each with what it depends on if that is another one.
    pub(crate) fn new(payloads: &[(&str, Option<&str>)]) -> Self {
        let demo = Self { place: tempfile::tempdir().unwrap(), tool: crate::tool::tool() };
        demo.ends(0, "simulate new demo --release 4.17");
        for (name, on) in payloads {
            let on = on.map(|on| format!(" --on {on}.livepatch")).unwrap_or_default();
            demo.ends(0, &format!("simulate payload {name}.livepatch{on}"));
        }
        demo
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    /// Runs a command on the simulated host, if it does not name another one.
    pub(crate) fn run(&self, line: &str) -> Output {
        let named = line.starts_with("simulate new") || line.starts_with("--simulate");
        let line = if named { line.to_owned() } else { format!("--simulate demo {line}") };
        let mut command = Command::new(&self.tool);
        command.args(line.split(' ')).current_dir(&self.place).stdin(Stdio::null()).output().unwrap()
    }

    /// Runs a command that ends with this status, and returns its output, stdout first.
    #[track_caller]
    pub(crate) fn ends(&self, status: i32, line: &str) -> String {
        let output = self.run(line);
        let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert_eq!(output.status.code(), Some(status), "{line}: {text}");
        text
    }
}
