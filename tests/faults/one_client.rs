//! One client alone on a host, so that its reports can be compared with the state of the host.

use crate::prelude::*;

proptest! {
    #![proptest_config(cases(1500))]

    #[test]
    fn a_client_reports_the_state_of_the_host(release in release(), log in any::<bool>(), hooks in hooks(), steps in vec(step(), 1..25)) {
        story(release, log, &hooks, &steps);
    }
}

fn story(release: Release, log: bool, hooks: &Hooks, steps: &[ClientCall]) {
    let xen = SimulatedXen::new(release);
    let settings = settings().settle_time(Duration::ZERO);
    let settings = if log { settings } else { settings.without_xen_log() };
    let client = settings.connect(xen.clone()).unwrap();
    for step in steps {
        let before = Truth::of(&xen);
        xen.set_pace(step.pace);
        xen.set_log_level(step.log);
        for order in &step.orders {
            order.give(&xen);
        }
        let result = timed(step, &xen, hooks, &client);
        let then = Truth::of(&xen);
        if result.is_ok() {
            check_success(step, &before, &then);
        }
        check_report(step, hooks, &[before.clone(), then], &result);
        all_is_well_again(&xen);
        let now = Truth::of(&xen);
        if let Err(error) = &result {
            if !error.may_have_happened() {
                assert_eq!(now, before, "{error}");
            }
            check_alone(step, hooks, release, error.kind());
        }
        check_agreement(&xen, &client);
    }
}

/// Checks that the error is possible if nobody else acts.
fn check_alone(step: &ClientCall, hooks: &Hooks, release: Release, kind: &ErrorKind) {
    let ordered = |what: fn(Fault) -> bool| step.orders.iter().any(|order| what(order.fault));
    let own = |kind| hook_of(hooks, step.id, kind).filter(|_| release >= Release::V4_14);
    let busy = own(HookKind::Apply).or(own(HookKind::Revert)) == Some(-Errno::EBUSY.number());
    // A wait reports what an earlier step has left.
    let waits = matches!(step.operation, Operation::Wait(_));
    match kind {
        // The list may be refused after a replace, and an action for a reason of its own.
        ErrorKind::Overtaken { .. } => {
            let faults = ordered(|fault| matches!(fault, Fault::Fail(_) | Fault::LostAnswer));
            assert!(faults || waits, "nobody was there: {kind:?}");
        }
        ErrorKind::QuiesceTimeout => {
            let late = ordered(|fault| matches!(fault, Fault::TimeOut | Fault::Hotplug));
            let hurried = step.timeout != QuiesceTimeout::XEN_DEFAULT;
            assert!(late || hurried || busy || waits, "{kind:?}");
        }
        ErrorKind::StaleInProgress { .. } => {
            let again = own(HookKind::Apply).or(own(HookKind::Revert)) == Some(-Errno::EAGAIN.number());
            assert!(again || waits || ordered(|fault| matches!(fault, Fault::Hotplug)), "{kind:?}");
        }
        ErrorKind::ReplaceFailed { .. } => assert_eq!(step.operation.action(), Some(Action::Replace)),
        ErrorKind::OutcomeUnknown => {
            let upload = step.orders.iter().any(|order| order.call == Call::Upload);
            assert!(upload || waits || !step.orders.is_empty(), "{} {kind:?}", name(step.id));
        }
        _ => {}
    }
}
