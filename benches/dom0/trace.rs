//! System calls, hypercalls and memory as the kernel counts them, and the instructions outside the kernel by function: a contender does
//! the steps in a process that is traced, so that its costs mean nothing.

use std::collections::HashMap;
use std::fs;

use nix::libc;
use nix::sys::ptrace;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use super::child::{Output, Task, WARM_UP};
use super::symbols::Symbols;
use super::system_calls::follow;

const HYPERCALL: u64 = 0x30_5000;

/// Counted rounds.
const ROUNDS: usize = 3;

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

/// The counts of a step, and the instructions of each function, most first, if these are wanted.
pub type Traced = (Count, Vec<(String, u64)>);

/// Has the steps of a task done and counted; if its functions are wanted, in a last round instruction by instruction. A repeated
/// string instruction counts once.
#[expect(clippy::zombie_processes, reason = "tracing it to its end is to wait for it")]
pub fn trace(task: &Task, functions_wanted: bool) -> Vec<Traced> {
    let task = Task { rounds: ROUNDS + 1, ..task.clone() };
    let steps = task.steps.len();
    let before_last = (WARM_UP + ROUNDS) * steps;
    let mut child = task.spawn();
    let process = Pid::from_raw(i32::try_from(child.id()).unwrap());
    let stdin = child.stdin.take();
    let (mut counted, mut functions) = (Vec::new(), Vec::new());
    let mut counting: Option<Count> = None;
    let end = follow(
        process,
        || drop(stdin),
        |call, result| {
            let is_mark = call.number == libc::SYS_getppid;
            if result.is_some() {
                let Some(count) = &mut counting else { return };
                count.locked_bytes = count.locked_bytes.max(locked(process));
                if is_mark && functions_wanted && counted.len() >= before_last {
                    let addresses = step_through(process);
                    functions.push(Symbols::of(process).by_function(&addresses));
                }
            } else if is_mark {
                match counting.take() {
                    Some(count) => counted.push(count),
                    None => counting = Some(Count::default()),
                }
            } else if let Some(count) = &mut counting {
                count.system_calls += 1;
                count.hypercalls += u64::from(call.number == libc::SYS_ioctl && call.arguments[1] == HYPERCALL);
            }
        },
    );
    assert!(
        matches!(end, WaitStatus::Exited(_, 0)) && counted.len() == before_last + steps,
        "{} can't do it while it is traced: {end:?}, {:?}",
        task.kind.name(),
        task.steps
    );
    let Output { resident_kib, .. } = serde_json::from_reader(child.stdout.take().unwrap()).unwrap();
    let counts = (0..steps).map(|index| {
        let rounds = || counted[WARM_UP * steps..before_last].iter().skip(index).step_by(steps);
        let least = |of: fn(&Count) -> u64| rounds().map(of).min().expect("several rounds");
        Count {
            system_calls: least(|count| count.system_calls),
            hypercalls: least(|count| count.hypercalls),
            locked_bytes: rounds().map(|count| count.locked_bytes).max().expect("several rounds"),
            resident_kib,
        }
    });
    functions.resize(steps, Vec::new());
    counts.zip(functions).collect()
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

/// Steps until the next call of `getppid`, from which the process has just returned, is about to enter the kernel. Returns the
/// executions by address.
fn step_through(process: Pid) -> HashMap<u64, u64> {
    let mark = program_counter(process);
    let mut addresses = HashMap::new();
    let mut last = 0;
    let mut signal = None;
    loop {
        ptrace::step(process, signal.take()).unwrap();
        match waitpid(process, None).unwrap() {
            WaitStatus::Stopped(_, Signal::SIGTRAP) => {}
            WaitStatus::Stopped(_, other) => {
                signal = Some(other);
                continue;
            }
            end => panic!("the process is gone: {end:?}"),
        }
        let address = program_counter(process);
        // The length of the instruction that enters the kernel.
        if address == mark - SYSTEM_CALL {
            return addresses;
        }
        if address != last {
            *addresses.entry(address).or_default() += 1;
        }
        last = address;
    }
}

/// The size of the instruction.
#[cfg(target_arch = "x86_64")]
const SYSTEM_CALL: u64 = 2;
#[cfg(target_arch = "aarch64")]
const SYSTEM_CALL: u64 = 4;

fn program_counter(process: Pid) -> u64 {
    let registers = ptrace::getregs(process).unwrap();
    #[cfg(target_arch = "x86_64")]
    return registers.rip;
    #[cfg(target_arch = "aarch64")]
    return registers.pc;
}
