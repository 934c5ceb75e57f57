//! The costs of operations, counted by the kernel: a process of this test is traced while it works on the real Xen.

use std::cell::OnceCell;
use std::io::{BufRead, BufReader, Write, stdin};
use std::process::{Command, Stdio};
use std::{env, fs};

use nix::libc;
use nix::unistd::{Pid, getppid, gettid};

use super::system_calls::follow;
use crate::prelude::*;

/// Set in the traced process of this test, to `log` if its client reads Xen's log.
const TRACED: &str = "XEN_LIVEPATCH_TRACED";
const HYPERCALL: u64 = 0x30_5000;

/// Measurements of each operation: applies that Xen does not finish at once need more hypercalls.
const ROUNDS: usize = 20;

/// The settle time after an action; the clock, which is a system call if Linux has it from Xen; the growth of the heap; and the
/// check of a debug build before it closes a file.
const NOT_COUNTED: [libc::c_long; 4] =
    [libc::SYS_clock_nanosleep, libc::SYS_clock_gettime, libc::SYS_brk, libc::SYS_fcntl];

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Cost {
    hypercalls: usize,
    /// All other system calls.
    others: usize,
}

const fn cost(hypercalls: usize, others: usize) -> Cost {
    Cost { hypercalls, others }
}

/// The operations, in the order of a round of [`work`].
const OPERATIONS: [&str; 9] =
    ["upload", "upload_file", "status", "list", "apply", "revert", "unload", "upload for another Xen", "open and list"];

/// The work of the traced process: [`operations_cost_what_is_promised`], started by itself.
fn work(client: &LivepatchClient) {
    let hello = bare(client, "hello").function(FunctionPatch::returning(PATCHED, "-hello")).build();
    let filed = bare(client, "filed").function(FunctionPatch::returning(PATCHED, "-filed")).build();
    fs::write("/tmp/filed", filed).unwrap();
    let foreign = for_another_xen(client).build();
    let (hello_name, filed_name) = (name("hello"), name("filed"));
    // A list as large as the promise: 64 rows with 32 KiB of metadata.
    let others: Vec<PayloadName> = (0..62).map(|i| name(format!("other{i}"))).collect();
    for other in &others {
        let id = other.to_string();
        client
            .upload(
                other,
                &bare(client, &id).function(FunctionPatch::returning(PATCHED, "-")).modinfo(metadata(&id, 500)).build(),
            )
            .unwrap();
    }
    for round in 0..=ROUNDS {
        if round == 1 {
            // The first round, which fills caches, was not measured.
            println!("\nTID={}", gettid());
            stdin().read_line(&mut String::new()).unwrap();
        }
        let measure = |operation: &dyn Fn()| {
            getppid();
            operation();
            getppid();
        };
        measure(&|| client.upload(&hello_name, &hello).unwrap());
        measure(&|| client.upload_file(&filed_name, "/tmp/filed").unwrap());
        measure(&|| assert_eq!(client.status(&hello_name).unwrap().rc, 0));
        measure(&|| assert_eq!(client.list().unwrap().len(), 64));
        measure(&|| client.apply(&hello_name, Flags::empty()).unwrap());
        measure(&|| client.revert(&hello_name, Flags::empty()).unwrap());
        measure(&|| client.unload(&hello_name, Flags::empty()).unwrap());
        // Xen is not called, not even for its log.
        measure(&|| drop(client.upload(&hello_name, &foreign).unwrap_err()));
        client.unload(&filed_name, Flags::empty()).unwrap();
        // Closed later, when nothing is counted.
        let opened = OnceCell::new();
        measure(&|| {
            let client = LivepatchClient::open().unwrap();
            assert_eq!(client.list().unwrap().len(), 62);
            opened.set(client).unwrap();
        });
    }
    for other in &others {
        client.unload(other, Flags::empty()).unwrap();
    }
}

/// The costs between each pair of `getppid` calls of the thread.
fn trace(thread: Pid, go: impl FnOnce()) -> Vec<Cost> {
    let mut costs = Vec::new();
    let mut measuring: Option<Cost> = None;
    follow(thread, go, |call, result| match (call.number, &mut measuring) {
        _ if result.is_some() => {}
        (libc::SYS_getppid, Some(cost)) => {
            costs.push(*cost);
            measuring = None;
        }
        (libc::SYS_getppid, None) => measuring = Some(Cost::default()),
        (libc::SYS_ioctl, Some(cost)) if call.arguments[1] == HYPERCALL => cost.hypercalls += 1,
        (number, Some(_)) if NOT_COUNTED.contains(&number) => {}
        (_, None) => {}
        (_, Some(cost)) => cost.others += 1,
    });
    costs
}

/// The least cost of each operation, in the order of [`OPERATIONS`].
fn costs(log: &str) -> Vec<Cost> {
    let mut traced = Command::new(env::current_exe().unwrap())
        .args(["--exact", "costs::operations_cost_what_is_promised", "--ignored", "--nocapture"])
        .env(TRACED, log)
        // One heap, which grows by `brk` alone.
        .env("GLIBC_TUNABLES", "glibc.malloc.arena_max=1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(traced.stdout.take().unwrap()).lines();
    let thread = lines.find_map(|line| line.unwrap().strip_prefix("TID=").map(|id| id.parse().unwrap())).unwrap();
    let mut stdin = traced.stdin.take().unwrap();
    let costs = trace(Pid::from_raw(thread), || stdin.write_all(b"go\n").unwrap());
    let rest: Vec<String> = lines.map_while(Result::ok).collect();
    assert!(traced.wait().unwrap().success(), "{rest:?}");
    assert_eq!(costs.len(), ROUNDS * OPERATIONS.len());
    let of = |operation: usize| costs.iter().skip(operation).step_by(OPERATIONS.len());
    for (operation, name) in OPERATIONS.into_iter().enumerate() {
        // The hypercalls may differ, if Xen takes its time.
        let others = |cost: &Cost| cost.others;
        assert_eq!(of(operation).map(others).max(), of(operation).map(others).min(), "{name} differs");
    }
    (0..OPERATIONS.len()).map(|operation| *of(operation).min().unwrap()).collect()
}

#[test]
#[ignore = "needs a real Xen"]
fn operations_cost_what_is_promised() {
    match env::var(TRACED).as_deref() {
        Ok("log") => return work(&connect().unwrap()),
        Ok(_) => return work(&patient().without_xen_log().open().unwrap()),
        Err(_) => {}
    }
    let host = host();
    // For a file: open, stat, read, stat, close. To open: open and stat of both devices; mmap and madvise for requests, and for the
    // list also a guard.
    let (file, open) = (5, 2 + 2 + 2 + 3);
    let expect = |mut expected: [Cost; 9], found: Vec<Cost>| {
        // The list, by which the client recognises its own payloads, if UNLOAD does not wait for hooks.
        if (14..17).contains(&host.release().1) {
            expected[..2].iter_mut().for_each(|upload| upload.hypercalls += 1);
        }
        assert_eq!(found, expected, "{OPERATIONS:?}");
    };
    let unlogged = [(1, 0), (1, file), (1, 0), (1, 0), (3, 0), (3, 0), (2, 0), (0, 0), (3, open)];
    expect(unlogged.map(|(hypercalls, others)| cost(hypercalls, others)), costs("no log"));
    // Uploads and actions find the end of Xen's log, so that an error can carry later lines.
    let logged = [(2, 0), (2, file), (1, 0), (1, 0), (4, 0), (4, 0), (3, 0), (0, 0), (3, open)];
    expect(logged.map(|(hypercalls, others)| cost(hypercalls, others)), costs("log"));
}
