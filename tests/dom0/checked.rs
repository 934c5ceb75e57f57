//! What the check before an upload keeps from Xen, and what it must let through.

use std::path::Path;
use std::{env, fs, io::Write};

use xen_livepatch::payload::Reapply;
use xen_livepatch::sim::{Defect, Function, Hook, HookCode, PayloadBuilder};
use xen_livepatch::{BuildId, Cleanup, ErrorKind, Finding, Flags, Payload, State, Target, UploadOptions};

use super::host::{PATCHED, host, name};

/// Where the runner puts what tests/payloads/make made for this Xen.
const FILES: &str = "/files";

/// `.ci/run` looks for these names in Xen's own console: it must never see the first, and must see the second.
const NEVER_ARRIVES: &str = "never-arrives";
const ARRIVES: &str = "arrives-unchecked";

#[test]
fn a_payload_for_another_xen_never_arrives() {
    let Some(host) = host() else { return };
    let elsewhere = BuildId::new([0x5a; 20]);
    let payload = PayloadBuilder::named("foreign", &elsewhere).function(Function::returning(PATCHED, "-x")).build();
    let is_foreign = |kind: &ErrorKind| {
        let ErrorKind::BuiltForAnotherXen { expected, found } = kind else { panic!("{kind:?}") };
        // From 4.20 on Xen itself says which, in three lines.
        expected.as_ref().is_none_or(|id| *id == elsewhere) && found.as_ref().is_none_or(|id| *id == host.xen)
    };

    let error = host.client.upload(&name(NEVER_ARRIVES), &payload).unwrap_err();
    assert!(is_foreign(error.kind()), "{error:?}");
    assert_eq!(error.raw_errno(), None, "Xen was not asked");
    assert!(error.xen_log().is_empty());

    let unchecked = UploadOptions::new().unchecked();
    let error = host.client.upload_with(&name(ARRIVES), &payload, unchecked).unwrap_err();
    assert!(is_foreign(error.kind()) && error.raw_errno().is_some(), "{error:?}");
    assert!(error.xen_log().iter().any(|line| line.starts_with("livepatch: arrives-unchecked: ")), "{error:?}");
    assert_eq!(host.names(), Vec::<String>::new());
}

#[test]
fn what_hurts_a_hypervisor_never_arrives() {
    let Some(host) = host() else { return };
    let defects = [
        (".livepatch.funcs", Defect::NotAllocated),
        (".livepatch.depends", Defect::NotAllocated),
        (".note.gnu.build-id", Defect::NotAllocated),
        (".livepatch.funcs", Defect::Alignment(0)),
        (".modinfo", Defect::Contents(vec![])),
        (".strtab", Defect::Missing),
    ];
    for (section, defect) in defects {
        let payload = host.payload("harmful", "-x").modinfo(b"k=v\0").defect(section, defect.clone()).build();
        let error = host.client.upload(&name(NEVER_ARRIVES), &payload).unwrap_err();
        let ErrorKind::UnfitPayload { findings } = error.kind() else { panic!("{section} {defect:?}: {error:?}") };
        assert!(findings.iter().any(Finding::hurts_xen), "{section} {defect:?}: {error:?}");
    }
    let nameless = PayloadBuilder::named("nameless", &host.xen).function(Function::returning(PATCHED, "-x").unnamed());
    let error = host.client.upload(&name(NEVER_ARRIVES), &nameless.build()).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::UnfitPayload { .. }), "{error:?}");
    assert_eq!(host.names(), Vec::<String>::new());
}

#[test]
fn what_xen_takes_passes_the_check() {
    let Some(host) = host() else { return };
    let returns = HookCode::returns;
    let odd = [
        host.payload("plain", "-x"),
        host.payload("read-only", "-x").read_only_funcs(),
        host.payload("data", "-x").writable_data([1; 100]).bss(5000),
        host.payload("hooks", "-x").hook(Hook::Load, returns(0)).hook(Hook::PostRevert, returns(0)),
        host.payload("more", "-x").section(".comment", *b"x\0").section(".empty", []).modinfo(b"\0"),
        PayloadBuilder::named("hooks-alone", &host.xen).hook(Hook::Unload, returns(0)),
    ];
    for payload in odd {
        let bytes = payload.build();
        let target = Target::from(&host.client.xen_version().unwrap()).build_id(host.xen.clone());
        assert_eq!(Payload::parse(&bytes).unwrap().check_against(&target), []);
        let id = name("odd");
        host.client.upload(&id, &bytes).unwrap();
        host.apply(&id);
        host.revert(&id);
        host.unload(&id);
    }
}

#[test]
fn load_leaves_nothing_behind_when_it_fails() {
    let Some(host) = host() else { return };
    let fix = host.payload("fix", "-fix");
    fs::write("/tmp/fix.livepatch", fix.build()).unwrap();
    fs::write("/tmp/debug.1.livepatch", host.payload("debug", "-debug").build()).unwrap();

    let fix = host.client.load("/tmp/fix.livepatch", Flags::empty()).unwrap();
    assert_eq!(fix.as_bytes(), b"fix");
    host.expect_shown("-fix");
    let error = host.client.load("/tmp/debug.1.livepatch", Flags::empty()).unwrap_err();
    let ErrorKind::DependsOnAnother { expected, found, on, .. } = error.kind() else { panic!("{error:?}") };
    let ids = (expected.as_ref(), found.clone(), on.as_ref());
    let fix_id = Payload::read("/tmp/fix.livepatch").unwrap().build_id().cloned();
    assert_eq!(ids, (Some(&host.xen), fix_id, Some(&fix)), "both build-ids are told");
    assert!(matches!(error.cleanup(), Some(Cleanup::Unloaded)), "{error:?}");
    assert_eq!(host.names(), ["fix"]);

    let debug = host.client.load("/tmp/debug.1.livepatch", Flags::NODEPS).unwrap();
    assert_eq!(debug.as_bytes(), b"debug.1");
    host.expect_shown("-debug");
    for payload in [&debug, &fix] {
        host.revert(payload);
        host.unload(payload);
    }
}

/// A payload of [`FILES`], or a message that there are none; required where `.ci/run` made them.
fn made_by_gcc(file: &str) -> Option<Payload> {
    let path = Path::new(FILES).join(file);
    let required = env::var("XEN_LIVEPATCH_PAYLOADS").is_ok_and(|value| value == "required");
    if !required && !path.exists() {
        let message = b"SKIPPED, payloads made by gcc: none were given, see tests/payloads/README.md\n";
        std::io::stderr().write_all(message).unwrap();
        return None;
    }
    Some(Payload::read(path).unwrap())
}

#[test]
fn payloads_made_by_gcc_and_ld() {
    let Some(host) = host() else { return };
    let Some(extra) = made_by_gcc("extra-version.livepatch") else { return };
    let [hooked, stacked] = ["hooked.livepatch", "stacked.livepatch"].map(|file| made_by_gcc(file).unwrap());
    let version = host.client.xen_version().unwrap();
    let target = Target::from(&version).build_id(host.xen.clone());
    for payload in [&extra, &hooked, &stacked] {
        assert_eq!(payload.check_against(&target), []);
        assert_eq!(payload.xen_depends(), Some(&host.xen));
    }
    assert_eq!(stacked.depends(), extra.build_id());
    assert_eq!((hooked.functions().len(), hooked.is_replaceable()), (2, false));
    assert_eq!(extra.reapply(version.release()), Reapply::Allowed);
    assert_eq!(hooked.reapply(version.release()), Reapply::NeedsReupload);

    let [extra_name, hooked_name, stacked_name] = ["extra", "hooked", "stacked"].map(name);
    host.client.load_as(&extra_name, &extra, Flags::empty()).unwrap();
    let patched = super::host::shown();
    assert_ne!(patched, host.original);
    host.client.load_as(&stacked_name, &stacked, Flags::empty()).unwrap();
    assert_ne!(super::host::shown(), patched);
    // README and guide show this message beside the C tool's.
    let error = host.client.load_as(&hooked_name, &hooked, Flags::empty()).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "apply \"hooked\": it depends on build-id {}, but would go on payload \"stacked\" with build-id {} (both as uploaded \
             by this client); apply what it depends on first, or use NODEPS for a debug patch [EINVAL (22, invalid argument)]; \
             it was unloaded again",
            host.xen,
            stacked.build_id().unwrap(),
        )
    );
    assert_eq!(error.xen_log(), ["livepatch: hooked: check against stacked build-id failed"]);

    let compiler = || fs::read_to_string("/sys/hypervisor/compilation/compiler").unwrap();
    let original_compiler = compiler();
    host.client.load_as(&hooked_name, &hooked, Flags::NODEPS).unwrap();
    assert_eq!(compiler().trim(), "patched compiler");

    host.revert(&hooked_name);
    assert_eq!(compiler(), original_compiler);
    let error = host.client.apply(&hooked_name, Flags::NODEPS).unwrap_err();
    assert_eq!(error.kind(), &ErrorKind::ReapplyNeedsReupload);
    assert_eq!(host.client.status(&hooked_name).unwrap().state, State::Checked);
    host.revert(&stacked_name);
    host.revert(&extra_name);
    host.apply(&extra_name);
    host.revert(&extra_name);
    for payload in [&stacked_name, &hooked_name, &extra_name] {
        host.unload(payload);
    }
}
