//! Loads of files, and the check on the way.

use std::fs;

use xen_livepatch::payload::PayloadVersion;
use xen_livepatch::{Finding, Problem, Severity};

use crate::prelude::*;

fn elsewhere() -> BuildId {
    BuildId::new([0x5a; 20])
}

/// A payload for another Xen of this host's release.
fn foreign(xen: &SimulatedXen, id: &str) -> PayloadBuilder {
    let function = FunctionPatch::returning(PATCHED, format!("-{id}"));
    PayloadBuilder::named(id, &elsewhere()).for_release((4, xen.release().minor())).function(function)
}

/// The findings for which a payload is refused.
#[track_caller]
fn findings(error: &Error) -> &[Finding] {
    let ErrorKind::UnfitPayload { findings, .. } = error.kind() else { panic!("{error:?}") };
    findings
}

#[test]
fn a_file_goes_into_effect_under_its_own_name() {
    let directory = tempfile::tempdir().unwrap();
    for (xen, client) in hosts(Release::ALL) {
        let id = format!("fix.{}", xen.release().minor());
        let file = directory.path().join(format!("{id}.livepatch"));
        fs::write(&file, builder(&xen, "fix").build()).unwrap();
        let loaded = client.load(&file, Flags::empty()).unwrap();
        assert_eq!(loaded, name(id));
        assert_eq!(xen.applied(), [loaded]);
    }
}

#[test]
fn a_name_that_is_none_is_refused_before_anything_is_uploaded() {
    let (xen, client) = host(Release::V4_20);
    let directory = tempfile::tempdir().unwrap();
    for file in [".livepatch".to_owned(), format!("{}.livepatch", "n".repeat(128))] {
        let file = directory.path().join(file);
        fs::write(&file, builder(&xen, "fix").build()).unwrap();
        let refused = kind(client.load(&file, Flags::empty()));
        assert!(matches!(refused, ErrorKind::InvalidName { .. }), "{refused:?}");
    }
    assert_eq!(xen.calls().of(Call::Upload), 0);
}

#[test]
fn a_payload_for_another_xen_never_arrives_on_any_release() {
    for (xen, client) in hosts(Release::ALL) {
        let payload = foreign(&xen, "foreign").build();
        let refused = kind(client.upload(&name("foreign"), &payload));
        assert_eq!(refused, ErrorKind::BuiltForAnotherXen { expected: Some(elsewhere()), found: xen.build_id() });
        assert_eq!(xen.calls().of(Call::Upload), 0);

        // Xen itself compares from 4.14 on.
        let result = unchecked(&client, &name("foreign"), &payload);
        assert_eq!(result.is_ok(), xen.release() < Release::V4_14);
        assert_eq!(xen.calls().of(Call::Upload), 1);
        let Err(error) = result else { continue };
        // From 4.18 on its log has both.
        let both = xen.release() >= Release::V4_18;
        let (expected, found) = (Some(elsewhere()).filter(|_| both), xen.build_id().filter(|_| both));
        assert_eq!(error.kind(), &ErrorKind::BuiltForAnotherXen { expected, found });
    }
}

#[test]
fn a_payload_of_the_other_version_never_arrives() {
    for (xen, client) in hosts(Release::ALL) {
        let other = if xen.release() < Release::V4_14 { PayloadVersion::V2 } else { PayloadVersion::V1 };
        let error = error(client.upload(&name("x"), &builder(&xen, "x").payload_version(other).build()));
        let told =
            |finding: &Finding| matches!(finding.problem, Problem::Version { .. } | Problem::FunctionsSize { .. });
        assert!(findings(&error).iter().any(told), "{error:?}");
        assert_eq!(xen.calls().of(Call::Upload), 0);
    }
}

#[test]
fn all_findings_are_reported_at_once() {
    let (xen, client) = host(Release::V4_17);
    let payload = foreign(&xen, "bad")
        .modinfo(b"k=v\0")
        .defect(".modinfo", Defect::Contents(vec![]))
        .defect(".livepatch.funcs", Defect::NotAllocated);
    let error = error(client.upload(&name("bad"), &payload.build()));
    let findings = findings(&error);
    let has = |wanted: fn(&Finding) -> bool| assert!(findings.iter().any(wanted), "{findings:?}");
    has(|finding| matches!(finding.problem, Problem::BuiltForAnotherXen { .. }));
    has(|finding| matches!(finding.problem, Problem::EmptyMetadata));
    has(|finding| matches!(finding.problem, Problem::NotAllocated { section: ".livepatch.funcs" }));
    let text = error.to_string();
    assert!(text.starts_with("upload \"bad\": the payload does not pass the check for this Xen: "), "{text}");
    assert!(!text.contains('\n'), "{text}");
}

/// With each option, whether Xen sees a payload that it refuses, one that it does not notice, and one that it does not
/// survive.
#[test]
fn severity_decides_what_reaches_xen() {
    let options =
        [UploadOptions::new(), UploadOptions::new().leave_refusals_to_xen(), UploadOptions::new().unchecked()];
    let function = || FunctionPatch::returning("f", "x");
    for (release, severity, reaches) in each([
        (Release::V4_17, Severity::Refused, [0, 1, 1]),
        (Release::V4_13, Severity::Unnoticed, [0, 0, 1]),
        (Release::V4_17, Severity::Harmful, [0, 0, 1]),
    ]) {
        for (options, reaches) in options.into_iter().zip(reaches) {
            let (xen, client) = host(release);
            let payload = match severity {
                Severity::Refused => builder(&xen, "x").function(function().old_size(1)),
                Severity::Unnoticed => foreign(&xen, "x"),
                _ => builder(&xen, "x").function(function().unnamed()),
            };
            let result = client.upload_with(&name("x"), &payload.build(), options);
            assert_eq!(xen.calls().of(Call::Upload), reaches, "{options:?}");
            assert_eq!(result.is_ok(), severity == Severity::Unnoticed && reaches > 0, "{result:?}");
            if reaches == 0 {
                let refused = kind(result);
                let checked = matches!(refused, ErrorKind::UnfitPayload { .. } | ErrorKind::BuiltForAnotherXen { .. });
                assert!(checked, "{refused:?}");
            }
        }
    }
    // What is not even an ELF file, Xen refuses as well.
    for (options, reaches) in options.into_iter().zip([0, 1, 1]) {
        let (xen, client) = host(Release::V4_17);
        let refused = kind(client.upload_with(&name("x"), b"#!/bin/sh", options));
        assert!(matches!(refused, ErrorKind::InvalidPayload { .. }), "{refused:?}");
        assert_eq!(xen.calls().of(Call::Upload), reaches);
    }
}

#[test]
fn at_most_five_findings_are_named() {
    let (xen, client) = host(Release::V4_17);
    let payload = (0..40).fold(builder(&xen, "x"), |payload, _| payload.function(FunctionPatch::nop("f", 1)));
    let error = error(client.upload(&name("x"), &payload.build()));
    let (text, more) = (error.to_string(), findings(&error).len() - 5);
    assert!(text.ends_with(&format!("; and {more} more")) && text.matches("; ").count() == 5, "{text}");
}

/// The output of a compiler for the build-id `10111213…`, twice, under two build-ids: its string `.LC0` is in both.
#[test]
fn a_compilers_own_names_may_be_loaded_twice() {
    let file = include_bytes!("../gcc-payloads/extra-version.livepatch");
    let id = (0x10..=0x1f).chain(0x20..=0x23).collect::<Vec<u8>>();
    let xen = SimulatedXen::builder(Release::V4_17).build_id(Some(BuildId::new(id))).build();
    let client = LivepatchClient::builder().connect(xen).unwrap();
    // Under another build-id, of which this changes the last byte; and with other flags of `.rodata.str1.1`.
    let made = |change: u8, mergeable: bool| {
        let mut file = file.to_vec();
        file[0x60 + 0x23] ^= change;
        let headers = usize::from(file[40]) | usize::from(file[41]) << 8;
        let flags = &mut file[headers + 7 * 64 + 8];
        assert_eq!(*flags, 0x32);
        *flags = if mergeable { 0x32 } else { 2 };
        file
    };
    client.upload(&name("one"), &made(0, true)).unwrap();
    client.upload(&name("two"), &made(1, true)).unwrap();
    client.upload(&name("three"), &made(2, false)).unwrap();
    assert!(matches!(kind(client.upload(&name("four"), &made(3, false))), ErrorKind::AlreadyLoaded { .. }));
}
