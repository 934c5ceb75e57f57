//! The tool that is tried.

use std::env;
use std::ffi::{OsStr, OsString};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use super::differences::{AGAIN, Kind};
use super::files::FOLDER;

/// Emulated processors take their time to stop, and the C tool gives them 30 ms and looks once: it says "try again", as a
/// script would have to.
const ATTEMPTS: u32 = 30;
const PAUSE: Duration = Duration::from_millis(300);

/// What a shell reports of a program that a signal ended.
const SIGNALLED: i32 = 128;

pub struct Tool {
    pub kind: Kind,
    words: Vec<String>,
}

pub struct Answer {
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

    pub fn run<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Answer {
        let mut command = Command::new(&self.words[0]);
        command.args(&self.words[1..]).args(arguments).current_dir(FOLDER).stdin(Stdio::null());
        let output = command.output().unwrap_or_else(|error| panic!("{:?}: {error}", self.words));
        let exit = output.status.code().or_else(|| output.status.signal().map(|signal| SIGNALLED + signal)).unwrap();
        Answer { exit, stdout: output.stdout, stderr: output.stderr }
    }

    /// Runs it again as long as it says that this may help, unless that is the answer that is expected.
    pub fn run_until_done(&self, arguments: &[OsString], expected: i32) -> Answer {
        for attempt in 1..ATTEMPTS {
            let answer = self.run(arguments);
            if answer.exit != AGAIN || expected == AGAIN {
                return answer;
            }
            println!("\nattempt {attempt} of {arguments:?} met a busy host: {}", answer.stderr.escape_ascii());
            thread::sleep(PAUSE);
        }
        self.run(arguments)
    }

    /// The same for commands of a test that knows them.
    pub fn expect(&self, exit: i32, arguments: &[&str]) -> Answer {
        let words: Vec<_> = arguments.iter().map(OsString::from).collect();
        let answer = self.run_until_done(&words, exit);
        let told = [&answer.stdout[..], &answer.stderr[..]].concat();
        assert_eq!(answer.exit, exit, "{arguments:?}: {}", String::from_utf8_lossy(&told));
        answer
    }

    /// What `list` prints.
    pub fn list(&self) -> Vec<u8> {
        self.expect(0, &["list"]).stdout
    }
}
