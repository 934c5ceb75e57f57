//! Errors of values, and of hosts that no story has.

use crate::prelude::*;

#[test]
fn values_are_checked_when_they_are_made() {
    assert!(matches!(kind(PayloadName::new("").map_err(Error::from)), ErrorKind::InvalidName(_)));
    assert!(matches!(kind("xyz".parse::<BuildId>().map_err(Error::from)), ErrorKind::InvalidBuildId(_)));
    assert!(matches!(kind(QuiesceTimeout::new(Duration::ZERO)), ErrorKind::InvalidTimeout { nanoseconds: 0 }));
}

#[test]
fn payloads_that_xen_can_not_use() {
    for (xen, client) in hosts(Release::ALL) {
        let uploaded = |payload: &[u8]| kind_and_errno(unchecked(&client, &name("one"), payload));
        assert_eq!(uploaded(b""), (ErrorKind::EmptyPayload, None));
        let large = vec![0; (2 << 20) + 1];
        assert_eq!(uploaded(&large), (ErrorKind::PayloadTooLarge { size: (2 << 20) + 1, without_debug: None }, None));
        assert_eq!(xen.calls().of(Call::Upload), 0, "Xen isn't asked");
        for (payload, errno) in [
            (b"no ELF file".to_vec(), Errno::EINVAL),
            (large[1..].to_vec(), Errno::EINVAL),
            (builder(&xen, "one").needs("nobody_has_it").build(), Errno::ENOENT),
            (builder(&xen, "one").defect(".text", Defect::Flags(7)).build(), Errno::EOPNOTSUPP),
        ] {
            let (kind, raw) = uploaded(&payload);
            assert!(matches!(kind, ErrorKind::InvalidPayload { .. }), "{kind:?}");
            assert_eq!(raw, Some(errno));
        }
        assert_eq!(xen.loaded(), []);
    }
}

#[test]
fn a_xen_without_a_build_id_takes_no_payload() {
    for release in each(Release::ALL) {
        let client = connect(&SimulatedXen::builder(release).build_id(None).build());
        let uploaded = client.upload(&name("one"), &builder(&SimulatedXen::new(release), "one").build());
        if release >= Release::V4_14 {
            assert_eq!(kind(uploaded), ErrorKind::NoBuildId);
        } else {
            uploaded.unwrap();
            assert_eq!(kind(client.apply(&name("one"), Flags::empty())), ErrorKind::NoBuildId);
            assert_eq!(kind(client.replace(&name("one"), Flags::empty())), ErrorKind::NoBuildId);
        }
    }
}

#[test]
fn a_host_that_goes_down_is_an_error_too() {
    let (xen, client) = host(Release::V4_17);
    let kills = upload(&client, "one", &with_hook(&xen, "one", HookKind::Apply, 0));
    assert_eq!(error(client.apply(&kills, Flags::empty())).raw_errno(), Some(Errno::EIO));
    assert!(xen.crashed().is_some());
}
