//! The differences of the check for a Xen on Arm.

use xen_livepatch::payload::{Architecture, FunctionProblem as F, HookKind, PointerProblem, Problem};
use xen_livepatch::sim::{FunctionPatch, HookCode, PayloadBuilder};
use xen_livepatch::{Errno, Finding, Payload, Target};

use crate::editor::{Editor, header, relocation, section, xen};
use crate::findings::{FUNCS, NEW, RELA_FUNCS, check, extra, hooked, problems};
use crate::layout::point;
use crate::rules::alternative;

/// Turns a payload into one for Arm, except for its code, which the check does not read.
fn arm(editor: Editor) -> Editor {
    let tables: Vec<_> = (1..editor.get(0, header::COUNT))
        .map(|index| String::from_utf8_lossy(editor.name_of(index)).into_owned())
        .filter(|name| name.starts_with(".rela."))
        .collect();
    tables.iter().fold(editor.header(header::MACHINE, 183), |editor, table| {
        let start = editor.field(table, section::OFFSET);
        (0..editor.field(table, section::SIZE) / 24).fold(editor, |editor, index| {
            let kind = match editor.get(start + 24 * index, relocation::TYPE) {
                1 => 257,
                2 => 261,
                other => panic!("{other}"),
            };
            editor.entry(table, index, relocation::TYPE, kind)
        })
    })
}

fn found(editor: Editor) -> Vec<Problem> {
    problems(&check(&arm(editor), &Target::new((4, 22)).architecture(Architecture::AArch64)))
}

fn function(editor: Editor) -> Option<F> {
    match &*found(editor) {
        [] => None,
        [Problem::Function { problem, .. }] => Some(*problem),
        other => panic!("{other:?}"),
    }
}

#[test]
fn nothing_is_found_in_good_ones() {
    for minor in 14..=22 {
        let target = Target::new((4, minor)).architecture(Architecture::AArch64);
        assert_eq!(check(&arm(hooked()), &target), [], "4.{minor}");
    }
}

#[test]
fn no_operations_are_whole_instructions_of_the_function() {
    let old_size = 16;
    for (found, problem) in [
        (4, None),
        (5, Some(F::NopPartial { found: 5 })),
        (16, None),
        (20, Some(F::NopPastEnd { found: 20, old_size })),
    ] {
        let nops = extra().patch(FUNCS, 24, &[found]).entry(RELA_FUNCS, 1, relocation::OFFSET, 0x28);
        assert_eq!(function(nops), problem, "{found}");
    }
}

/// The findings of a payload with one alternative: its feature, the lengths of original and replacement, and the place of the
/// replacement.
fn alternative_found(target: &Target, feature: u16, lengths: [u8; 2], replacement: (&str, i64)) -> Vec<Finding> {
    let builder = PayloadBuilder::named("p", &xen()).function(FunctionPatch::with_code("f", [0; 16]));
    let editor = alternative(builder, 12).patch(".altinstructions", 8, &feature.to_le_bytes()).patch(
        ".altinstructions",
        10,
        &lengths,
    );
    check(&arm(point(editor, ".altinstructions", 4, replacement)), target)
}

const INSIDE: (&str, i64) = (".altinstr_replacement", 0);

#[test]
fn replacements_are_as_long_as_what_they_replace() {
    for (lengths, fine) in [
        ([4, 4], true),
        ([8, 8], true),
        ([8, 4], false),
        ([4, 8], false),
        ([4, 0], false),
        ([6, 6], true),
        ([0, 0], true),
    ] {
        let found = alternative_found(&NEW.architecture(Architecture::AArch64), 4, lengths, INSIDE);
        assert_eq!(found.is_empty(), fine, "{lengths:?}: {found:?}");
        assert!(found.iter().all(Finding::hurts_xen), "no release on Arm refuses it: {found:?}");
    }
}

/// The first number that is no feature stands for a function that is called in place of a replacement.
#[test]
fn callbacks_are_xens_own_functions() {
    let at = |release| Target::new(release).architecture(Architecture::AArch64);
    let found = |target: &Target, feature, lengths, place| {
        let found = alternative_found(target, feature, lengths, place);
        found.first().map(|finding| (finding.hurts_xen(), finding.errno))
    };
    // Outside the payload it may be one of Xen's.
    let elsewhere = (".altinstr_replacement", 1 << 20);
    for (release, callback) in [((16, 4), 16), ((16, 5), 17), ((17, 3), 18)] {
        let target = at((4, release.0)).point(release.1);
        assert_eq!(found(&target, callback, [4, 0], elsewhere), None, "{release:?}");
        assert_eq!(found(&target, callback, [4, 0], INSIDE), Some((true, None)), "it can't be run yet");
        assert_eq!(found(&target, callback, [4, 4], elsewhere), Some((true, None)));
        assert_eq!(found(&target, callback + 1, [4, 4], INSIDE), Some((true, None)), "it would be called as well");
    }
    let checked = at((4, 18)).point(0);
    assert_eq!(found(&checked, 18, [4, 0], elsewhere), Some((false, Some(Errno::EINVAL))));
}

#[test]
fn branches_in_replacements_stay_there() {
    // b .+distance; nop
    for (distance, fine) in [(0_i32, true), (4, true), (8, true), (12, false), (-4, false)] {
        let [a, b, c, d] = (0x1400_0000 | (distance / 4) & 0x3ff_ffff).to_le_bytes();
        let builder = PayloadBuilder::named("p", &xen()).function(FunctionPatch::with_code("f", [0; 16]));
        let editor = alternative(builder, 12).patch(".altinstructions", 8, &[4, 0, 8, 8]).patch(
            ".altinstr_replacement",
            0,
            &[a, b, c, d, 0x1f, 0x20, 0x03, 0xd5],
        );
        let found = found(editor);
        assert_eq!(found.is_empty(), fine, "{distance}: {found:?}");
    }
}

#[test]
fn bug_frames_are_longer() {
    let size = |section: &str, len: usize, minor: u16| {
        let builder = PayloadBuilder::named("p", &xen())
            .architecture(Architecture::AArch64)
            .for_release((4, minor))
            .function(FunctionPatch::returning("f", "t"))
            .section(section, vec![0; len]);
        let target = Target::new((4, minor)).architecture(Architecture::AArch64);
        Payload::parse(&builder.build()).unwrap().check_against(&target).iter().all(|f| f.errno != Some(Errno::EINVAL))
    };
    assert_eq!([0, 8, 16, 24, 32].map(|len| size(".bug_frames.0", len, 17)), [true, false, true, false, true]);
    assert_eq!([14, 15].map(|minor| size(".bug_frames.3", 8, minor)), [true, false], "there were three before");
}

#[test]
fn functions_are_writable_where_xen_keeps_its_state_there() {
    let made = |minor: u16| {
        PayloadBuilder::named("p", &xen())
            .architecture(Architecture::AArch64)
            .for_release((4, minor))
            .function(FunctionPatch::returning("f", "t"))
            .read_only_funcs()
            .build()
    };
    for (minor, point, fine) in
        [(8, 5, false), (13, 5, false), (16, 3, false), (17, 2, false), (17, 3, true), (22, 0, true)]
    {
        let target = Target::new((4, minor)).point(point).architecture(Architecture::AArch64);
        let findings = Payload::parse(&made(minor)).unwrap().check_against(&target);
        assert_eq!(findings.is_empty(), fine, "4.{minor}.{point}: {findings:?}");
    }
}

#[test]
fn built_payloads_are_fine() {
    for minor in 8..=22 {
        let builder = PayloadBuilder::named("p", &xen())
            .architecture(Architecture::AArch64)
            .for_release((4, minor))
            .function(FunctionPatch::returning("f", "t"))
            .function(FunctionPatch::nop("g", 8))
            .hook(HookKind::Load, HookCode::returns(-1))
            .metadata("k", Some("v"));
        let target = Target::new((4, minor)).build_id(xen()).architecture(Architecture::AArch64);
        let payload = Payload::parse(&builder.build()).unwrap();
        assert_eq!(payload.check_against(&target), [], "4.{minor}");
        assert_eq!(payload.functions()[0].name.as_ref().map(ToString::to_string).as_deref(), Some("f"));
        assert_eq!(payload.check_against(&target.architecture(Architecture::X86_64))[0].errno, Some(Errno::EOPNOTSUPP));
    }
}

#[test]
fn old_code_begins_at_an_instruction() {
    let image = 0x200_0020_0000_u64;
    for (old, problem) in [
        (image + 0x1000, None),
        (image + 0x1002, Some(F::OldAddress(PointerProblem::Unaligned))),
        (image - 0x1000, Some(F::NotInXen { found: image - 0x1000 })),
    ] {
        assert_eq!(function(Editor::function(16, &old.to_le_bytes())), problem, "{old:#x}");
    }
}

#[test]
fn code_is_aligned_to_instructions() {
    for (addend, problem) in [(0, None), (4, None), (2, Some(F::NewAddress(PointerProblem::Unaligned)))] {
        let editor = extra().patch(FUNCS, 24, &[8]).entry(RELA_FUNCS, 1, relocation::ADDEND, addend);
        assert_eq!(function(editor), problem, "{addend}");
    }
}

#[test]
fn a_branch_reaches_128_mib() {
    // The address that the check assumes for a payload's code.
    let (code, reach) = (0x200_0100_2000_u64, 128 << 20);
    let not_in_xen = |found| Some(F::NotInXen { found });
    for (old, problem) in [
        (code - reach - 4, Some(F::TooFar)),
        (code - reach, not_in_xen(code - reach)),
        (code + reach - 4, not_in_xen(code + reach - 4)),
        (code + reach, Some(F::TooFar)),
    ] {
        assert_eq!(function(Editor::function(16, &old.to_le_bytes())), problem, "{old:#x}");
    }
}
