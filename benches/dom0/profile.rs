//! The instructions of an operation of this crate outside the kernel, by function: a process is single-stepped through it.

use std::collections::HashMap;

use nix::libc;
use nix::sys::ptrace;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;

use super::contender::{Files, Kind};
use super::count::{ROUNDS, traced};
use super::fixture::Fixture;
use super::step::Step;
use super::symbols::Symbols;

/// Does the steps in a process of their own, the last round of them instruction by instruction. A repeated string instruction
/// counts once.
pub fn profile(steps: &[Step], fixture: &Fixture, files: &Files) -> Vec<(Step, Vec<(String, u64)>)> {
    let mut counted = Vec::new();
    let (mut begun, mut inside) = (0, false);
    traced(Kind::Ours, steps, fixture, files, |process, call, result| {
        if call.number != libc::SYS_getppid || result.is_none() {
            return;
        }
        inside = !inside;
        begun += usize::from(inside);
        if inside && begun > ROUNDS * steps.len() {
            let addresses = step_through(process);
            counted.push(Symbols::of(process).by_function(&addresses));
        }
    });
    steps.iter().copied().zip(counted).collect()
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
