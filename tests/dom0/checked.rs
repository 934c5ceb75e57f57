//! The check before an upload: payloads that it keeps from Xen, and those that it must accept.

use std::fs;

use crate::prelude::*;

/// `.ci/run` searches Xen's console for these names: the first must never be there, the second must.
const NEVER_ARRIVES: &str = "never-arrives";
const ARRIVES: &str = "arrives-unchecked";

#[test]
#[ignore = "needs a real Xen"]
fn a_payload_for_another_xen_never_arrives() {
    let host = host();
    let (elsewhere, payload) = (another_xen(), for_another_xen(&host.client).build());
    let is_foreign = |kind: &ErrorKind| {
        let ErrorKind::BuiltForAnotherXen { expected, found, .. } = kind else { panic!("{kind:?}") };
        // From 4.20 on Xen logs both, in three lines.
        expected.as_ref().is_none_or(|id| *id == elsewhere) && found.as_ref().is_none_or(|id| *id == host.xen)
    };

    let error = host.client.upload(&name(NEVER_ARRIVES), &payload).unwrap_err();
    assert!(is_foreign(error.kind()), "{error:?}");
    assert_eq!(error.raw_errno(), None, "Xen was not asked");
    assert!(error.xen_log().is_empty());

    let unchecked = UploadOptions::new().unchecked();
    if !host.since(14) {
        // Xen refuses to apply it.
        let arrives = name(ARRIVES);
        host.client.upload_with(&arrives, &payload, unchecked).unwrap();
        let error = host.client.apply(&arrives, Flags::empty()).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::DependsOnAnother { .. }), "{error:?}");
        return host.unload(&arrives);
    }
    let error = host.client.upload_with(&name(ARRIVES), &payload, unchecked).unwrap_err();
    assert!(is_foreign(error.kind()) && error.raw_errno().is_some(), "{error:?}");
    assert!(error.xen_log().iter().any(|line| line.starts_with("livepatch: arrives-unchecked: ")), "{error:?}");
    assert_eq!(host.names(), Vec::<String>::new());
}

/// A payload of `tests/gcc-payloads/` for this Xen.
pub fn made_by_gcc(host: &Host, name: &str) -> Payload {
    let version = if host.since(14) { 2 } else { 1 };
    Payload::read(format!("/files/gcc-v{version}/{name}.livepatch")).unwrap()
}

#[test]
#[ignore = "needs a real Xen"]
fn payloads_made_by_gcc_and_ld() {
    let host = host();
    let [extra, hooked, stacked] = ["extra-version", "hooked", "stacked"].map(|name| made_by_gcc(&host, name));
    let version = host.client.xen_version().unwrap();
    let target = Target::from(&version).build_id(host.xen.clone());
    for payload in [&extra, &hooked, &stacked] {
        assert_eq!(payload.check_against(&target), []);
        assert_eq!(payload.xen_depends(), Some(&host.xen));
    }
    assert_eq!(stacked.depends(), extra.build_id());
    assert_eq!((hooked.functions().len(), hooked.is_replaceable()), (2, false));
    assert_eq!(extra.reapply(version.release()), Reapply::Allowed);
    assert_ne!(hooked.reapply(version.release()), Reapply::Allowed);

    let [extra_name, hooked_name, stacked_name] = ["extra", "hooked", "stacked"].map(name);
    host.client.load_as(&extra_name, &extra, Flags::empty()).unwrap();
    let patched = super::host::shown();
    assert_ne!(patched, host.original);
    host.client.load_as(&stacked_name, &stacked, Flags::empty()).unwrap();
    assert_ne!(super::host::shown(), patched);
    // As in docs/libxc.md.
    let error = host.client.load_as(&hooked_name, &hooked, Flags::empty()).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::DependsOnAnother { .. }), "{error:?}");
    if host.logs_reasons() {
        let message = format!(
            "apply \"hooked\": it depends on build-id {}, but would be applied on payload \"stacked\" with build-id \
             {} (both as uploaded by this client); apply what it depends on first, or, from Xen 4.14 on, use NODEPS \
             for a debug patch [EINVAL (22, invalid argument)]; it was unloaded again",
            host.xen,
            stacked.build_id().unwrap(),
        );
        assert_eq!(error.to_string(), message);
        assert_eq!(error.xen_log(), ["livepatch: hooked: check against stacked build-id failed"]);
    }

    let compiler = || fs::read_to_string("/sys/hypervisor/compilation/compiler").unwrap();
    let original_compiler = compiler();
    let flags = if host.since(14) { Flags::NODEPS } else { Flags::empty() };
    if !host.since(14) {
        host.revert(&stacked_name);
        host.revert(&extra_name);
    }
    host.client.load_as(&hooked_name, &hooked, flags).unwrap();
    assert_eq!(compiler().trim(), "patched compiler");
    // Another client reads in Xen's dump what the files have.
    let described = connect().unwrap().inventory().unwrap().payloads;
    assert_eq!(described.len(), 3);
    for (there, payload) in described.iter().zip([&extra, &stacked, &hooked]) {
        assert_eq!((there.build_id.as_ref(), there.depends.as_ref()), (payload.build_id(), payload.depends()));
        let there = there.functions.iter().flatten().map(|f| (Some(&f.name), f.old_size, f.new_size));
        let made = payload.functions().iter().map(|f| (f.name.as_ref(), f.old_size, f.new_size));
        assert_eq!(there.collect::<Vec<_>>(), made.collect::<Vec<_>>());
    }

    host.revert(&hooked_name);
    assert_eq!(compiler(), original_compiler);
    if host.since(8) {
        let error = host.client.apply(&hooked_name, flags).unwrap_err();
        assert_eq!(error.kind(), &ErrorKind::ReapplyNeedsReupload);
        assert_eq!(host.client.status(&hooked_name).unwrap().state, State::Checked);
    }
    if host.since(14) {
        host.revert(&stacked_name);
        host.revert(&extra_name);
    }
    host.apply(&extra_name);
    host.revert(&extra_name);
    for payload in [&stacked_name, &hooked_name, &extra_name] {
        host.unload(payload);
    }
}

/// Xen's own build tools make a read-only table of functions, on which some point releases crash, and a fix often removes the
/// point release from the version text.
#[test]
#[ignore = "needs a real Xen"]
fn a_fix_that_changes_the_version_text_does_not_keep_out_the_next() {
    let host = host();
    let first = host.payload("first", "-lp1").read_only_funcs();
    let target = host.client.target().unwrap();
    let findings = Payload::parse(&first.build()).unwrap().check_against(&target);
    let possible = |finding: &Finding| finding.severity == Severity::PossiblyHarmful;
    if !findings.is_empty() && !findings.iter().all(possible) {
        // This Xen crashes on it.
        assert!(findings.iter().all(Finding::hurts_xen), "{findings:?}");
        return;
    }
    let accept = UploadOptions::new().accept(ProblemKind::ReadOnlyFunctions);
    let second = host.payload("second", "-lp2").depends_on(first.build_id()).read_only_funcs().build();
    let (one, two) = (name("first"), name("second"));
    host.client.upload_with(&one, &first.build(), accept).unwrap();
    host.client.apply(&one, Flags::empty()).unwrap();
    assert_eq!(shown(), "-lp1");
    assert_eq!(host.client.target().unwrap(), target, "kept from before");

    // As in another process, with and without the bounds that this client found.
    let knowing = LivepatchClient::builder().known_target(target.clone()).open().unwrap();
    assert_eq!(knowing.target().unwrap().known_points(), target.known_points());
    let knows_nothing = LivepatchClient::open().unwrap();
    let (least, most) = knows_nothing.target().unwrap().known_points();
    let (known_least, known_most) = target.known_points();
    assert!(least <= known_least && most.is_none_or(|most| known_most.is_some_and(|known| known <= most)));
    for (client, options) in [(&knowing, accept), (&knows_nothing, accept), (&host.client, accept)] {
        client.upload_with(&two, &second, options).unwrap();
        host.client.apply(&two, Flags::empty()).unwrap();
        assert_eq!(shown(), "-lp2");
        host.client.revert(&two, Flags::empty()).unwrap();
        host.client.unload(&two, Flags::empty()).unwrap();
    }
    if findings.is_empty() {
        knowing.upload(&two, &second).unwrap();
        host.unload(&two);
    }
    host.client.revert(&one, Flags::empty()).unwrap();
    host.unload(&one);
}
