//! Hypercall memory, as the kernel reports it for processes that do nothing else.

use std::fs::{self, File};
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::{env, process, thread};

use nix::sys::resource::{Resource, setrlimit};
use nix::unistd::{Uid, chroot, daemon, setresuid};
use xen_livepatch::hypercall::Privcmd;
use xen_livepatch::sim::FunctionPatch;
use xen_livepatch::{ErrorKind, Flags, LivepatchClient, Result};

use super::host::{PATCHED, bare, clean, connect, host, listed, metadata, name, patient};

/// Set in a process of this test, to its task.
const TASK: &str = "XEN_LIVEPATCH_MEMORY_TASK";
const PRIVCMD: &str = "/dev/xen/privcmd";
const HYPERCALL: &str = "/dev/xen/hypercall";

/// The memory that an idle client may keep: less than 1 MiB, and the buffer of the largest payload.
const IDLE: usize = (1 << 20) + (2 << 20);

/// The size of metadata that fits into a payload of 2 MiB.
const LARGEST: usize = (2 << 20) - 8192;

const TASKS: [(&str, fn()); 6] = [
    ("idle, device", || idle(connect(), device_bytes)),
    ("idle, locked", || idle(patient().from_fd(device(PRIVCMD)), locked_bytes)),
    ("daemon, device", || become_daemon(connect(), HYPERCALL)),
    ("daemon, locked", || become_daemon(patient().from_fd(device(PRIVCMD)), "")),
    ("forks", among_forks),
    ("unprivileged", without_privileges),
];

/// Runs a task, if it is started by one of the other tests.
#[test]
fn the_other_process() {
    let Ok(wanted) = env::var(TASK) else { return };
    let (_, task) = TASKS.into_iter().find(|(task, _)| *task == wanted).unwrap();
    task();
    // The harness may be without its main thread here.
    println!("\nDONE {wanted}");
    process::exit(0);
}

/// Runs a task in a process of its own, which may become a daemon.
#[track_caller]
fn run(task: &str) {
    let _host = host();
    let output = Command::new(env::current_exe().unwrap())
        .args(["--exact", "memory::the_other_process", "--nocapture", "--test-threads=1"])
        .env(TASK, task)
        // Allocations of this size are mapped, each by itself.
        .env("GLIBC_TUNABLES", "glibc.malloc.mmap_threshold=131072")
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    assert!(text[0].contains(&format!("DONE {task}\n")), "{task}: {text:#?}");
}

fn device(path: &str) -> OwnedFd {
    File::options().read(true).write(true).open(path).unwrap().into()
}

/// The mappings of a file in this process; the anonymous ones for an empty path.
fn mapped(path: &str) -> Vec<Range<usize>> {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let ours = maps.lines().filter(|line| line.splitn(6, ' ').nth(5).unwrap_or_default().trim() == path);
    let address = |text: &str| usize::from_str_radix(text, 16).unwrap();
    ours.map(|line| line.split(' ').next().unwrap().split_once('-').unwrap())
        .map(|(start, end)| address(start)..address(end))
        .collect()
}

fn device_bytes() -> usize {
    mapped(HYPERCALL).iter().map(ExactSizeIterator::len).sum()
}

fn locked_bytes() -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let locked = status.lines().find_map(|line| line.strip_prefix("VmLck:")).unwrap();
    locked.trim().strip_suffix(" kB").unwrap().parse::<usize>().unwrap() * 1024
}

/// Uploads a payload with metadata of this size.
fn upload(client: &LivepatchClient, id: &str, size: usize) {
    let payload = bare(client, id).function(FunctionPatch::returning(PATCHED, "-"));
    client.upload(&name(id), &payload.modinfo(metadata(id, size)).build()).unwrap();
}

fn idle(client: Result<LivepatchClient>, bytes: fn() -> usize) {
    let client = client.unwrap();
    upload(&client, "large", LARGEST);
    upload(&client, "larger", LARGEST);
    // Each lists 4 MiB.
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| assert_eq!(client.list().unwrap().len(), 2));
        }
    });
    for row in client.list().unwrap() {
        let whole = listed(&client, metadata(row.name.to_str().unwrap(), LARGEST));
        assert!(row.metadata.as_bytes() == whole, "all of it, and nothing else");
    }
    clean(&client);
    let kept = [device_bytes(), locked_bytes()];
    assert!(bytes() > 0 && kept.iter().sum::<usize>() == bytes(), "all of one kind: {kept:?}");
    assert!(bytes() <= IDLE, "{kept:?}");
    drop(client);
    assert_eq!(bytes(), 0);
}

/// Becomes a daemon, a forked child, with a client that is already open.
fn become_daemon(client: Result<LivepatchClient>, path: &str) {
    let before = mapped(path);
    let client = client.unwrap();
    // It leaves a pooled buffer that is larger than the allocations below.
    upload(&client, "kept", 190_000);
    client.unload(&name("kept"), Flags::empty()).unwrap();
    let (locked, places) = (locked_bytes(), mapped(path));
    assert_eq!(locked == 0, path == HYPERCALL);
    let size = |range: &Range<usize>| range.len() >= 190_000 && range.len() < 4 * 190_000 && !before.contains(range);
    let places: Vec<_> = places.into_iter().filter(size).collect();
    assert!(!places.is_empty());

    daemon(true, true).unwrap();

    assert_eq!((device_bytes(), locked_bytes()), (0, 0), "the child has the parent's pages");
    // The child's own memory reuses the client's addresses.
    let own: Vec<Vec<u8>> = (0..64).map(|value| vec![value; 150_000]).collect();
    let inside = |piece: &Vec<u8>| places.iter().any(|place| place.contains(&(piece.as_ptr() as usize)));
    assert!(own.iter().any(inside), "nothing lies at {places:x?}");
    // The client works with new memory, since no other thread held its lock.
    assert!(client.list().unwrap().is_empty());
    drop(client);
    for (piece, value) in own.iter().zip(0..) {
        assert!(piece.iter().all(|byte| *byte == value));
    }
    let client = connect().unwrap();
    upload(&client, "daemon's", 100);
    client.unload(&name("daemon's"), Flags::empty()).unwrap();
}

/// Works while another thread forks continuously.
fn among_forks() {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let forks = scope.spawn(|| {
            let mut forks = 0;
            while !done.load(Ordering::Relaxed) {
                // With a user to change to, the standard library forks and execs instead of spawning.
                use std::os::unix::process::CommandExt;
                assert!(Command::new("/bin/busybox").arg("true").uid(0).status().unwrap().success());
                forks += 1;
            }
            forks
        });
        for client in [connect(), patient().from_fd(device(PRIVCMD))].map(Result::unwrap) {
            for round in 0..15 {
                let id = format!("p{round}");
                upload(&client, &id, 100_000);
                assert_eq!(client.list().unwrap().len(), 1);
                client.apply(&name(&id), Flags::empty()).unwrap();
                client.revert(&name(&id), Flags::empty()).unwrap();
                client.unload(&name(&id), Flags::empty()).unwrap();
            }
        }
        done.store(true, Ordering::Relaxed);
        let forks: u32 = forks.join().unwrap();
        assert!(forks > 10, "{forks}");
    });
}

/// Opens the devices, and drops the privileges to open them again or to lock memory.
fn without_privileges() {
    let fds = || [PRIVCMD, HYPERCALL].map(device);
    let ([privcmd, hypercall], [locking, _unused]) = (fds(), fds());
    // The kernel's list of devices is out of reach afterwards.
    let (privcmd, locking) = (Privcmd::from_fds(privcmd, hypercall).unwrap(), Privcmd::from_fd(locking).unwrap());
    fs::create_dir("/tmp/jail").unwrap();
    chroot("/tmp/jail").unwrap();
    env::set_current_dir("/").unwrap();
    setrlimit(Resource::RLIMIT_MEMLOCK, 0, 0).unwrap();
    let nobody = Uid::from_raw(65534);
    setresuid(nobody, nobody, nobody).unwrap();

    let missing = LivepatchClient::open().unwrap_err();
    assert_eq!(missing.kind(), &ErrorKind::DeviceMissing { path: PRIVCMD.into() });
    let unlocked = LivepatchClient::connect(locking).unwrap_err();
    assert!(matches!(unlocked.kind(), ErrorKind::BufferMemory { .. }), "{unlocked}");
    let client = patient().connect(privcmd).unwrap();
    assert!(client.device_fd().is_some());
    upload(&client, "large", LARGEST);
    assert_eq!(client.list().unwrap().len(), 1);
    client.unload(&name("large"), Flags::empty()).unwrap();
}

#[test]
#[ignore = "needs a real Xen"]
fn a_client_that_does_nothing_keeps_little() {
    run("idle, device");
    run("idle, locked");
}

#[test]
#[ignore = "needs a real Xen"]
fn a_client_can_be_dropped_and_used_in_a_forked_child() {
    run("daemon, device");
    run("daemon, locked");
}

#[test]
#[ignore = "needs a real Xen"]
fn other_threads_may_fork_at_any_time() {
    run("forks");
}

#[test]
#[ignore = "needs a real Xen"]
fn privileges_can_be_given_up() {
    run("unprivileged");
}
