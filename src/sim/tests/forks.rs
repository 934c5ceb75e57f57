use super::*;

#[test]
fn forks_go_their_own_ways() {
    for release in Release::ALL {
        let xen = SimulatedXen::new(release);
        stack(&xen, &["one", "two"]);
        xen.set_pace(Pace::Held);
        assert_eq!(action(&xen, "one", APPLY), Ok(0));
        let fork = xen.fork();
        fork.finish_action();
        assert_eq!((extra_version(&fork), extra_version(&xen)), ("-one".into(), release.extra_version()));
        assert_eq!((get(&fork, "one"), get(&xen, "one")), (Ok((2, 0)), Ok((1, -11))));
        // Each has its own work, list and memory.
        assert_eq!(action(&xen, "two", UNLOAD), Ok(0));
        assert_eq!(done(&fork, "two", APPLY), (2, 0));
        xen.finish_action();
        assert_eq!((names(&fork.loaded()), names(&xen.loaded())), (vec!["one", "two"], vec!["one"]));
        assert_eq!(extra_version(&fork), "-two");
    }
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
