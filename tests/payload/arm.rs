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

/// A payload with one alternative: its feature, the lengths of original and replacement, the place of the replacement, and the
/// replacement itself, if that matters.
fn alternative_to(feature: u16, lengths: [u8; 2], replacement: (&str, i64), code: &[u8]) -> Editor {
    let builder = PayloadBuilder::named("p", &xen()).function(FunctionPatch::with_code("f", [0; 16]));
    let editor = alternative(builder, 12).patch(".altinstructions", 8, &feature.to_le_bytes());
    let editor = editor.patch(".altinstructions", 10, &lengths).patch(".altinstr_replacement", 0, code);
    arm(point(editor, ".altinstructions", 4, replacement))
}

#[test]
fn alternatives_are_checked() {
    const INSIDE: (&str, i64) = (".altinstr_replacement", 0);
    // Outside the payload it may be one of Xen's.
    const ELSEWHERE: (&str, i64) = (".altinstr_replacement", 1 << 20);
    let lengths = [[4, 4], [8, 8], [8, 4], [4, 8], [4, 0], [6, 6], [0, 0]];
    let lengths =
        lengths.map(|lengths| (format!("of the lengths {lengths:?}"), alternative_to(4, lengths, INSIDE, &[])));
    // The first number that is no feature stands for a function that is called in place of a replacement.
    let callbacks = [16, 17, 18, 19].into_iter().flat_map(|callback| {
        [
            (format!("callback {callback}, in Xen"), alternative_to(callback, [4, 0], ELSEWHERE, &[])),
            (format!("callback {callback}, which can't be run yet"), alternative_to(callback, [4, 0], INSIDE, &[])),
            (format!("callback {callback}, with a length"), alternative_to(callback, [4, 4], ELSEWHERE, &[])),
            (format!("callback {callback}, with a length, inside"), alternative_to(callback, [4, 4], INSIDE, &[])),
        ]
    });
    // b .+distance; nop
    let branches = [0_i32, 4, 8, 12, -4].map(|distance| {
        let [a, b, c, d] = (0x1400_0000 | (distance / 4) & 0x3ff_ffff).to_le_bytes();
        let code = [a, b, c, d, 0x1f, 0x20, 0x03, 0xd5];
        (format!("a branch to {distance}"), alternative_to(4, [8, 8], INSIDE, &code))
    });
    expect_in_releases("arm-alternatives", lengths.into_iter().chain(callbacks).chain(branches));
}

#[test]
fn rules_are_those_of_the_release() {
    let made = |builder: PayloadBuilder| Editor::new(&builder.architecture(Architecture::AArch64).build());
    let new = || PayloadBuilder::named("p", &xen()).function(FunctionPatch::returning("f", "t"));
    let old = || new().payload_version(PayloadVersion::V1);
    let all = |builder: PayloadBuilder| {
        let builder = builder.function(FunctionPatch::nop("g", 8)).hook(HookKind::Load, HookCode::returns(-1));
        made(builder.metadata("k", Some("v")))
    };
    // There were three kinds before 4.15.
    let frames = [0, 8, 16, 24, 32].map(|len| (".bug_frames.0", len)).into_iter().chain([(".bug_frames.3", 8)]);
    let frames =
        frames.map(|(section, len)| (format!("{len} bytes of {section}"), made(new().section(section, vec![0; len]))));
    let built = [
        ("hooked", arm(hooked())),
        ("a built one", all(old())),
        ("a built one, version 2", all(new())),
        ("28 bytes of no-operations", made(new().function(FunctionPatch::nop("g", 28)))),
        ("32 bytes of no-operations", made(new().function(FunctionPatch::nop("g", 32)))),
        ("relocations without addends", all(new()).set(".rela.text", section::TYPE, 9)),
        ("read-only functions", made(old().read_only_funcs())),
        ("read-only functions, version 2", made(new().read_only_funcs())),
    ];
    expect_in_releases("arm", built.map(|(what, editor)| (what.to_owned(), editor)).into_iter().chain(frames));

    let payload = Payload::parse(&all(new()).bytes).unwrap();
    assert_eq!(payload.functions()[0].name.as_ref().map(ToString::to_string).as_deref(), Some("f"));
    let x86 = payload.check_against(&NEW.build_id(xen()).architecture(Architecture::X86_64));
    assert_eq!(x86[0].errno, Some(Errno::EOPNOTSUPP));
}
