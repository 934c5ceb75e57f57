//! Threads that share a client, each with payloads of its own.

use std::thread;

use crate::prelude::*;

const THREADS: u8 = 3;

proptest! {
    #![proptest_config(cases(150))]

    #[test]
    fn threads_do_not_confuse_each_other(
        release in release(),
        pace in pace(),
        hooks in hooks(),
        orders in vec(order(), 0..6),
        steps in vec(vec(step(), 1..10), usize::from(THREADS)),
    ) {
        let xen = SimulatedXen::new(release);
        let client = settings().settle_time(Duration::from_micros(200)).connect(xen.clone()).unwrap();
        xen.set_pace(pace);
        for order in &orders {
            order.give(&xen);
        }
        thread::scope(|scope| {
            for (steps, thread) in steps.iter().zip(0..) {
                let (xen, client, hooks) = (&xen, &client, &hooks);
                scope.spawn(move || steps.iter().for_each(|step| own(step, thread, xen, hooks, client)));
            }
        });
        all_is_well_again(&xen);
        check_agreement(&xen, &client);
    }
}

/// Runs a call on a payload of this thread's own, which no other thread loads or unloads.
fn own(step: &ClientCall, thread: u8, xen: &SimulatedXen, hooks: &Hooks, client: &LivepatchClient) {
    let id = (step.id % (PAYLOADS / THREADS)) * THREADS + thread;
    // What is counted meanwhile are the others' hypercalls too.
    let step = ClientCall { id, deadline: step.deadline.max(Duration::from_millis(1)), ..step.clone() };
    let is_loaded = || xen.loaded().contains(&name(step.id));
    let before = is_loaded();
    let result = timed(&step, xen, hooks, client);
    match (step.operation, &result) {
        (Operation::Upload, Ok(())) => assert!(is_loaded()),
        (Operation::Act(Action::Unload, _), Ok(())) => assert!(before && !is_loaded()),
        (_, Err(error)) if error.may_have_happened() => {}
        _ => assert_eq!(is_loaded(), before, "{result:?}"),
    }
    if let Ok(rows) = client.list() {
        check_rows(xen.release(), &rows);
        assert_eq!(rows.iter().any(|row| row.name == name(step.id)), is_loaded());
    }
}
