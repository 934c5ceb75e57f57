//! The files that a program looks at, by the system calls that it makes.

use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::libc;
use nix::sys::ptrace;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;

/// System calls that have a path as their second argument.
const LOOKS: [libc::c_long; 3] = [libc::SYS_openat, libc::SYS_newfstatat, libc::SYS_statx];

/// Read by the runtime in every Rust program, to find the end of its stack.
const RUNTIME: &str = "/proc/self/maps";

/// Runs a program in this directory to its end. Returns the paths that it opens or asks about, sorted and once each, but not
/// the libraries that it is linked to.
#[expect(clippy::zombie_processes, reason = "tracing it to its end is to wait for it")]
pub(crate) fn looks(program: &Path, words: &str, directory: &Path) -> Vec<String> {
    // It waits until it is traced.
    let mut child = Command::new("/bin/sh")
        .args(["-c", r#"read -r go; exec "$0" "$@""#])
        .arg(program)
        .args(words.split(' '))
        .current_dir(directory)
        .env_remove("LD_LIBRARY_PATH")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let process = Pid::from_raw(i32::try_from(child.id()).unwrap());
    ptrace::attach(process).unwrap();
    waitpid(process, None).unwrap();
    ptrace::setoptions(process, ptrace::Options::PTRACE_O_TRACESYSGOOD | ptrace::Options::PTRACE_O_TRACEEXEC).unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"go\n").unwrap();
    let mut paths = traced(process);
    paths.retain(|path| !path.is_empty() && !path.contains(".so") && path != RUNTIME);
    paths.sort();
    paths.dedup();
    paths
}

/// The paths in its system calls, from its `exec` to its end.
fn traced(process: Pid) -> Vec<String> {
    let (mut paths, mut memory) = (Vec::new(), None);
    let (mut entering, mut signal) = (true, None);
    loop {
        ptrace::syscall(process, signal.take()).unwrap();
        match waitpid(process, None).unwrap() {
            WaitStatus::PtraceEvent(..) => {
                memory = Some(File::open(format!("/proc/{process}/mem")).unwrap());
                entering = false;
            }
            WaitStatus::PtraceSyscall(_) => {
                let memory = memory.as_ref().filter(|_| entering);
                paths.extend(memory.and_then(|memory| path(process, memory)));
                entering = !entering;
            }
            WaitStatus::Stopped(_, other) => signal = Some(other),
            _ => return paths,
        }
    }
}

/// The path in the system call that it is about to make.
fn path(process: Pid, memory: &File) -> Option<String> {
    let registers = ptrace::getregs(process).unwrap();
    #[cfg(target_arch = "x86_64")]
    let (number, second) = (registers.orig_rax, registers.rsi);
    #[cfg(target_arch = "aarch64")]
    let (number, second) = (registers.regs[8], registers.regs[1]);
    if !LOOKS.contains(&i64::try_from(number).unwrap()) {
        return None;
    }
    let mut bytes = [0; 256];
    let read = memory.read_at(&mut bytes, second).ok()?;
    let text = bytes[..read].split(|byte| *byte == 0).next()?;
    Some(String::from_utf8_lossy(text).into_owned())
}
