//! `EFAULT`: Xen could not read this program's memory, or could not write the answer of a call that it had carried out.
//!
//! Only another look distinguishes the two.

use std::time::Duration;

use xen_livepatch::sim::{Call, Pace, SimulatedXen};
use xen_livepatch::{Action, Duplicate, Errno, ErrorKind, Flags, LivepatchClient, Release, Result, State};

use crate::host::{builder, error, host, kind, load, name, stack};

const ACTIONS: [(Action, Call); 4] = [
    (Action::Apply, Call::Apply),
    (Action::Revert, Call::Revert),
    (Action::Replace, Call::Replace),
    (Action::Unload, Call::Unload),
];

/// A host where the action on `one` can be done.
fn ready(release: Release, action: Action) -> (SimulatedXen, LivepatchClient) {
    let (xen, client) = host(release);
    match action {
        Action::Revert => drop(stack(&xen, ["other", "one"], 2)),
        _ => drop(load(&xen, "one")),
    }
    (xen, client)
}

fn act(client: &LivepatchClient, action: Action) -> Result<()> {
    client.action(action, &name("one")).run()
}

fn is_done(xen: &SimulatedXen, action: Action) -> bool {
    let state = xen.status("one").map(|status| status.state);
    state
        == match action {
            Action::Apply | Action::Replace => Some(State::Applied),
            Action::Revert => Some(State::Checked),
            _ => None,
        }
}

const PACES: [Pace; 6] = [
    Pace::Polls(0),
    Pace::Polls(1),
    Pace::Polls(2),
    Pace::Polls(3),
    Pace::Polls(20),
    Pace::Time(Duration::from_millis(3)),
];

#[test]
fn after_an_action_was_carried_out() {
    for release in Release::ALL {
        for (action, call) in ACTIONS {
            for pace in PACES {
                let (xen, client) = ready(release, action);
                xen.set_pace(pace);
                xen.on_action(action).fault_after();
                act(&client, action).unwrap_or_else(|error| panic!("{release} {action} {pace:?}: {error}"));
                assert!(is_done(&xen, action), "{release} {action} {pace:?}");
                assert_eq!(xen.calls().of(call), 1, "not done twice");
            }
        }
    }
}

#[test]
fn before_an_action_nothing_is_done() {
    for release in Release::ALL {
        for (action, call) in ACTIONS {
            let (xen, client) = ready(release, action);
            xen.on(call).fail(Errno::EFAULT);
            let error = error(act(&client, action));
            assert_eq!(
                (error.kind(), error.raw_errno()),
                (&ErrorKind::Fault, Some(Errno::EFAULT)),
                "{release} {action}"
            );
            assert!(!is_done(&xen, action), "{release} {action}");
            act(&client, action).unwrap();
        }
    }
}

#[test]
fn after_an_action_that_timed_out() {
    for release in Release::ALL {
        let (xen, client) = ready(release, Action::Apply);
        xen.on_apply().fault_after();
        xen.on_apply().time_out();
        assert_eq!(kind(act(&client, Action::Apply)), ErrorKind::QuiesceTimeout, "{release}");
    }
}

#[test]
fn after_a_busy_host_refused() {
    for release in Release::ALL {
        let (xen, client) = ready(release, Action::Apply);
        for failed_before in [false, true] {
            if failed_before {
                xen.on_apply().time_out();
                assert_eq!(kind(act(&client, Action::Apply)), ErrorKind::QuiesceTimeout);
            }
            xen.set_cpu_hotplug(true);
            xen.on_apply().fault_after();
            assert_eq!(kind(act(&client, Action::Apply)), ErrorKind::Fault, "{release}: its mark means nothing");
            xen.set_cpu_hotplug(false);
        }
        act(&client, Action::Apply).unwrap();
    }
}

#[test]
fn looking_again_is_tried_again() {
    for release in Release::ALL {
        for (action, call) in ACTIONS {
            let (xen, client) = ready(release, action);
            xen.on_action(action).fault_after();
            xen.on(call).after(|xen| {
                xen.on_get().fail(Errno::EFAULT);
                xen.on_get().nth(2).fail(Errno::EFAULT);
                xen.on_other_action().fail(Errno::EFAULT);
            });
            act(&client, action).unwrap_or_else(|error| panic!("{release} {action}: {error}"));
            assert!(is_done(&xen, action), "{release} {action}");
        }
    }
}

#[test]
fn an_action_that_can_not_be_looked_at_is_not_called_undone() {
    for release in [Release::V4_7, Release::V4_14, Release::V4_22] {
        for (action, call) in ACTIONS {
            for errno in [Errno::EFAULT, Errno::EPERM, Errno::ENOMEM] {
                for fault in [true, false] {
                    if action == Action::Unload && !fault {
                        continue;
                    }
                    let (xen, client) = ready(release, action);
                    if fault {
                        xen.on_action(action).fault_after();
                    }
                    xen.on(call).after(move |xen| {
                        xen.on_get().always().fail(errno);
                        xen.on_list().always().fail(errno);
                    });
                    let error = error(act(&client, action));
                    xen.forget_orders();
                    xen.finish_action();
                    assert!(is_done(&xen, action), "{release} {action}");
                    assert_eq!(error.kind(), &ErrorKind::OutcomeUnknown, "{action}");
                    assert_eq!(error.raw_errno(), Some(errno));
                }
            }
        }
    }
}

#[test]
fn a_question_that_faults_while_an_action_runs_is_asked_again() {
    for release in [Release::V4_7, Release::V4_17] {
        let (xen, client) = ready(release, Action::Apply);
        xen.set_pace(Pace::Polls(40));
        for nth in [2, 3, 9] {
            xen.on_get().nth(nth).fail(Errno::EFAULT);
        }
        xen.on_other_action().fail(Errno::EFAULT);
        act(&client, Action::Apply).unwrap();
        assert!(is_done(&xen, Action::Apply), "{release}");
    }
}

#[test]
fn after_an_upload_was_carried_out() {
    for release in Release::ALL {
        let (xen, client) = host(release);
        let payload = builder(&xen, "one").build();
        xen.on_upload().fault_after();
        xen.on_list().fail(Errno::EFAULT);
        // Another tool may have uploaded one of this name just before.
        assert_eq!(kind(client.upload(&name("one"), &payload)), ErrorKind::OutcomeUnknown, "{release}");
        assert_eq!((xen.loaded(), xen.calls().of(Call::Upload)), (vec![name("one")], 1), "{release}");
        assert_eq!(client.status(&name("one")).unwrap().state, State::Checked);
    }
}

#[test]
fn before_an_upload_nothing_is_done() {
    for release in Release::ALL {
        let (xen, client) = host(release);
        let payload = builder(&xen, "one").build();
        xen.on_upload().fail(Errno::EFAULT);
        assert_eq!(kind(client.upload(&name("one"), &payload)), ErrorKind::Fault);
        assert_eq!(xen.loaded(), [], "{release}");
        client.upload(&name("one"), &payload).unwrap();
    }
}

#[test]
fn an_older_payload_is_not_taken_for_the_uploaded_one() {
    let faults: [fn(&SimulatedXen); 2] =
        [|xen| xen.on_upload().fail(Errno::EFAULT), |xen| xen.on_upload().fault_after()];
    for release in Release::ALL {
        for fault in faults {
            let (xen, client) = host(release);
            let one = load(&xen, "one");
            let payload = builder(&xen, "another");
            fault(&xen);
            // It is the last of the list, CHECKED, and nothing was ever done with it.
            assert_eq!(kind(client.upload(&one, &payload.build())), ErrorKind::OutcomeUnknown, "{release}");
            // Where Xen reports metadata, they may say that it is another.
            fault(&xen);
            let differs = payload.metadata("id", Some("another")).build();
            let by_name = ErrorKind::AlreadyLoaded { by: Duplicate::Name };
            let expected = if release >= Release::V4_14 { by_name } else { ErrorKind::OutcomeUnknown };
            assert_eq!(kind(client.upload(&one, &differs)), expected, "{release}");
            // One that is applied by now may have been uploaded by now.
            fault(&xen);
            xen.on_list().before(|xen| xen.other_action("one", Action::Apply, Flags::empty()).unwrap());
            assert_eq!(
                kind(client.upload(&one, &builder(&xen, "third").build())),
                ErrorKind::OutcomeUnknown,
                "{release}"
            );
        }
    }
}

#[test]
fn an_upload_that_can_not_be_looked_for_is_not_called_undone() {
    for errno in [Errno::EFAULT, Errno::EPERM] {
        let (xen, client) = host(Release::V4_17);
        let _target = client.target().unwrap();
        xen.on_upload().fault_after();
        xen.on_list().always().fail(errno);
        let error = error(client.upload(&name("one"), &builder(&xen, "one").build()));
        assert_eq!(error.raw_errno(), Some(errno));
        assert_eq!(error.kind(), &ErrorKind::OutcomeUnknown);
        assert_eq!(xen.loaded(), [name("one")]);
    }
}

#[test]
fn status_is_asked_again_a_few_times() {
    let (xen, client) = host(Release::V4_20);
    let one = load(&xen, "one");
    for nth in 1..=3 {
        xen.on_get().nth(nth).fail(Errno::EFAULT);
    }
    assert_eq!(client.status(&one).unwrap().state, State::Checked);
    xen.on_get().always().fail(Errno::EFAULT);
    let before = xen.calls().total();
    assert_eq!(kind(client.status(&one)), ErrorKind::Fault);
    assert_eq!(xen.calls().total() - before, 4);
}
