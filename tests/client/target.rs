//! The running Xen as evidence: bounds on its point release, and the uploads that they allow.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use xen_livepatch::payload::Architecture;
use xen_livepatch::{ProblemKind, Severity, Target};

use crate::prelude::*;

/// A payload such as Xen's own build tools make: its table of functions is read-only.
fn vendors(xen: &SimulatedXen, id: &str) -> PayloadBuilder {
    PayloadBuilder::for_xen(xen, id).function(FunctionPatch::returning("do_xen_version", "x")).read_only_funcs()
}

/// A payload that makes this of the version text.
fn renamed(xen: &SimulatedXen, text: &str) -> PayloadBuilder {
    PayloadBuilder::for_xen(xen, text).function(FunctionPatch::returning(PATCHED, text))
}

/// Has another toolstack apply a payload that changes the version text.
fn rename(xen: &SimulatedXen, text: &str) {
    other_load(xen, "renamer", &renamed(xen, text));
}

fn points(client: &LivepatchClient) -> (u16, Option<u16>) {
    client.target().unwrap().known_points()
}

fn upload(client: &LivepatchClient, xen: &SimulatedXen) -> Result<()> {
    client.upload(&name("vendors"), &vendors(xen, "vendors").build())
}

/// The severities of the findings for which an upload is refused.
fn severities(result: Result<()>) -> Vec<(ProblemKind, Severity)> {
    let ErrorKind::UnfitPayload { findings, .. } = kind(result) else { panic!("it is refused for something else") };
    findings.iter().map(|finding| (finding.kind(), finding.severity)).collect()
}

/// The other direction: a fix that changes the text does not keep the next one out.
#[test]
fn a_fix_that_changes_the_text_does_not_keep_out_the_next() {
    let (xen, client) = host(Release::V4_17);
    // Applied by this client, but uploaded by another toolstack.
    xen.other_upload("renamer", &renamed(&xen, "-lp1").build()).unwrap();
    client.apply(&name("renamer"), Flags::empty()).unwrap();
    upload(&client, &xen).unwrap();
    let known = client.known_target().unwrap();
    client.unload(&name("vendors"), Flags::empty()).unwrap();

    // In another process, with what is known from this one.
    let other = quick().known_target(known.clone()).connect(xen.clone()).unwrap();
    upload(&other, &xen).unwrap();
    other.unload(&name("vendors"), Flags::empty()).unwrap();
    assert_eq!(other.target().unwrap(), known);
    // It is of this build alone.
    let another = Target::new((4, 17)).point(7).build_id("abcd".parse().unwrap());
    for wrong in [another, Target::new((4, 17)).point(7), Target::from(Release::V4_18)] {
        let client = quick().known_target(wrong).connect(xen.clone()).unwrap();
        assert_eq!(severities(upload(&client, &xen)), [(ProblemKind::ReadOnlyFunctions, Severity::PossiblyHarmful)]);
    }
}

/// A call that runs a function which a payload replaces might not come back, and what it returns is the payload's.
#[test]
fn dates_are_not_read_through_functions_that_a_payload_replaces() {
    for (function, bound, build_dates, commit_dates) in each([
        ("xen_compile_date", None, 0, 1),
        ("xen_compiler", None, 0, 1),
        ("do_xen_version", None, 0, 0),
        ("xen_changeset", Some(4), 1, 0),
    ]) {
        let xen = SimulatedXen::builder(Release::V4_17.at(3)).symbol(function, [0x90; 32]).build();
        let replaced = FunctionPatch::returning(function, "Thu Dec  8 00:00:01 UTC 2022");
        other_load(&xen, "renamer", &renamed(&xen, ".7").function(replaced));
        assert_eq!(points(&connect(&xen)).1, bound);
        let calls = xen.calls();
        assert_eq!((calls.of(Call::CompileInfo), calls.of(Call::Changeset)), (build_dates, commit_dates));
    }
}

#[test]
fn the_target_has_architecture_and_build_id() {
    for architecture in [Architecture::X86_64, Architecture::AArch64] {
        let xen = SimulatedXen::builder(Release::V4_20).architecture(architecture).build();
        let target = connect(&xen).target().unwrap();
        assert_eq!(target.known_architecture(), Some(architecture));
        assert_eq!(target.known_build_id(), xen.build_id().as_ref());
        assert_eq!(target.release(), (4, 20));
    }
    let xen = SimulatedXen::builder(Release::V4_20).build_id(None).build();
    assert_eq!(connect(&xen).target().unwrap().known_build_id(), None);
}

/// Nothing is asked twice once it can't change.
#[test]
fn the_target_is_found_out_once() {
    let (xen, client) = host(Release::V4_20);
    let _again = client.target().unwrap();
    let before = xen.calls();
    let _again = client.target().unwrap();
    assert_eq!(xen.calls(), before);
    assert_eq!(before.of(Call::CompileInfo), 0, "the text is enough");
}

/// Another toolstack may come in between at any hypercall: what a client holds for certain is true.
#[test]
fn a_payload_that_is_applied_in_between_leaves_no_trace() {
    for at in each(1..=6) {
        let xen = SimulatedXen::new(Release::V4_17.at(2));
        let client = connect(&xen);
        let count = Arc::new(AtomicU32::new(1));
        let script = move |xen: &SimulatedXen| {
            if count.fetch_add(1, Ordering::Relaxed) == at {
                rename(xen, ".7");
            }
        };
        xen.on_list().always().before(script.clone());
        xen.on_extra_version().always().before(script);
        let (least, most) = points(&client);
        assert!(least <= 2 && most.is_none_or(|most| most >= 2), "{least} {most:?}");
        if let Some(known) = client.known_target() {
            assert_eq!(known.known_points(), (2, Some(2)));
        }
    }
}
