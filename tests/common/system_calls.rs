//! The system calls of another process, followed with ptrace.

use nix::libc::c_long;
use nix::sys::ptrace::{self, Options};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

#[derive(Clone, Copy, Debug)]
pub(crate) struct SystemCall {
    pub(crate) number: c_long,
    pub(crate) arguments: [u64; 5],
}

/// Attaches to a process or thread, has it `go`, and follows it to its end, which is returned. `each` is called when a system call
/// is entered, with `None`, and when it returns, with its result; the process is stopped meanwhile.
pub(crate) fn follow(process: Pid, go: impl FnOnce(), mut each: impl FnMut(SystemCall, Option<u64>)) -> WaitStatus {
    ptrace::attach(process).unwrap();
    wait(process);
    // Without the second, `exec` would send a signal.
    ptrace::setoptions(process, Options::PTRACE_O_TRACESYSGOOD | Options::PTRACE_O_TRACEEXEC).unwrap();
    go();
    let (mut entered, mut signal) = (None, None);
    loop {
        ptrace::syscall(process, signal.take()).unwrap();
        match wait(process) {
            WaitStatus::PtraceSyscall(_) => {
                let (call, result) = current(process);
                if let Some(call) = entered.take() {
                    each(call, Some(result));
                } else {
                    each(call, None);
                    entered = Some(call);
                }
            }
            WaitStatus::PtraceEvent(..) => {}
            WaitStatus::Stopped(_, other) => signal = Some(other),
            end => return end,
        }
    }
}

fn wait(process: Pid) -> WaitStatus {
    waitpid(process, Some(WaitPidFlag::__WALL)).unwrap()
}

/// The system call in the registers of a process that has just entered it, and its result if it has returned.
fn current(process: Pid) -> (SystemCall, u64) {
    let registers = ptrace::getregs(process).unwrap();
    #[cfg(target_arch = "x86_64")]
    let (number, result) = (registers.orig_rax, registers.rax);
    #[cfg(target_arch = "x86_64")]
    let arguments = [registers.rdi, registers.rsi, registers.rdx, registers.r10, registers.r8];
    #[cfg(target_arch = "aarch64")]
    let (number, result) = (registers.regs[8], registers.regs[0]);
    #[cfg(target_arch = "aarch64")]
    let arguments = registers.regs[..5].try_into().unwrap();
    (SystemCall { number: c_long::try_from(number).unwrap_or(-1), arguments }, result)
}
