//! Lines of Xen's log in errors.

use crate::prelude::*;

/// Has Xen refuse a payload for its dependency.
fn refused(xen: &SimulatedXen, client: &LivepatchClient) -> Error {
    if xen.status("wrong").is_none() {
        let unknown = builder(xen, "unknown");
        xen.other_upload("wrong", &builder(xen, "wrong").depends_on(unknown.build_id()).build()).unwrap();
    }
    error(client.apply(&name("wrong"), Flags::empty()))
}

#[test]
fn an_error_carries_the_lines_about_its_payload_alone() {
    for (xen, client) in hosts(Release::ALL) {
        xen.print("livepatch: wrong: said before");
        xen.on_apply().before(|xen| {
            xen.print("livepatch: wrongly: of another");
            xen.print("livepatch: wrong: said meanwhile");
            xen.print("something else");
        });
        let error = refused(&xen, &client);
        let said = xen.release() >= Release::V4_13;
        let expected =
            ["livepatch: wrong: said meanwhile", "livepatch: wrong: check against hypervisor build-id failed"];
        assert_eq!(error.xen_log(), if said { &expected[..] } else { &expected[..1] });
        assert_eq!(refused(&xen, &client).xen_log().len(), usize::from(said), "the second has its own alone");
    }
}

#[test]
fn a_log_that_can_not_be_read_costs_its_lines() {
    for (xen, client, errno) in hosts_for([Release::V4_17], [Errno::EACCES, Errno::EPERM, Errno::ENOSYS]) {
        xen.on_console().always().fail(errno);
        let error = refused(&xen, &client);
        assert_eq!((error.xen_log(), error.raw_errno()), (&[][..], Some(Errno::EINVAL)));
        let one = load(&xen, "one");
        apply_and_revert(&client, &one);
        assert_eq!(xen.calls().of(Call::Console), 1, "it isn't tried again");
    }
}

#[test]
fn a_log_that_fails_now_is_read_the_next_time() {
    let errnos = [Errno::EFAULT, Errno::ENOMEM, Errno::EIO, Errno::new(4000)];
    for (xen, client, (errno, nth)) in hosts_for([Release::V4_17], pairs(errnos, [1, 2])) {
        // As often as a question is asked.
        (nth..nth + 4).for_each(|nth| xen.on_console().nth(nth).fail(errno));
        let error = refused(&xen, &client);
        assert_eq!((error.xen_log(), error.raw_errno()), (&[][..], Some(Errno::EINVAL)));
        xen.forget_orders();
        assert_eq!(refused(&xen, &client).xen_log().len(), 1);
    }
}

#[test]
fn one_fault_is_not_even_noticed() {
    for (xen, client, nth) in hosts_for([Release::V4_17], [1, 2]) {
        xen.on_console().nth(nth).fail(Errno::EFAULT);
        assert_eq!(refused(&xen, &client).xen_log().len(), 1);
    }
}

#[test]
fn a_log_that_wrapped_meanwhile_has_what_is_left() {
    for size in each([1, 60, 200, 4096]) {
        let xen = SimulatedXen::builder(Release::V4_17).console_size(size).build();
        let client = connect(&xen);
        xen.on_apply().always().before(|xen| (0..100).for_each(|line| xen.print(&format!("line {line}"))));
        for _ in 0..3 {
            let error = refused(&xen, &client);
            assert_eq!(error.xen_log().len(), usize::from(size > 100), "{:?}", error.xen_log());
            assert_eq!(error.raw_errno(), Some(Errno::EINVAL));
        }
    }
}

#[test]
fn a_huge_log_is_read_in_parts() {
    let xen = SimulatedXen::builder(Release::V4_20).console_size(1 << 20).build();
    let line = "x".repeat(1000);
    (0..2000).for_each(|_| xen.print(&line));
    let client = connect(&xen);
    assert_eq!(refused(&xen, &client).xen_log().len(), 1);
    let reads = xen.calls().of(Call::Console);
    assert!((17..30).contains(&reads), "{reads}");
    assert_eq!(refused(&xen, &client).xen_log().len(), 1);
    assert_eq!(xen.calls().of(Call::Console) - reads, 2);
}

#[test]
fn a_client_without_xen_log_reads_none() {
    let xen = SimulatedXen::new(Release::V4_17);
    assert_eq!(refused(&xen, &without_log(&xen)).xen_log(), [""; 0]);
    assert_eq!(xen.calls().of(Call::Console), 0);
}
