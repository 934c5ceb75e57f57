//! The rules of releases: payloads checked for the last release without a rule, and for the first that has it.

use xen_livepatch::payload::FunctionProblem as F;

use crate::layout::point;
use crate::prelude::*;

/// A point release of Xen 4, such as `17.3`.
fn point_release(text: &str) -> Target {
    let (minor, point) = text.split_once('.').unwrap();
    Target::new((4, minor.parse().unwrap())).point(point.parse().unwrap()).build_id(xen())
}

/// The worst severity, or `fine`.
fn worst(findings: &[Finding]) -> String {
    findings.iter().map(|finding| finding.severity).max().map_or("fine".into(), |worst| worst.to_string())
}

/// Checks a payload for point releases of Xen 4: `fine 13.5, refused 14.0 14.1`.
#[track_caller]
fn expect(editor: &Editor, expected: &str) {
    expect_of("", editor, expected);
}

#[track_caller]
fn expect_of(what: &str, editor: &Editor, expected: &str) {
    for (expected, releases) in expected.split(", ").map(|outcome| outcome.split_once(' ').unwrap()) {
        for release in releases.split(' ') {
            let findings = check(editor, &point_release(release));
            assert_eq!(worst(&findings), expected, "{what} 4.{release}: {findings:?}");
        }
    }
}

/// A payload for Xen up to 4.13, and one for newer ones.
fn old() -> PayloadBuilder {
    new().payload_version(PayloadVersion::V1)
}

fn new() -> PayloadBuilder {
    patching(FunctionPatch::returning("xen_extra_version", "x"))
}

fn patching(function: FunctionPatch) -> PayloadBuilder {
    PayloadBuilder::named("p", &xen()).function(function)
}

fn made(builder: &PayloadBuilder) -> Editor {
    Editor::new(&builder.build())
}

#[test]
fn rules_hold_since_their_releases() {
    let far = |builder: PayloadBuilder| {
        let function = FunctionPatch::returning("far", "y").at(0xffff_8300_0000_0000);
        made(&builder.function(function))
    };
    let odd_hook = |builder: PayloadBuilder, kind| made(&builder.section(format!(".livepatch.hooks.{kind}"), [0; 9]));
    let empty =
        |builder: PayloadBuilder| made(&builder.section(".empty", vec![]).defect(".empty", Defect::Alignment(0)));
    let (rela, no_relocations) = (".rela.rodata.needed", made(&old().needs("printk")));
    let no_relocations = no_relocations.set(rela, section::TYPE, 9).set(rela, section::SIZE, 0);
    let to_symbol = |symbol| made(&old()).entry(".rela.text", 0, relocation::SYMBOL, symbol);
    let symbols = u64::try_from(made(&old()).field(".symtab", section::SIZE) / 24).unwrap();
    let any_xen = |builder: PayloadBuilder| made(&builder.defect(".livepatch.xen_depends", Defect::Missing));
    let zeros = made(&new()).set(".livepatch.xen_depends", section::TYPE, 8);
    let unloaded = made(&new().needs("printk").section(".away", vec![0; 8]));
    let away = u64::try_from(unloaded.index(".away")).unwrap();
    let symbol = unloaded.get(unloaded.field(rela, section::OFFSET), relocation::SYMBOL);
    let unloaded = unloaded.entry(".symtab", symbol, symbol::SECTION, away).clear_flag(".away", 2);
    let read_only = |builder: PayloadBuilder| made(&builder.read_only_funcs());
    for (what, payload, expected) in [
        ("version 1", made(&old()), "fine 13.5, refused 14.0"),
        ("version 2", made(&new()), "refused 13.5, fine 14.0"),
        (
            "no-operations",
            made(&patching(FunctionPatch::nop("f", 5)).payload_version(PayloadVersion::V1)),
            "refused 7.6, fine 8.0",
        ),
        // Releases that do not check the distance read the code there, and so do those that look for `endbr64` first.
        ("a distant function", far(old()), "harmful 7.6, refused 8.0 13.5"),
        ("a distant function", far(new()), "refused 14.4 15.2 16.0, harmful 14.5 15.3 16.1 17.0"),
        ("nine bytes of load hooks", odd_hook(old(), HookKind::Load), "fine 7.6, harmful 8.0"),
        ("nine bytes of preapply hooks", odd_hook(old(), HookKind::PreApply), "fine 13.5"),
        ("nine bytes of preapply hooks", odd_hook(new(), HookKind::PreApply), "refused 14.0"),
        ("more than 2 MiB of zeros", made(&old().bss((2 << 20) + 1)), "fine 7.6, refused 8.0"),
        ("an empty section", empty(old()), "harmful 7.6, fine 8.0 13.5"),
        ("an empty section", empty(new()), "fine 14.4 15.2 16.0, harmful 14.5 15.3 16.1 17.0"),
        ("an empty section of relocations", no_relocations, "refused 7.6, fine 8.0"),
        ("symbol 0", to_symbol(0), "harmful 7.3 8.1 9.0, refused 7.4 8.2 9.1 10.0"),
        ("the symbol after the last", to_symbol(symbols), "harmful 7.3 8.1 9.0, refused 7.4 8.2 9.1 10.0"),
        ("the symbol after that", to_symbol(symbols + 1), "refused 7.3"),
        ("alignment 3", made(&old().defect(".text", Defect::Alignment(3))), "fine 9.4, refused 10.0"),
        ("an empty table of exceptions", made(&old().section(".ex_table", vec![])), "refused 9.4, fine 10.0"),
        ("no build-id of a Xen", any_xen(old()), "fine 13.5"),
        ("no build-id of a Xen", any_xen(new()), "refused 14.0"),
        ("a build-id of a Xen of zeros", zeros.clone(), "refused 14.0 18.3 19.0, harmful 18.4 19.1 20.0"),
        ("an empty build-id of a Xen", zeros.empty(".livepatch.xen_depends"), "refused 18.3 20.0"),
        ("metadata that do not end", made(&old().modinfo("open")), "fine 13.5"),
        ("metadata that do not end", made(&new().modinfo("open")), "refused 14.0"),
        ("a symbol that is not loaded", unloaded, "unnoticed 14.4 15.2 16.0, refused 14.5 15.3 16.1 17.0"),
        ("read-only functions", read_only(old()), "fine 13.5"),
        (
            "read-only functions",
            read_only(new()),
            "fine 14.6 16.3 17.0 17.3 18.1 19.0, harmful 16.4 16.7 17.1 17.2 18.0",
        ),
        (
            "a function that is marked as applied",
            made(&new()).patch(FUNCS, 64, &[1]),
            "harmful 14.0 16.7 17.2 18.0, fine 17.3 18.1 19.0",
        ),
        // The rest of what Xen keeps there is written before it is read.
        (
            "other state of Xen's in a function",
            made(&new()).patch(FUNCS, 33, &[0xff; 31]).patch(FUNCS, 65, &[0xff; 7]),
            "fine 14.0",
        ),
    ] {
        expect_of(what, &payload, expected);
    }
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
        let findings = check(editor, &point_release(release));
        findings.iter().any(|f| matches!(f.problem, Problem::Table { problem: TableProblem::Size { .. }, .. }))
    };
    let (short, long) = (alternative(old(), 12), alternative(old(), 14));
    assert_eq!(["10.4", "11.0"].map(|release| size(&short, release)), [false, true]);
    assert_eq!(["10.4", "11.0"].map(|release| size(&long, release)), [true, false]);
    expect(&short, "fine 7.6 10.4");
    expect(&long, "fine 11.4 13.5");
    expect(&alternative(new(), 14), "fine 14.6 17.7 18.3 22.0");
}

#[test]
fn places_of_alternatives_are_looked_at_since_4_18() {
    let outside = |builder| point(alternative(builder, 14), ".altinstructions", 0, (".livepatch.funcs", 0));
    let checked = "harmful 14.6 17.3, refused 17.4 18.0 22.0";
    expect(&outside(old()), "harmful 13.5");
    expect(&outside(new()), checked);
    let replacement = point(alternative(new(), 14), ".altinstructions", 4, (".text", 0));
    expect(&replacement, checked);
    expect_findings("replacement", [("a replacement outside", point_release("22.0"), replacement.clone())]);
    expect(&replacement.patch(".altinstructions", 11, &[0]), checked);
    expect(&alternative(new(), 14).hide(".altinstr_replacement"), checked);
    // What comes after the code is not looked at in any release.
    let code = i64::try_from(alternative(new(), 14).field(".text", section::SIZE)).unwrap();
    let last = point(alternative(new(), 14), ".altinstructions", 0, (".altinstr_replacement", 8 - 5));
    assert!(code > 0);
    expect(&last, "fine 17.7 22.0");
    expect(&last.patch(".altinstructions", 12, &[1]), "harmful 17.7 22.0");
}

const REFUSED_SINCE: &str = "harmful 14.6 17.7 18.3 19.0, refused 18.4 19.1 20.0";

#[test]
fn wrong_alternatives_are_refused_since_4_20() {
    expect(&alternative(new(), 14).patch(".altinstructions", 11, &[6]), REFUSED_SINCE);
    expect(&alternative(new(), 14).patch(".altinstructions", 8, &[0, 0x40]), REFUSED_SINCE);
    // In a payload with as much code.
    let long = alternative(new().function(FunctionPatch::with_code("long", vec![0x90; 300])), 14);
    expect(&long.clone().patch(".altinstructions", 10, &[250, 5, 4]), "fine 17.7 20.0");
    expect(&long.patch(".altinstructions", 10, &[250, 5, 5]), REFUSED_SINCE);
}

#[test]
fn features_are_those_of_the_release() {
    let feature =
        |builder, size, number: u16| alternative(builder, size).patch(".altinstructions", 8, &number.to_le_bytes());
    for (words, releases) in [
        (13, "14.0 15.2"),
        (14, "16.0"),
        (16, "14.5 15.3 16.1 17.0"),
        (18, "16.4 17.1"),
        (20, "14.6 15.5 16.5 17.2 17.5 18.0 19.0 20.0"),
        (21, "17.6 18.6 19.3 20.1 21.0"),
        (22, "21.1 22.0"),
    ] {
        expect(&feature(new(), 14, 32 * words - 1), &format!("fine {releases}"));
        for release in releases.split(' ') {
            let findings = check(&feature(new(), 14, 32 * words), &point_release(release));
            assert!(worst(&findings) != "fine", "{release} {words}");
        }
    }
    for (size, words, releases) in
        [(12, 10, "7.4 8.3"), (12, 11, "7.5 8.4 9.0 10.4"), (14, 11, "11.0 12.4"), (14, 13, "13.0")]
    {
        expect(&feature(old(), size, 32 * words - 1), &format!("fine {releases}"));
        expect(&feature(old(), size, 32 * words), &format!("harmful {releases}"));
    }
}

/// A feature that only some point releases know is possibly harmful where that is not known, unless Xen surely refuses it.
#[test]
fn features_that_some_point_releases_lack() {
    let feature = |number: u16| alternative(new(), 14).patch(".altinstructions", 8, &number.to_le_bytes());
    for (minor, number, expected) in [
        (17, 32 * 16 - 1, "fine"),
        (17, 32 * 16, "possibly-harmful"),
        (17, 32 * 21 - 1, "possibly-harmful"),
        (17, 32 * 21, "harmful"),
        (18, 32 * 21, "possibly-harmful"),
        (20, 32 * 21 - 1, "possible"),
        (20, 32 * 21, "refused"),
    ] {
        let findings = check(&feature(number), &Target::new((4, minor)));
        assert_eq!(worst(&findings), expected, "4.{minor}, {number}: {findings:?}");
    }
}

#[test]
fn features_are_turned_around_since_4_21() {
    let negated = alternative(new(), 14).patch(".altinstructions", 8, &[0, 0x80]);
    expect(&negated, "harmful 14.6 17.5, fine 17.6 18.5 19.3 20.1 21.0, refused 18.4 19.2 20.0");
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
    expect(&indirect(old()), "fine 12.4, harmful 13.0");
    expect(&indirect(new()), "harmful 14.6 20.3, fine 21.0");
    // One that the payload itself has.
    let inside = indirect(new().writable_data([0; 8]));
    let code = inside.field(".text", section::SIZE) - CALL.len();
    let places = crate::layout::layout(&inside);
    let distance = places[".data"] - places[".text"] - code - 6;
    let inside = inside.patch(".text", code + 2, &u32::try_from(distance).unwrap().to_le_bytes());
    expect(&inside, "fine 14.6 20.3");
    // It stands for an indirect call only where there is one.
    let other = indirect(new()).patch(".text", code, &[0x90; 2]);
    expect(&other, "fine 14.6 20.3");
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
    expect(&call(editor.clone(), at), "fine 20.3, harmful 21.0");
    expect(&call(editor.clone(), at + 1), "fine 20.3, refused 21.0");
    expect(&call(editor, -1), "refused 21.0");
    let (other, at) = sites([0x90; 6], vec![0; 4]);
    expect(&call(other, at), "refused 21.0");
    let (partial, _) = sites(CALL, vec![0; 5]);
    expect(&partial, "fine 20.3, refused 21.0");
    let (empty, _) = sites(CALL, vec![]);
    expect(&empty, "fine 21.0");
    let nops = patching(FunctionPatch::nop("f", 5));
    let no_code = made(&nops.section(".alt_call_sites", vec![0; 4]));
    expect_findings("call-sites", [("a call site without code", point_release("21.0"), no_code)]);
    // Xen looks at the function that the pointer of a call leads to, if it is one.
    for (pointer, expected) in [(0, "fine 21.0"), (1, "harmful 21.0")] {
        let code = FunctionPatch::with_code("g", CALL);
        let builder = new().function(code).writable_data([pointer, 0, 0, 0, 0, 0, 0, 0]);
        let editor = made(&builder.section(".alt_call_sites", vec![0; 4]));
        let places = crate::layout::layout(&editor);
        let at = editor.field(".text", section::SIZE) - CALL.len();
        let distance = u32::try_from(places[".data"] - places[".text"] - at - CALL.len()).unwrap();
        let editor = call(editor.patch(".text", at + 2, &distance.to_le_bytes()), i64::try_from(at).unwrap());
        expect(&editor, expected);
    }
}

#[test]
fn xens_image_moved_with_4_14() {
    let at = |builder: PayloadBuilder, address: u64| {
        made(&builder.function(FunctionPatch::nop("f", 5).at(address).unnamed()))
    };
    let (low, high) = (0xffff_82d0_4020_0000, 0xffff_82d0_8020_0000);
    expect(&at(old(), high), "fine 13.5");
    expect(&at(old(), low), "harmful 13.5");
    expect(&at(new(), low), "fine 14.0 22.0");
    expect(&at(new(), high), "harmful 14.0 22.0");
    for outside in [0xffff_82d0_4000_0000, 0xffff_82d0_401f_ffff, 0xffff_82d0_4100_0000] {
        expect(&at(new(), outside), "harmful 17.7");
    }
    for inside in [0xffff_82d0_4020_0000, 0xffff_82d0_40ff_ffff] {
        expect(&at(new(), inside), "fine 17.7");
    }
    // The first ones began a MiB earlier.
    expect(&at(old(), 0xffff_82d0_8010_0000), "fine 8.2 10.4, harmful 11.0 13.5");
    expect(&at(old(), 0xffff_82d0_800f_ffff), "harmful 8.2 10.4");
}

#[test]
fn no_operations_leave_room_for_endbr64() {
    let nops = |count| made(&patching(FunctionPatch::nop("f", count)));
    for count in 0..4 {
        expect(&nops(count), "fine 14.4, harmful 14.5 15.3 16.1 17.7");
        let findings = check(&nops(count), &point_release("22.0"));
        assert!(
            matches!(&findings[0].problem, Problem::Function { problem: F::NopTooShort { found }, .. } if *found == count)
        );
    }
    expect(&nops(4), "fine 14.5 22.0");
    // Unless it is known what the function begins with.
    let expecting = |code: &[u8; 4]| made(&patching(FunctionPatch::nop("f", 1).expecting(code)));
    expect(&expecting(b"\x55\x48\x89\xe5"), "fine 17.7");
    expect(&expecting(b"\xf3\x0f\x1e\xfa"), "harmful 17.7");
    // As far as it would be, and only if it is looked at.
    let short = made(&patching(FunctionPatch::nop("f", 1).expecting(b"\x55\x48\x89")));
    expect(&short, "harmful 17.7");
    let at_address = patching(FunctionPatch::nop("f", 1).at(0xffff_82d0_4020_0000));
    expect(&made(&at_address), "harmful 17.7");
    expect(&expecting(b"\x55\x48\x89\xe5").patch(FUNCS, 72, &[4 << 1]), "harmful 17.7");
    expect(&expecting(b"\x66\x0f\x1f\x01"), "fine 16.7, harmful 17.0");
    let entry = made(&old()).entry(RELA_FUNCS, 0, relocation::OFFSET, 0x28);
    expect(&entry, "harmful 13.5");
}
