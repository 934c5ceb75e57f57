//! Finding the interface version, and what the running Xen understands.

use std::collections::BTreeSet;

use xen_livepatch::sim::Support;

use crate::prelude::*;

#[test]
fn every_release_is_found_at_the_first_attempt() {
    for (xen, client) in hosts(Release::ALL) {
        assert_eq!((xen.calls().of(Call::Version), xen.calls().of(Call::List), xen.calls().total()), (1, 1, 2));
        let version = client.xen_version().unwrap();
        assert_eq!((version.major, version.minor), (4, xen.release().minor()));
        assert_eq!(version.extra, xen.release().extra_version());
        assert_eq!(client.build_id().ok(), xen.build_id());
        assert_eq!(client.list().unwrap(), []);
    }
}

#[test]
fn a_refusal_at_every_version_may_be_flask() {
    for release in each(Release::ALL) {
        let xen = SimulatedXen::builder(release).access(Access::DeniedByFlask).build();
        let error = error(quick().connect(xen.clone()));
        let refused = ErrorKind::InterfaceNotSupported { xen: format!("4.{}", release.minor()), pinned: None };
        assert_eq!(error.kind(), &refused);
        assert_eq!((error.raw_errno(), error.operation()), (Some(Errno::EACCES), Some(Operation::Open)));
        let versions = BTreeSet::from(Release::ALL.map(Release::interface_version));
        assert_eq!(xen.calls().of(Call::List), u64::try_from(versions.len()).unwrap());
    }
}

#[test]
fn other_denials_are_distinguished() {
    let cases = [
        (Access::NotPrivileged, Support::Full, (ErrorKind::NotPermitted { path: None }, Some(Errno::EPERM))),
        (Access::Privileged, Support::NoLivepatch, (ErrorKind::NotBuiltIn, Some(Errno::ENOSYS))),
        (Access::Privileged, Support::NoSysctl, (ErrorKind::NotBuiltIn, Some(Errno::ENOSYS))),
    ];
    for (release, (access, support, expected)) in each(pairs(Release::ALL, cases)) {
        let xen = SimulatedXen::builder(release).access(access).support(support).build();
        assert_eq!(kind_and_errno(quick().connect(xen)), expected);
    }
}

#[test]
fn a_failure_of_any_hypercall_is_the_error_of_open() {
    let errors = [
        (Errno::EFAULT, ErrorKind::Fault),
        (Errno::ENOTTY, ErrorKind::NotPrivcmd),
        (Errno::EPERM, ErrorKind::NotPermitted { path: None }),
    ];
    for (call, (errno, expected)) in each(pairs([Call::Version, Call::List], errors)) {
        let xen = SimulatedXen::new(Release::V4_17);
        xen.on(call).fail(errno);
        assert_eq!(kind_and_errno(quick().connect(xen)), (expected, Some(errno)));
    }
}

#[test]
fn a_xen_without_a_build_id() {
    for release in each(Release::ALL) {
        let client = connect(&SimulatedXen::builder(release).build_id(None).build());
        assert_eq!(kind_and_errno(client.build_id()), (ErrorKind::NoBuildId, Some(Errno::ENODATA)));
    }
}

#[test]
fn a_xen_is_asked_what_it_understands() {
    for release in each(Release::ALL) {
        let (_, client) = host(release);
        let capabilities = client.capabilities().unwrap();
        let packed = release >= Release::V4_14;
        assert_eq!(capabilities.interface_version, release.interface_version());
        assert_eq!(capabilities.apply_flags.contains(Flags::NODEPS), packed);
        assert_eq!((capabilities.metadata, capabilities.action_hooks), (packed, packed));
        assert_eq!(capabilities.force, release >= Release::V4_19);
    }
}

#[test]
#[allow(unsafe_code, reason = "the layout of an unknown version is the caller's promise")]
fn an_interface_version_can_be_pinned() {
    let [.., newest] = Release::ALL.map(Release::interface_version);
    for release in each(Release::ALL) {
        let version = release.interface_version();
        // SAFETY: a simulated Xen has none of the unknown versions.
        let connect = |pinned| unsafe { quick().interface_version(pinned) }.connect(SimulatedXen::new(release));
        let client = connect(version).unwrap();
        assert_eq!(client.capabilities().unwrap().interface_version, version);
        // No other is tried, known or not.
        for wrong in [0, 0x0c, newest + 1, u32::MAX, if version == 0x12 { 0x13 } else { 0x12 }] {
            let error = error(connect(wrong));
            let ErrorKind::InterfaceNotSupported { pinned, .. } = error.kind() else { panic!("{error:?}") };
            assert_eq!(*pinned, Some(wrong));
        }
    }
}
