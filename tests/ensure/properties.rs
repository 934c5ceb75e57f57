//! From any state to any other.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use xen_livepatch::sim::{Call, Release, SimulatedXen};
use xen_livepatch::{Action, EnsureError, Errno, LivepatchClient, Plan, PlanError, Step, Wanted};

use crate::host::{Deed, STACKS, connect, deed, of, release, wanted, what_is};

fn cases(count: u32) -> ProptestConfig {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(count);
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

fn host(release: Release, deeds: &[Deed]) -> (SimulatedXen, LivepatchClient) {
    let xen = SimulatedXen::new(release);
    for deed in deeds {
        deed.act(&xen);
    }
    let client = connect(&xen);
    (xen, client)
}

/// What is applied, from the bottom up.
fn applied(xen: &SimulatedXen, client: &LivepatchClient) -> Vec<&'static str> {
    xen.applied().iter().map(|name| what_is(xen, client, name).unwrap()).collect()
}

fn arrived(xen: &SimulatedXen, client: &LivepatchClient, stack: &[&str], kept: bool) {
    assert_eq!(applied(xen, client), stack);
    assert!(kept || xen.loaded().len() == stack.len(), "something is left: {:?}", xen.loaded());
    assert_eq!(xen.crashed(), None);
    let again = Plan::new(&client.inventory().unwrap(), &wanted(xen, stack)).unwrap();
    assert!(kept || again.is_empty(), "{again}");
}

/// The fewest steps that may do: none can be left out, since each changes one thing that has to change.
fn is_minimal(plan: &Plan, before: &[&'static str], stack: &[&str]) {
    let count = |what: &str| plan.steps().iter().filter(|step| step.word() == what).count();
    let common = before.iter().zip(stack).take_while(|(there, wanted)| there == wanted).count();
    if before.len() == common {
        assert_eq!((count("revert"), count("replace")), (0, 0), "{plan}");
        assert_eq!(count("apply"), stack.len() - common, "{plan}");
    } else if count("replace") == 1 {
        assert_eq!((count("revert"), count("apply"), common), (0, stack.len() - 1, 0), "{plan}");
    } else {
        assert_eq!((count("revert"), count("apply")), (before.len() - common, stack.len() - common), "{plan}");
    }
    assert!(count("upload") <= stack.len() - common, "{plan}");
}

/// The host is never without what stays, and never unpatched where a replacement does.
fn carried_out_as_told(plan: &Plan, client: &LivepatchClient, xen: &SimulatedXen) {
    let gaps = plan.gaps();
    let before = xen.applied();
    let end: Vec<_> = plan.steps().iter().map(Step::name).cloned().collect();
    let last_apply = plan.steps().iter().rposition(|step| matches!(step.word(), "apply" | "replace"));
    client
        .carry_out(plan, |event| {
            let xen_livepatch::StepEvent::End { index, .. } = event else { return };
            let now = xen.applied();
            for payload in &before {
                let told = gaps.iter().any(|gap| gap.payload == *payload && (gap.from..gap.until).contains(&index));
                let without = !now.contains(payload) && last_apply.is_some_and(|last| index < last);
                let replaced = plan.steps()[..=index].iter().any(|step| step.word() == "replace");
                assert!(told == without || replaced, "step {index}: {payload}, {plan}\n{end:?}");
            }
        })
        .unwrap();
}

/// Nothing tells what hooks an applied payload has, so that Xen may refuse a replacement. Then one by one will do.
fn goal(xen: &SimulatedXen, stack: &[&str], before: &[&str]) -> Wanted {
    let goal = wanted(xen, stack);
    if before.contains(&"hooked") { goal.one_by_one() } else { goal }
}

/// Something goes wrong, once.
#[derive(Clone, Copy, Debug)]
enum Mishap {
    Fail(Call, u64, Errno),
    LostAnswer(Call, u64),
    TimeOut(Action),
    Other(Call, u64, Deed),
}

const CALLS: [Call; 6] = [Call::Upload, Call::Apply, Call::Revert, Call::Replace, Call::Unload, Call::List];

fn mishap() -> impl Strategy<Value = Mishap> {
    let call = || select(&CALLS[..]);
    let errno =
        || select(&[Errno::EFAULT, Errno::EBUSY, Errno::ENOMEM, Errno::EINVAL, Errno::EAGAIN, Errno::EPERM][..]);
    prop_oneof![
        (call(), 1..4_u64, errno()).prop_map(|(call, nth, errno)| Mishap::Fail(call, nth, errno)),
        (call(), 1..4_u64).prop_map(|(call, nth)| Mishap::LostAnswer(call, nth)),
        select(&[Action::Apply, Action::Revert, Action::Replace][..]).prop_map(Mishap::TimeOut),
        (call(), 1..6_u64, deed(false)).prop_map(|(call, nth, deed)| Mishap::Other(call, nth, deed)),
    ]
}

impl Mishap {
    fn order(self, xen: &SimulatedXen) {
        match self {
            Self::Fail(call, nth, errno) => xen.on(call).nth(nth).before(move |xen| xen.on(call).fail(errno)),
            Self::LostAnswer(call, nth) => xen.on(call).nth(nth).before(move |xen| lose(xen, call)),
            Self::TimeOut(Action::Apply) => xen.on_apply().time_out(),
            Self::TimeOut(Action::Revert) => xen.on_revert().time_out(),
            Self::TimeOut(_) => xen.on_replace().time_out(),
            Self::Other(call, nth, deed) => xen.on(call).nth(nth).before(move |xen| deed.act(xen)),
        }
    }
}

fn lose(xen: &SimulatedXen, call: Call) {
    match call {
        Call::Upload => xen.on_upload().fault_after(),
        Call::Apply => xen.on_apply().fault_after(),
        Call::Revert => xen.on_revert().fault_after(),
        Call::Replace => xen.on_replace().fault_after(),
        Call::Unload => xen.on_unload().fault_after(),
        _ => xen.on_list().fault_after(),
    }
}

proptest! {
    #![proptest_config(cases(400))]

    /// Without NODEPS there is always a way, but for one reason: two payloads that don't tell who is below.
    #[test]
    fn a_host_becomes_what_is_wanted(
        release in release(),
        deeds in vec(deed(false), 0..24),
        stack in select(&STACKS[..]),
        kept in any::<bool>(),
    ) {
        let (xen, client) = host(release, &deeds);
        let before = applied(&xen, &client);
        let goal = goal(&xen, stack, &before);
        let goal = if kept { goal.keep_unapplied() } else { goal };
        let plan = Plan::new(&client.inventory().unwrap(), &goal).unwrap();
        is_minimal(&plan, &before, stack);
        carried_out_as_told(&plan, &client, &xen);
        arrived(&xen, &client, stack, kept);
    }

    /// With NODEPS it may not be known who is on top: that is told before the first step, and only if it is so.
    #[test]
    fn an_order_that_is_not_known_is_not_guessed(
        release in select(&[Release::V4_14, Release::V4_17, Release::V4_22][..]),
        deeds in vec(deed(true), 0..24),
        stack in select(&STACKS[..]),
    ) {
        let (xen, client) = host(release, &deeds);
        let before = applied(&xen, &client);
        // A payload that was put below what it says that it goes on. Nothing tells, and the step that it doesn't fit fails.
        let at = |id: &str| before.iter().position(|other| *other == id);
        let upside_down = before.iter().any(|id| of(id).below.is_some_and(|below| at(below) > at(id)));
        match client.ensure(&goal(&xen, stack, &before), |_| ()) {
            Ok(_) if upside_down => {}
            Ok(_) => arrived(&xen, &client, stack, false),
            Err(EnsureError::NoPlan(PlanError::OrderUnknown { .. })) => {
                let chained = before.windows(2).all(|pair| of(pair[1]).below == Some(pair[0]));
                assert!(!chained || of(before[0]).below.is_some(), "{before:?}");
                assert_eq!(applied(&xen, &client), before);
            }
            Err(EnsureError::Interrupted(failure)) if upside_down => {
                let expected = ["not_on_top", "depends_on_another"];
                let kind = serde_json::to_value(failure.error.kind()).unwrap();
                assert!(expected.iter().any(|word| kind == *word), "{failure}");
            }
            Err(error) => panic!("{error}"),
        }
    }

    /// Whatever goes wrong, the report says how the host stands, and planning again from there arrives.
    #[test]
    fn what_goes_wrong_is_told_and_can_be_mended(
        release in release(),
        deeds in vec(deed(false), 0..16),
        stack in select(&STACKS[..]),
        mishaps in vec(mishap(), 1..4),
    ) {
        let (xen, client) = host(release, &deeds);
        // Others may apply it meanwhile, too.
        let goal = wanted(&xen, stack).one_by_one();
        let plan = Plan::new(&client.inventory().unwrap(), &goal).unwrap();
        for mishap in &mishaps {
            mishap.order(&xen);
        }
        if let Err(failure) = client.carry_out(&plan, |_| ()) {
            let steps = failure.done.iter().chain(&failure.failed).chain(&failure.left);
            assert!(steps.eq(plan.steps()), "{failure:?}");
            if let Some(told) = failure.applied().filter(|_| xen.pending_orders().is_empty()) {
                let mut truth = xen.applied();
                let place = |name: &_| xen.loaded().iter().position(|other| other == name);
                truth.sort_by_key(place);
                assert!(told.into_iter().eq(&truth), "{failure}");
            }
        }
        xen.forget_orders();
        xen.finish_action();
        match client.ensure(&goal, |_| ()) {
            Ok(_) => arrived(&xen, &client, stack, false),
            Err(error) => panic!("{error}: {:?} {:?}", xen.loaded(), xen.applied()),
        }
    }
}
