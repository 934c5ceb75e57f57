//! Finding the interface version.

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
        assert_eq!(
            error.kind(),
            &ErrorKind::InterfaceNotSupported { xen: format!("4.{}", release.minor()), pinned: None }
        );
        assert_eq!((error.raw_errno(), error.operation()), (Some(Errno::EACCES), Some(Operation::Open)));
        let versions: BTreeSet<u32> = Release::ALL.into_iter().map(Release::interface_version).collect();
        assert_eq!(xen.calls().of(Call::List), u64::try_from(versions.len()).unwrap());
    }
}

#[test]
fn other_denials_are_distinguished() {
    for release in each(Release::ALL) {
        let with = |access, support| {
            let error = error(quick().connect(SimulatedXen::builder(release).access(access).support(support).build()));
            (error.kind().clone(), error.raw_errno())
        };
        assert_eq!(
            with(Access::NotPrivileged, Support::Full),
            (ErrorKind::NotPermitted { path: None }, Some(Errno::EPERM))
        );
        for support in [Support::NoLivepatch, Support::NoSysctl] {
            assert_eq!(with(Access::Privileged, support), (ErrorKind::NotBuiltIn, Some(Errno::ENOSYS)));
        }
    }
}

#[test]
fn a_failure_of_any_hypercall_is_the_error_of_open() {
    for call in [Call::Version, Call::List] {
        for (errno, expected) in [
            (Errno::EFAULT, ErrorKind::Fault),
            (Errno::ENOTTY, ErrorKind::NotPrivcmd),
            (Errno::EPERM, ErrorKind::NotPermitted { path: None }),
        ] {
            let xen = SimulatedXen::new(Release::V4_17);
            xen.on(call).fail(errno);
            let error = error(quick().connect(xen));
            assert_eq!((error.kind(), error.raw_errno()), (&expected, Some(errno)), "{call:?}");
        }
    }
}

#[test]
fn permission_can_be_taken_away_later() {
    for (xen, client) in hosts(Release::ALL) {
        let one = load(&xen, "one");
        for access in [Access::NotPrivileged, Access::DeniedByFlask] {
            xen.set_access(access);
            assert_eq!(kind(client.status(&one)), ErrorKind::NotPermitted { path: None });
            assert_eq!(kind(client.list()), ErrorKind::NotPermitted { path: None });
            assert_eq!(
                kind(client.upload(&name("two"), &builder(&xen, "two").build())),
                ErrorKind::NotPermitted { path: None }
            );
            assert_eq!(kind(client.apply(&one, Flags::empty())), ErrorKind::NotPermitted { path: None });
            assert_eq!(kind(client.unload(&one, Flags::empty())), ErrorKind::NotPermitted { path: None });
            assert_eq!(client.build_id().is_err(), access == Access::NotPrivileged);
        }
        xen.set_access(Access::Privileged);
        client.apply(&one, Flags::empty()).unwrap();
    }
}

#[test]
fn a_xen_without_a_build_id() {
    for release in each(Release::ALL) {
        let xen = SimulatedXen::builder(release).build_id(None).build();
        let error = error(connect(&xen).build_id());
        assert_eq!((error.kind(), error.raw_errno()), (&ErrorKind::NoBuildId, Some(Errno::ENODATA)));
    }
}
