use super::*;

#[test]
fn what_was_never_met_is_told() {
    let xen = SimulatedXen::new(Release::V4_14);
    let pending = |xen: &SimulatedXen| xen.pending_orders().iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(xen.pending_orders(), []);
    xen.on_get().nth(3).fail(Errno::ENOMEM);
    xen.on_get().always().fault_after();
    xen.on_list().stop_after(1);
    xen.on_list().always().before(|_| {});
    xen.on_apply().nth(2).time_out();
    xen.on_revert().take(Pace::Held);
    xen.on(Call::Other).after(|_| {});
    let others = [
        "List number 1 from now on: stops after 1 rows",
        "every List: a script runs before it",
        "Apply number 2 from now on: runs out of time",
        "Revert number 1 from now on: takes Held",
        "Other number 1 from now on: a script runs after it",
    ];
    let gets = ["Get number 3 from now on: fails with ENOMEM (12, out of memory)", "every Get: can't write its answer"];
    assert_eq!(pending(&xen), [&gets[..], &others[..]].concat());

    let _ = get(&xen, "p");
    let gets = ["Get number 2 from now on: fails with ENOMEM (12, out of memory)"];
    assert_eq!(pending(&xen), [&gets[..], &others[..]].concat());
    let _ = (get(&xen, "p"), get(&xen, "p"), get(&xen, "p"));
    assert_eq!(pending(&xen), others);
    let first = xen.pending_orders()[0].clone();
    assert_eq!((first.call, first.nth), (Call::List, Some(1)));
    assert_eq!(xen.pending_orders()[1].nth, None);

    xen.forget_orders();
    assert_eq!(xen.pending_orders(), []);
}

#[test]
fn each_order_is_for_its_kind_of_hypercall() {
    let xen = SimulatedXen::new(Release::V4_17);
    let kinds = || xen.pending_orders().iter().map(|order| order.call).collect::<Vec<_>>();
    xen.on_upload().fault_after();
    xen.on_get().fault_after();
    xen.on_list().fault_after();
    xen.on_apply().fault_after();
    xen.on_revert().fault_after();
    xen.on_replace().fault_after();
    xen.on_unload().fault_after();
    xen.on_other_action().fault_after();
    xen.on_console().fault_after();
    xen.on_version().fail(Errno::EPERM);
    xen.on_extra_version().fault_after();
    xen.on_build_id().fault_after();
    let actions = [Call::Apply, Call::Revert, Call::Replace, Call::Unload];
    let first = [Call::Upload, Call::Get, Call::List];
    let last = [Call::OtherAction, Call::Console, Call::Version, Call::ExtraVersion, Call::BuildId];
    assert_eq!(kinds(), [&first[..], &actions[..], &last[..]].concat());
    xen.forget_orders();
    for action in [Action::Apply, Action::Revert, Action::Replace, Action::Unload] {
        xen.on_action(action).fault_after();
    }
    assert_eq!(kinds(), actions);
}

#[test]
fn orders_and_counts_are_not_forked() {
    let xen = SimulatedXen::new(Release::V4_20);
    xen.limit_buffers(Some(4096));
    xen.on_get().fail(Errno::EACCES);
    let fork = xen.fork();
    assert_eq!((get(&fork, "p"), get(&xen, "p")), (Err(Errno::ENOENT), Err(Errno::EACCES)));
    assert_eq!((fork.calls().total(), xen.calls().total()), (1, 1));
    assert!(fork.allocate(4097, End::Guarded).is_err());
}
