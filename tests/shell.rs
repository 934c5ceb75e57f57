//! The tool among other processes: one that holds the lock, a reader that goes away, a disk that is full.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that can't go on fails")]

#[path = "common/tool.rs"]
mod tool;

use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::fcntl::{Flock, FlockArg};
use tempfile::TempDir;

/// A simulated Xen in a folder of its own, and a payload for it.
struct Shell {
    place: TempDir,
    tool: PathBuf,
}

impl Shell {
    fn new() -> Self {
        let tool = tool::tool();
        let shell = Self { place: tempfile::tempdir().unwrap(), tool };
        for line in ["simulate new demo", "--simulate demo simulate payload a.livepatch"] {
            assert!(shell.run(line).status.success());
        }
        shell
    }

    fn command(&self, line: &str) -> Command {
        let mut command = Command::new(&self.tool);
        command.args(line.split(' ')).current_dir(&self.place).stdin(Stdio::null());
        command
    }

    fn run(&self, line: &str) -> Output {
        self.command(line).output().unwrap()
    }

    fn lock(&self) -> Flock<File> {
        let mut file = OpenOptions::new();
        let file = file.create(true).truncate(false).write(true).open(self.place.path().join("demo/lock")).unwrap();
        Flock::lock(file, FlockArg::LockExclusiveNonblock).unwrap()
    }

    fn loaded(&self) -> String {
        String::from_utf8(self.run("--simulate demo list").stdout).unwrap()
    }
}

fn said(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn a_change_waits_for_another_says_so_and_not_for_ever() {
    let shell = Shell::new();
    let lock = shell.lock();
    let begun = Instant::now();
    let output = shell.run("--simulate demo --deadline 300ms load a.livepatch");
    assert!((300..5000).contains(&begun.elapsed().as_millis()), "{:?}", begun.elapsed());
    assert_eq!(output.status.code(), Some(2));
    assert!(said(&output).contains("waiting for another xen-livepatch, at most 300ms\n"), "{}", said(&output));
    assert!(
        said(&output).contains("error: another xen-livepatch is at work (demo/lock, waited 300.0ms)"),
        "{}",
        said(&output)
    );

    let waiting =
        shell.command("--simulate demo load a.livepatch").stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    thread::sleep(Duration::from_millis(300));
    drop(lock);
    assert!(waiting.wait_with_output().unwrap().status.success());
    assert!(shell.loaded().contains("APPLIED"));
}

#[test]
fn many_at_once_are_as_many_one_after_the_other() {
    let shell = Shell::new();
    let children: Vec<_> = (0..8)
        .map(|_| {
            shell
                .command("--simulate demo load a.livepatch")
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap()
        })
        .collect();
    let statuses: Vec<_> = children.into_iter().map(|mut child| child.wait().unwrap().code()).collect();
    assert_eq!(statuses.iter().filter(|status| **status == Some(0)).count(), 1, "{statuses:?}");
    assert_eq!(shell.loaded().matches("APPLIED").count(), 1);
}

#[test]
fn a_reader_that_goes_away_is_no_error_and_a_full_disk_is() {
    let shell = Shell::new();
    let mut child = shell.command("man").stdout(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    assert!(child.wait().unwrap().success());

    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = shell.command("--simulate demo list").stdout(full).stderr(Stdio::piped()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("could not be written"), "{}", said(&output));
}

#[test]
fn a_damaged_simulation_is_told_and_left_as_it_is() {
    let shell = Shell::new();
    let journal = shell.place.path().join("demo/xen.journal");
    for damaged in [&b""[..], b"nonsense", &fs::read(&journal).unwrap()[..40]] {
        fs::write(&journal, damaged).unwrap();
        let output = shell.run("--simulate demo list");
        assert_eq!(output.status.code(), Some(1));
        assert!(said(&output).contains("demo/xen.journal: "), "{}", said(&output));
        assert_eq!(fs::read(&journal).unwrap(), damaged);
    }
}

#[test]
fn colours_are_for_terminals() {
    let shell = Shell::new();
    for line in ["--simulate demo apply missing", "nonsense", "--help"] {
        let output = shell.run(line);
        assert!(!output.stdout.contains(&0x1b) && !output.stderr.contains(&0x1b), "{line}");
    }
    // `script` gives it a terminal.
    if Path::new("/usr/bin/script").exists() {
        let on_a_terminal = |variable: &str| {
            let line = format!("{} --simulate demo apply missing", shell.tool.display());
            let mut command = Command::new("/usr/bin/script");
            command.args(["-qec", &line, "/dev/null"]).current_dir(&shell.place).stdin(Stdio::null());
            command.env("TERM", "xterm").env_remove("NO_COLOR").env(variable, "1").output().unwrap().stdout
        };
        assert!(on_a_terminal("XEN_LIVEPATCH_NOTHING").contains(&0x1b));
        let without = String::from_utf8(on_a_terminal("NO_COLOR")).unwrap();
        assert!(without.contains("error: apply") && !without.contains("\x1b["), "{without:?}");
    }
}
