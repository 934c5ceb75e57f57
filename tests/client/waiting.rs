//! Slow hosts, busy hosts and the marks that they leave, and waits for unfinished actions.

use std::thread;

use xen_livepatch::Status;

use crate::prelude::*;

const SHORT: Duration = Duration::from_millis(40);

fn state_and_rc(xen: &SimulatedXen, name: &PayloadName) -> (State, i32) {
    let Status { state, rc, .. } = xen.status(name).unwrap();
    (state, rc)
}

/// An action of a client that has a moment for it, and takes no more.
#[track_caller]
fn act_shortly(client: &LivepatchClient, action: Action, name: &PayloadName) -> (ErrorKind, Option<Errno>) {
    kind_and_errno(at_the_deadline(SHORT, |deadline| act_within(client, action, name, deadline)))
}

fn overtaken(state: Option<State>) -> ErrorKind {
    ErrorKind::Overtaken { state, applied: None }
}

#[test]
fn actions_return_when_xen_has_finished() {
    let paces = [Pace::Polls(0), Pace::Polls(1), Pace::Polls(9), Pace::Time(Duration::from_millis(15))];
    for (xen, client, pace) in hosts_for(Release::ALL, paces) {
        let one = load(&xen, "one");
        xen.set_pace(pace);
        client.apply(&one, Flags::empty()).unwrap();
        assert_eq!(state_and_rc(&xen, &one), (State::Applied, 0));
        client.revert(&one, Flags::empty()).unwrap();
        assert_eq!(state_and_rc(&xen, &one), (State::Checked, 0));
        client.replace(&one, Flags::empty()).unwrap();
        assert_eq!(xen.applied(), [one]);
    }
}

#[test]
fn an_action_that_is_not_finished_at_the_deadline_may_still_happen() {
    for (xen, client, one) in hosts_with_one(Release::ALL) {
        for (action, after) in [(Action::Apply, State::Applied), (Action::Revert, State::Checked)] {
            xen.set_pace(Pace::Held);
            assert_eq!(act_shortly(&client, action, &one), (ErrorKind::Unfinished, Some(Errno::EAGAIN)));
            // As long as it runs, nothing else does.
            assert_eq!(act_shortly(&client, action, &one).0, ErrorKind::OperationInProgress);
            assert!(client.status(&one).unwrap().in_progress());
            xen.finish_action();
            assert_eq!(client.status(&one).unwrap(), xen.status(&one).unwrap());
            assert_eq!(state_and_rc(&xen, &one), (after, 0));
        }
    }
}

#[test]
fn no_time_at_all_is_a_deadline_too() {
    let (xen, client) = host(Release::V4_17);
    let one = load(&xen, "one");
    xen.set_pace(Pace::Held);
    let before = xen.calls();
    for action in [Action::Apply, Action::Revert, Action::Replace, Action::Unload] {
        assert_eq!(kind(act_within(&client, action, &one, Duration::ZERO)), ErrorKind::DeadlinePassed, "{action}");
    }
    assert_eq!(xen.calls(), before, "nothing is sent");
    // Another thread that has the turn makes no difference.
    thread::scope(|scope| {
        let acting = scope.spawn(|| act_within(&client, Action::Apply, &one, Duration::from_secs(60)));
        wait_for_call(&xen, Call::Apply);
        assert_eq!(kind(act_within(&client, Action::Unload, &one, Duration::ZERO)), ErrorKind::DeadlinePassed);
        xen.finish_action();
        acting.join().unwrap().unwrap();
    });
}

#[test]
fn a_mark_that_a_busy_host_left_is_seen_through() {
    for (xen, client, one) in hosts_with_one(Release::ALL) {
        busy(&xen, "other");
        assert_eq!(xen.other_start(&one, Action::Apply, Flags::empty()), Err(Errno::EBUSY));
        xen.finish_action();
        xen.other_action("other", Action::Revert, Flags::empty()).unwrap();
        assert!(client.status(&one).unwrap().in_progress(), "stuck, for other tools");

        let before = xen.calls();
        client.apply(&one, Flags::empty()).unwrap();
        assert_eq!(xen.calls().of(Call::OtherAction) - before.of(Call::OtherAction), 1, "asked once");
        assert_eq!(state_and_rc(&xen, &one), (State::Applied, 0));
    }
}

#[test]
fn a_marked_payload_can_be_unloaded_and_a_marked_state_is_believed() {
    for (xen, client, one) in hosts_with_one(Release::ALL) {
        mark(&xen, "one", Action::Apply);
        assert_eq!(state_and_rc(&xen, &one), (State::Checked, -11));
        assert_eq!(kind(client.revert(&one, Flags::empty())), wrong(State::Checked, State::Applied));
        client.unload(&one, Flags::empty()).unwrap();
        assert_eq!(xen.loaded(), []);
    }
}

#[test]
fn an_action_of_another_toolstack_on_the_same_payload_is_waited_for() {
    for (xen, client) in hosts(Release::ALL) {
        busy(&xen, "one");
        let one = name("one");
        let in_progress = (ErrorKind::OperationInProgress, Some(Errno::EBUSY));
        assert_eq!(act_shortly(&client, Action::Apply, &one), in_progress);
        assert_eq!(xen.calls().of(Call::Apply), 0, "nothing is asked of a payload that is being worked on");
        xen.on_other_action().nth(3).before(SimulatedXen::finish_action);
        assert_eq!(kind(client.apply(&one, Flags::empty())), wrong(State::Applied, State::Checked));
        assert_eq!(xen.calls().of(Call::Apply), 0);
    }
}

/// Finished by another toolstack between GET and the question whether it is pending: the replace that was asked for would do
/// nothing, as the payload is applied by now.
#[test]
fn an_action_that_finishes_during_a_look_is_looked_at_again() {
    for (xen, client) in hosts(Release::ALL) {
        let [one, two] = stack(&xen, ["one", "two"], 1);
        hold(&xen, "two", Action::Apply);
        xen.on_other_action().before(SimulatedXen::finish_action);
        assert_eq!(kind(client.replace(&two, Flags::empty())), wrong(State::Applied, State::Checked));
        assert_eq!((xen.applied(), xen.calls().of(Call::Replace)), (vec![one, two], 0));
    }
}

#[test]
fn a_host_that_stays_busy_is_given_up_at_the_deadline() {
    for (xen, client) in hosts(Release::ALL) {
        let [one, top] = stack(&xen, ["one", "top"], 2);
        let checked = load(&xen, "checked");
        load(&xen, "other");
        xen.set_cpu_hotplug(true);
        for (action, payload) in [(Action::Revert, &top), (Action::Replace, &checked)] {
            let in_progress = (ErrorKind::OperationInProgress, Some(Errno::EBUSY));
            assert_eq!(act_shortly(&client, action, payload), in_progress);
            assert_eq!(client.status(payload).unwrap(), xen.status(payload).unwrap());
        }
        assert_eq!(xen.applied(), [one, top.clone()]);
        xen.set_cpu_hotplug(false);
        client.revert(&top, Flags::empty()).unwrap();
        assert_eq!(xen.applied(), names(["one"]));
    }
}

/// Another toolstack comes between the end of an action and the look at it.
#[test]
fn a_mark_left_on_a_finished_payload_is_reported_and_no_trap() {
    for (xen, client, one) in hosts_with_one(Release::ALL) {
        xen.on_apply().after(|xen| {
            xen.finish_action();
            mark(xen, "one", Action::Revert);
        });
        let stale = ErrorKind::StaleInProgress { state: State::Applied };
        assert_eq!(kind(client.apply(&one, Flags::empty())), stale);
        client.revert(&one, Flags::empty()).unwrap();
        assert_eq!(state_and_rc(&xen, &one), (State::Checked, 0));
    }
}

#[test]
fn an_action_that_another_toolstack_undoes_at_once_is_no_success() {
    for (xen, client, one) in hosts_with_one(Release::ALL) {
        xen.on_apply().after(|xen| {
            xen.finish_action();
            xen.other_action("one", Action::Revert, Flags::empty()).unwrap();
        });
        assert_eq!(kind(client.apply(&one, Flags::empty())), overtaken(Some(State::Checked)));
    }
}

#[test]
fn cpus_that_do_not_come_to_rest() {
    for (xen, client, one) in hosts_with_one(Release::ALL) {
        xen.set_quiesce_time(Duration::from_millis(1));
        let attempts = |timeout, retries, expected| {
            let timeout = QuiesceTimeout::new(timeout).unwrap();
            let options = ActionOptions::new().quiesce_timeout(timeout).quiesce_retries(retries);
            let before = xen.calls().of(Call::Apply);
            let result = client.action(Action::Apply, &one).options(options).run();
            assert_eq!(result.map_err(|error| (error.kind().clone(), error.raw_errno())), expected);
            xen.calls().of(Call::Apply) - before
        };
        for (retries, made) in [(0, 1), (3, 4)] {
            let late = Err((ErrorKind::QuiesceTimeout, Some(Errno::EBUSY)));
            assert_eq!(attempts(Duration::from_nanos(1), retries, late), made);
            assert_eq!(client.status(&one).unwrap(), xen.status(&one).unwrap());
            assert_eq!(state_and_rc(&xen, &one), (State::Checked, -16));
        }
        // Only the first two attempts are too late.
        xen.on_apply().time_out();
        xen.on_apply().nth(2).time_out();
        assert_eq!(attempts(Duration::from_millis(2), 5, Ok(())), 3);
        assert_eq!(state_and_rc(&xen, &one), (State::Applied, 0));
    }
}

#[test]
fn retries_end_at_the_deadline() {
    let (xen, client) = host(Release::V4_20);
    let one = load(&xen, "one");
    xen.on_apply().always().time_out();
    let options = ActionOptions::new().quiesce_retries(u32::MAX).deadline(SHORT);
    let result = at_the_deadline(SHORT, |_| client.action(Action::Apply, &one).options(options).run());
    assert_eq!(kind(result), ErrorKind::QuiesceTimeout);
}

#[test]
fn a_payload_that_is_gone_between_two_attempts_is_reported() {
    for (xen, client, one) in hosts_with_one(Release::ALL) {
        xen.on_apply().time_out();
        xen.on_apply().after(|xen| {
            xen.on_list().before(|xen| xen.other_action("one", Action::Unload, Flags::empty()).unwrap());
        });
        let gone = client.action(Action::Apply, &one).quiesce_retries(9).run();
        assert_eq!(kind(gone), ErrorKind::NoSuchPayload);
    }
}

#[test]
fn an_attempt_for_which_no_time_is_left_hides_no_earlier_one() {
    const SETTLE: Duration = Duration::from_millis(200);
    for release in each([Release::V4_7, Release::V4_17, Release::V4_22]) {
        let xen = SimulatedXen::new(release);
        let client = LivepatchClient::builder().settle_time(SETTLE).connect(xen.clone()).unwrap();
        let one = load(&xen, "one");
        xen.on_apply().time_out();
        // Another tool's action comes in between, after which Xen would settle only when it is too late.
        xen.on_apply().after(|xen| {
            xen.on_list().before(|xen| busy(xen, "other"));
            xen.on_other_action().nth(2).before(SimulatedXen::finish_action);
        });
        let late = client.action(Action::Apply, &one).quiesce_retries(9).deadline(SETTLE * 9 / 5).run();
        assert_eq!((kind(late), xen.calls().of(Call::Apply)), (ErrorKind::QuiesceTimeout, 1));
    }
}

#[test]
fn xens_own_timeout_is_30_ms_and_longer_ones_are_taken() {
    for (xen, client, one) in hosts_with_one(Release::ALL) {
        xen.set_quiesce_time(Duration::from_millis(31));
        assert_eq!(kind(client.apply(&one, Flags::empty())), ErrorKind::QuiesceTimeout);
        let longer = ActionOptions::new().quiesce_timeout(QuiesceTimeout::new(Duration::from_millis(31)).unwrap());
        client.action(Action::Apply, &one).options(longer).run().unwrap();
        assert_eq!(xen.applied(), [one]);
    }
}

#[test]
fn a_pending_revert_does_not_look_like_one_below_the_top() {
    for (xen, client) in hosts(Release::ALL) {
        let [one, top] = stack(&xen, ["one", "top"], 2);
        let said = Some(top.clone()).filter(|_| xen.release() >= Release::V4_13);
        assert_eq!(kind(client.revert(&one, Flags::empty())), ErrorKind::NotOnTop { top: said });
        hold(&xen, "top", Action::Revert);
        xen.on_other_action().nth(2).before(SimulatedXen::finish_action);
        assert_eq!(kind(client.revert(&top, Flags::empty())), wrong(State::Checked, State::Applied));
        client.revert(&one, Flags::empty()).unwrap();
    }
}

#[test]
fn waiting_sleeps_between_looks() {
    let (xen, client) = host(Release::V4_13);
    let one = load(&xen, "one");
    xen.set_pace(Pace::Time(Duration::from_millis(100)));
    assert!(timed(|| client.apply(&one, Flags::empty()).unwrap()) < Duration::from_millis(100) + SLACK);
    // Pauses double up to 10 ms; a busy loop would make thousands.
    assert!(xen.calls().of(Call::Get) < 40, "{:?}", xen.calls());
}

#[test]
fn a_wait_reports_the_end_of_an_unfinished_action() {
    for (xen, client, one) in hosts_with_one(Release::ALL) {
        xen.set_pace(Pace::Held);
        let error = error(act_within(&client, Action::Apply, &one, Duration::from_millis(100)));
        assert!(error.may_have_happened() && !error.is_retryable(), "{error:?}");
        let wait = |action, time| client.wait(&one, action, time);
        assert_eq!(kind(wait(Action::Apply, Duration::from_millis(5))), ErrorKind::Unfinished);
        thread::scope(|scope| {
            scope.spawn(|| {
                thread::sleep(Duration::from_millis(10));
                xen.finish_action();
            });
            wait(Action::Apply, Duration::from_secs(20)).unwrap();
        });
        let status = client.status(&one).unwrap();
        assert_eq!((status.state, status.rc), (State::Applied, 0));
        assert_eq!(kind(client.wait(&name("nobody"), Action::Apply, Duration::ZERO)), ErrorKind::NoSuchPayload);
        // A mark without an action.
        mark(&xen, "one", Action::Revert);
        let stale = ErrorKind::StaleInProgress { state: State::Applied };
        assert_eq!(kind(wait(Action::Revert, Duration::from_secs(20))), stale);
    }
}

#[test]
fn a_wait_judges_as_the_action_would_have() {
    use Action::{Apply, Replace, Revert};
    type Case = (Action, fn(&SimulatedXen), Option<ErrorKind>);
    fn then(xen: &SimulatedXen, action: Action) {
        xen.finish_action();
        xen.other_action("it", action, Flags::empty()).unwrap();
    }
    let late = |xen: &SimulatedXen| xen.set_quiesce_time(Duration::from_secs(1));
    let cases: [Case; 8] = [
        (Apply, |_| {}, None),
        (Apply, late, Some(ErrorKind::QuiesceTimeout)),
        (Apply, |xen| then(xen, Revert), Some(overtaken(Some(State::Checked)))),
        (Revert, |_| {}, None),
        (Revert, late, Some(ErrorKind::QuiesceTimeout)),
        (Revert, |xen| then(xen, Action::Unload), Some(overtaken(None))),
        (Replace, |_| {}, None),
        (Replace, late, Some(ErrorKind::QuiesceTimeout)),
    ];
    for (xen, client, (action, meanwhile, expected)) in hosts_for(Release::ALL, cases) {
        let it = load(&xen, "it");
        if action == Revert {
            client.apply(&it, Flags::empty()).unwrap();
        }
        leave_running(&xen, &client, action, &it);
        meanwhile(&xen);
        xen.finish_action();
        // The second call reports the same.
        for _ in 0..2 {
            let ended = client.wait(&it, action, Duration::from_secs(20));
            assert_eq!(ended.map_err(|error| error.kind().clone()).err(), expected);
        }
    }
}

/// Leaves an action, for which a wait without any time is too short.
fn leave_running(xen: &SimulatedXen, client: &LivepatchClient, action: Action, name: &PayloadName) {
    xen.set_pace(Pace::Held);
    leave(client, action, name);
    assert_eq!(kind(client.wait(name, action, Duration::ZERO)), ErrorKind::Unfinished);
    xen.set_pace(Pace::default());
}

#[test]
fn a_wait_considers_the_log_from_the_beginning_of_the_action() {
    let cases = [(Action::Apply, Errno::EBUSY), (Action::Replace, Errno::EBUSY), (Action::Apply, Errno::EIO)];
    for (xen, client, (action, code)) in hosts_for(releases(Release::V4_14..), cases) {
        stack(&xen, ["old"], usize::from(action == Action::Replace));
        let it = name("it");
        xen.other_upload("it", &with_hook(&xen, "it", HookKind::Apply, -code.number()).build()).unwrap();
        leave_running(&xen, &client, action, &it);
        xen.finish_action();
        let failed = match action {
            Action::Replace => ErrorKind::ReplaceFailed { code, applied: Some(vec![]) },
            _ => ErrorKind::ActionFailed { code, state: State::Checked },
        };
        let error = error(client.wait(&it, action, Duration::ZERO));
        assert_eq!(error.kind(), &failed);
        assert_eq!((error.operation(), error.payload()), (Some(Operation::Wait), Some(&it)));
        assert!(!error.xen_log().is_empty());
    }
}

#[test]
fn a_wait_finds_out_whether_an_action_without_an_answer_was_carried_out() {
    let cases = pairs([(Action::Apply, Call::Apply), (Action::Unload, Call::Unload)], [true, false]);
    for (xen, client, ((action, call), carried_out)) in hosts_for(Release::ALL, cases) {
        let it = load(&xen, "it");
        if carried_out {
            xen.on_action(action).fault_after();
        } else {
            xen.on(call).fail(Errno::EFAULT);
        }
        go_blind_after(&xen, call, Errno::EPERM);
        assert_eq!(kind(client.action(action, &it).run()), ErrorKind::OutcomeUnknown);
        assert_eq!(kind(client.wait(&it, action, Duration::ZERO)), ErrorKind::NotPermitted { path: None });
        xen.forget_orders();
        let ended = client.wait(&it, action, Duration::from_secs(20)).map_err(|error| error.kind().clone());
        assert_eq!(ended, if carried_out { Ok(()) } else { Err(ErrorKind::Fault) });
    }
}

/// A client that did not send the action has the state and the last result alone.
#[test]
fn a_wait_for_an_action_of_another_process_judges_by_what_is_there() {
    use Action::{Apply, Replace, Revert, Unload};
    for (xen, client) in hosts(Release::ALL) {
        let judge = |id: &str| {
            let of = |action| client.wait(&name(id), action, Duration::ZERO).map_err(|error| error.kind().clone());
            [of(Apply), of(Revert), of(Replace), of(Unload)]
        };
        let overtaken = |state, applied| Err(ErrorKind::Overtaken { state: Some(state), applied });
        let not_done = |found, expected| Err(ErrorKind::NotDone { found, expected });
        let no_apply = not_done(State::Checked, State::Applied);
        let no_revert = not_done(State::Applied, State::Checked);
        let unknown = Err(ErrorKind::OutcomeUnknown);
        let nobody = Err(ErrorKind::NoSuchPayload);
        assert_eq!(judge("one"), [nobody.clone(), nobody.clone(), nobody, Ok(())]);
        let [one, two] = stack(&xen, ["one", "two"], 0);
        assert_eq!(judge("one"), [no_apply.clone(), Ok(()), no_apply, unknown.clone()]);
        // A result that another action has left.
        xen.set_quiesce_time(Duration::from_secs(1));
        xen.other_action(&one, Apply, Flags::empty()).unwrap_err();
        let late = Err(ErrorKind::QuiesceTimeout);
        let failed = Err(ErrorKind::ReplaceFailed { code: Errno::EBUSY, applied: Some(vec![]) });
        assert_eq!(judge("one"), [late.clone(), overtaken(State::Checked, None), failed, unknown.clone()]);
        xen.set_quiesce_time(Duration::ZERO);
        xen.other_action(&one, Apply, Flags::empty()).unwrap();
        assert_eq!(judge("one"), [Ok(()), no_revert.clone(), Ok(()), unknown.clone()]);
        xen.other_action(&two, Apply, Flags::empty()).unwrap();
        let both = overtaken(State::Applied, Some(vec![one, two]));
        assert_eq!(judge("two"), [Ok(()), no_revert, both, unknown]);
        // One that is under way.
        hold(&xen, "two", Action::Revert);
        assert_eq!(judge("two"), [(); 4].map(|()| Err(ErrorKind::Unfinished)));
        xen.set_quiesce_time(Duration::from_secs(1));
        xen.finish_action();
        assert_eq!(judge("two")[1], late);
    }
}

/// A REPLACE leaves the same result as the only failure of an APPLY.
#[test]
fn a_result_of_unknown_origin_is_unexplained() {
    for (xen, client) in hosts(releases(Release::V4_8..Release::V4_14)) {
        let one = upload(&client, "one", &builder(&xen, "one").writable_data([1]));
        apply_and_revert(&client, &one);
        assert_eq!(kind(client.apply(&one, Flags::empty())), ErrorKind::ReapplyNeedsReupload);
        let error = error(connect(&xen).wait(&one, Action::Apply, Duration::ZERO));
        assert!(matches!(error.kind(), ErrorKind::Unexplained { code: Errno::EINVAL, .. }), "{error}");
        assert!(error.to_string().contains("is that of a replace"), "{error}");
    }
}

#[test]
fn a_waited_unload_is_known_to_later_inventories() {
    for (xen, client) in hosts(Release::ALL) {
        let [_, two] = stack(&xen, ["one", "two"], 0);
        client.inventory().unwrap();
        xen.on_unload().fault_after();
        go_blind_after(&xen, Call::Unload, Errno::EPERM);
        assert_eq!(kind(client.unload(&two, Flags::empty())), ErrorKind::OutcomeUnknown);
        xen.forget_orders();
        let pressed = xen.calls().of(Call::DebugKeys);
        let identified = || {
            let payloads = client.inventory().unwrap().payloads;
            payloads.iter().map(|entry| entry.build_id.is_some()).collect::<Vec<_>>()
        };
        for _ in 0..2 {
            client.wait(&two, Action::Unload, Duration::from_secs(20)).unwrap();
        }
        assert_eq!((identified(), xen.calls().of(Call::DebugKeys)), (vec![true], pressed));

        // A version that was read in between counts the unload already: another payload of the name is not mistaken for it.
        client.wait(&two, Action::Unload, Duration::from_secs(20)).unwrap();
        load(&xen, "two");
        assert_eq!((identified(), xen.calls().of(Call::DebugKeys)), (vec![true, true], pressed + 1));
    }
}
