//! The running Xen as evidence: bounds on its point release, and the uploads that they allow.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use xen_livepatch::payload::Architecture;
use xen_livepatch::sim::HostBuilder;
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

fn calling_itself(release: Release, text: &str) -> SimulatedXen {
    SimulatedXen::builder(release).extra_version(text).build()
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

#[test]
fn vendors_payloads_are_taken_under_vendors_version_texts() {
    for (release, text) in each([
        (Release::V4_17.at(3), ".3-1.xs8"),
        (Release::V4_17.at(4), ".4-6"),
        (Release::V4_17.at(3), ".3_04-150600.3"),
        (Release::V4_17.at(5), ".5+23-g0123"),
        (Release::V4_17.at(3), ".3-custom"),
        (Release::V4_18.at(1), ".1-4.el9"),
        (Release::V4_16.at(3), ".3"),
        (Release::V4_14, "-custom"),
        (Release::V4_20, ""),
    ]) {
        let xen = calling_itself(release, text);
        let client = connect(&xen);
        upload(&client, &xen).unwrap();
        apply_and_revert(&client, &name("vendors"));
        client.unload(&name("vendors"), Flags::empty()).unwrap();
        assert_eq!(xen.crashed(), None);
    }
}

/// 4.17.1 and 4.17.2 crash on what 4.17.3 takes.
#[test]
fn a_possible_crash_is_refused_unless_it_is_accepted_by_name() {
    let possible = [(ProblemKind::ReadOnlyFunctions, Severity::PossiblyHarmful)];
    for text in [".1-4.el6", "-custom", ""] {
        let xen = SimulatedXen::builder(Release::V4_17.at(3)).extra_version(text).build();
        let client = connect(&xen);
        let error = upload(&client, &xen).unwrap_err();
        assert!(error.to_string().contains("possibly: "), "{error}");
        assert!(error.to_string().contains("4.17.1 and 4.17.2 crash on it"), "{error}");
        assert_eq!(severities(Err(error)), possible);
        let payload = vendors(&xen, "vendors").build();
        let upload = |options| client.upload_with(&name("vendors"), &payload, options);
        // Others don't help, nor does leaving refusals to Xen.
        assert_eq!(severities(upload(UploadOptions::new().accept(ProblemKind::UnknownFeature))), possible);
        assert_eq!(severities(upload(UploadOptions::new().leave_refusals_to_xen())), possible);
        assert_eq!(xen.calls().of(Call::Upload), 0);
        upload(UploadOptions::new().accept(ProblemKind::ReadOnlyFunctions)).unwrap();
    }
}

#[test]
fn a_certain_crash_can_not_be_accepted() {
    for xen in [SimulatedXen::new(Release::V4_17.at(2)), calling_itself(Release::V4_17.at(2), ".2")] {
        let options = UploadOptions::new().accept(ProblemKind::ReadOnlyFunctions);
        let result = connect(&xen).upload_with(&name("vendors"), &vendors(&xen, "vendors").build(), options);
        assert_eq!(severities(result), [(ProblemKind::ReadOnlyFunctions, Severity::Harmful)]);
        assert_eq!((xen.calls().of(Call::Upload), xen.crashed()), (0, None));
    }
}

#[test]
fn possible_findings_are_accepted_for_load_and_for_ensure() {
    let xen = calling_itself(Release::V4_17.at(3), "-custom");
    let client = connect(&xen);
    let payload = parse(&vendors(&xen, "vendors"));
    let wanted = || Wanted::only(name("vendors"), payload.clone());
    client.ensure(&wanted(), |_| ()).unwrap_err();
    client.ensure(&wanted().accept(ProblemKind::ReadOnlyFunctions), |_| ()).unwrap();
    client.ensure(&Wanted::nothing(), |_| ()).unwrap();
    let options = UploadOptions::new().accept(ProblemKind::ReadOnlyFunctions);
    client.load_as(&name("vendors"), &payload, Flags::empty()).unwrap_err();
    client.load_as(&name("vendors"), &payload, LoadOptions::new().upload(options)).unwrap();
}

/// A payload that makes a 4.17.2 call itself 4.17.7 lifts no rule.
#[test]
fn the_text_of_a_payload_does_not_lift_a_rule() {
    let xen = SimulatedXen::new(Release::V4_17.at(2));
    let early = connect(&xen);
    early.upload(&name("renamer"), &renamed(&xen, ".7").build()).unwrap();
    early.apply(&name("renamer"), Flags::empty()).unwrap();
    assert_eq!(early.xen_version().unwrap().extra, ".7");
    let late = connect(&xen);
    assert_eq!(severities(upload(&early, &xen)), [(ProblemKind::ReadOnlyFunctions, Severity::Harmful)]);
    assert_eq!(severities(upload(&late, &xen)), [(ProblemKind::ReadOnlyFunctions, Severity::PossiblyHarmful)]);
    assert_eq!((points(&early), points(&late)), ((2, Some(2)), (0, Some(3))), "from the time of the build");
    assert_eq!(late.known_target(), None);
    // As soon as nothing is applied, the text counts.
    late.revert(&name("renamer"), Flags::empty()).unwrap();
    assert_eq!(points(&late), (2, Some(2)));
    assert_eq!(late.known_target(), Some(late.target().unwrap()));
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

#[test]
fn the_beginning_of_the_log_counts_whatever_is_applied() {
    let banner = "Xen version 4.17.7 (Debian 4.17.7+13) (gcc 12.2.0) debug=n Wed Nov  4 16:52:28 UTC 2026";
    let patched = (0, None);
    for (lines, expected) in each([
        (&[banner][..], (7, Some(7))),
        (&["Xen version 4.17.3-1.xs8 (x)"], (3, None)),
        // Not the first line, another series, or no version.
        (&["something", banner], patched),
        (&["Xen version 4.170.7 (x)"], patched),
        (&["Xen version 4.18.7 (x)"], patched),
        (&["Xen version"], patched),
    ]) {
        let xen = SimulatedXen::new(Release::V4_17);
        for line in lines {
            xen.print(line);
        }
        rename(&xen, "-lp1");
        assert_eq!(points(&connect(&xen)), expected);
        // Xen's log may be closed to the client.
        xen.on_console().always().fail(Errno::EPERM);
        assert_eq!(points(&connect(&xen)), patched);
    }
    // The beginning has left the ring.
    let xen = SimulatedXen::builder(Release::V4_17).console_size(4096).build();
    xen.print(banner);
    (0..100).for_each(|_| xen.print("a line of some fifty characters, as other parts of Xen do"));
    rename(&xen, "-lp1");
    assert_eq!(points(&connect(&xen)), patched);
}

#[test]
fn the_text_counts_where_no_applied_payload_replaces_what_it_comes_from() {
    let xen = SimulatedXen::new(Release::V4_17);
    let other = PayloadBuilder::for_xen(&xen, "other").function(FunctionPatch::returning("panic", "x"));
    other_load(&xen, "other", &other);
    let client = connect(&xen);
    assert_eq!(points(&client), (7, Some(7)));
    assert_eq!(xen.calls().of(Call::DebugKeys), 1);
    upload(&client, &xen).unwrap();
    assert_eq!((points(&client), xen.calls().of(Call::DebugKeys)), ((7, Some(7)), 1), "the rest is known");
    client.apply(&name("vendors"), Flags::NODEPS).unwrap();
    // It replaces the function that reports the text.
    assert_eq!((points(&client), xen.calls().of(Call::DebugKeys)), ((0, None), 2), "another is applied");
    assert_eq!((points(&client), xen.calls().of(Call::DebugKeys)), ((0, None), 2));
    assert_eq!(client.known_target(), None, "another payload may change it");
    // A payload that is loaded and not applied changes nothing.
    let xen = SimulatedXen::new(Release::V4_17);
    xen.other_upload("renamer", &renamed(&xen, ".2").build()).unwrap();
    assert_eq!((points(&connect(&xen)), xen.calls().of(Call::DebugKeys)), ((7, Some(7)), 0));
    // Nothing is known of one that can't be identified.
    let xen = SimulatedXen::new(Release::V4_17);
    rename(&xen, "-lp1");
    xen.on_debug_keys().always().fail(Errno::EPERM);
    assert_eq!(points(&connect(&xen)), (0, None));
}

#[test]
fn dates_of_the_build_bound_the_point_release() {
    let of = |change: &dyn Fn(HostBuilder) -> HostBuilder, text: &str| {
        let xen = change(SimulatedXen::builder(Release::V4_17.at(3))).build();
        rename(&xen, text);
        points(&connect(&xen))
    };
    assert_eq!(of(&|xen| xen, ".7"), (0, Some(4)), "built on the day of 4.17.3");
    assert_eq!(of(&|xen| xen.compile_date("Wed Nov  4 16:52:28 UTC 2026"), ".7"), (0, None));
    assert_eq!(of(&|xen| xen.compile_date("Fri Dec  9 00:00:00 CET 2022"), ".7"), (0, Some(1)));
    // Not of a build of this series.
    assert_eq!(of(&|xen| xen.compile_date("Thu Jan  1 00:00:01 UTC 1970"), ".7"), (0, None));
    assert_eq!(of(&|xen| xen.compile_date(""), ".7"), (0, None));
    // The date of the last commit confirms a text; it says nothing alone.
    let committed = |xen: HostBuilder| xen.changeset("Tue Aug 8 14:30:00 2023 +0200 git:0123abc");
    assert_eq!(of(&committed, ".7"), (2, Some(4)));
    assert_eq!(of(&committed, ".1-4.el6"), (1, Some(4)));
    assert_eq!(of(&committed, "-lp1"), (0, Some(4)));
    assert_eq!(of(&|xen| xen.changeset("708e83f0e7d1, pq 9787e7f1c8ed"), ".7"), (0, Some(4)));
    // Nobody has to be privileged for any of it, and where it is denied nothing is known.
    let xen = SimulatedXen::new(Release::V4_17.at(3));
    rename(&xen, ".7");
    xen.on_compile_info().always().fail(Errno::EPERM);
    assert_eq!(points(&connect(&xen)), (0, None));
    // A text that nobody can have changed is bounded as well.
    let xen = calling_itself(Release::V4_17.at(3), ".3-1.xs8");
    assert_eq!(points(&connect(&xen)), (3, Some(4)));
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

/// In a plan, the client's own turn is taken when the target is looked for.
#[test]
fn a_plan_finds_the_target_while_it_is_carried_out() {
    let xen = SimulatedXen::new(Release::V4_17);
    let below = PayloadBuilder::for_xen(&xen, "below")
        .function(FunctionPatch::returning("panic", "x"))
        .hook(HookKind::PostApply, HookCode::returns(0));
    other_load(&xen, "below", &below);
    let top = vendors(&xen, "top").depends_on(below.build_id());
    let stack = [(name("below"), parse(&below)), (name("top"), parse(&top))];
    connect(&xen).ensure(&Wanted::stack(stack), |_| ()).unwrap();
    assert_eq!(xen.applied(), names(["below", "top"]));
}
