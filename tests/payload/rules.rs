//! The rules of releases: payloads checked for the last release without a rule, and for the first that has it.

use crate::layout::{layout, point};
use crate::prelude::*;

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
    expect_in_releases(
        "rules",
        [
            ("version 1", made(&old())),
            ("version 2", made(&new())),
            ("no-operations", made(&patching(FunctionPatch::nop("f", 5)).payload_version(PayloadVersion::V1))),
            // Releases that do not check the distance read the code there, and so do those that look for `endbr64` first.
            ("a distant function", far(old())),
            ("a distant function, version 2", far(new())),
            ("nine bytes of load hooks", odd_hook(old(), HookKind::Load)),
            ("nine bytes of preapply hooks", odd_hook(old(), HookKind::PreApply)),
            ("nine bytes of preapply hooks, version 2", odd_hook(new(), HookKind::PreApply)),
            ("more than 2 MiB of zeros", made(&old().bss((2 << 20) + 1))),
            ("an empty section", empty(old())),
            ("an empty section, version 2", empty(new())),
            ("an empty section of relocations", no_relocations),
            ("symbol 0", to_symbol(0)),
            ("the symbol after the last", to_symbol(symbols)),
            ("the symbol after that", to_symbol(symbols + 1)),
            ("alignment 3", made(&old().defect(".text", Defect::Alignment(3)))),
            ("an empty table of exceptions", made(&old().section(".ex_table", vec![]))),
            ("no build-id of a Xen", any_xen(old())),
            ("no build-id of a Xen, version 2", any_xen(new())),
            ("a build-id of a Xen of zeros", zeros.clone()),
            ("an empty build-id of a Xen", zeros.empty(".livepatch.xen_depends")),
            ("metadata that do not end", made(&old().modinfo("open"))),
            ("metadata that do not end, version 2", made(&new().modinfo("open"))),
            ("a symbol that is not loaded", unloaded),
            ("read-only functions", read_only(old())),
            ("read-only functions, version 2", read_only(new())),
            ("a function that is marked as applied", made(&new()).patch(FUNCS, 64, &[1])),
            // The rest of what Xen keeps there is written before it is read.
            (
                "other state of Xen's in a function",
                made(&new()).patch(FUNCS, 33, &[0xff; 31]).patch(FUNCS, 65, &[0xff; 7]),
            ),
        ],
    );
}

/// Each for releases on both sides of 4.14. Of most of these, real Xens 4.14.6, 4.17.7 and 4.20.4 had the same opinion.
#[test]
fn defects_are_judged_as_by_each_release() {
    expect_in_releases("defects", [PayloadVersion::V1, PayloadVersion::V2].into_iter().flat_map(defects));
}

fn defects(version: PayloadVersion) -> impl Iterator<Item = (String, Editor)> {
    let bare = || PayloadBuilder::named("p", &xen()).payload_version(version);
    let of = |function| bare().function(function);
    let whole = || of(FunctionPatch::returning("xen_extra_version", "x")).metadata("k", Some("v"));
    let printk = || FunctionPatch::returning("printk", "x");
    let hook = |builder: PayloadBuilder, kind| builder.hook(kind, HookCode::returns(0));
    let busy = hook(hook(whole().function(printk()), HookKind::Load), HookKind::PreApply);
    let built = [
        ("all parts", busy.writable_data([1; 9]).bss(100).defines("brand_new").needs("printk")),
        ("1 MiB of zeros", whole().bss(1 << 20)),
        ("a symbol of no Xen", whole().needs("xen_banner")),
        ("nothing to do", bare()),
        ("a load hook alone", hook(bare(), HookKind::Load)),
        ("a preapply hook alone", hook(bare(), HookKind::PreApply)),
        ("an unload hook alone", hook(bare(), HookKind::Unload)),
        ("2 MiB", whole().padded_to(Payload::MAX_SIZE)),
        ("two preapply hooks", hook(hook(whole(), HookKind::PreApply), HookKind::PreApply)),
        ("31 no-operations", of(FunctionPatch::nop("printk", 31))),
        ("32 no-operations", of(FunctionPatch::nop("printk", 32))),
        ("8 no-operations in place of 7 bytes", of(FunctionPatch::nop("printk", 8).old_size(7))),
        ("a function of 5 bytes", of(printk().old_size(5))),
        ("a function of 4 bytes", of(printk().old_size(4))),
        ("a function of no Xen", of(FunctionPatch::returning("nowhere", "x"))),
        ("a function at a low address", of(printk().at(0x1000))),
    ];
    let (depends, own) = (".livepatch.depends", ".note.gnu.build-id");
    let missing = [".text", ".rodata.str", ".rela.text", ".symtab", ".strtab", ".shstrtab", FUNCS, depends, own]
        .map(|name| (name, Defect::Missing));
    let short = [(FUNCS, 0), (FUNCS, 50), (".rela.text", 23), (depends, 0), (depends, 12), (own, 0), (own, 12)]
        .map(|(name, len)| (name, Defect::Truncated(len)));
    // Of the first relocation: its place (of four of eight bytes), type, symbol and addend.
    let relocation: [(usize, &[u8]); 5] = [(0, &[4]), (0, &[5]), (8, &[99]), (12, &[0xff; 4]), (16, &[0, 0, 0, 0, 1])];
    let relocation = relocation.map(|(at, bytes)| (".rela.text", Defect::Patched(at, bytes.to_vec())));
    let unloaded = [FUNCS, depends, own, ".livepatch.xen_depends"].map(|name| (name, Defect::NotAllocated));
    let others = [
        (depends, Defect::Patched(8, vec![1])),
        (own, Defect::Patched(8, vec![4])),
        (FUNCS, Defect::Patched(32, vec![3])),
        (".rodata.str", Defect::Alignment(3)),
        (".modinfo", Defect::Alignment(3)),
        (depends, Defect::Alignment(0)),
        // The first of its kind.
        (".text", Defect::Alignment(0)),
        (".text", Defect::Flags(7)),
        (".modinfo", Defect::Flags(7)),
        (".text", Defect::NullSymbol),
        (FUNCS, Defect::NullSymbol),
        (".modinfo", Defect::Contents(vec![])),
    ];
    let defects = missing.into_iter().chain(short).chain(relocation).chain(unloaded).chain(others);
    let tables = [
        (".bug_frames.0", 16),
        (".bug_frames.0", 12),
        (".bug_frames.3", 16),
        (".bug_frames.3", 12),
        (".ex_table", 16),
        (".ex_table", 12),
        (".altinstructions", 13),
        // It points at itself.
        (".alt_call_sites", 4),
    ];
    let mut all: Vec<_> = built.map(|(what, builder)| (what.to_owned(), builder)).into();
    all.extend(defects.map(|(name, defect)| (format!("{name}, {defect:?}"), whole().defect(name, defect))));
    all.extend(tables.map(|(name, len)| (format!("{len} bytes of {name}"), whole().section(name, vec![0; len]))));
    all.into_iter().map(move |(what, builder)| (format!("{what}, version {version}"), made(&builder)))
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
fn alternatives_are_those_of_the_release() {
    let whole = || alternative(new(), 14);
    let outside = |builder| point(alternative(builder, 14), ".altinstructions", 0, (".livepatch.funcs", 0));
    let replacement = point(whole(), ".altinstructions", 4, (".text", 0));
    // What comes after the code is not looked at in any release.
    let last = point(whole(), ".altinstructions", 0, (".altinstr_replacement", 8 - 5));
    // In a payload with as much code.
    let long = alternative(new().function(FunctionPatch::with_code("long", vec![0x90; 300])), 14);
    let (target, outside_code) = (Target::new((4, 22)).point(0).build_id(xen()), "a replacement outside");
    expect_findings("replacement", [(outside_code, target, replacement.clone())]);
    expect_in_releases(
        "alternatives",
        [
            ("12 bytes", alternative(old(), 12)),
            ("14 bytes", alternative(old(), 14)),
            ("14 bytes, version 2", whole()),
            ("code outside", outside(old())),
            ("code outside, version 2", outside(new())),
            (outside_code, replacement.clone()),
            ("an empty replacement outside", replacement.patch(".altinstructions", 11, &[0])),
            ("no section of replacements", whole().hide(".altinstr_replacement")),
            ("code at the end of the replacements", last.clone()),
            ("code and padding past the end of the replacements", last.patch(".altinstructions", 12, &[1])),
            ("a replacement that is longer", whole().patch(".altinstructions", 11, &[6])),
            ("a feature of no processor", whole().patch(".altinstructions", 8, &[0, 0x40])),
            ("254 bytes with padding", long.clone().patch(".altinstructions", 10, &[250, 5, 4])),
            ("255 bytes with padding", long.patch(".altinstructions", 10, &[250, 5, 5])),
            ("a feature that is turned around", whole().patch(".altinstructions", 8, &[0, 0x80])),
        ],
    );
}

#[test]
fn features_are_those_of_the_release() {
    let feature =
        |builder, size, number: u16| alternative(builder, size).patch(".altinstructions", 8, &number.to_le_bytes());
    let first = [(12, 10), (12, 11), (14, 11), (14, 13)].map(|(size, words)| ("version 1", old(), size, words));
    let later = [13, 14, 16, 18, 20, 21, 22].map(|words| ("version 2", new(), 14, words));
    let features = first.into_iter().chain(later).flat_map(|(version, builder, size, words)| {
        [32 * words - 1, 32 * words].map(|number| {
            (format!("feature {number} of {size} bytes, {version}"), feature(builder.clone(), size, number))
        })
    });
    expect_in_releases("features", features);

    // A feature that only some point releases know is possibly harmful where that is not known, unless Xen surely refuses it.
    let unknown = [
        (17, 32 * 16 - 1),
        (17, 32 * 16),
        (17, 32 * 21 - 1),
        (17, 32 * 21),
        (18, 32 * 21),
        (20, 32 * 21 - 1),
        (20, 32 * 21),
    ];
    let unknown = unknown
        .map(|(minor, number)| (format!("feature {number}"), Target::new((4, minor)), feature(new(), 14, number)));
    expect_findings("features", unknown);
}

/// An indirect call through a pointer that many megabytes lie before.
const CALL: [u8; 6] = [0xff, 0x15, 0, 0, 0, 0x40];

/// The call at this offset of the code, through a pointer in the payload's own data.
fn through_own_data(editor: Editor, code: usize) -> Editor {
    let places = layout(&editor);
    let distance = places[".data"] - places[".text"] - code - CALL.len();
    editor.patch(".text", code + 2, &u32::try_from(distance).unwrap().to_le_bytes())
}

#[test]
fn indirect_alternatives_from_4_13_to_4_20() {
    let indirect = |builder: PayloadBuilder| {
        let editor = alternative(builder.function(FunctionPatch::with_code("g", CALL)), 14);
        let code = editor.field(".text", section::SIZE) - CALL.len();
        let editor = editor.patch(".altinstructions", 10, &[6, 5]);
        let editor = point(editor, ".altinstructions", 0, (".text", i64::try_from(code).unwrap()));
        (editor.patch(".altinstr_replacement", 0, &[0xe8, 0xfb, 0xff, 0xff, 0xff]), code)
    };
    let (other, code) = indirect(new());
    let (inside, _) = indirect(new().writable_data([0; 8]));
    expect_in_releases(
        "indirect-alternatives",
        [
            ("through a pointer outside", indirect(old()).0),
            ("through a pointer outside, version 2", other.clone()),
            ("through a pointer of the payload's", through_own_data(inside, code)),
            ("code that is no indirect call", other.patch(".text", code, &[0x90; 2])),
        ],
    );
}

#[test]
fn call_sites_since_4_21() {
    let sites = |code: [u8; 6], builder: PayloadBuilder, len| {
        let builder = builder.function(FunctionPatch::with_code("g", code));
        let editor = made(&builder.section(".alt_call_sites", vec![0; len]));
        let at = editor.field(".text", section::SIZE) - 6;
        (editor, at)
    };
    let call = |(editor, at): (Editor, usize), distance| {
        point(editor, ".alt_call_sites", 0, (".text", i64::try_from(at).unwrap() + distance))
    };
    let one = || sites(CALL, new(), 4);
    // Xen looks at the function that the pointer of a call leads to, if it is one.
    let through = |pointer| {
        let (editor, at) = sites(CALL, new().writable_data([pointer, 0, 0, 0, 0, 0, 0, 0]), 4);
        call((through_own_data(editor, at), at), 0)
    };
    let no_code = made(&patching(FunctionPatch::nop("f", 5)).section(".alt_call_sites", vec![0; 4]));
    expect_in_releases(
        "call-sites",
        [
            ("through a pointer outside", call(one(), 0)),
            ("inside the call", call(one(), 1)),
            ("before the code", point(one().0, ".alt_call_sites", 0, (".text", -1))),
            ("no call", call(sites([0x90; 6], new(), 4), 0)),
            ("a part of an entry", sites(CALL, new(), 5).0),
            ("no entry", sites(CALL, new(), 0).0),
            ("through a pointer that is NULL", through(0)),
            ("through another pointer of the payload's", through(1)),
        ],
    );
    expect_findings(
        "call-sites",
        [("a call site without code", Target::new((4, 21)).point(0).build_id(xen()), no_code)],
    );
}

#[test]
fn xens_image_moved_with_4_14() {
    let at = |(version, builder): (u16, PayloadBuilder), address: u64| {
        let builder = builder.function(FunctionPatch::nop("f", 5).at(address).unnamed());
        (format!("{address:#x}, version {version}"), made(&builder))
    };
    let old = [0xffff_82d0_8020_0000, 0xffff_82d0_4020_0000, 0xffff_82d0_8010_0000, 0xffff_82d0_800f_ffff];
    let new = [
        0xffff_82d0_4020_0000,
        0xffff_82d0_8020_0000,
        0xffff_82d0_4000_0000,
        0xffff_82d0_401f_ffff,
        0xffff_82d0_40ff_ffff,
        0xffff_82d0_4100_0000,
    ];
    let old = old.map(|address| at((1, self::old()), address));
    expect_in_releases("image", old.into_iter().chain(new.map(|address| at((2, self::new()), address))));
}

#[test]
fn no_operations_leave_room_for_endbr64() {
    let nops = |count| made(&patching(FunctionPatch::nop("f", count)));
    // Unless it is known what the function begins with.
    let expecting = |code: &[u8; 4]| made(&patching(FunctionPatch::nop("f", 1).expecting(code)));
    // As far as it would be, and only if it is looked at.
    let short = patching(FunctionPatch::nop("f", 1).expecting(b"\x55\x48\x89"));
    let known = [
        ("other code", expecting(b"\x55\x48\x89\xe5")),
        ("ENDBR64", expecting(b"\xf3\x0f\x1e\xfa")),
        ("ENDBR64 that Xen has overwritten", expecting(b"\x66\x0f\x1f\x01")),
        ("three bytes of other code", made(&short)),
        ("other code, disabled", expecting(b"\x55\x48\x89\xe5").patch(FUNCS, 72, &[4 << 1])),
        ("nothing, at an address", made(&patching(FunctionPatch::nop("f", 1).at(0xffff_82d0_4020_0000)))),
    ];
    let known = known.map(|(what, editor)| (format!("one byte, expecting {what}"), editor));
    let nameless = ("a name that is NULL".to_owned(), made(&old()).entry(RELA_FUNCS, 0, relocation::OFFSET, 0x28));
    let counts = (0..=4).map(|count| (format!("{count} bytes"), nops(count)));
    expect_in_releases("endbr64", counts.chain(known).chain([nameless]));
    expect_findings("endbr64", (0..4).map(|count| (count, Target::new((4, 22)).point(0).build_id(xen()), nops(count))));
}
