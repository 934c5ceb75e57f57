//! System calls, hypercalls and memory, counted by the kernel: each contender does the same steps in a process of its own,
//! which is traced. Its times mean nothing.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write, stdin};
use std::process::{ChildStdin, Command, Stdio};
use std::{env, fs};

use nix::libc::{self, c_long, user_regs_struct};
use nix::sys::ptrace;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, getpid, getppid};

use super::alone::with_contender;
use super::contender::{Files, Kind};
use super::fixture::{Fixture, calm};
use super::measure::expected;
use super::step::Step;

/// The first argument of a process that works to be counted.
pub const CHILD: &str = "--counted";

const HYPERCALL: u64 = 0x30_5000;

/// How often the steps are counted, after one time that is not: what is kept from call to call is there by then.
pub const ROUNDS: usize = 3;

#[derive(Clone, Copy, Debug, Default)]
pub struct Count {
    pub system_calls: u64,
    pub hypercalls: u64,
    /// The most bytes at any moment that were locked, or were the kernel's own for hypercalls.
    pub locked: u64,
}

/// The counts of steps, done by a contender.
#[derive(Debug)]
pub struct Counts {
    pub kind: Kind,
    /// The least of all rounds: an action may need one look more, now and then.
    pub of: Vec<(Step, Count)>,
    /// The most memory of the process, in KiB.
    pub resident: u64,
}

/// The child: opens a contender where it is watched, and has it do the steps.
pub fn work(arguments: impl Iterator<Item = String>) {
    println!("PID={}", getpid());
    stdin().read_line(&mut String::new()).unwrap();
    with_contender(arguments, |contender, fixture, steps| {
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
    println!("RESIDENT={}", status("VmHWM"));
}

/// A number of KiB that the kernel says of this process.
fn status(key: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default();
    line.trim_matches(|c: char| !c.is_ascii_digit()).parse().unwrap_or_default()
}

/// A process that is about to do steps, once it is attached to and let go.
pub struct Traced {
    pub process: Pid,
    lines: Box<dyn Iterator<Item = String>>,
    go: ChildStdin,
}

impl Traced {
    /// Starts one for these steps, none of which is a process of its own.
    #[allow(clippy::zombie_processes, reason = "whoever traces the child waits for it")]
    pub fn start(kind: Kind, steps: &[Step], fixture: &Fixture, files: &Files) -> Self {
        let mut child = Command::new(env::current_exe().unwrap())
            .args([CHILD, kind.name()])
            .args([fixture.folder(), &files.folder])
            .arg(files.minor.to_string())
            .args(steps.iter().map(Step::to_string))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let id = lines.find_map(|line| line.strip_prefix("PID=")?.parse().ok()).expect("the child's number");
        Self { process: Pid::from_raw(id), lines: Box::new(lines), go: child.stdin.take().unwrap() }
    }

    /// Attaches to the process, and lets it begin.
    pub fn go(&mut self) {
        ptrace::attach(self.process).unwrap();
        self.wait();
        ptrace::setoptions(self.process, ptrace::Options::PTRACE_O_TRACESYSGOOD).unwrap();
        self.go.write_all(b"go\n").unwrap();
    }

    pub fn wait(&self) -> WaitStatus {
        waitpid(self.process, Some(WaitPidFlag::__WALL)).unwrap()
    }
}

/// Has these steps done and counted; none that is a process of its own.
pub fn count(kind: Kind, steps: &[Step], fixture: &Fixture, files: &Files) -> Counts {
    let mut child = Traced::start(kind, steps, fixture, files);
    // It also waits for the child.
    let (counted, end) = trace(&mut child);
    let resident = child.lines.find_map(|line| line.strip_prefix("RESIDENT=")?.parse().ok());
    let done = matches!(end, WaitStatus::Exited(_, 0));
    assert!(done, "{} can't do it while it is counted: {end:?}, {steps:?}", kind.name());
    assert_eq!(counted.len(), (ROUNDS + 1) * steps.len());
    let least = |index: usize| {
        let rounds = || counted.iter().skip(index).step_by(steps.len()).skip(1);
        let least = |of: fn(&Count) -> u64| rounds().map(of).min().unwrap_or_default();
        Count {
            system_calls: least(|count| count.system_calls),
            hypercalls: least(|count| count.hypercalls),
            locked: rounds().map(|count| count.locked).max().unwrap_or_default(),
        }
    };
    let of = steps.iter().enumerate().map(|(index, step)| (*step, least(index))).collect();
    Counts { kind, of, resident: resident.expect("the child's memory") }
}

/// The number of a system call and its arguments, where a process has just entered it.
#[cfg(target_arch = "x86_64")]
pub fn entered(registers: &user_regs_struct) -> (u64, [u64; 5]) {
    let arguments = [registers.rdi, registers.rsi, registers.rdx, registers.r10, registers.r8];
    (registers.orig_rax, arguments)
}

#[cfg(target_arch = "x86_64")]
fn returned(registers: &user_regs_struct) -> u64 {
    registers.rax
}

#[cfg(target_arch = "aarch64")]
pub fn entered(registers: &user_regs_struct) -> (u64, [u64; 5]) {
    let [a, b, c, d, e, ..] = registers.regs;
    (registers.regs[8], [a, b, c, d, e])
}

#[cfg(target_arch = "aarch64")]
fn returned(registers: &user_regs_struct) -> u64 {
    registers.regs[0]
}

/// Follows a process to its end, and returns what was between each pair of `getppid` calls, and that end.
fn trace(child: &mut Traced) -> (Vec<Count>, WaitStatus) {
    child.go();
    let mut counts = Vec::new();
    let mut counting: Option<Count> = None;
    let mut inside: Option<(c_long, [u64; 5])> = None;
    let mut locked = Locked::default();
    let mut signal = None;
    loop {
        ptrace::syscall(child.process, signal.take()).unwrap();
        match child.wait() {
            WaitStatus::PtraceSyscall(_) => {
                let registers = ptrace::getregs(child.process).unwrap();
                if let Some((number, arguments)) = inside.take() {
                    locked.note(number, arguments, returned(&registers));
                    if let Some(count) = &mut counting {
                        count.locked = count.locked.max(locked.total());
                    }
                    continue;
                }
                let (number, arguments) = entered(&registers);
                let number = c_long::try_from(number).unwrap_or(-1);
                inside = Some((number, arguments));
                match &mut counting {
                    _ if number == libc::SYS_getppid => match counting.take() {
                        Some(count) => counts.push(count),
                        None => counting = Some(Count { locked: locked.total(), ..Count::default() }),
                    },
                    Some(count) => {
                        count.system_calls += 1;
                        count.hypercalls += u64::from(number == libc::SYS_ioctl && arguments[1] == HYPERCALL);
                    }
                    None => {}
                }
            }
            WaitStatus::Stopped(_, other) => signal = Some(other),
            end => return (counts, end),
        }
    }
}

/// Ranges of memory that can't be paged out, by where they begin.
#[derive(Debug, Default)]
struct Locked(BTreeMap<u64, u64>);

impl Locked {
    fn total(&self) -> u64 {
        self.0.values().sum()
    }

    /// Takes note of a system call that has returned.
    fn note(&mut self, number: c_long, [first, second, third, fourth, fifth]: [u64; 5], returned: u64) {
        // An error is a small negative number.
        if returned > u64::MAX - 4096 {
            return;
        }
        let has = |word: u64, flag: i32| word & u64::from(flag.unsigned_abs()) != 0;
        match number {
            libc::SYS_mmap => {
                let file = fifth & 0x8000_0000 == 0;
                let device = file && has(fourth, libc::MAP_SHARED) && has(third, libc::PROT_WRITE);
                if device || has(fourth, libc::MAP_LOCKED) {
                    self.add(returned, second);
                }
            }
            libc::SYS_mlock => self.add(first, second),
            libc::SYS_munmap | libc::SYS_munlock => self.remove(first, second),
            _ => {}
        }
    }

    fn add(&mut self, start: u64, len: u64) {
        self.remove(start, len);
        self.0.insert(start, len.next_multiple_of(4096));
    }

    fn remove(&mut self, start: u64, len: u64) {
        let end = start.saturating_add(len.next_multiple_of(4096));
        let cut: Vec<(u64, u64)> = self
            .0
            .iter()
            .map(|(start, len)| (*start, *start + *len))
            .filter(|(from, to)| *from < end && *to > start)
            .collect();
        for (from, to) in cut {
            self.0.remove(&from);
            if from < start {
                self.0.insert(from, start - from);
            }
            if to > end {
                self.0.insert(end, to - end);
            }
        }
    }
}
