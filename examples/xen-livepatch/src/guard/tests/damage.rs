//! Damaged and lost files, and disks that can't be written.

use std::fs::File;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use super::super::store::MOST_BYTES;
use super::*;

/// A name, a function that damages a file or puts another object in its place, and the reported fault.
type Damage = (&'static str, fn(&Path), &'static str);

const DAMAGES: [Damage; 15] = [
    ("empty", |path| write(path, ""), "it is empty"),
    ("torn", |path| cut(path, 20), "it is not JSON"),
    ("zeroes", |path| write(path, [0; 4096]), "it is not JSON"),
    ("newer", |path| write(path, r#"{"version": 3}"#), "it has format 3, and this program reads only format 2"),
    ("older", |path| write(path, r#"{"version": 1}"#), "it has format 1, and this program reads only format 2"),
    ("not ours", |path| write(path, "[]"), "its format is not given"),
    (
        "no generation",
        |path| write(path, json(r#""payloads": [], "levels": []"#)),
        "incomplete: missing field `generation`",
    ),
    ("no payloads", |path| write(path, json(r#""generation": 1"#)), "incomplete: missing field `payloads`"),
    ("no levels", |path| write(path, json(r#""generation": 1, "payloads": []"#)), "incomplete: missing field `levels`"),
    (
        "incomplete",
        |path| write(path, json(r#""generation": 1, "payloads": [{"xen": "b"}], "levels": []"#)),
        "it is incomplete: missing field `payload`",
    ),
    (
        "huge",
        |path| File::create(path).and_then(|file| file.set_len(1 << 40)).unwrap(),
        "it has more than 1048576 bytes",
    ),
    ("directory", |path| fs::create_dir_all(absent(path).join("sub")).unwrap(), "it is not a regular file"),
    ("link", |path| symlink("/nowhere", absent(path)).unwrap(), "it is not a regular file"),
    ("pipe", |path| mkfifo(absent(path), Mode::S_IRWXU).unwrap(), "it is not a regular file"),
    // Like a device, it must not be opened, which would fail with another error.
    ("socket", |path| drop(UnixListener::bind(absent(path)).unwrap()), "it is not a regular file"),
];

fn write(path: &Path, contents: impl AsRef<[u8]>) {
    fs::write(path, contents).expect("a file");
}

fn cut(path: &Path, len: usize) {
    let whole = fs::read(path).expect("a file");
    write(path, &whole[..whole.len() - len]);
}

/// A state with only these fields.
fn json(fields: &str) -> String {
    format!(r#"{{"version": 2, {fields}}}"#)
}

/// The path of a file, which is removed.
fn absent(path: &Path) -> &Path {
    fs::remove_file(path).expect("it is there");
    path
}

#[test]
fn with_one_damaged_copy_no_crash_is_forgotten() {
    for (name, damage, fault) in DAMAGES {
        for file in FILES {
            let directory = Directory::crashed(&["f1"]);
            damage(&directory.file(file));
            let judgement = judge(&directory.boot(2), &["f1"]);
            assert_eq!(judgement.suspect.map(|suspect| suspect.boot), Some(id(1)), "{name}");
            let [warning] = judgement.warnings.as_slice() else { panic!("{name}: {:?}", judgement.warnings) };
            assert!(warning.contains(fault) && warning.contains(file), "{name}: {warning}");

            // The next write puts it aside, and forgets nothing.
            assert!(directory.boot(2).report().to_string().contains("damaged: "), "{name}");
            let written = begin(&directory.boot(2), &["f2"]);
            assert_eq!((written.warnings.len(), written.failed), (1, None), "{name}");
            confirms(&directory.boot(2), &["f2"], &["f2"]);
            cuts(&directory.boot(3), &["f1"], 0, 1);
            let report = directory.boot(3).report();
            assert_eq!(aside(&report), (vec![directory.file(&format!("{file}.damaged"))], true), "{name}");
            assert!(report.to_string().contains("put aside, since it is damaged: "), "{name}");
        }
    }
}

#[test]
fn two_damaged_copies_are_reported_and_cost_at_most_one_more_crash() {
    for (name, damage, fault) in DAMAGES {
        let directory = Directory::crashed(&["f1"]);
        for file in FILES {
            damage(&directory.file(file));
        }
        assert!(directory.boot(2).has_pending(), "{name}");
        let confirmed = directory.boot(2).confirm(XEN, Some(&running(&["f1"])), Ending::Shutdown);
        let reason = confirmed.unwrap_err();
        assert!(reason.starts_with("no payload can be confirmed: "), "{name}: {reason}");
        assert_eq!(reason.matches(fault).count(), 2, "{name}: {reason}");
        let written = begin(&directory.boot(2), &["f1"]);
        assert_eq!((written.warnings.len(), written.failed), (2, None), "{name}");
        for warning in written.warnings {
            assert!(warning.contains(fault), "{name}: {warning}");
            assert!(warning.ends_with("may be mistaken for a new payload"), "{name}: {warning}");
        }
        cuts(&directory.boot(3), &["f1"], 0, 2);
        assert_eq!(aside(&directory.boot(3).report()).0.len(), 2, "{name}");
    }
}

#[test]
fn files_put_aside_are_bounded_and_reported() {
    let directory = Directory::new();
    for number in 0..20 {
        begins(&directory.boot(number), &["f1"]);
        confirms(&directory.boot(number), &["f1"], &["f1"]);
        fs::write(directory.file(FILES[0]), format!("damage {number}")).expect("a file");
        assert_eq!(begin(&directory.boot(number), &["f2"]).warnings.len(), 1);
        confirms(&directory.boot(number), &["f2"], &["f2"]);
    }
    let (aside, _) = aside(&directory.boot(0).report());
    assert_eq!(aside.len(), 10);
    let contents = |path: Option<&PathBuf>| fs::read_to_string(path.expect("ten")).expect("a file");
    assert_eq!(contents(aside.first()), "damage 0");
    assert_eq!(contents(aside.last()), "damage 19");
}

#[test]
fn with_a_lost_copy_no_crash_is_forgotten() {
    for file in FILES {
        let directory = Directory::crashed(&["f1"]);
        fs::remove_file(directory.file(file)).expect("it is there");
        cuts(&directory.boot(2), &["f1"], 0, 1);
    }
}

#[test]
fn after_a_crash_between_two_writes_the_newer_copy_counts() {
    // During a confirmation: in the first copy the payload has survived.
    let directory = Directory::crashed(&["f1"]);
    let old = fs::read(directory.file(FILES[1])).expect("a file");
    confirms(&directory.boot(1), &["f1"], &["f1"]);
    write(&directory.file(FILES[1]), &old);
    allows(&directory.boot(2), &["f1"]);
    // Before it nothing has changed; a partly written file has another name.
    let directory = Directory::crashed(&["f1"]);
    fs::write(directory.file("attempts.new"), "{\"vers").expect("a file");
    cuts(&directory.boot(2), &["f1"], 0, 1);
    begins(&directory.boot(2), &["f2"]);
    assert!(!directory.file("attempts.new").exists());
    // While payloads are recorded.
    let directory = Directory::crashed(&["f1"]);
    let old = fs::read(directory.file(FILES[1])).expect("a file");
    begins(&directory.boot(2), &["f2"]);
    write(&directory.file(FILES[1]), &old);
    cuts(&directory.boot(3), &["f1"], 0, 1);
    cuts(&directory.boot(3), &["f2"], 0, 2);
}

#[test]
fn the_worse_of_two_copies_of_the_same_age_counts() {
    for (damaged, sound) in [(FILES[0], FILES[1]), (FILES[1], FILES[0])] {
        let directory = Directory::crashed(&["f1", "f3"]);
        let applied = running(&["f1", "f3"]);
        assert_eq!(directory.boot(1).begin(XEN, &stack(&["f2"]), &applied, Trigger::Hand), Written::default());
        let text = fs::read_to_string(directory.file(damaged)).expect("a file");
        let text = text.replace("\"f1\"", "\"g1\"").replace("\"survived\": 0", "\"survived\": 7");
        fs::write(directory.file(damaged), text).expect("a file");
        for payload in ["f1", "f2", "f3"] {
            cuts(&directory.boot(2), &[payload], 0, 1);
        }
        assert!(directory.file(sound).exists());
    }
}

#[test]
fn if_nothing_can_be_written_the_outcome_contains_the_reason() {
    let scratch = Directory::new();
    fs::create_dir(&scratch.0).expect("a directory");
    fs::write(scratch.file("file"), "").expect("a file");
    symlink("/proc/self/nowhere", scratch.file("link")).expect("a link");
    // These stop even root, unlike permissions.
    for place in [scratch.file("file"), scratch.file("file/state"), scratch.file("link"), "/proc/self".into()] {
        let boot = |number| Guard::in_boot(&place, Ok(Boot { id: id(number), age: 10 }));
        let written = begin(&boot(1), &["f1"]);
        assert!(written.failed.is_some(), "{}: {written:?}", place.display());
        // Nothing was recorded, so there is nothing to confirm.
        assert!(!boot(1).has_pending(), "{}", place.display());
        let confirmed = boot(1).confirm(XEN, Some(&running(&[])), Ending::Shutdown);
        assert!(confirmed.is_ok_and(|confirmed| confirmed.survived.is_empty()), "{}", place.display());
        assert_eq!(boot(2).report().to_string(), "", "{}", place.display());
    }
}

#[test]
fn a_full_disk_is_reported_and_no_crash_is_forgotten() {
    let directory = Directory::crashed(&["f1"]);
    // A directory in the place of each temporary file stops even root.
    for name in ["attempts.new", "attempts.copy.new"] {
        fs::create_dir_all(directory.file(name).join("sub")).expect("a directory");
    }
    cuts(&directory.boot(2), &["f1"], 0, 1);
    let confirmed = directory.boot(1).confirm(XEN, Some(&running(&["f1"])), Ending::Shutdown);
    assert!(confirmed.unwrap_err().contains("has survived can't be recorded: "));
    assert!(begin(&directory.boot(2), &["f2"]).failed.is_some());
    cuts(&directory.boot(3), &["f1"], 0, 1);
    allows(&directory.boot(3), &["f2"]);

    // One copy is enough.
    fs::remove_dir_all(directory.file("attempts.copy.new")).expect("it is there");
    let written = begin(&directory.boot(2), &["f2"]);
    let ([warning], None) = (written.warnings.as_slice(), &written.failed) else { panic!("{written:?}") };
    assert!(warning.starts_with("only one copy of the guard's state could be written"), "{warning}");
    cuts(&directory.boot(3), &["f1"], 0, 1);
    cuts(&directory.boot(3), &["f2"], 0, 2);
}

#[test]
fn missing_permissions_are_reported() {
    if nix::unistd::geteuid().is_root() {
        // Permissions do not stop root. The other tests use obstacles that do.
        return;
    }
    let directory = Directory::crashed(&["f1"]);
    let set = |mode| fs::set_permissions(&directory.0, fs::Permissions::from_mode(mode)).expect("our own");
    set(0o500);
    cuts(&directory.boot(2), &["f1"], 0, 1);
    assert!(begin(&directory.boot(2), &["f2"]).failed.is_some());
    set(0);
    let written = begin(&directory.boot(2), &["f1"]);
    assert!(written.failed.is_some() && written.warnings.len() == 2, "nothing can be read: {written:?}");
    set(0o700);
}

#[test]
fn the_lock_of_another_process_is_awaited_but_not_for_long() {
    let directory = Directory::crashed(&["f1"]);
    let boot = directory.boot(2);
    let held = boot.store.lock().expect("nobody else has it");
    let before = Instant::now();
    cuts(&boot, &["f1"], 0, 1);
    begins(&boot, &["f2"]);
    assert!(before.elapsed() < Duration::from_secs(20));
    drop(held);
    cuts(&directory.boot(3), &["f2"], 0, 2);
}

#[test]
fn no_damage_to_the_bytes_forgets_a_crash() {
    let directory = Directory::crashed(&["f1"]);
    let whole = fs::read(directory.file(FILES[0])).expect("a file");
    assert!(whole.len() < usize::try_from(MOST_BYTES).expect("small") / 100);
    for len in 0..whole.len() {
        fs::write(directory.file(FILES[0]), &whole[..len]).expect("a file");
        assert_eq!(judge(&directory.boot(2), &["f1"]).allowed, 0, "cut to {len} bytes");
    }
    for position in 0..whole.len() {
        let mut changed = whole.clone();
        changed[position] ^= 0x11;
        write(&directory.file(FILES[0]), &changed);
        assert_eq!(judge(&directory.boot(2), &["f1"]).allowed, 0, "byte {position} changed");
    }
}
