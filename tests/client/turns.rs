//! A client in several threads, and the time that Xen needs between two actions.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;

use crate::prelude::*;

/// Has the client give up the apply of a payload on which Xen is still working.
fn leave(client: &LivepatchClient, name: &PayloadName) {
    let mut deadline = Duration::from_millis(40);
    let error = loop {
        match kind(client.action(Action::Apply, name).deadline(deadline).run()) {
            // On a busy machine there may be too little time to send it.
            ErrorKind::DeadlinePassed => deadline *= 2,
            other => break other,
        }
    };
    assert_eq!(error, ErrorKind::Unfinished);
}

#[test]
fn many_threads_act_list_and_look_with_one_client() {
    for (xen, client) in hosts([Release::V4_13, Release::V4_17, Release::V4_22]) {
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            let workers = ["a", "b", "c", "d"].map(|id| {
                let (xen, client) = (&xen, &client);
                scope.spawn(move || {
                    let payload = builder(xen, id).metadata("id", Some(id));
                    for _ in 0..4 {
                        let name = upload(client, id, &payload);
                        // Others replace what this thread applied, so it may be reverted already.
                        client.replace(&name, Flags::empty()).unwrap();
                        if let Err(error) = client.revert(&name, Flags::empty()) {
                            assert_eq!(error.kind(), &wrong(State::Checked, State::Applied));
                        }
                        client.unload(&name, Flags::empty()).unwrap();
                    }
                })
            });
            for _ in 0..2 {
                scope.spawn(|| {
                    while !done.load(Ordering::Relaxed) {
                        for row in client.list().unwrap() {
                            let id = row.metadata.get("id").unwrap_or(row.name.as_bytes());
                            assert_eq!(id, row.name.as_bytes(), "one row from two payloads");
                        }
                    }
                });
            }
            let results = workers.map(thread::ScopedJoinHandle::join);
            done.store(true, Ordering::Relaxed);
            for result in results {
                result.unwrap();
            }
        });
        assert_eq!((xen.applied(), xen.loaded(), xen.crashed()), (vec![], vec![], None));
    }
}

/// Also of a payload that has a hook, and is applied whatever is on top.
#[test]
fn while_another_action_is_pending_nothing_is_sent() {
    for (release, hooked) in each(pairs(Release::ALL, [false, true])) {
        if hooked && release < Release::V4_14 {
            continue;
        }
        let time = match (hooked, release) {
            (false, _) => 20,
            (true, Release::V4_17) => 2000,
            (true, _) => 50,
        };
        let (xen, client) = host(release);
        let one = if hooked {
            upload(&client, "one", &with_hook(&xen, "one", HookKind::PreApply, 0))
        } else {
            load(&xen, "one")
        };
        busy(&xen, "other");
        let other = xen.clone();
        let done = thread::spawn(move || {
            thread::sleep(Duration::from_millis(time));
            assert_eq!(other.calls().of(Call::Apply), 0, "nothing is sent meanwhile");
            other.other_upload("third", b"").unwrap_err();
            other.finish_action();
            other.other_action("other", Action::Revert, Flags::empty())
        });
        let result = client.apply(&one, if hooked { Flags::NODEPS } else { Flags::empty() });
        let reverted = done.join().unwrap();
        let runs = xen.console().matches("Calling pre-apply hook function").count();
        assert!(runs <= 1, "the hook ran {runs} times");
        // Its revert may have come first, or second: then it is no longer on top.
        assert_eq!(reverted.is_err(), xen.applied() == names(["other", "one"]), "{reverted:?}");
        assert_eq!(result.is_ok(), xen.applied().contains(&one));
        match result {
            Ok(()) => assert_eq!(xen.calls().of(Call::Apply), 1),
            Err(error) => {
                assert!(matches!(error.kind(), ErrorKind::DependsOnAnother { .. }), "{error:?}");
                assert!(error.to_string().contains("depends on"), "{error}");
            }
        }
    }
}

#[test]
fn xen_settles_from_when_it_finished() {
    const SETTLE: Duration = Duration::from_millis(150);
    // Whether it finishes before the next call, or while that waits, and whoever asked for it.
    let cases = [(true, true), (true, false), (false, false)];
    for (release, (own, in_between)) in each(pairs([Release::V4_7, Release::V4_17, Release::V4_22], cases)) {
        let xen = SimulatedXen::new(release);
        let client = LivepatchClient::builder().settle_time(SETTLE).connect(xen.clone()).unwrap();
        let [one, two] = ["one", "two"].map(|id| load(&xen, id));
        xen.set_pace(Pace::Held);
        if own {
            leave(&client, &one);
        } else {
            xen.other_start(&one, Action::Apply, Flags::empty()).unwrap();
        }
        // Longer than it takes to settle.
        thread::sleep(SETTLE * 2);
        let finish = || {
            xen.finish_action();
            Instant::now()
        };
        let settled = thread::scope(|scope| {
            let before = in_between.then(finish);
            let meanwhile = scope.spawn(move || {
                before.unwrap_or_else(|| {
                    thread::sleep(Duration::from_millis(30));
                    finish()
                })
            });
            client.unload(&two, Flags::empty()).unwrap();
            let now = Instant::now();
            now - meanwhile.join().unwrap()
        });
        assert!(settled >= SETTLE, "{settled:?}");
    }
}
