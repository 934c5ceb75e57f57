//! System calls: each contender does the same steps in a process of its own, which is traced.

use std::io::{Write, stdin};

use nix::libc;
use nix::sys::wait::WaitStatus;
use nix::unistd::{Pid, getppid};

use super::child::{spawn, with_contender};
use super::contender::{Files, Kind};
use super::fixture::{Fixture, calm};
use super::measure::expected;
use super::step::Step;
use super::system_calls::{SystemCall, follow};

/// The first argument of such a process.
pub const CHILD: &str = "--counted";

/// Counted rounds, after one that fills what is kept from call to call.
pub const ROUNDS: usize = 3;

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
}

/// Starts a process for these steps, none of which is a process of its own, and follows it to a good end.
#[expect(clippy::zombie_processes, reason = "tracing it to its end is to wait for it")]
pub fn traced(
    kind: Kind,
    steps: &[Step],
    fixture: &Fixture,
    files: &Files,
    mut each: impl FnMut(Pid, SystemCall, Option<u64>),
) {
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
}

/// The system calls of each of these steps: the least of all rounds, since an action may need another poll now and then.
pub fn system_calls(kind: Kind, steps: &[Step], fixture: &Fixture, files: &Files) -> Vec<(Step, u64)> {
    let mut counted = Vec::new();
    let mut counting: Option<u64> = None;
    traced(kind, steps, fixture, files, |_, call, result| {
        if result.is_some() {
            return;
        }
        if call.number != libc::SYS_getppid {
            counting = counting.map(|count| count + 1);
        } else if let Some(count) = counting.take() {
            counted.push(count);
        } else {
            counting = Some(0);
        }
    });
    assert_eq!(counted.len(), (ROUNDS + 1) * steps.len());
    let least = |index| counted.iter().skip(index).step_by(steps.len()).skip(1).min().expect("several rounds");
    steps.iter().enumerate().map(|(index, step)| (*step, *least(index))).collect()
}
