//! Files that are torn, lost or in the way, and disks that take nothing.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::time::{Duration, Instant};

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use super::super::store::MOST_BYTES;
use super::*;

/// Its name, how a file comes to it, and what is said about it.
type Damage = (&'static str, fn(&Path), &'static str);

/// What may be found in the place of a file.
fn damages() -> Vec<Damage> {
    fn write(path: &Path, contents: &[u8]) {
        fs::write(path, contents).expect("a file");
    }
    fn cut(path: &Path, len: usize) {
        let whole = fs::read(path).expect("a file");
        write(path, &whole[..whole.len() - len]);
    }
    vec![
        ("empty", |path| write(path, b""), "it is empty"),
        ("torn", |path| cut(path, 20), "it is not JSON"),
        ("zeroes", |path| write(path, &[0; 4096]), "it is not JSON"),
        ("newer", |path| write(path, br#"{"version": 2}"#), "it has the format 2, and only 1 is known here"),
        ("not ours", |path| write(path, b"[]"), "it does not say which format it has"),
        ("no generation", |path| write(path, br#"{"version": 1, "attempts": []}"#), "it has no generation"),
        ("no attempts", |path| write(path, br#"{"version": 1, "generation": 1}"#), "it has no attempts"),
        (
            "incomplete",
            |path| write(path, br#"{"version": 1, "generation": 1, "attempts": [{"boot_id": "b"}]}"#),
            "attempt 1 in it is incomplete",
        ),
        (
            "huge",
            |path| {
                let file = fs::File::create(path).expect("a file");
                file.set_len(1 << 40).expect("a sparse file");
            },
            "it has more than 1048576 bytes",
        ),
        (
            "folder",
            |path| {
                fs::remove_file(path).expect("it is there");
                fs::create_dir_all(path.join("sub")).expect("a folder");
            },
            "it is no regular file",
        ),
        (
            "link",
            |path| {
                fs::remove_file(path).expect("it is there");
                symlink("/nowhere", path).expect("a link");
            },
            "it is no regular file",
        ),
        (
            "pipe",
            |path| {
                fs::remove_file(path).expect("it is there");
                mkfifo(path, Mode::S_IRWXU).expect("a pipe");
            },
            "it is no regular file",
        ),
    ]
}

#[test]
fn one_damaged_copy_hides_no_crash() {
    let fix = attempt(&["f1"]);
    for (name, damage, why) in damages() {
        for file in FILES {
            let folder = Folder::crashed(&fix);
            damage(&folder.file(file));
            let refused = begin(&folder.boot(2), &fix).expect_err(name);
            assert_eq!(refused.crashed.boot, "boot-1");
            let [warning] = refused.warnings.as_slice() else { panic!("{name}: {:?}", refused.warnings) };
            assert!(warning.contains(why) && warning.contains(file), "{name}: {warning}");

            // The next that writes puts it aside, and forgets nothing.
            assert!(folder.boot(2).report().to_string().contains("damaged: "), "{name}");
            let warnings = begin(&folder.boot(2), &attempt(&["f2"])).expect("it was never attempted");
            assert_eq!(warnings.len(), 1, "{name}: {warnings:?}");
            confirms(&folder.boot(2), &[attempt(&["f2"])]);
            refuses(&folder.boot(3), &fix);
            let report = folder.boot(3).report();
            assert_eq!(report.aside, [folder.file(&format!("{file}.damaged"))], "{name}");
            assert!(report.to_string().contains("put aside, it made no sense: "), "{name}");
            assert!(report.damaged.is_empty(), "{name}");
        }
    }
}

#[test]
fn two_damaged_copies_are_told_and_cost_one_more_crash_at_most() {
    let fix = attempt(&["f1"]);
    for (name, damage, why) in damages() {
        let folder = Folder::crashed(&fix);
        for file in FILES {
            damage(&folder.file(file));
        }
        assert!(matches!(folder.boot(2).confirm(), Err(Unconfirmed::Damaged(damaged)) if damaged.len() == 2), "{name}");
        let warnings = begin(&folder.boot(2), &fix).expect(name);
        assert_eq!(warnings.len(), 2, "{name}: {warnings:?}");
        for warning in warnings {
            assert!(warning.contains(why), "{name}: {warning}");
            assert!(warning.ends_with("that may not be known any more"), "{name}: {warning}");
        }
        refuses(&folder.boot(3), &fix);
        assert_eq!(folder.boot(3).report().aside.len(), 2, "{name}");
    }
}

#[test]
fn what_is_put_aside_is_bounded_and_shown() {
    let folder = Folder::new();
    for number in 0..20 {
        begins(&folder.boot(number), &attempt(&["f1"]));
        confirms(&folder.boot(number), &[attempt(&["f1"])]);
        fs::write(folder.file(FILES[0]), format!("damage {number}")).expect("a file");
        let warnings = begin(&folder.boot(number), &attempt(&["f2"])).expect("it was survived");
        assert_eq!(warnings.len(), 1);
        confirms(&folder.boot(number), &[attempt(&["f2"])]);
    }
    let aside = folder.boot(0).report().aside;
    assert_eq!(aside.len(), 10);
    let contents = |path: Option<&PathBuf>| fs::read_to_string(path.expect("ten")).expect("a file");
    assert_eq!(contents(aside.first()), "damage 0");
    assert_eq!(contents(aside.last()), "damage 19");
}

#[test]
fn a_lost_copy_hides_nothing() {
    let fix = attempt(&["f1"]);
    for file in FILES {
        let folder = Folder::crashed(&fix);
        fs::remove_file(folder.file(file)).expect("it is there");
        refuses(&folder.boot(2), &fix);
    }
}

#[test]
fn a_crash_between_the_two_copies_leaves_the_newer() {
    let (fix, later) = (attempt(&["f1"]), attempt(&["f2"]));
    // During a confirmation: the first copy says that it was survived, and so it was.
    let folder = Folder::crashed(&fix);
    let old = fs::read(folder.file(FILES[1])).expect("a file");
    confirms(&folder.boot(1), std::slice::from_ref(&fix));
    fs::write(folder.file(FILES[1]), &old).expect("a file");
    begins(&folder.boot(2), &fix);
    // Before it, all is as it was; a file half written has another name, and is in nobody's way.
    let folder = Folder::crashed(&fix);
    fs::write(folder.file("attempts.new"), "{\"vers").expect("a file");
    refuses(&folder.boot(2), &fix);
    begins(&folder.boot(2), &later);
    assert!(!folder.file("attempts.new").exists());
    // During a beginning.
    let folder = Folder::crashed(&fix);
    let old = fs::read(folder.file(FILES[1])).expect("a file");
    begins(&folder.boot(2), &later);
    fs::write(folder.file(FILES[1]), &old).expect("a file");
    refuses(&folder.boot(3), &fix);
    refuses(&folder.boot(3), &later);
}

#[test]
fn copies_of_one_age_that_differ_are_both_believed() {
    let (fix, other) = (attempt(&["f1"]), attempt(&["f2"]));
    for (damaged, sound) in [(FILES[0], FILES[1]), (FILES[1], FILES[0])] {
        let folder = Folder::crashed(&fix);
        begins(&folder.boot(1), &other);
        let text = fs::read_to_string(folder.file(damaged)).expect("a file");
        let text = text.replace("\"f1\"", "\"g1\"").replace("\"survived\": false", "\"survived\": true");
        fs::write(folder.file(damaged), text).expect("a file");
        refuses(&folder.boot(2), &fix);
        refuses(&folder.boot(2), &other);
        assert!(folder.file(sound).exists());
    }
}

#[test]
fn where_nothing_can_be_written_the_boot_goes_on_and_says_so() {
    let fix = attempt(&["f1"]);
    let scratch = Folder::new();
    fs::create_dir(&scratch.0).expect("a folder");
    fs::write(scratch.file("file"), "").expect("a file");
    symlink("/proc/self/nowhere", scratch.file("link")).expect("a link");
    // Permissions are no hindrance to root, and these are.
    for place in [scratch.file("file"), scratch.file("file/state"), scratch.file("link"), "/proc/self".into()] {
        let boot = |number| Guard::in_boot(&place, Ok(format!("boot-{number}")));
        let warnings = begin(&boot(1), &fix).expect("it was never attempted");
        let [warning] = warnings.as_slice() else { panic!("{}: {warnings:?}", place.display()) };
        assert!(warning.starts_with("this attempt is not guarded"), "{}: {warning}", place.display());
        // Nothing was written down, so there is nothing to confirm.
        assert!(boot(1).confirm().is_ok_and(|confirmed| confirmed.attempts.is_empty()), "{}", place.display());
        assert_eq!(boot(2).report().to_string(), "", "{}", place.display());
    }
}

#[test]
fn a_crash_that_can_only_be_read_is_refused_and_a_confirmation_that_fails_is_told() {
    let fix = attempt(&["f1"]);
    let folder = Folder::crashed(&fix);
    // Both names under which a file is written first are taken by a folder, which even root can't write over.
    for name in ["attempts.new", "attempts.copy.new"] {
        fs::create_dir_all(folder.file(name).join("sub")).expect("a folder");
    }
    refuses(&folder.boot(2), &fix);
    assert!(matches!(folder.boot(1).confirm(), Err(Unconfirmed::Unwritten(_))));
    let warnings = begin(&folder.boot(2), &attempt(&["f2"])).expect("it was never attempted");
    assert_eq!(warnings.len(), 1);
    refuses(&folder.boot(3), &fix);

    // One copy is enough.
    fs::remove_dir_all(folder.file("attempts.copy.new")).expect("it is there");
    let warnings = begin(&folder.boot(2), &attempt(&["f2"])).expect("it was never attempted");
    let [warning] = warnings.as_slice() else { panic!("{warnings:?}") };
    assert!(warning.starts_with("only one copy of the guard's state could be written"), "{warning}");
    refuses(&folder.boot(3), &fix);
    refuses(&folder.boot(3), &attempt(&["f2"]));
}

#[test]
fn permissions_that_are_wrong_become_a_warning() {
    if nix::unistd::geteuid().is_root() {
        // Root may do everything. The other tests have what stops even it.
        return;
    }
    let folder = Folder::crashed(&attempt(&["f1"]));
    let set = |mode| fs::set_permissions(&folder.0, fs::Permissions::from_mode(mode)).expect("our own");
    set(0o500);
    refuses(&folder.boot(2), &attempt(&["f1"]));
    assert_eq!(begin(&folder.boot(2), &attempt(&["f2"])).expect("it was never attempted").len(), 1);
    set(0);
    assert_eq!(begin(&folder.boot(2), &attempt(&["f1"])).expect("nothing can be read").len(), 3);
    set(0o700);
}

#[test]
fn another_process_that_holds_the_lock_is_waited_for_but_not_long() {
    let fix = attempt(&["f1"]);
    let folder = Folder::crashed(&fix);
    let boot = folder.boot(2);
    let held = boot.store.lock().expect("nobody else has it");
    let before = Instant::now();
    refuses(&boot, &fix);
    begins(&boot, &attempt(&["f2"]));
    assert!(before.elapsed() < Duration::from_secs(20));
    drop(held);
    refuses(&folder.boot(3), &attempt(&["f2"]));
}

#[test]
fn any_bytes_are_read_without_harm() {
    let fix = attempt(&["f1"]);
    let folder = Folder::crashed(&fix);
    let whole = fs::read(folder.file(FILES[0])).expect("a file");
    assert!(whole.len() < usize::try_from(MOST_BYTES).expect("small") / 100);
    for len in 0..whole.len() {
        fs::write(folder.file(FILES[0]), &whole[..len]).expect("a file");
        assert!(begin(&folder.boot(2), &fix).is_err(), "cut to {len} bytes");
    }
    for position in 0..whole.len() {
        let mut changed = whole.clone();
        changed[position] ^= 0x11;
        fs::write(folder.file(FILES[0]), &changed).expect("a file");
        assert!(begin(&folder.boot(2), &fix).is_err(), "byte {position} changed");
    }
}
