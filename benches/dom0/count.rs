//! System calls, hypercalls and memory, counted by the kernel: each contender does the same steps in a process of its own,
//! which is traced, so that its times mean nothing.

use std::fs;
use std::io::{BufRead, BufReader, Write, stdin};
use std::process::ChildStdout;

use nix::libc;
use nix::sys::wait::WaitStatus;
use nix::unistd::{Pid, getppid};
use serde::{Deserialize, Serialize};

use super::child::{spawn, with_contender};
use super::contender::{Files, Kind};
use super::fixture::{Fixture, calm};
use super::measure::expected;
use super::step::Step;
use super::system_calls::{SystemCall, follow};

/// The first argument of such a process.
pub const CHILD: &str = "--counted";

const HYPERCALL: u64 = 0x30_5000;

/// Counted rounds, after one that fills what is kept from call to call.
pub const ROUNDS: usize = 3;

/// The least of all rounds, since an action may need another poll now and then; of memory the most.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Count {
    pub system_calls: u64,
    pub hypercalls: u64,
    /// The most bytes at any moment that were locked, or were the kernel's own for hypercalls.
    pub locked_bytes: u64,
    /// The most memory of a process that did nothing else.
    pub resident_kib: u64,
}

/// In the process: opens a contender while it is traced, and has it do the steps, each between two calls of `getppid`.
pub fn work(arguments: &[String]) {
    stdin().read_line(&mut String::new()).unwrap();
    with_contender(&arguments[0], |contender, fixture, steps| {
        for _ in 0..=ROUNDS {
            for step in steps {
                contender.prepare(step);
                calm(step);
                getppid();
                let outcome = contender.run(step);
                getppid();
                expected(step, outcome).unwrap();
            }
            fixture.tidy(steps);
        }
    });
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM")).expect("the kernel reports it");
    println!("{}", line.trim_matches(|c: char| !c.is_ascii_digit()));
}

/// Starts a process for these steps, none of which is a process of its own, and follows it to a good end. Returns its output.
#[expect(clippy::zombie_processes, reason = "tracing it to its end is to wait for it")]
pub fn traced(
    kind: Kind,
    steps: &[Step],
    fixture: &Fixture,
    files: &Files,
    mut each: impl FnMut(Pid, SystemCall, Option<u64>),
) -> ChildStdout {
    let mut child = spawn(&[CHILD], kind, steps, fixture, files);
    let process = Pid::from_raw(i32::try_from(child.id()).unwrap());
    let mut stdin = child.stdin.take().unwrap();
    let go = || stdin.write_all(b"go\n").unwrap();
    let end = follow(process, go, |call, result| each(process, call, result));
    assert!(
        matches!(end, WaitStatus::Exited(_, 0)),
        "{} can't do it while it is traced: {end:?}, {steps:?}",
        kind.name()
    );
    child.stdout.take().unwrap()
}

/// Has these steps done and counted.
pub fn count(kind: Kind, steps: &[Step], fixture: &Fixture, files: &Files) -> Vec<(Step, Count)> {
    let mut counted = Vec::new();
    let mut counting: Option<Count> = None;
    let printed = traced(kind, steps, fixture, files, |process, call, result| {
        if result.is_some() {
            if let Some(count) = &mut counting {
                count.locked_bytes = count.locked_bytes.max(locked(process));
            }
        } else if call.number == libc::SYS_getppid {
            match counting.take() {
                Some(count) => counted.push(count),
                None => counting = Some(Count::default()),
            }
        } else if let Some(count) = &mut counting {
            count.system_calls += 1;
            count.hypercalls += u64::from(call.number == libc::SYS_ioctl && call.arguments[1] == HYPERCALL);
        }
    });
    let mut printed = BufReader::new(printed).lines().map_while(Result::ok);
    let resident_kib = printed.find_map(|line| line.parse().ok()).expect("the process's memory");
    assert_eq!(counted.len(), (ROUNDS + 1) * steps.len());
    let counts = steps.iter().enumerate().map(|(index, step)| {
        let rounds = || counted.iter().skip(index).step_by(steps.len()).skip(1);
        let least = |of: fn(&Count) -> u64| rounds().map(of).min().expect("several rounds");
        let count = Count {
            system_calls: least(|count| count.system_calls),
            hypercalls: least(|count| count.hypercalls),
            locked_bytes: rounds().map(|count| count.locked_bytes).max().expect("several rounds"),
            resident_kib,
        };
        (*step, count)
    });
    counts.collect()
}

/// The bytes of a process that are locked, or are the kernel's own for hypercalls.
fn locked(process: Pid) -> u64 {
    let [status, mappings] =
        ["status", "maps"].map(|file| fs::read_to_string(format!("/proc/{process}/{file}")).unwrap());
    let locked = status.lines().find_map(|line| line.strip_prefix("VmLck:")).expect("the kernel reports it");
    let locked: u64 = locked.trim_end_matches("kB").trim().parse().unwrap();
    let devices = mappings.lines().filter(|line| line.ends_with("/dev/xen/hypercall"));
    let size = |line: &str| {
        let (start, end) = line.split(' ').next()?.split_once('-')?;
        Some(u64::from_str_radix(end, 16).ok()? - u64::from_str_radix(start, 16).ok()?)
    };
    locked * 1024 + devices.filter_map(size).sum::<u64>()
}
