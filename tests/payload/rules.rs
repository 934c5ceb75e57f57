//! Each rule of a release by what it does to a payload: on the last release without it, and on the first that has it.

use xen_livepatch::payload::{FunctionProblem as F, PayloadVersion, Problem, TableProblem};
use xen_livepatch::sim::{Defect, FunctionPatch, PayloadBuilder};
use xen_livepatch::{Finding, Severity, Target};

use crate::editor::{Editor, relocation, section, xen};
use crate::findings::{FUNCS, RELA_FUNCS, check, refused};
use crate::layout::point;

/// The worst that a check has to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Worst {
    Fine,
    Possible,
    Refused,
    Unnoticed,
    PossiblyHarmful,
    Harmful,
}

use Worst::{Fine, Harmful, Possible, PossiblyHarmful, Refused, Unnoticed};

fn target((minor, point): (u16, u16)) -> Target {
    Target::new((4, minor)).point(point).build_id(xen())
}

fn worst(findings: &[Finding]) -> Worst {
    match findings.iter().map(|finding| finding.severity).max() {
        None => Fine,
        Some(Severity::Possible) => Possible,
        Some(Severity::Refused) => Refused,
        Some(Severity::Unnoticed) => Unnoticed,
        Some(Severity::PossiblyHarmful) => PossiblyHarmful,
        Some(_) => Harmful,
    }
}

#[track_caller]
fn expect(editor: &Editor, expected: &[((u16, u16), Worst)]) {
    for (release, expected) in expected {
        let findings = check(editor, &target(*release));
        assert_eq!(worst(&findings), *expected, "4.{}.{}: {findings:?}", release.0, release.1);
    }
}

/// A payload for Xen up to 4.13, and one for newer ones.
fn old() -> PayloadBuilder {
    new().payload_version(PayloadVersion::V1)
}

fn new() -> PayloadBuilder {
    PayloadBuilder::named("p", &xen()).function(FunctionPatch::returning("xen_extra_version", "x"))
}

fn made(builder: &PayloadBuilder) -> Editor {
    Editor::new(&builder.build())
}

#[test]
fn no_operations_since_4_8() {
    let nops =
        PayloadBuilder::named("p", &xen()).payload_version(PayloadVersion::V1).function(FunctionPatch::nop("f", 5));
    expect(&made(&nops), &[((7, 6), Refused), ((8, 0), Fine)]);
}

#[test]
fn distances_since_4_8_and_endbr64_since_4_17() {
    let far = |builder: PayloadBuilder| {
        let at = |function: FunctionPatch| function.at(0xffff_8300_0000_0000);
        made(&builder.function(at(FunctionPatch::returning("far", "y"))))
    };
    // Who does not look reaches for it, and who looks for ENDBR64 first.
    expect(&far(old()), &[((7, 6), Harmful), ((8, 0), Refused), ((13, 5), Refused)]);
    expect(
        &far(new()),
        &[
            ((14, 4), Refused),
            ((14, 5), Harmful),
            ((15, 2), Refused),
            ((15, 3), Harmful),
            ((16, 0), Refused),
            ((16, 1), Harmful),
            ((17, 0), Harmful),
        ],
    );
}

#[test]
fn hooks_at_load_since_4_8_and_around_actions_since_4_14() {
    let odd = |section| made(&old().section(section, vec![0; 9]));
    expect(&odd(".livepatch.hooks.load"), &[((7, 6), Fine), ((8, 0), Harmful)]);
    expect(&odd(".livepatch.hooks.preapply"), &[((13, 5), Fine)]);
    expect(&made(&new().section(".livepatch.hooks.preapply", vec![0; 9])), &[((14, 0), Refused)]);
}

#[test]
fn sections_of_zeros_are_limited_since_4_8() {
    expect(&made(&old().bss((2 << 20) + 1)), &[((7, 6), Fine), ((8, 0), Refused)]);
}

#[test]
fn empty_sections_are_placed_but_for_some_releases() {
    let empty = |builder: PayloadBuilder| {
        let builder = builder.section(".empty", vec![]).defect(".empty", Defect::Alignment(0));
        made(&builder)
    };
    expect(&empty(old()), &[((7, 6), Harmful), ((8, 0), Fine), ((13, 5), Fine)]);
    expect(
        &empty(new()),
        &[
            ((14, 4), Fine),
            ((14, 5), Harmful),
            ((15, 2), Fine),
            ((15, 3), Harmful),
            ((16, 0), Fine),
            ((16, 1), Harmful),
            ((17, 0), Harmful),
        ],
    );
}

#[test]
fn empty_relocation_sections_are_passed_over_since_4_8() {
    let editor = made(&old().needs("printk"));
    let empty = editor.set(".rela.rodata.needed", section::TYPE, 9).set(".rela.rodata.needed", section::SIZE, 0);
    expect(&empty, &[((7, 6), Refused), ((8, 0), Fine)]);
}

#[test]
fn symbols_of_relocations_are_looked_at_since_4_10() {
    let null = made(&old()).entry(".rela.text", 0, relocation::SYMBOL, 0);
    let symbols = u64::try_from(null.field(".symtab", section::SIZE) / 24).unwrap();
    let next = made(&old()).entry(".rela.text", 0, relocation::SYMBOL, symbols);
    for editor in [&null, &next] {
        expect(
            editor,
            &[
                ((7, 3), Harmful),
                ((7, 4), Refused),
                ((8, 1), Harmful),
                ((8, 2), Refused),
                ((9, 0), Harmful),
                ((9, 1), Refused),
                ((10, 0), Refused),
            ],
        );
    }
    expect(&made(&old()).entry(".rela.text", 0, relocation::SYMBOL, symbols + 1), &[((7, 3), Refused)]);
}

#[test]
fn alignments_since_4_10() {
    let odd = made(&old().defect(".text", Defect::Alignment(3)));
    expect(&odd, &[((9, 4), Fine), ((10, 0), Refused)]);
}

#[test]
fn an_empty_table_of_exceptions_since_4_10() {
    expect(&made(&old().section(".ex_table", vec![])), &[((9, 4), Refused), ((10, 0), Fine)]);
}

#[test]
fn xens_build_id_and_metadata_since_4_14() {
    expect(&made(&old().defect(".livepatch.xen_depends", Defect::Missing)), &[((13, 5), Fine)]);
    expect(&made(&new().defect(".livepatch.xen_depends", Defect::Missing)), &[((14, 0), Refused)]);
    expect(&made(&old().modinfo("open")), &[((13, 5), Fine)]);
    expect(&made(&new().modinfo("open")), &[((14, 0), Refused)]);
    expect(&made(&old()), &[((13, 5), Fine), ((14, 0), Refused)]);
    expect(&made(&new()), &[((13, 5), Refused), ((14, 0), Fine)]);
}

#[test]
fn symbols_that_are_not_loaded_are_refused_since_4_17() {
    let editor = made(&new().needs("printk").section(".away", vec![0; 8]));
    let away = u64::try_from(editor.index(".away")).unwrap();
    let symbol = editor.get(editor.field(".rela.rodata.needed", section::OFFSET), relocation::SYMBOL);
    let editor = editor.entry(".symtab", symbol, (6, 2), away).clear_flag(".away", 2);
    expect(
        &editor,
        &[
            ((14, 4), Unnoticed),
            ((14, 5), Refused),
            ((15, 2), Unnoticed),
            ((15, 3), Refused),
            ((16, 0), Unnoticed),
            ((16, 1), Refused),
            ((17, 0), Refused),
        ],
    );
}

#[test]
fn functions_are_writable_where_xen_writes_to_them() {
    expect(
        &made(&new().read_only_funcs()),
        &[
            ((14, 6), Fine),
            ((16, 3), Fine),
            ((16, 4), Harmful),
            ((16, 7), Harmful),
            ((17, 0), Fine),
            ((17, 1), Harmful),
            ((17, 2), Harmful),
            ((17, 3), Fine),
            ((18, 0), Harmful),
            ((18, 1), Fine),
            ((19, 0), Fine),
        ],
    );
    expect(&made(&old().read_only_funcs()), &[((13, 5), Fine)]);
}

#[test]
fn functions_are_not_marked_as_applied_where_xen_keeps_that() {
    let marked = made(&new()).patch(FUNCS, 64, &[1]);
    expect(
        &marked,
        &[
            ((14, 0), Harmful),
            ((16, 7), Harmful),
            ((17, 2), Harmful),
            ((17, 3), Fine),
            ((18, 0), Harmful),
            ((18, 1), Fine),
            ((19, 0), Fine),
        ],
    );
    // The rest of what Xen keeps there is written before it is read.
    expect(&made(&new()).patch(FUNCS, 33, &[0xff; 31]).patch(FUNCS, 65, &[0xff; 7]), &[((14, 0), Fine)]);
}

/// A payload with one alternative: five bytes of code, replaced by five.
pub(crate) fn alternative(builder: PayloadBuilder, entry_size: usize) -> Editor {
    let builder =
        builder.section(".altinstr_replacement", vec![0x90; 8]).section(".altinstructions", vec![0; entry_size]);
    let editor = made(&builder).set(".altinstr_replacement", section::FLAGS, 6);
    let editor = point(editor, ".altinstructions", 0, (".text", 0));
    point(editor, ".altinstructions", 4, (".altinstr_replacement", 0)).patch(".altinstructions", 10, &[5, 5])
}

#[test]
fn alternatives_have_padding_since_4_11() {
    let size = |editor: &Editor, release| {
        let findings = check(editor, &target(release));
        findings.iter().any(|f| matches!(f.problem, Problem::Table { problem: TableProblem::Size { .. }, .. }))
    };
    let (short, long) = (alternative(old(), 12), alternative(old(), 14));
    assert_eq!([(10, 4), (11, 0)].map(|release| size(&short, release)), [false, true]);
    assert_eq!([(10, 4), (11, 0)].map(|release| size(&long, release)), [true, false]);
    expect(&short, &[((7, 6), Fine), ((10, 4), Fine)]);
    expect(&long, &[((11, 4), Fine), ((13, 5), Fine)]);
    expect(&alternative(new(), 14), &[((14, 6), Fine), ((17, 7), Fine), ((18, 3), Fine), ((22, 0), Fine)]);
}

#[test]
fn places_of_alternatives_are_looked_at_since_4_18() {
    let outside = |builder| point(alternative(builder, 14), ".altinstructions", 0, (".livepatch.funcs", 0));
    let checked = [((14, 6), Harmful), ((17, 3), Harmful), ((17, 4), Refused), ((18, 0), Refused), ((22, 0), Refused)];
    expect(&outside(old()), &[((13, 5), Harmful)]);
    expect(&outside(new()), &checked);
    let replacement = point(alternative(new(), 14), ".altinstructions", 4, (".text", 0));
    expect(&replacement, &checked);
    refused(
        &replacement,
        &target((22, 0)),
        ".altinstructions entry 0: its replacement is outside .altinstr_replacement: relink it",
    );
    expect(&replacement.patch(".altinstructions", 11, &[0]), &checked);
    expect(&alternative(new(), 14).hide(".altinstr_replacement"), &checked);
    // What comes after the code is not looked at in any release.
    let code = i64::try_from(alternative(new(), 14).field(".text", section::SIZE)).unwrap();
    let last = point(alternative(new(), 14), ".altinstructions", 0, (".altinstr_replacement", 8 - 5));
    assert!(code > 0);
    expect(&last, &[((17, 7), Fine), ((22, 0), Fine)]);
    expect(&last.patch(".altinstructions", 12, &[1]), &[((17, 7), Harmful), ((22, 0), Harmful)]);
}

const REFUSED_SINCE: [((u16, u16), Worst); 7] = [
    ((14, 6), Harmful),
    ((17, 7), Harmful),
    ((18, 3), Harmful),
    ((18, 4), Refused),
    ((19, 0), Harmful),
    ((19, 1), Refused),
    ((20, 0), Refused),
];

#[test]
fn what_alternatives_do_is_refused_since_4_20() {
    expect(&alternative(new(), 14).patch(".altinstructions", 11, &[6]), &REFUSED_SINCE);
    expect(&alternative(new(), 14).patch(".altinstructions", 8, &[0, 0x40]), &REFUSED_SINCE);
    // In a payload with as much code.
    let long = alternative(new().function(FunctionPatch::with_code("long", vec![0x90; 300])), 14);
    expect(&long.clone().patch(".altinstructions", 10, &[250, 5, 4]), &[((17, 7), Fine), ((20, 0), Fine)]);
    expect(&long.patch(".altinstructions", 10, &[250, 5, 5]), &REFUSED_SINCE);
}

#[test]
fn features_are_those_of_the_release() {
    let feature = |number: u16| alternative(new(), 14).patch(".altinstructions", 8, &number.to_le_bytes());
    let last = |words: u16| feature(32 * words - 1);
    let first_unknown = |words: u16| feature(32 * words);
    for (release, words) in [
        ((14, 0), 13),
        ((14, 5), 16),
        ((14, 6), 20),
        ((15, 2), 13),
        ((15, 3), 16),
        ((15, 5), 20),
        ((16, 0), 14),
        ((16, 1), 16),
        ((16, 4), 18),
        ((16, 5), 20),
        ((17, 0), 16),
        ((17, 1), 18),
        ((17, 2), 20),
        ((17, 5), 20),
        ((17, 6), 21),
        ((18, 0), 20),
        ((18, 6), 21),
        ((19, 0), 20),
        ((19, 3), 21),
        ((20, 0), 20),
        ((20, 1), 21),
        ((21, 0), 21),
        ((21, 1), 22),
        ((22, 0), 22),
    ] {
        expect(&last(words), &[(release, Fine)]);
        let findings = check(&first_unknown(words), &target(release));
        assert!(worst(&findings) != Fine, "{release:?} {words}");
    }
    for (release, words) in [((7, 4), 10), ((7, 5), 11), ((8, 3), 10), ((8, 4), 11), ((9, 0), 11), ((10, 4), 11)] {
        let with = |words: u16| alternative(old(), 12).patch(".altinstructions", 8, &words.to_le_bytes());
        expect(&with(32 * words - 1), &[(release, Fine)]);
        expect(&with(32 * words), &[(release, Harmful)]);
    }
    for (release, words) in [((11, 0), 11), ((12, 4), 11), ((13, 0), 13)] {
        let with = |number: u16| alternative(old(), 14).patch(".altinstructions", 8, &number.to_le_bytes());
        expect(&with(32 * words - 1), &[(release, Fine)]);
        expect(&with(32 * words), &[(release, Harmful)]);
    }
}

/// A feature that only some point releases know is possibly harmful where that is not known, unless Xen surely refuses it.
#[test]
fn features_that_some_point_releases_lack() {
    let feature = |number: u16| alternative(new(), 14).patch(".altinstructions", 8, &number.to_le_bytes());
    for (minor, number, expected) in [
        (17, 32 * 16 - 1, Fine),
        (17, 32 * 16, PossiblyHarmful),
        (17, 32 * 21 - 1, PossiblyHarmful),
        (17, 32 * 21, Harmful),
        (18, 32 * 21, PossiblyHarmful),
        (20, 32 * 21 - 1, Possible),
        (20, 32 * 21, Refused),
    ] {
        let findings = check(&feature(number), &Target::new((4, minor)));
        assert_eq!(worst(&findings), expected, "4.{minor}, {number}: {findings:?}");
    }
}

#[test]
fn features_are_turned_around_since_4_21() {
    let negated = alternative(new(), 14).patch(".altinstructions", 8, &[0, 0x80]);
    expect(
        &negated,
        &[
            ((14, 6), Harmful),
            ((17, 5), Harmful),
            ((17, 6), Fine),
            ((18, 4), Refused),
            ((18, 5), Fine),
            ((19, 2), Refused),
            ((19, 3), Fine),
            ((20, 0), Refused),
            ((20, 1), Fine),
            ((21, 0), Fine),
        ],
    );
}

/// An indirect call through a pointer that many megabytes lie before.
const CALL: [u8; 6] = [0xff, 0x15, 0, 0, 0, 0x40];

#[test]
fn indirect_alternatives_from_4_13_to_4_20() {
    let indirect = |builder: PayloadBuilder| {
        let editor = alternative(builder.function(FunctionPatch::with_code("g", CALL)), 14);
        let code = editor.field(".text", section::SIZE) - CALL.len();
        let editor = editor.patch(".altinstructions", 10, &[6, 5]);
        let editor = point(editor, ".altinstructions", 0, (".text", i64::try_from(code).unwrap()));
        editor.patch(".text", code, &CALL).patch(".altinstr_replacement", 0, &[0xe8, 0xfb, 0xff, 0xff, 0xff])
    };
    expect(&indirect(old()), &[((12, 4), Fine), ((13, 0), Harmful)]);
    expect(&indirect(new()), &[((14, 6), Harmful), ((20, 3), Harmful), ((21, 0), Fine)]);
    // One that the payload itself has.
    let inside = indirect(new().writable_data([0; 8]));
    let code = inside.field(".text", section::SIZE) - CALL.len();
    let places = crate::layout::layout(&inside);
    let distance = places[".data"] - places[".text"] - code - 6;
    let inside = inside.patch(".text", code + 2, &u32::try_from(distance).unwrap().to_le_bytes());
    expect(&inside, &[((14, 6), Fine), ((20, 3), Fine)]);
    // It stands for an indirect call only where there is one.
    let other = indirect(new()).patch(".text", code, &[0x90; 2]);
    expect(&other, &[((14, 6), Fine), ((20, 3), Fine)]);
}

#[test]
fn call_sites_since_4_21() {
    let sites = |code: [u8; 6], contents: Vec<u8>| {
        let builder = new().function(FunctionPatch::with_code("g", code)).section(".alt_call_sites", contents);
        let editor = made(&builder);
        let at = editor.field(".text", section::SIZE) - 6;
        (editor.patch(".text", at, &code), i64::try_from(at).unwrap())
    };
    let (editor, at) = sites(CALL, vec![0; 4]);
    let call = |editor: Editor, to: i64| point(editor, ".alt_call_sites", 0, (".text", to));
    expect(&call(editor.clone(), at), &[((20, 3), Fine), ((21, 0), Harmful)]);
    expect(&call(editor.clone(), at + 1), &[((20, 3), Fine), ((21, 0), Refused)]);
    expect(&call(editor, -1), &[((21, 0), Refused)]);
    let (other, at) = sites([0x90; 6], vec![0; 4]);
    expect(&call(other, at), &[((21, 0), Refused)]);
    let (partial, _) = sites(CALL, vec![0; 5]);
    expect(&partial, &[((20, 3), Fine), ((21, 0), Refused)]);
    let (empty, _) = sites(CALL, vec![]);
    expect(&empty, &[((21, 0), Fine)]);
    let nops = PayloadBuilder::named("p", &xen()).function(FunctionPatch::nop("f", 5));
    refused(
        &made(&nops.section(".alt_call_sites", vec![0; 4])),
        &target((21, 0)),
        ".alt_call_sites: the payload has no code, or no .altinstr_replacement: build it with the tools of this release",
    );
    // Xen looks at the function that the pointer of a call leads to, if it is one.
    for (pointer, expected) in [(0, Fine), (1, Harmful)] {
        let code = FunctionPatch::with_code("g", CALL);
        let builder = new().function(code).writable_data([pointer, 0, 0, 0, 0, 0, 0, 0]);
        let editor = made(&builder.section(".alt_call_sites", vec![0; 4]));
        let places = crate::layout::layout(&editor);
        let at = editor.field(".text", section::SIZE) - CALL.len();
        let distance = u32::try_from(places[".data"] - places[".text"] - at - CALL.len()).unwrap();
        let editor = call(editor.patch(".text", at + 2, &distance.to_le_bytes()), i64::try_from(at).unwrap());
        expect(&editor, &[((21, 0), expected)]);
    }
}

#[test]
fn the_build_id_of_xen_is_read_in_the_file_since_4_20() {
    let zeros = made(&new()).set(".livepatch.xen_depends", section::TYPE, 8);
    expect(
        &zeros,
        &[
            ((14, 0), Refused),
            ((18, 3), Refused),
            ((18, 4), Harmful),
            ((19, 0), Refused),
            ((19, 1), Harmful),
            ((20, 0), Harmful),
        ],
    );
    expect(&zeros.empty(".livepatch.xen_depends"), &[((18, 3), Refused), ((20, 0), Refused)]);
}

#[test]
fn xens_image_moved_with_4_14() {
    let at = |builder: PayloadBuilder, address: u64| {
        made(&builder.function(FunctionPatch::nop("f", 5).at(address).unnamed()))
    };
    let (low, high) = (0xffff_82d0_4020_0000, 0xffff_82d0_8020_0000);
    expect(&at(old(), high), &[((13, 5), Fine)]);
    expect(&at(old(), low), &[((13, 5), Harmful)]);
    expect(&at(new(), low), &[((14, 0), Fine), ((22, 0), Fine)]);
    expect(&at(new(), high), &[((14, 0), Harmful), ((22, 0), Harmful)]);
    for outside in [0xffff_82d0_4000_0000, 0xffff_82d0_401f_ffff, 0xffff_82d0_4100_0000] {
        expect(&at(new(), outside), &[((17, 7), Harmful)]);
    }
    for inside in [0xffff_82d0_4020_0000, 0xffff_82d0_40ff_ffff] {
        expect(&at(new(), inside), &[((17, 7), Fine)]);
    }
    // The first ones began a MiB earlier.
    expect(
        &at(old(), 0xffff_82d0_8010_0000),
        &[((8, 2), Fine), ((10, 4), Fine), ((11, 0), Harmful), ((13, 5), Harmful)],
    );
    expect(&at(old(), 0xffff_82d0_800f_ffff), &[((8, 2), Harmful), ((10, 4), Harmful)]);
}

#[test]
fn no_operations_leave_room_for_endbr64() {
    let nops = |count| made(&PayloadBuilder::named("p", &xen()).function(FunctionPatch::nop("f", count)));
    for count in 0..4 {
        expect(
            &nops(count),
            &[((14, 4), Fine), ((14, 5), Harmful), ((15, 3), Harmful), ((16, 1), Harmful), ((17, 7), Harmful)],
        );
        let findings = check(&nops(count), &target((22, 0)));
        assert!(
            matches!(&findings[0].problem, Problem::Function { problem: F::NopTooShort { found }, .. } if *found == count)
        );
    }
    expect(&nops(4), &[((14, 5), Fine), ((22, 0), Fine)]);
    // Unless it is known what the function begins with.
    let expecting =
        |code: &[u8; 4]| made(&PayloadBuilder::named("p", &xen()).function(FunctionPatch::nop("f", 1).expecting(code)));
    expect(&expecting(b"\x55\x48\x89\xe5"), &[((17, 7), Fine)]);
    expect(&expecting(b"\xf3\x0f\x1e\xfa"), &[((17, 7), Harmful)]);
    // As far as it would be, and only if it is looked at.
    let short =
        made(&PayloadBuilder::named("p", &xen()).function(FunctionPatch::nop("f", 1).expecting(b"\x55\x48\x89")));
    expect(&short, &[((17, 7), Harmful)]);
    let at_address = PayloadBuilder::named("p", &xen()).function(FunctionPatch::nop("f", 1).at(0xffff_82d0_4020_0000));
    expect(&made(&at_address), &[((17, 7), Harmful)]);
    expect(&expecting(b"\x55\x48\x89\xe5").patch(FUNCS, 72, &[4 << 1]), &[((17, 7), Harmful)]);
    expect(&expecting(b"\x66\x0f\x1f\x01"), &[((16, 7), Fine), ((17, 0), Harmful)]);
    let entry = made(&old()).entry(RELA_FUNCS, 0, relocation::OFFSET, 0x28);
    expect(&entry, &[((13, 5), Harmful)]);
}
