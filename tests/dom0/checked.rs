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

#[test]
#[ignore = "needs a real Xen"]
fn harmful_payloads_never_arrive() {
    let host = host();
    let defects = [
        (".livepatch.funcs", Defect::NotAllocated),
        (".livepatch.depends", Defect::NotAllocated),
        (".note.gnu.build-id", Defect::NotAllocated),
        (".livepatch.depends", Defect::Alignment(0)),
        (".modinfo", Defect::Contents(vec![])),
        (".strtab", Defect::Missing),
    ];
    for (section, defect) in defects {
        if section == ".modinfo" && !host.since(14) {
            continue;
        }
        let payload = host.payload("harmful", "-x").modinfo(b"k=v\0").defect(section, defect.clone()).build();
        let error = host.client.upload(&name(NEVER_ARRIVES), &payload).unwrap_err();
        let ErrorKind::UnfitPayload { findings, .. } = error.kind() else { panic!("{section} {defect:?}: {error:?}") };
        assert!(findings.iter().any(Finding::hurts_xen), "{section} {defect:?}: {error:?}");
    }
    let nameless = bare(&host.client, "nameless").function(FunctionPatch::returning(PATCHED, "-x").unnamed());
    let error = host.client.upload(&name(NEVER_ARRIVES), &nameless.build()).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::UnfitPayload { .. }), "{error:?}");
    assert_eq!(host.names(), Vec::<String>::new());
}

#[test]
#[ignore = "needs a real Xen"]
fn payloads_that_xen_accepts_pass_the_check() {
    let host = host();
    let returns = HookCode::returns;
    let odd = [
        host.payload("plain", "-x"),
        host.payload("data", "-x").writable_data([1; 100]).bss(5000),
        host.payload("hooks", "-x").hook(HookKind::Load, returns(0)).hook(HookKind::PostRevert, returns(0)),
        host.payload("more", "-x").section(".comment", *b"x\0").section(".empty", []).modinfo(b"\0"),
    ];
    // Before 4.14 Xen refuses payloads without functions.
    let hooks_alone = bare(&host.client, "hooks-alone").hook(HookKind::Unload, returns(0));
    // Some point releases crash, as they write to a read-only table of functions.
    let running = host.running();
    let hurt = matches!((running.minor(), running.point()), (16, 4..) | (17, 1..=2) | (18, 0));
    let read_only = host.payload("read-only", "-x").read_only_funcs();
    let read_only = (!hurt).then_some(read_only);
    for payload in odd.into_iter().chain(host.since(14).then_some(hooks_alone)).chain(read_only) {
        let bytes = payload.build();
        let target = Target::from(&host.client.xen_version().unwrap()).build_id(host.xen.clone());
        assert_eq!(Payload::parse(&bytes).unwrap().check_against(&target), []);
        let id = name("odd");
        host.client.upload(&id, &bytes).unwrap();
        host.apply(&id);
        host.remove(&id);
    }
}

#[test]
#[ignore = "needs a real Xen"]
fn load_leaves_nothing_behind_when_it_fails() {
    let host = host();
    let fix = host.payload("fix", "-fix");
    fs::write("/tmp/fix.livepatch", fix.build()).unwrap();
    fs::write("/tmp/debug.1.livepatch", host.payload("debug", "-debug").build()).unwrap();

    let fix = host.client.load("/tmp/fix.livepatch", Flags::empty()).unwrap();
    assert_eq!(fix.as_bytes(), b"fix");
    host.expect_shown("-fix");
    let error = host.client.load("/tmp/debug.1.livepatch", Flags::empty()).unwrap_err();
    let ErrorKind::DependsOnAnother { expected, found, on, .. } = error.kind() else { panic!("{error:?}") };
    if host.logs_reasons() {
        let ids = (expected.as_ref(), found.clone(), on.as_ref());
        let fix_id = Payload::read("/tmp/fix.livepatch").unwrap().build_id().cloned();
        assert_eq!(ids, (Some(&host.xen), fix_id, Some(&fix)), "both build-ids are named");
    }
    assert!(matches!(error.cleanup(), Some(Cleanup::Unloaded)), "{error:?}");
    assert_eq!(host.names(), ["fix"]);

    let debug = host.client.load("/tmp/debug.1.livepatch", Flags::NODEPS);
    if host.since(14) {
        let debug = debug.unwrap();
        assert_eq!(debug.as_bytes(), b"debug.1");
        host.expect_shown("-debug");
        host.remove(&debug);
    } else {
        let error = debug.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::UnsupportedFlag { .. }), "{error:?}");
        // Refused before anything is uploaded.
        assert!(error.cleanup().is_none(), "{error:?}");
    }
    host.remove(&fix);
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
