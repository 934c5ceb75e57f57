//! The tool among other processes: one that holds the lock, a reader that goes away, a disk that is full.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::fcntl::{Flock, FlockArg};
use serde_json::Value;
use tempfile::TempDir;
use xen_livepatch::BuildId;

/// A simulated Xen in a folder of its own, and a payload for it.
struct Shell {
    place: TempDir,
    tool: PathBuf,
}

impl Shell {
    fn new() -> Self {
        let tool = crate::tool::tool();
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

/// Runs the tool in a shell, with this redirection of its output.
fn redirected(shell: &Shell, line: &str, redirection: &str) -> Output {
    let script = format!("exec \"$0\" {line} {redirection}");
    let mut command = Command::new("/bin/sh");
    command.args(["-c", &script]).arg(&shell.tool).current_dir(&shell.place).stdin(Stdio::null());
    command.output().unwrap()
}

#[test]
fn lost_output_is_reported_and_is_no_failure_of_what_was_done() {
    let shell = Shell::new();
    for (line, lost, loaded) in [
        ("--simulate demo load a.livepatch", 5, "APPLIED"),
        ("--simulate demo --json revert a", 5, "CHECKED"),
        ("--simulate demo apply a", 5, "APPLIED"),
        // It is applied already, and can't be loaded.
        ("--simulate demo load a.livepatch", 1, "APPLIED"),
        ("--simulate demo --json list", 1, "APPLIED"),
    ] {
        let output = redirected(&shell, line, ">/dev/full");
        assert_eq!(output.status.code(), Some(lost), "{line}: {}", said(&output));
        assert!(said(&output).contains("could not be written: No space left on device"), "{}", said(&output));
        assert!(shell.loaded().contains(loaded), "{line}");
    }
    for (line, lost) in [
        ("--simulate demo --json list", 1),
        ("--simulate demo --json status", 1),
        ("--simulate demo --json revert a", 5),
        ("--simulate demo --json revert missing", 1),
    ] {
        let output = redirected(&shell, line, ">&-");
        assert_eq!(output.status.code(), Some(lost), "{line}: {}", said(&output));
        assert!(said(&output).contains("could not be written: standard output is closed"), "{}", said(&output));
    }
    assert!(shell.loaded().contains("CHECKED"));
    // Without --json the exit status is enough for some.
    let output = redirected(&shell, "--simulate demo apply a", ">&-");
    assert!(output.status.success() && said(&output).contains("the output is lost"), "{}", said(&output));
    for line in ["--simulate demo --json list", "--simulate demo apply a"] {
        let output = redirected(&shell, line, ">/dev/null");
        assert!(output.status.success() && !said(&output).contains("lost"), "{}", said(&output));
    }
}

#[test]
fn a_command_looks_at_nothing_that_it_does_not_need() {
    let shell = Shell::new();
    let simulation: &[&str] = &["demo/lock", "demo/xen.state"];
    for (line, needed) in [
        ("--simulate demo list", simulation),
        ("--simulate demo --json list", simulation),
        // Of a real Xen it is the device alone.
        ("--device missing list", &["missing"]),
        ("inspect a.livepatch", &["a.livepatch"]),
        ("list --nonsense", &[]),
        ("--help", &[]),
        ("man", &[]),
    ] {
        assert_eq!(crate::looks::looks(&shell.tool, line, shell.place.path()), needed, "{line}");
    }
}

#[test]
fn input_is_read_before_the_lock_is_taken() {
    let shell = Shell::new();
    let pipe = shell.place.path().join("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let mut waiting = shell.command("--simulate demo upload slow pipe");
    let waiting = waiting.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    // The other end is open once it is reading.
    let mut writer = OpenOptions::new().write(true).open(&pipe).unwrap();
    let output = shell.run("--simulate demo --deadline 2s load a.livepatch");
    assert!(output.status.success(), "{}", said(&output));
    assert!(shell.run("--simulate demo revert a").status.success());
    assert!(shell.run("--simulate demo unload a").status.success());
    writer.write_all(&fs::read(shell.place.path().join("a.livepatch")).unwrap()).unwrap();
    drop(writer);
    let output = waiting.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    assert!(shell.loaded().contains("slow"));
    // The same from standard input.
    assert!(shell.run("--simulate demo unload slow").status.success());
    let mut command = shell.command("--simulate demo upload again /dev/stdin");
    let file = File::open(shell.place.path().join("a.livepatch")).unwrap();
    assert!(command.stdin(file).output().unwrap().status.success());
    assert!(shell.loaded().contains("again"));
}

/// Whoever waited for the lock would otherwise go back to what the directory had before.
#[test]
fn a_directory_is_read_once_the_lock_is_taken() {
    let shell = Shell::new();
    let directory = shell.place.path().join("fixes");
    fs::create_dir(&directory).unwrap();
    assert!(shell.run("--simulate demo simulate payload fixes/old.livepatch").status.success());
    let lock = shell.lock();
    let mut waiting = shell.command("--simulate demo ensure fixes");
    let mut waiting = waiting.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(waiting.stderr.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().starts_with("waiting for another")));
    fs::remove_file(directory.join("old.livepatch")).unwrap();
    fs::copy(shell.place.path().join("a.livepatch"), directory.join("a.livepatch")).unwrap();
    drop(lock);
    assert!(lines.all(|line| line.is_ok()) && waiting.wait().unwrap().success());
    let loaded = shell.loaded();
    assert!(loaded.contains("a ") && !loaded.contains("old"), "{loaded}");
}

#[test]
fn names_that_are_not_utf_8_are_taken_as_json_gives_them() {
    let shell = Shell::new();
    for payload in ["b", "c"] {
        assert!(shell.run(&format!("--simulate demo simulate payload {payload}.livepatch")).status.success());
    }
    // The bytes, the characters that stand for them in text, and the characters that stand for them in JSON.
    let names: [&[u8]; 3] = [b"a\xff", b"a\\xff", b"hex:61ff"];
    for (name, file) in names.iter().zip(["a", "b", "c"]) {
        let hex = BuildId::new(name).to_string();
        let output = shell.run(&format!("--simulate demo --json upload hex:{hex} {file}.livepatch"));
        assert!(output.status.success(), "{}", said(&output));
    }
    let list = |shell: &Shell| {
        let object: Value = serde_json::from_slice(&shell.run("--simulate demo --json list").stdout).unwrap();
        let rows = object["result"]["payloads"].as_array().unwrap().clone();
        rows.into_iter().map(|row| row["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(list(&shell), ["hex:61ff", "a\\xff", "hex:6865783a36316666"]);
    let raw = OsStr::from_bytes(names[0]);
    let mut command = shell.command("--simulate demo --json status");
    assert!(command.arg(raw).output().unwrap().status.success(), "the bytes themselves are taken too");
    for (index, name) in list(&shell).iter().enumerate() {
        let output = shell.run(&format!("--simulate demo unload {name}"));
        assert!(output.status.success(), "{name}: {}", said(&output));
        assert_eq!(list(&shell).len(), 2 - index);
    }
}

/// DEL is one that JSON does not escape.
#[test]
fn control_characters_in_names_are_kept_in_json() {
    let shell = Shell::new();
    assert!(shell.run("--simulate demo upload a\u{7f}b\u{9b} a.livepatch").status.success());
    let object: Value = serde_json::from_slice(&shell.run("--simulate demo --json list").stdout).unwrap();
    assert_eq!(object["result"]["payloads"][0]["name"], "a\u{7f}b\u{9b}");
    assert!(shell.loaded().contains("a\\u{7f}b\\u{9b} "), "{}", shell.loaded());
}

#[test]
fn addresses_in_json_are_text() {
    let shell = Shell::new();
    assert!(shell.run("--simulate demo load a.livepatch").status.success());
    let object: Value = serde_json::from_slice(&shell.run("--simulate demo --json status a").stdout).unwrap();
    let function = &object["result"]["payload"]["functions"][0];
    for address in ["old_address", "new_address"] {
        let text = function[address].as_str().unwrap();
        assert!(u64::from_str_radix(text.strip_prefix("0x").unwrap(), 16).unwrap() > 1 << 53, "{text}");
    }
}

#[test]
fn a_damaged_simulation_is_told_and_left_as_it_is() {
    let shell = Shell::new();
    let state = shell.place.path().join("demo/xen.state");
    for damaged in [&b""[..], b"nonsense", &fs::read(&state).unwrap()[..40]] {
        fs::write(&state, damaged).unwrap();
        let output = shell.run("--simulate demo list");
        assert_eq!(output.status.code(), Some(1));
        assert!(said(&output).contains("demo/xen.state: "), "{}", said(&output));
        assert_eq!(fs::read(&state).unwrap(), damaged);
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
