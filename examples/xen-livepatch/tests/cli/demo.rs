//! A simulated host in a directory of its own, and the tool on it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;
use xen_livepatch::sim::SimulatedXen;

use crate::tool;

pub(crate) struct Demo {
    directory: TempDir,
}

impl Demo {
    /// Makes a Xen 4.17, and payload files of these names with the payloads below them.
    pub(crate) fn new(payloads: &[(&str, Option<&str>)]) -> Self {
        let demo = Self { directory: tempfile::tempdir().unwrap() };
        demo.ends(0, "simulate new demo --release 4.17");
        for (name, on) in payloads {
            let on = on.map(|on| format!(" --on {on}.livepatch")).unwrap_or_default();
            demo.ends(0, &format!("simulate payload {name}.livepatch{on}"));
        }
        demo
    }

    /// The directory that the tool runs in.
    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory().join(name)
    }

    /// A command on the simulated host, unless the line names another one.
    pub(crate) fn command(&self, line: &str) -> Command {
        let mut command = Command::new(tool());
        if !line.starts_with("simulate new") && !line.starts_with("--simulate") {
            command.args(["--simulate", "demo"]);
        }
        command.args(line.split(' ')).current_dir(self.directory()).stdin(Stdio::null());
        command
    }

    pub(crate) fn run(&self, line: &str) -> Output {
        self.command(line).output().unwrap()
    }

    /// Runs a command that ends with this status, and returns its output, stdout first.
    #[track_caller]
    pub(crate) fn ends(&self, status: i32, line: &str) -> String {
        let output = self.run(line);
        let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert_eq!(output.status.code(), Some(status), "{line}: {text}");
        text
    }

    /// The object that a command prints with `--json`.
    pub(crate) fn json(&self, line: &str) -> Value {
        serde_json::from_slice(&self.run(&format!("--json {line}")).stdout).unwrap()
    }

    /// Changes the simulated host between two commands, as another tool would.
    pub(crate) fn change(&self, change: impl FnOnce(&SimulatedXen)) {
        let file = self.path("demo/xen.state");
        let text = fs::read_to_string(&file).unwrap();
        let (heading, state) = text.split_once('\n').unwrap();
        let (heading, _) = heading.rsplit_once(' ').unwrap();
        let xen: SimulatedXen = serde_json::from_str(state).unwrap();
        change(&xen);
        let state = serde_json::to_string(&xen).unwrap();
        // FNV-1a.
        let sum = state
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |sum, byte| (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        fs::write(file, format!("{heading} {sum:016x}\n{state}")).unwrap();
    }

    /// The names of the applied payloads, lowest first.
    pub(crate) fn applied(&self) -> Vec<String> {
        serde_json::from_value(self.json("status")["result"]["inventory"]["stack"].take()).unwrap()
    }
}
