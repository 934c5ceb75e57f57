//! Possible findings: those of some point releases, and possible crashes that the file alone does not decide.

use crate::layout::point;
use crate::prelude::*;

/// Returns true for point releases in which a trap in unregistered code is fatal.
fn dies(release: Release) -> bool {
    match release.minor() {
        14..17 => true,
        17 => release.point() < 4,
        18 => release.point() == 0,
        _ => false,
    }
}

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
    let found = [(ProblemKind::TrapInHook, Severity::PossiblyHarmful)];
    for table in [".bug_frames.0", ".bug_frames.1", ".bug_frames.3", ".ex_table"] {
        for kind in [HookKind::Load, HookKind::PreApply, HookKind::Apply, HookKind::PostRevert] {
            let payload = trapping(kind, table, 0);
            for last in Release::ALL.into_iter().filter(|last| last.minor() >= 14) {
                for release in (0..=last.point()).map(|point| last.at(point)) {
                    let expected = if dies(release) { &found[..] } else { &[] };
                    let findings = check(&payload, &Target::from(release));
                    assert_eq!(kinds(&findings), expected, "{table} {kind} {release}");
                }
            }
            let Problem::TrapInHook { hook, table: named } = check(&payload, &Target::from(Release::V4_14))[0].problem
            else {
                panic!("another problem")
            };
            assert_eq!((hook, named), (kind.section(), table));
        }
        // Hooks with registered code, and code before the hook.
        let fine = [HookKind::PostApply, HookKind::PreRevert, HookKind::Revert, HookKind::Unload];
        let fine =
            fine.map(|kind| trapping(kind, table, 0)).into_iter().chain([trapping(HookKind::PreApply, table, 1)]);
        for payload in fine {
            assert_eq!(check(&payload, &Target::from(Release::V4_14)), [], "{table}");
        }
    }
}

#[test]
fn the_line_of_a_bug_frame_is_no_part_of_its_place() {
    let payload = trapping(HookKind::PreApply, ".bug_frames.1", 0).patch(".bug_frames.1", 3, &[7]);
    assert_eq!(check(&payload, &Target::from(Release::V4_14)).len(), 1);
}

#[test]
fn patches_of_live_patching_itself_are_possibly_harmful_everywhere() {
    let patch =
        |name: &str| PayloadBuilder::named("p", &xen()).function(FunctionPatch::with_code(name, vec![0x90; 32]));
    for name in ["common/livepatch.c#livepatch_spin", "arch/x86/domain.c#idle_loop", "register_virtual_region"] {
        for release in [Release::V4_14, Release::V4_17.at(3), Release::V4_22] {
            let findings = check(&Editor::new(&patch(name).build()), &Target::from(release));
            assert_eq!(kinds(&findings), [(ProblemKind::PatchesLivePatching, Severity::PossiblyHarmful)], "{name}");
            let text = findings[0].to_string();
            assert!(text.contains(name) && text.ends_with("accept patches-live-patching to load it anyway)"), "{text}");
        }
    }
    assert_eq!(
        check(&Editor::new(&patch("common/kernel.c#do_xen_version").build()), &Target::new((4, 17)).point(3)),
        []
    );
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
