//! Nobody else acts on the host, so that a client's word can be held against what is there.

use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use xen_livepatch::sim::{Call, Release, SimulatedXen};
use xen_livepatch::{ErrorKind, LivepatchClient, State};

use crate::cases;
use crate::plan::{Fault, Operation, Step, all_is_well_again, name, release, step};
use crate::truth::{Outcome, Truth, check_agreement, check_success, outcome, timed};

proptest! {
    #![proptest_config(cases(1500))]

    #[test]
    fn what_a_client_says_is_so(release in release(), log in any::<bool>(), steps in vec(step(), 1..25)) {
        story(release, log, &steps);
    }
}

fn story(release: Release, log: bool, steps: &[Step]) {
    let xen = SimulatedXen::new(release);
    let settings = LivepatchClient::builder().settle_time(Duration::ZERO);
    let settings = if log { settings } else { settings.without_xen_log() };
    let client = settings.connect(xen.clone()).unwrap();
    for step in steps {
        let before = Truth::of(&xen);
        let unclear = is_unclear(step, &xen);
        xen.set_pace(step.pace);
        for order in &step.orders {
            order.give(&xen);
        }
        let result = timed(step, &xen, &client);
        if result.is_ok() && !unclear {
            check_success(step, &before, &Truth::of(&xen));
        }
        all_is_well_again(&xen);
        let now = Truth::of(&xen);
        if let Err(error) = &result {
            if outcome(error.kind()) == Outcome::NothingDone {
                assert_eq!(now, before, "{error}");
            }
            match error.kind() {
                ErrorKind::ActionFailed { state, .. } => assert_eq!(Some(*state), state_of(&xen, step.id), "{error}"),
                ErrorKind::ReplaceFailed { applied: Some(applied), .. } => {
                    let in_order = now.loaded.iter().filter(|name| now.applied.contains(name));
                    assert!(applied.iter().eq(in_order), "{error}");
                }
                _ => {}
            }
        }
        check_agreement(&xen, &client);
    }
}

fn state_of(xen: &SimulatedXen, id: u8) -> Option<State> {
    xen.status(name(id)).map(|status| status.state)
}

/// The one case where nothing that Xen tells distinguishes two: an upload meets EFAULT, and the last payload of the list
/// has its name, whether since now or since before, and nothing was ever done with it.
fn is_unclear(step: &Step, xen: &SimulatedXen) -> bool {
    let name = name(step.id);
    let upload = matches!(step.operation, Operation::Upload);
    let faults = step.orders.iter().any(|order| order.call == Call::Upload && may_fault(order.fault));
    let untouched = xen.status(&name).is_some_and(|status| status.state == State::Checked && status.rc == 0);
    upload && faults && untouched && xen.loaded().last() == Some(&name)
}

fn may_fault(fault: Fault) -> bool {
    matches!(fault, Fault::LostAnswer | Fault::Fail(xen_livepatch::Errno::EFAULT))
}
