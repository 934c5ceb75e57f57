use super::*;

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
