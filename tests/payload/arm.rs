//! The differences of the check for a Xen on Arm.

use crate::layout::point;
use crate::prelude::*;
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

#[test]
fn nothing_is_found_in_good_ones() {
    for minor in 14..=22 {
        let target = Target::new((4, minor)).architecture(Architecture::AArch64);
        assert_eq!(check(&arm(hooked()), &target), [], "4.{minor}");
    }
}

#[test]
fn functions_are_checked() {
    let target = || Target::new((4, 22)).architecture(Architecture::AArch64);
    let nops = |count| extra().patch(FUNCS, 24, &[count]).entry(RELA_FUNCS, 1, relocation::OFFSET, 0x28);
    let at = |address: u64| Editor::function(16, &address.to_le_bytes());
    let code_after = |addend| extra().patch(FUNCS, 24, &[8]).entry(RELA_FUNCS, 1, relocation::ADDEND, addend);
    // The address that the check assumes for a payload's code, and the reach of a branch from there.
    let (image, code, reach) = (0x200_0020_0000, 0x200_0100_2000, 128 << 20);
    let functions = [
        ("4 bytes of no-operations", nops(4)),
        ("5 bytes of no-operations", nops(5)),
        ("16 bytes of no-operations", nops(16)),
        ("20 bytes of no-operations", nops(20)),
        ("old code at an instruction", at(image + 0x1000)),
        ("old code inside an instruction", at(image + 0x1002)),
        ("old code before Xen", at(image - 0x1000)),
        ("new code at the first instruction", code_after(0)),
        ("new code at the second instruction", code_after(4)),
        ("new code inside an instruction", code_after(2)),
        ("old code out of reach, below", at(code - reach - 4)),
        ("old code just in reach, below", at(code - reach)),
        ("old code just in reach, above", at(code + reach - 4)),
        ("old code out of reach, above", at(code + reach)),
    ];
    expect_findings("arm", functions.map(|(what, editor)| (what, target(), arm(editor))));
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
        let found = check(&arm(editor), &Target::new((4, 22)).architecture(Architecture::AArch64));
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
