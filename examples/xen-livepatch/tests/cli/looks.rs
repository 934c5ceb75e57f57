//! The files that a program accesses or syncs, found by tracing its system calls.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::libc;
use nix::unistd::Pid;

use crate::system_calls::{SystemCall, follow};

/// System calls that have a path as their second argument.
const LOOKS: [libc::c_long; 3] = [libc::SYS_openat, libc::SYS_newfstatat, libc::SYS_statx];

/// Read by the runtime in every Rust program, to find the end of its stack.
const RUNTIME: &str = "/proc/self/maps";

/// Runs a program in a directory, and returns the paths that it opens or stats, sorted and without duplicates. Libraries are
/// left out.
pub(crate) fn looks(program: &Path, words: &str, directory: &Path) -> Vec<String> {
    let (mut paths, mut memory) = (Vec::new(), None);
    trace(program, words, directory, |process, call, result| match (call.number, result) {
        // From `exec` on, with the memory of the new program.
        (libc::SYS_execve, Some(0)) => memory = Some(File::open(format!("/proc/{process}/mem")).unwrap()),
        (number, None) if LOOKS.contains(&number) => {
            paths.extend(memory.as_ref().and_then(|memory| path(memory, call.arguments[1])));
        }
        _ => {}
    });
    paths.retain(|path| !path.is_empty() && !path.contains(".so") && path != RUNTIME);
    paths.sort();
    paths.dedup();
    paths
}

/// Runs a program in a directory, and returns the paths in it that the program syncs to the disk, sorted and without
/// duplicates.
pub(crate) fn syncs(program: &Path, words: &str, directory: &Path) -> Vec<PathBuf> {
    let mut paths = Vec::new();
    trace(program, words, directory, |process, call, result| {
        if [libc::SYS_fsync, libc::SYS_fdatasync].contains(&call.number) && result.is_none() {
            paths.push(fs::read_link(format!("/proc/{process}/fd/{}", call.arguments[0])).unwrap());
        }
    });
    let directory = directory.canonicalize().unwrap();
    let mut paths: Vec<_> = paths.iter().map(|path| path.strip_prefix(&directory).unwrap().to_path_buf()).collect();
    paths.sort();
    paths.dedup();
    paths
}

/// Runs a program in a directory, and calls `each` when a system call is entered, and when it returns.
#[expect(clippy::zombie_processes, reason = "it is traced to its end, which is waiting")]
fn trace(program: &Path, words: &str, directory: &Path, mut each: impl FnMut(Pid, SystemCall, Option<u64>)) {
    // The shell waits until it is traced.
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
    let mut stdin = child.stdin.take().unwrap();
    follow(process, || stdin.write_all(b"go\n").unwrap(), |call, result| each(process, call, result));
}

fn path(memory: &File, address: u64) -> Option<String> {
    let mut bytes = [0; 256];
    let read = memory.read_at(&mut bytes, address).ok()?;
    let text = bytes[..read].split(|byte| *byte == 0).next()?;
    Some(String::from_utf8_lossy(text).into_owned())
}
