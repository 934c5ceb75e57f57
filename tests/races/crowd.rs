//! Many clients at once: threads that share one, and independent processes.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use xen_livepatch::sim::FunctionPatch;
use xen_livepatch::{ErrorKind, Flags, LivepatchClient, Result, State};

use super::host::{PATCHED, bare, connect, host, is_idle_patching, let_all_cpus_return, listed, metadata, name};

const TIME: Duration = Duration::from_secs(10);

/// Set in a worker process, to its number.
const WORKER: &str = "XEN_LIVEPATCH_WORKER";

/// The size of the metadata of a worker's payloads: different ones reveal entries that are mixed from two.
fn metadata_len(whose: &str) -> usize {
    whose.bytes().fold(7, |sum, byte| (sum * 31 + usize::from(byte)) % 3000) + 20
}

/// Acts while no other process does, on a Xen that needs it: see [`let_all_cpus_return`]. A client lets Xen
/// settle only after its own actions.
fn in_turn<T>(client: &LivepatchClient, act: impl FnOnce() -> T) -> T {
    const TURN: &str = "/tmp/turn";
    if !is_idle_patching(client) {
        return act();
    }
    while fs::create_dir(TURN).is_err() {
        thread::sleep(Duration::from_micros(200));
    }
    let result = act();
    let_all_cpus_return(client);
    fs::remove_dir(TURN).unwrap();
    result
}

/// Uploads, applies, lists and removes payloads. Returns the number of rounds.
fn work(client: &LivepatchClient, who: &str) -> usize {
    let flags = if client.xen_version().unwrap().release() < (4, 14) { Flags::empty() } else { Flags::NODEPS };
    let mut rounds = 0;
    let start = Instant::now();
    while start.elapsed() < TIME {
        let id = format!("{who}-{rounds}");
        let payload = bare(client, &id)
            .function(FunctionPatch::returning(PATCHED, format!("-{who}")))
            .modinfo(metadata(&id, metadata_len(&id)));
        let me = name(&id);
        client.upload(&me, &payload.build()).unwrap();
        check_rows(client, &id, State::Checked);
        // Without NODEPS only one at a time can be applied.
        let others_first = |kind: &ErrorKind| matches!(kind, ErrorKind::DependsOnAnother { .. });
        insist(others_first, || in_turn(client, || client.apply(&me, flags)));
        check_rows(client, &id, State::Applied);
        // A later one has to leave first.
        let not_on_top = |kind: &ErrorKind| matches!(kind, ErrorKind::NotOnTop { .. });
        insist(not_on_top, || in_turn(client, || client.revert(&me, Flags::empty())));
        check_rows(client, &id, State::Checked);
        client.unload(&me, Flags::empty()).unwrap();
        rounds += 1;
    }
    rounds
}

/// Acts again as long as it fails for a passing reason.
fn insist(passing: impl Fn(&ErrorKind) -> bool, act: impl Fn() -> Result<()>) {
    while let Err(error) = act() {
        assert!(passing(error.kind()), "{error:?}");
        thread::sleep(Duration::from_millis(1));
    }
}

/// Asserts that each entry of the list is intact, and that my own has this state.
fn check_rows(client: &LivepatchClient, me: &str, state: State) {
    let rows = client.list().unwrap();
    let mut names: Vec<&str> = rows.iter().map(|row| row.name.to_str().unwrap()).collect();
    for (row, id) in rows.iter().zip(&names) {
        let metadata = listed(client, metadata(id, metadata_len(id)));
        assert_eq!(row.metadata.as_bytes(), metadata, "{id} has another's metadata");
        if *id == me {
            assert_eq!(row.status.state, state, "{id}");
        }
    }
    assert!(names.contains(&me), "{me} is missing from {names:?}");
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), rows.len(), "a row twice");
}

/// Runs the test below as one of its processes.
fn worker_process(number: usize) -> Child {
    Command::new(env::current_exe().unwrap())
        .args(["--exact", "crowd::four_threads_and_four_processes_at_once", "--ignored", "--nocapture"])
        .env(WORKER, number.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

#[test]
#[ignore = "needs a real Xen"]
fn four_threads_and_four_processes_at_once() {
    if let Ok(number) = env::var(WORKER) {
        let rounds = work(&connect().unwrap(), &format!("process{number}"));
        println!("ROUNDS={rounds}");
        return;
    }
    let host = host();
    let processes: Vec<Child> = (0..4).map(worker_process).collect();
    let threads = thread::scope(|scope| {
        let work = |number| work(&host.client, &format!("thread{number}"));
        let threads: Vec<_> = (0..4).map(|number| scope.spawn(move || work(number))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
    });
    for (number, process) in processes.into_iter().enumerate() {
        let output = process.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "process {number} failed:\n{text}");
        let rounds = text.lines().find_map(|line| line.split("ROUNDS=").nth(1)).and_then(|n| n.parse::<usize>().ok());
        assert!(rounds.is_some_and(|rounds| rounds > 0), "process {number} did nothing:\n{text}");
    }
    assert!(threads.iter().all(|rounds| *rounds > 0), "{threads:?}");
}
