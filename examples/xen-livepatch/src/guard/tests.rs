//! Tests of the guard over several boots.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::record::{MOST, MOST_LEVELS};
use super::store::FILES;
use super::*;

mod damage;
mod histories;
mod off;
mod random;

const XEN: &str = "aa";

/// The directory of a guard's state, which does not exist at first.
struct Directory(PathBuf, #[expect(dead_code, reason = "removed when it is dropped")] TempDir);

impl Directory {
    fn new() -> Self {
        let above = tempfile::tempdir().expect("a directory");
        Self(above.path().join("state"), above)
    }

    /// The guard of a boot, ten seconds after it began.
    fn boot(&self, number: u32) -> Guard {
        self.boot_at(number, 10)
    }

    fn boot_at(&self, number: u32, age: u64) -> Guard {
        Guard::in_boot(&self.0, Ok(Boot { id: id(number), age }))
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// The state after boot 1 began these payloads and went down.
    fn crashed(payloads: &[&str]) -> Self {
        let directory = Self::new();
        begins(&directory.boot(1), payloads);
        directory
    }
}

fn id(boot: u32) -> String {
    format!("5bdf46eb-3955-4c3b-9d6e-{boot:012}")
}

fn stack(payloads: &[&str]) -> Vec<String> {
    payloads.iter().map(|&payload| payload.to_owned()).collect()
}

fn running(payloads: &[&str]) -> Applied {
    Applied { stack: stack(payloads), ..Applied::default() }
}

fn begin(guard: &Guard, payloads: &[&str]) -> Written {
    guard.begin(XEN, &stack(payloads), &Applied::default(), Trigger::Boot)
}

#[track_caller]
fn begins(guard: &Guard, payloads: &[&str]) {
    assert_eq!(begin(guard, payloads), Written::default());
}

/// Lets another Xen survive a payload.
#[track_caller]
fn survives_elsewhere(guard: &Guard, xen: &str, payload: &str) {
    assert_eq!(guard.begin(xen, &stack(&[payload]), &Applied::default(), Trigger::Boot), Written::default());
    let confirmed = guard.confirm(xen, Some(&running(&[payload])), Ending::Shutdown).expect("the state can be written");
    assert_eq!(confirmed.survived, [payload]);
}

/// The files that were put aside, and true if none is damaged in its place.
fn aside(report: &Report) -> (Vec<PathBuf>, bool) {
    let aside = report.entries.iter().filter_map(|entry| match entry {
        Entry::PutAside { text } => Some(text.into()),
        _ => None,
    });
    (aside.collect(), report.count(|entry| matches!(entry, Entry::Damaged { .. })) == 0)
}

fn judge(guard: &Guard, payloads: &[&str]) -> Judgement {
    guard.judge(XEN, &stack(payloads), &Applied::default())
}

#[track_caller]
fn allows(guard: &Guard, payloads: &[&str]) {
    let judgement = judge(guard, payloads);
    assert_eq!((judgement.allowed, judgement.suspect), (payloads.len(), None));
}

/// Asserts that the guard allows this many of the payloads, because the boot went down with the next one.
#[track_caller]
fn cuts(guard: &Guard, payloads: &[&str], allowed: usize, boot: u32) {
    let judgement = judge(guard, payloads);
    assert_eq!(judgement.warnings, Vec::<String>::new());
    assert_eq!(judgement.allowed, allowed);
    assert_eq!(judgement.suspect, Some(Suspect { payload: payloads[allowed].to_owned(), boot: id(boot) }));
}

#[track_caller]
fn confirms(guard: &Guard, applied: &[&str], survived: &[&str]) {
    let confirmed = guard.confirm(XEN, Some(&running(applied)), Ending::Shutdown).expect("the state can be written");
    assert_eq!(confirmed.survived, stack(survived));
    assert_eq!(confirmed.warnings, Vec::<String>::new());
}

#[test]
fn another_xen_has_verdicts_of_its_own() {
    let directory = Directory::crashed(&["f1"]);
    let boot = directory.boot(2);
    assert_eq!(boot.judge("bb", &stack(&["f1"]), &Applied::default()).allowed, 1);
    survives_elsewhere(&boot, "bb", "f1");
    cuts(&directory.boot(3), &["f1"], 0, 1);
    assert_eq!(directory.boot(3).judge("bb", &stack(&["f1"]), &Applied::default()).allowed, 1);
}

#[test]
fn the_state_is_bounded_and_suspects_of_this_xen_are_kept_longest() {
    let directory = Directory::new();
    begins(&directory.boot(0), &["suspect"]);
    assert_eq!(directory.boot(0).begin("bb", &stack(&["f1"]), &Applied::default(), Trigger::Boot), Written::default());
    let numbers = 1..u32::try_from(MOST).expect("small") + 50;
    for number in numbers.clone() {
        let boot = directory.boot(number);
        let fix = format!("f{number}");
        begins(&boot, &[&fix]);
        confirms(&boot, &[&fix], &[&fix]);
    }
    let last = numbers.end;
    cuts(&directory.boot(last), &["suspect"], 0, 0);
    allows(&directory.boot(last), &["f1"]);
    assert_eq!(directory.boot(last).judge("bb", &stack(&["f1"]), &Applied::default()).allowed, 1, "dropped first");

    // More suspects than are kept: the oldest is dropped.
    for number in numbers.clone() {
        begins(&directory.boot(last + number), &[&format!("g{number}")]);
    }
    let report = directory.boot(last * 3).report();
    let is_suspect = |entry: &Entry| matches!(entry, Entry::Suspect(_));
    assert_eq!(report.count(is_suspect), MOST);
    let newest = format!("g{}", last - 1);
    assert!(matches!(report.entries.last(), Some(Entry::Suspect(level)) if level.payloads == [newest]));
    allows(&directory.boot(last * 3), &["suspect"]);

    for number in 0..30 {
        survives_elsewhere(&directory.boot(last * 3 + number), &format!("x{number}"), "f");
    }
    let levels = directory.boot(0).report().count(|entry| matches!(entry, Entry::Survived(_)));
    assert_eq!(levels, MOST_LEVELS);
    let size = fs::metadata(directory.file(FILES[0])).expect("a file").len();
    assert!(size < super::store::MOST_BYTES / 4, "{size}");
}

#[test]
fn without_a_boot_id_nothing_is_written_and_no_crash_is_forgotten() {
    let directory = Directory::crashed(&["f1"]);
    let nameless = Guard::in_boot(&directory.0, Err("no /proc".to_owned()));
    cuts(&nameless, &["f1"], 0, 1);
    let written = begin(&nameless, &["f2"]);
    assert_eq!(written.failed.as_deref(), Some("the boot id can't be read: no /proc"));
    let confirmed = nameless.confirm(XEN, Some(&running(&["f1"])), Ending::Shutdown);
    assert!(confirmed.unwrap_err().starts_with("this boot's id can't be read: "));
    assert!(nameless.has_pending(), "a confirmation names the reason");
    assert_eq!(nameless.report().count(|entry| matches!(entry, Entry::Suspect(_))), 1);
}

#[test]
fn the_boot_is_read_from_the_kernel() {
    let boot = boot(Path::new(BOOT_ID), Path::new(UPTIME)).expect("Linux has one");
    assert_eq!(boot.id.len(), 36);
    assert_eq!(Guard::at("/nowhere").boot.map(|boot| boot.id), Ok(boot.id));
    let of = |id: &str, uptime: &str| super::boot(Path::new(id), Path::new(uptime));
    let missing = of("/nowhere/boot_id", UPTIME).expect_err("there is none");
    assert!(missing.starts_with("/nowhere/boot_id: "), "{missing}");
    assert_eq!(of("/dev/null", UPTIME), Err("/dev/null is empty".to_owned()));
    assert_eq!(of(BOOT_ID, "/dev/null"), Err("/dev/null is empty".to_owned()));
    assert!(of(BOOT_ID, BOOT_ID).is_err());
}
