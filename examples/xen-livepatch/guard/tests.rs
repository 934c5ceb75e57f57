//! The guard over boots that end well and badly.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use super::record::MOST;
use super::store::FILES;
use super::*;

mod damage;
mod off;

/// A folder for one test, which need not exist at first.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("xen-livepatch-guard-{}-{count}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        Self(path)
    }

    fn boot(&self, number: u32) -> Guard {
        Guard::in_boot(&self.0, Ok(format!("boot-{number}")))
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Boot 1 attempts this and crashes.
    fn crashed(attempt: &Attempt) -> Self {
        let folder = Self::new();
        begins(&folder.boot(1), attempt);
        folder
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn attempt(payloads: &[&str]) -> Attempt {
    Attempt { xen: "aa".to_owned(), payloads: payloads.iter().map(|&id| id.to_owned()).collect() }
}

fn begin(guard: &Guard, attempt: &Attempt) -> Result<Vec<String>, Box<Refused>> {
    guard.begin(attempt, IfCrashed::Refuse).map(|begun| begun.warnings)
}

#[track_caller]
fn begins(guard: &Guard, attempt: &Attempt) {
    assert_eq!(begin(guard, attempt).expect("it was never attempted"), Vec::<String>::new());
}

#[track_caller]
fn refuses(guard: &Guard, attempt: &Attempt) -> String {
    let refused = guard.begin(attempt, IfCrashed::Refuse).expect_err("it crashed");
    assert_eq!(refused.warnings, Vec::<String>::new());
    assert_eq!(refused.crashed.attempt, *attempt);
    refused.to_string()
}

#[track_caller]
fn retries(guard: &Guard, attempt: &Attempt) {
    let begun = guard.begin(attempt, IfCrashed::Retry).expect("a retry is never refused");
    assert_eq!(begun.warnings, Vec::<String>::new());
}

#[track_caller]
fn confirms(guard: &Guard, attempts: &[Attempt]) {
    let confirmed = guard.confirm().expect("the state can be written");
    assert_eq!(confirmed.attempts, attempts);
    assert_eq!(confirmed.warnings, Vec::<String>::new());
}

#[test]
fn what_was_confirmed_goes_at_each_boot() {
    let folder = Folder::new();
    let fix = attempt(&["f1"]);
    for number in 0..3 {
        let boot = folder.boot(number);
        begins(&boot, &fix);
        confirms(&boot, std::slice::from_ref(&fix));
        confirms(&boot, &[]);
    }
}

#[test]
fn a_crash_is_refused_boot_after_boot_and_not_by_its_own() {
    let fix = attempt(&["f1", "f2"]);
    let folder = Folder::crashed(&fix);
    begins(&folder.boot(1), &fix);
    for number in 2..5 {
        assert_eq!(
            refuses(&folder.boot(number), &fix),
            "not repeated: payloads f1, f2 on Xen aa was begun in boot boot-1, and the host went down before that was \
             confirmed: it crashed, or lost power (see journalctl --boot=boot-1). Nothing was done. To try it again: \
             the same command with --retry"
        );
        // A boot that refused has nothing to confirm, and ending well it takes nothing back.
        confirms(&folder.boot(number), &[]);
    }
}

#[test]
fn a_retry_lifts_it_for_as_long_as_it_is_survived() {
    let fix = attempt(&["f1"]);
    let folder = Folder::crashed(&fix);
    retries(&folder.boot(2), &fix);
    assert!(refuses(&folder.boot(3), &fix).contains("begun in boot boot-2"));
    retries(&folder.boot(4), &fix);
    confirms(&folder.boot(4), std::slice::from_ref(&fix));
    begins(&folder.boot(5), &fix);
    refuses(&folder.boot(6), &fix);
}

#[test]
fn a_retry_that_fails_lifts_nothing() {
    let fix = attempt(&["f1"]);
    let folder = Folder::crashed(&fix);
    let boot = folder.boot(2);
    for _ in 0..2 {
        // It may be tried more than once.
        retries(&boot, &fix);
        begins(&boot, &fix);
        assert_eq!(boot.failed(&fix), Vec::<String>::new());
        confirms(&boot, &[]);
        assert!(refuses(&boot, &fix).contains("begun in boot boot-1"));
    }
    refuses(&folder.boot(3), &fix);

    // The first attempt that fails is survived like any other, and nothing is known of one that was never begun.
    let other = attempt(&["f2"]);
    begins(&boot, &other);
    for attempt in [&other, &attempt(&["f3"])] {
        assert_eq!(boot.failed(attempt), Vec::<String>::new());
    }
    confirms(&boot, std::slice::from_ref(&other));
    begins(&folder.boot(3), &other);
    // Nor does a retry that was survived stand for a crash.
    retries(&folder.boot(4), &fix);
    confirms(&folder.boot(4), std::slice::from_ref(&fix));
    assert_eq!(folder.boot(4).failed(&fix), Vec::<String>::new());
    begins(&folder.boot(5), &fix);
}

#[test]
fn other_payloads_and_another_xen_go_and_forget_nothing() {
    let bad = attempt(&["f1", "f2"]);
    let folder = Folder::crashed(&bad);
    let other_xen = Attempt { xen: "bb".to_owned(), ..bad.clone() };
    let others = [attempt(&["f1"]), attempt(&["f1", "f3"]), attempt(&["f2", "f1"]), attempt(&[]), other_xen];
    for (number, other) in (2..).zip(&others) {
        let boot = folder.boot(number);
        begins(&boot, other);
        confirms(&boot, std::slice::from_ref(other));
        // Rolled back to what crashed.
        refuses(&folder.boot(99), &bad);
    }
}

#[test]
fn each_attempt_of_a_boot_counts() {
    let (first, second) = (attempt(&["f1"]), attempt(&["f1", "f2"]));
    let folder = Folder::new();
    begins(&folder.boot(1), &first);
    begins(&folder.boot(1), &second);
    refuses(&folder.boot(2), &first);
    refuses(&folder.boot(2), &second);

    let folder = Folder::new();
    begins(&folder.boot(1), &first);
    begins(&folder.boot(1), &second);
    confirms(&folder.boot(1), &[first.clone(), second.clone()]);
    // What is begun after the confirmation is not covered by it.
    begins(&folder.boot(1), &second);
    begins(&folder.boot(2), &first);
    refuses(&folder.boot(2), &second);
}

#[test]
fn a_confirmation_is_for_its_own_boot_alone() {
    let fix = attempt(&["f1"]);
    let folder = Folder::crashed(&fix);
    let other = attempt(&["f2"]);
    begins(&folder.boot(2), &other);
    confirms(&folder.boot(2), &[other]);
    refuses(&folder.boot(3), &fix);
}

#[test]
fn what_is_kept_is_bounded_and_crashes_are_kept_longest() {
    let folder = Folder::new();
    let crashed = attempt(&["crashed"]);
    begins(&folder.boot(0), &crashed);
    let elsewhere = Attempt { xen: "bb".to_owned(), payloads: vec!["f1".to_owned()] };
    begins(&folder.boot(0), &elsewhere);
    let numbers = 1..100;
    for number in numbers.clone() {
        let boot = folder.boot(number);
        let fix = attempt(&[&format!("f{number}")]);
        begins(&boot, &fix);
        confirms(&boot, &[fix]);
    }
    refuses(&folder.boot(100), &crashed);
    refuses(&folder.boot(100), &elsewhere);

    // More crashes than are kept: those of a Xen that is not running go first, then the oldest.
    for number in numbers {
        begins(&folder.boot(number), &attempt(&[&format!("g{number}")]));
    }
    let report = folder.boot(100).report();
    assert_eq!(report.crashed.len(), MOST);
    assert_eq!(report.crashed.last().map(|record| record.boot.as_str()), Some("boot-99"));
    begins(&folder.boot(100), &elsewhere);
}

#[test]
fn the_report_tells_what_was_survived_and_what_not() {
    let folder = Folder::new();
    assert_eq!(folder.boot(1).report().to_string(), "");
    assert!(!folder.0.exists(), "a report changes nothing");
    begins(&folder.boot(1), &attempt(&["f1"]));
    let boot = folder.boot(2);
    begins(&boot, &attempt(&["f2"]));
    confirms(&boot, &[attempt(&["f2"])]);
    begins(&boot, &attempt(&["f3"]));
    assert_eq!(
        boot.report().to_string(),
        "not confirmed yet: payload f3 on Xen aa; if the host goes down now, it is not repeated\n\
         survived by this boot: payload f2 on Xen aa\n\
         not repeated, the host went down after it in boot boot-1: payload f1 on Xen aa\n"
    );
}

#[test]
fn without_a_boot_id_nothing_is_written_and_no_crash_is_hidden() {
    let fix = attempt(&["f1"]);
    let folder = Folder::crashed(&fix);
    let nameless = Guard::in_boot(&folder.0, Err("no /proc".to_owned()));
    refuses(&nameless, &fix);
    let warnings = begin(&nameless, &attempt(&["f2"])).expect("it was never attempted");
    assert_eq!(
        warnings,
        ["this attempt is not guarded, it will be repeated even if the host goes down after it: the boot id can't be \
          read: no /proc"]
    );
    assert!(matches!(nameless.confirm(), Err(Unconfirmed::NoBootId(_))));
    assert_eq!(nameless.report().crashed.len(), 1);
}

#[test]
fn the_boot_id_is_the_kernels() {
    let id = boot_id(Path::new(BOOT_ID)).expect("Linux has one");
    assert_eq!(id.len(), 36);
    assert_eq!(Guard::at("/nowhere").boot, Ok(id));
    let missing = boot_id(Path::new("/nowhere/boot_id")).expect_err("there is none");
    assert!(missing.starts_with("/nowhere/boot_id: "), "{missing}");
    assert_eq!(boot_id(Path::new("/dev/null")), Err("/dev/null is empty".to_owned()));
}
