//! Lines of Xen's log in errors.

use crate::prelude::*;

/// Has Xen refuse a payload for its dependency.
fn refused(xen: &SimulatedXen, client: &LivepatchClient) -> xen_livepatch::Error {
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
    for errno in [Errno::EACCES, Errno::EPERM, Errno::ENOSYS] {
        let (xen, client) = host(Release::V4_17);
        xen.on_console().always().fail(errno);
        let error = refused(&xen, &client);
        assert_eq!((error.xen_log(), error.raw_errno()), (&[][..], Some(Errno::EINVAL)));
        let one = load(&xen, "one");
        client.apply(&one, Flags::empty()).unwrap();
        client.revert(&one, Flags::empty()).unwrap();
        assert_eq!(xen.calls().of(Call::Console), 1, "it isn't tried again");
    }
}

#[test]
fn a_log_that_fails_now_is_read_the_next_time() {
    for errno in [Errno::EFAULT, Errno::ENOMEM, Errno::EIO, Errno::new(4000)] {
        for nth in [1, 2] {
            let (xen, client) = host(Release::V4_17);
            // As often as a question is asked.
            (nth..nth + 4).for_each(|nth| xen.on_console().nth(nth).fail(errno));
            let error = refused(&xen, &client);
            assert_eq!((error.xen_log(), error.raw_errno()), (&[][..], Some(Errno::EINVAL)), "{errno} {nth}");
            xen.forget_orders();
            assert_eq!(refused(&xen, &client).xen_log().len(), 1, "{errno} {nth}");
        }
    }
}

#[test]
fn one_fault_is_not_even_noticed() {
    for nth in [1, 2] {
        let (xen, client) = host(Release::V4_17);
        xen.on_console().nth(nth).fail(Errno::EFAULT);
        assert_eq!(refused(&xen, &client).xen_log().len(), 1);
    }
}

#[test]
fn a_log_that_wrapped_meanwhile_has_what_is_left() {
    for size in [1, 60, 200, 4096] {
        let xen = SimulatedXen::builder(Release::V4_17).console_size(size).build();
        let client = connect(&xen);
        xen.on_apply().always().before(|xen| (0..100).for_each(|line| xen.print(&format!("line {line}"))));
        for _ in 0..3 {
            let error = refused(&xen, &client);
            let left = size > 100;
            assert_eq!(error.xen_log().len(), usize::from(left), "{size}: {:?}", error.xen_log());
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
    let client = quick().without_xen_log().connect(xen.clone()).unwrap();
    assert_eq!(refused(&xen, &client).xen_log(), [""; 0]);
    assert_eq!(xen.calls().of(Call::Console), 0);
}
