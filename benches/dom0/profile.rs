//! The instructions of an operation of this crate outside the kernel, counted by function: a process is single-stepped through it.

use std::collections::HashMap;

use nix::libc;
use nix::sys::ptrace;
use nix::sys::signal::Signal;
use nix::sys::wait::WaitStatus;

use super::contender::{Files, Kind};
use super::count::{ROUNDS, Traced, entered};
use super::fixture::Fixture;
use super::step::Step;
use super::symbols::Symbols;

/// Does the steps in a process of their own, the last round of them instruction by instruction. Each repetition of a string
/// instruction is a part of it, and not counted.
pub fn profile(steps: &[Step], fixture: &Fixture, files: &Files) -> Vec<(Step, Vec<(String, u64)>)> {
    let mut child = Traced::start(Kind::Ours, steps, fixture, files);
    child.go();
    let mut begun = 0;
    let mut counted = Vec::new();
    // Which of a pair of `getppid` calls is next, whether a system call is being left, and a signal to pass on.
    let (mut begins, mut leaving, mut signal) = (true, false, None);
    loop {
        ptrace::syscall(child.process, signal.take()).unwrap();
        match child.wait() {
            WaitStatus::PtraceSyscall(_) => {
                let registers = ptrace::getregs(child.process).unwrap();
                let mark = entered(&registers).0 == u64::try_from(libc::SYS_getppid).unwrap();
                if leaving && mark && begins {
                    begun += 1;
                    if begun > ROUNDS * steps.len() {
                        let addresses = step_through(&child, program_counter(&registers));
                        counted.push(Symbols::of(child.process).by_function(&addresses));
                    }
                }
                if leaving && mark {
                    begins = !begins;
                }
                leaving = !leaving;
            }
            WaitStatus::Stopped(_, other) => signal = Some(other),
            WaitStatus::Exited(_, 0) => break,
            end => panic!("it can't be done instruction by instruction: {end:?}, {steps:?}"),
        }
    }
    steps.iter().copied().zip(counted).collect()
}

/// Steps until the next call of `getppid`, which returns to `mark`, is about to be made. Returns how often each address was executed.
fn step_through(child: &Traced, mark: u64) -> HashMap<u64, u64> {
    let mut addresses = HashMap::new();
    let mut last = 0;
    let mut signal = None;
    loop {
        ptrace::step(child.process, signal.take()).unwrap();
        match child.wait() {
            WaitStatus::Stopped(_, Signal::SIGTRAP) => {}
            WaitStatus::Stopped(_, other) => {
                signal = Some(other);
                continue;
            }
            end => panic!("the process is gone: {end:?}"),
        }
        let registers = ptrace::getregs(child.process).unwrap();
        let address = program_counter(&registers);
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

#[cfg(target_arch = "x86_64")]
const SYSTEM_CALL: u64 = 2;
#[cfg(target_arch = "aarch64")]
const SYSTEM_CALL: u64 = 4;

#[cfg(target_arch = "x86_64")]
fn program_counter(registers: &libc::user_regs_struct) -> u64 {
    registers.rip
}

#[cfg(target_arch = "aarch64")]
fn program_counter(registers: &libc::user_regs_struct) -> u64 {
    registers.pc
}
