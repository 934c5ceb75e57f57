//! The tool beside other processes: a holder of the lock, a reader that closes its pipe, a full disk.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::fcntl::{Flock, FlockArg};

use crate::demo::Demo;
use crate::looks::{looks, syncs};
use crate::tool;

fn demo() -> Demo {
    Demo::new(&[("a", None)])
}

fn lock(demo: &Demo) -> Flock<File> {
    let mut file = OpenOptions::new();
    let file = file.create(true).truncate(false).write(true).open(demo.path("demo/lock")).unwrap();
    Flock::lock(file, FlockArg::LockExclusiveNonblock).unwrap()
}

fn list(demo: &Demo) -> String {
    demo.ends(0, "list")
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn a_change_waits_for_another_one_but_not_forever() {
    let demo = demo();
    let lock = lock(&demo);
    let begun = Instant::now();
    let text = demo.ends(2, "--deadline 300ms load a.livepatch");
    assert!((300..5000).contains(&begun.elapsed().as_millis()), "{:?}", begun.elapsed());
    assert!(text.contains("waiting for another xen-livepatch, at most 300ms\n"), "{text}");
    assert!(text.contains("error: another xen-livepatch is at work (demo/lock, waited 300.0ms)"), "{text}");

    let waiting = demo.command("load a.livepatch").stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    thread::sleep(Duration::from_millis(300));
    drop(lock);
    assert!(waiting.wait_with_output().unwrap().status.success());
    assert!(list(&demo).contains("APPLIED"));
}

#[test]
fn concurrent_changes_are_carried_out_one_by_one() {
    let demo = demo();
    let children: Vec<_> = (0..8)
        .map(|_| demo.command("load a.livepatch").stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
        .collect();
    let statuses: Vec<_> = children.into_iter().map(|mut child| child.wait().unwrap().code()).collect();
    assert_eq!(statuses.iter().filter(|status| **status == Some(0)).count(), 1, "{statuses:?}");
    assert_eq!(list(&demo).matches("APPLIED").count(), 1);
}

#[test]
fn a_closed_pipe_is_no_error() {
    let demo = demo();
    let mut child = demo.command("man").stdout(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    assert!(child.wait().unwrap().success());
}

/// Runs the tool in a shell with its output redirected, asserts its exit status, and returns what it prints on stderr.
#[track_caller]
fn redirected(demo: &Demo, status: i32, line: &str, redirection: &str) -> String {
    let script = format!("exec \"$0\" --simulate demo {line} {redirection}");
    let mut command = Command::new("/bin/sh");
    command.args(["-c", &script]).arg(tool()).current_dir(demo.directory()).stdin(Stdio::null());
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(status), "{line}: {}", stderr(&output));
    stderr(&output)
}

#[test]
fn lost_output_is_reported_but_does_not_make_a_change_fail() {
    let demo = demo();
    for (line, lost, loaded) in [
        ("load a.livepatch", 5, "APPLIED"),
        ("--json revert a", 5, "CHECKED"),
        ("apply a", 5, "APPLIED"),
        // It is applied already, and can't be loaded.
        ("load a.livepatch", 1, "APPLIED"),
        ("list", 1, "APPLIED"),
        ("--json list", 1, "APPLIED"),
    ] {
        let text = redirected(&demo, lost, line, ">/dev/full");
        assert!(text.contains("could not be written: No space left on device"), "{line}: {text}");
        assert!(list(&demo).contains(loaded), "{line}");
    }
    for (line, lost) in [("--json list", 1), ("--json status", 1), ("--json revert a", 5), ("--json revert missing", 1)]
    {
        let text = redirected(&demo, lost, line, ">&-");
        assert!(text.contains("could not be written: standard output is closed"), "{line}: {text}");
    }
    assert!(list(&demo).contains("CHECKED"));
    // Without --json, some callers only need the exit status.
    let text = redirected(&demo, 0, "apply a", ">&-");
    assert!(text.contains("the output is lost"), "{text}");
    for line in ["--json list", "apply a"] {
        let text = redirected(&demo, 0, line, ">/dev/null");
        assert!(!text.contains("lost"), "{line}: {text}");
    }
}

#[test]
fn a_command_looks_at_nothing_that_it_does_not_need() {
    let demo = demo();
    let simulation: &[&str] = &["demo/lock", "demo/xen.state"];
    for (line, needed) in [
        ("--simulate demo list", simulation),
        ("--simulate demo --json list", simulation),
        // On a real Xen it is only the device.
        ("--device missing list", &["missing"]),
        // Without keys, no link on their path may lead nowhere.
        ("inspect a.livepatch", &["/etc", "/etc/xen-livepatch", "/etc/xen-livepatch/trusted.d", "a.livepatch"]),
        ("list --nonsense", &[]),
        ("--help", &[]),
        ("man", &[]),
    ] {
        assert_eq!(looks(tool(), line, demo.directory()), needed, "{line}");
    }
}

/// Knowledge that is kept until the next boot is in /run, without a disk, and payloads may be large.
#[test]
fn only_the_state_of_the_guard_is_synced() {
    let demo = demo();
    let synced = syncs(tool(), "--simulate demo ensure a.livepatch", demo.directory());
    let state = ["demo", "demo/boot", "demo/boot/attempts.copy.new", "demo/boot/attempts.new"];
    assert_eq!(synced, state.map(PathBuf::from));
    for kept in ["demo/payloads", "demo/identities.json"] {
        assert!(demo.path(kept).exists(), "{kept}");
    }
}

#[test]
fn input_is_read_before_the_lock_is_taken() {
    let demo = demo();
    let pipe = demo.path("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let mut waiting = demo.command("upload slow pipe");
    let waiting = waiting.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    // This returns once the tool has opened the other end.
    let mut writer = OpenOptions::new().write(true).open(&pipe).unwrap();
    for line in ["--deadline 2s load a.livepatch", "revert a", "unload a"] {
        demo.ends(0, line);
    }
    writer.write_all(&fs::read(demo.path("a.livepatch")).unwrap()).unwrap();
    drop(writer);
    let output = waiting.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(list(&demo).contains("slow"));
    // The same from standard input.
    demo.ends(0, "unload slow");
    let mut command = demo.command("upload again /dev/stdin");
    let file = File::open(demo.path("a.livepatch")).unwrap();
    assert!(command.stdin(file).output().unwrap().status.success());
    assert!(list(&demo).contains("again"));
}

/// Otherwise a process that waited for the lock would apply the former files of the directory.
#[test]
fn a_directory_is_read_once_the_lock_is_taken() {
    let demo = demo();
    let directory = demo.path("fixes");
    fs::create_dir(&directory).unwrap();
    demo.ends(0, "simulate payload fixes/old.livepatch");
    let lock = lock(&demo);
    let mut waiting = demo.command("ensure fixes");
    let mut waiting = waiting.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(waiting.stderr.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().starts_with("waiting for another")));
    fs::remove_file(directory.join("old.livepatch")).unwrap();
    fs::copy(demo.path("a.livepatch"), directory.join("a.livepatch")).unwrap();
    drop(lock);
    assert!(lines.all(|line| line.is_ok()) && waiting.wait().unwrap().success());
    let loaded = list(&demo);
    assert!(loaded.contains("a ") && !loaded.contains("old"), "{loaded}");
}

#[test]
fn names_that_are_not_utf_8_are_accepted_raw_and_as_printed_in_json() {
    let demo = demo();
    let name = || demo.json("list")["result"]["payloads"][0]["name"].take();
    let mut command = demo.command("upload");
    assert!(command.arg(OsStr::from_bytes(b"a\xff")).arg("a.livepatch").output().unwrap().status.success());
    assert_eq!(name(), "hex:61ff");
    demo.ends(0, "unload hex:61ff");
    // Two whose bytes are the text of that name, and its form in JSON.
    for json in ["a\\xff", "hex:6865783a36316666"] {
        demo.ends(0, &format!("upload {json} a.livepatch"));
        assert_eq!(name(), json);
        demo.ends(0, &format!("unload {json}"));
    }
}

/// JSON does not escape DEL.
#[test]
fn control_characters_in_names_are_kept_in_json() {
    let demo = demo();
    demo.ends(0, "upload a\u{7f}b\u{9b} a.livepatch");
    assert_eq!(demo.json("list")["result"]["payloads"][0]["name"], "a\u{7f}b\u{9b}");
    assert!(list(&demo).contains("a\\u{7f}b\\u{9b} "), "{}", list(&demo));
}

#[test]
fn colours_are_for_terminals() {
    let demo = demo();
    for line in ["--simulate demo apply missing", "nonsense", "--help"] {
        let output = demo.run(line);
        assert!(!output.stdout.contains(&0x1b) && !output.stderr.contains(&0x1b), "{line}");
    }
    // `script` runs it on a terminal.
    if Path::new("/usr/bin/script").exists() {
        let on_a_terminal = |variable: &str| {
            let line = format!("{} --simulate demo apply missing", tool().display());
            let mut command = Command::new("/usr/bin/script");
            command.args(["-qec", &line, "/dev/null"]).current_dir(demo.directory()).stdin(Stdio::null());
            command.env("TERM", "xterm").env_remove("NO_COLOR").env(variable, "1").output().unwrap().stdout
        };
        assert!(on_a_terminal("XEN_LIVEPATCH_NOTHING").contains(&0x1b));
        let without = String::from_utf8(on_a_terminal("NO_COLOR")).unwrap();
        assert!(without.contains("error: apply") && !without.contains("\x1b["), "{without:?}");
    }
}

#[test]
fn the_stock_minisign_makes_keys_and_signatures() {
    if Command::new("minisign").arg("-v").stdout(Stdio::null()).status().is_err() {
        return;
    }
    let demo = Demo::new(&[("a", None), ("b", Some("a"))]);
    fs::create_dir(demo.path("demo/trusted.d")).unwrap();
    let minisign = |line: &str| {
        let mut command = Command::new("minisign");
        let output = command.args(line.split(' ')).current_dir(demo.directory()).stdin(Stdio::null()).output().unwrap();
        assert!(output.status.success(), "{line}: {}", stderr(&output));
    };
    minisign("-G -W -p demo/trusted.d/mine.pub -s mine.key");
    minisign("-S -s mine.key -m a.livepatch -t reviewed");
    minisign("-S -l -s mine.key -m b.livepatch");
    demo.ends(0, "ensure a.livepatch b.livepatch");
    let text = demo.ends(0, "check a.livepatch");
    assert!(text.contains(" (mine.pub): reviewed\n"), "{text}");
}
