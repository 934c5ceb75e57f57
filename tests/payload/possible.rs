//! Possible findings: those of some point releases, and possible crashes that the file alone does not decide.

use crate::layout::point;
use crate::prelude::*;

/// A payload with a hook, and an entry of a table for code that begins at the hook, or before it.
fn trapping(kind: HookKind, table: &str, before: i64) -> Editor {
    let builder = PayloadBuilder::named("p", &xen())
        .function(FunctionPatch::returning("xen_extra_version", "x"))
        .hook(kind, HookCode::returns(0))
        .section(table, vec![0; 8]);
    let bytes = builder.build();
    let hook = Payload::parse(&bytes).unwrap().hooks()[0].address.as_ref().unwrap().to_string();
    let offset = i64::from_str_radix(hook.strip_prefix(".text+0x").unwrap(), 16).unwrap();
    point(Editor::new(&bytes), table, 0, (".text", offset - before))
}

fn kinds(findings: &[Finding]) -> Vec<(ProblemKind, Severity)> {
    findings.iter().map(|finding| (finding.kind(), finding.severity)).collect()
}

#[test]
fn a_trap_is_fatal_in_a_hook_whose_code_is_not_registered() {
    let tables = [".bug_frames.0", ".bug_frames.1", ".bug_frames.3", ".ex_table"];
    let trapping_hooks = HookKind::ALL
        .into_iter()
        .flat_map(|kind| tables.map(|table| (format!("an entry of {table}, {kind} hook"), trapping(kind, table, 0))));
    let before =
        tables.map(|table| (format!("an entry of {table}, before a hook"), trapping(HookKind::PreApply, table, 1)));
    // The line of a bug frame is no part of its place.
    let line = trapping(HookKind::PreApply, ".bug_frames.1", 0).patch(".bug_frames.1", 3, &[7]);
    let line = [("an entry with a line".to_owned(), line)];
    expect_in_releases("traps", trapping_hooks.chain(before).chain(line));

    let named =
        [HookKind::Load, HookKind::PreApply, HookKind::Apply, HookKind::PostRevert].into_iter().flat_map(|kind| {
            tables.map(|table| (format!("{table}, {kind}"), Target::from(Release::V4_14), trapping(kind, table, 0)))
        });
    expect_findings("traps", named);
}

#[test]
fn patches_of_live_patching_itself_are_possibly_harmful_everywhere() {
    let patch = |name: &'static str| {
        let function = FunctionPatch::with_code(name, vec![0x90; 32]);
        (name, Editor::new(&PayloadBuilder::named("p", &xen()).function(function).build()))
    };
    let patches = [
        "common/livepatch.c#livepatch_spin",
        "arch/x86/domain.c#idle_loop",
        "register_virtual_region",
        "common/kernel.c#do_xen_version",
    ]
    .map(patch);
    let text = check(&patches[0].1, &Target::from(Release::V4_17))[0].to_string();
    assert!(text.ends_with("accept patches-live-patching to load it anyway)"), "{text}");
    expect_in_releases("live-patching", patches.clone());
    expect_findings("live-patching", patches.map(|(name, editor)| (name, Target::new((4, 17)).point(3), editor)));
}

/// A possible finding is no reason to refuse a payload that was built for this very Xen, unless a crash is at stake.
#[test]
fn possible_findings_object_where_a_crash_is_at_stake() {
    // A feature that is negated: refused by 4.20.0, and known to later ones.
    let no_danger = crate::rules::alternative(
        PayloadBuilder::named("p", &xen()).function(FunctionPatch::returning("xen_extra_version", "x")),
        14,
    );
    let no_danger = no_danger.patch(".altinstructions", 8, &[0, 0x80]);
    let payload = Payload::parse(&no_danger.bytes).unwrap();
    let (anonymous, known) = (Target::new((4, 20)), Target::new((4, 20)).build_id(xen()));
    assert_eq!(kinds(&payload.check_against(&known)), [(ProblemKind::UnknownFeature, Severity::Possible)]);
    assert_eq!(payload.check_against(&known)[0].releases, [Release::V4_20.at(0)]);
    let objections = |options: UploadOptions, target: &Target| options.objections(&payload, target).len();
    assert_eq!(objections(UploadOptions::new(), &known), 0);
    assert_eq!(objections(UploadOptions::new(), &anonymous), 1, "nothing shows that it was built for this Xen");
    assert_eq!(objections(UploadOptions::new().accept(ProblemKind::UnknownFeature), &anonymous), 0);
    assert_eq!(objections(UploadOptions::new().leave_refusals_to_xen(), &anonymous), 0);
    assert_eq!(objections(UploadOptions::new(), &known.clone().point(0)), 1, "there it is certain");
    assert_eq!(objections(UploadOptions::new().accept(ProblemKind::UnknownFeature), &known.point(0)), 1);
}
