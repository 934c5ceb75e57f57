//! `EFAULT`: Xen could not read this program's memory, or could not write the answer of a call that it had carried out.
//!
//! Only another look distinguishes the two.

use crate::prelude::*;

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

#[test]
fn after_an_action_was_carried_out() {
    let paces = [0, 1, 2, 3, 20].map(Pace::Polls).into_iter().chain([Pace::Time(Duration::from_millis(3))]);
    for (release, ((action, call), pace)) in each(pairs(Release::ALL, pairs(ACTIONS, paces))) {
        let (xen, client) = ready(release, action);
        xen.set_pace(pace);
        xen.on_action(action).fault_after();
        act(&client, action).unwrap();
        assert!(is_done(&xen, action));
        assert_eq!(xen.calls().of(call), 1, "not done twice");
    }
}

#[test]
fn before_an_action_nothing_is_done() {
    for (release, (action, call)) in each(pairs(Release::ALL, ACTIONS)) {
        let (xen, client) = ready(release, action);
        xen.on(call).fail(Errno::EFAULT);
        assert_eq!(kind_and_errno(act(&client, action)), (ErrorKind::Fault, Some(Errno::EFAULT)));
        assert!(!is_done(&xen, action));
        act(&client, action).unwrap();
    }
}

#[test]
fn after_an_action_that_timed_out() {
    for release in each(Release::ALL) {
        let (xen, client) = ready(release, Action::Apply);
        xen.on_apply().fault_after();
        xen.on_apply().time_out();
        assert_eq!(kind(act(&client, Action::Apply)), ErrorKind::QuiesceTimeout);
    }
}

#[test]
fn after_a_busy_host_refused() {
    for release in each(Release::ALL) {
        let (xen, client) = ready(release, Action::Apply);
        for failed_before in [false, true] {
            if failed_before {
                xen.on_apply().time_out();
                assert_eq!(kind(act(&client, Action::Apply)), ErrorKind::QuiesceTimeout);
            }
            xen.set_cpu_hotplug(true);
            xen.on_apply().fault_after();
            assert_eq!(kind(act(&client, Action::Apply)), ErrorKind::Fault, "its mark means nothing");
            xen.set_cpu_hotplug(false);
        }
        act(&client, Action::Apply).unwrap();
    }
}

#[test]
fn looking_again_is_tried_again() {
    for (release, (action, call)) in each(pairs(Release::ALL, ACTIONS)) {
        let (xen, client) = ready(release, action);
        xen.on_action(action).fault_after();
        xen.on(call).after(|xen| {
            xen.on_get().fail(Errno::EFAULT);
            xen.on_get().nth(2).fail(Errno::EFAULT);
            xen.on_other_action().fail(Errno::EFAULT);
        });
        act(&client, action).unwrap();
        assert!(is_done(&xen, action));
    }
}

#[test]
fn an_action_that_can_not_be_looked_at_is_not_called_undone() {
    let releases = [Release::V4_7, Release::V4_14, Release::V4_22];
    let faults = pairs([Errno::EFAULT, Errno::EPERM, Errno::ENOMEM], [true, false]);
    for (release, ((action, call), (errno, fault))) in each(pairs(releases, pairs(ACTIONS, faults))) {
        if action == Action::Unload && !fault {
            continue;
        }
        let (xen, client) = ready(release, action);
        if fault {
            xen.on_action(action).fault_after();
        }
        go_blind_after(&xen, call, errno);
        assert_eq!(kind_and_errno(act(&client, action)), (ErrorKind::OutcomeUnknown, Some(errno)));
        xen.forget_orders();
        xen.finish_action();
        assert!(is_done(&xen, action));
    }
}

#[test]
fn a_question_that_faults_while_an_action_runs_is_asked_again() {
    for release in each([Release::V4_7, Release::V4_17]) {
        let (xen, client) = ready(release, Action::Apply);
        xen.set_pace(Pace::Polls(40));
        for nth in [2, 3, 9] {
            xen.on_get().nth(nth).fail(Errno::EFAULT);
        }
        xen.on_other_action().fail(Errno::EFAULT);
        act(&client, Action::Apply).unwrap();
        assert!(is_done(&xen, Action::Apply));
    }
}

#[test]
fn after_an_upload_was_carried_out() {
    for (xen, client) in hosts(Release::ALL) {
        xen.on_upload().fault_after();
        xen.on_list().fail(Errno::EFAULT);
        // Another tool may have uploaded one of this name just before.
        let uploaded = client.upload(&name("one"), &builder(&xen, "one").build());
        assert_eq!(kind(uploaded), ErrorKind::OutcomeUnknown);
        assert_eq!((xen.loaded(), xen.calls().of(Call::Upload)), (names(["one"]), 1));
        assert_eq!(client.status(&name("one")).unwrap().state, State::Checked);
    }
}

#[test]
fn before_an_upload_nothing_is_done() {
    for (xen, client) in hosts(Release::ALL) {
        let payload = builder(&xen, "one").build();
        xen.on_upload().fail(Errno::EFAULT);
        assert_eq!(kind(client.upload(&name("one"), &payload)), ErrorKind::Fault);
        assert_eq!(xen.loaded(), []);
        client.upload(&name("one"), &payload).unwrap();
    }
}

#[test]
fn an_older_payload_is_not_taken_for_the_uploaded_one() {
    for (xen, client, done) in hosts_for(Release::ALL, [false, true]) {
        let one = load(&xen, "one");
        let upload = |payload: &PayloadBuilder| {
            if done {
                xen.on_upload().fault_after();
            } else {
                xen.on_upload().fail(Errno::EFAULT);
            }
            kind(client.upload(&one, &payload.build()))
        };
        // It is the last of the list, CHECKED, and nothing was ever done with it.
        let payload = builder(&xen, "another");
        assert_eq!(upload(&payload), ErrorKind::OutcomeUnknown);
        // Where Xen reports metadata, they may say that it is another.
        let by_name = ErrorKind::AlreadyLoaded { by: Duplicate::Name };
        let expected = if xen.release() >= Release::V4_14 { by_name } else { ErrorKind::OutcomeUnknown };
        assert_eq!(upload(&payload.metadata("id", Some("another"))), expected);
        // One that is applied by now may have been uploaded by now.
        xen.on_list().before(|xen| xen.other_action("one", Action::Apply, Flags::empty()).unwrap());
        assert_eq!(upload(&builder(&xen, "third")), ErrorKind::OutcomeUnknown);
    }
}

#[test]
fn an_upload_that_can_not_be_looked_for_is_not_called_undone() {
    for errno in each([Errno::EFAULT, Errno::EPERM]) {
        let (xen, client) = host(Release::V4_17);
        let _target = client.target().unwrap();
        xen.on_upload().fault_after();
        xen.on_list().always().fail(errno);
        let uploaded = client.upload(&name("one"), &builder(&xen, "one").build());
        assert_eq!(kind_and_errno(uploaded), (ErrorKind::OutcomeUnknown, Some(errno)));
        assert_eq!(xen.loaded(), names(["one"]));
    }
}

#[test]
fn status_is_asked_again_a_few_times() {
    let (xen, client) = host(Release::V4_20);
    let one = load(&xen, "one");
    (1..=3).for_each(|nth| xen.on_get().nth(nth).fail(Errno::EFAULT));
    assert_eq!(client.status(&one).unwrap().state, State::Checked);
    xen.on_get().always().fail(Errno::EFAULT);
    let before = xen.calls().total();
    assert_eq!(kind(client.status(&one)), ErrorKind::Fault);
    assert_eq!(xen.calls().total() - before, 4);
}
