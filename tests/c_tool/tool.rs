//! The tool under test.

use std::env;
use std::ffi::{OsStr, OsString};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use super::differences::{AGAIN, Kind};
use super::files::DIRECTORY;

/// The attempts for a command that asks to try again: emulated processors are slow to stop, and the C tool waits only 30 ms.
const ATTEMPTS: u32 = 30;
const PAUSE: Duration = Duration::from_millis(300);

/// The base of a shell's exit status for a program that a signal ended.
const SIGNALLED: i32 = 128;

pub struct Tool {
    pub kind: Kind,
    words: Vec<String>,
}

pub struct Outcome {
    pub exit: i32,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
}

impl Tool {
    pub fn of_the_environment() -> Self {
        let setting = |name| env::var(name).unwrap_or_else(|_| panic!("{name} is not set, try beside-c-tool"));
        let words: Vec<_> = setting("XEN_LIVEPATCH_TOOL").split_whitespace().map(str::to_owned).collect();
        assert!(!words.is_empty(), "XEN_LIVEPATCH_TOOL names no program");
        let kind = match &*setting("XEN_LIVEPATCH_TOOL_IS") {
            "c-tool" => Kind::C,
            "ours" => Kind::Ours,
            other => panic!("XEN_LIVEPATCH_TOOL_IS is neither c-tool nor ours: {other}"),
        };
        Self { kind, words }
    }

    pub fn run<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Outcome {
        let mut command = Command::new(&self.words[0]);
        command.args(&self.words[1..]).args(arguments).current_dir(DIRECTORY).stdin(Stdio::null());
        let output = command.output().unwrap_or_else(|error| panic!("{:?}: {error}", self.words));
        let exit = output.status.code().or_else(|| output.status.signal().map(|signal| SIGNALLED + signal)).unwrap();
        Outcome { exit, stdout: output.stdout, stderr: output.stderr }
    }

    /// Runs the tool again while it asks for that, unless that is expected.
    pub fn run_until_done(&self, arguments: &[OsString], expected: i32) -> Outcome {
        for attempt in 1..ATTEMPTS {
            let outcome = self.run(arguments);
            if outcome.exit != AGAIN || expected == AGAIN {
                return outcome;
            }
            println!("\nattempt {attempt} of {arguments:?} met a busy host: {}", outcome.stderr.escape_ascii());
            thread::sleep(PAUSE);
        }
        self.run(arguments)
    }

    pub fn list(&self) -> Vec<u8> {
        let outcome = self.run_until_done(&["list".into()], 0);
        assert_eq!(outcome.exit, 0, "list: {}", outcome.stderr.escape_ascii());
        outcome.stdout
    }
}
