//! Payloads that crashed real hypervisors: each is harmful in exactly these releases.

use std::fs;
use std::path::Path;

use crate::prelude::*;

fn hurts(editor: &Editor, (minor, point): (u16, u16)) -> bool {
    check(editor, &Target::new((4, minor)).point(point).build_id(xen())).iter().any(Finding::hurts_xen)
}

fn made(builder: &PayloadBuilder) -> Editor {
    Editor::new(&builder.build())
}

fn patching(function: FunctionPatch) -> PayloadBuilder {
    PayloadBuilder::named("p", &xen()).function(function)
}

/// The releases on which the crashes were seen; by their source, others of their kind crash as well.
const SEEN: [(u16, u16); 3] = [(14, 6), (17, 7), (20, 3)];

#[test]
fn payloads_that_crashed_real_xens_are_harmful() {
    let returning = || FunctionPatch::returning("xen_extra_version", "x");
    let two = patching(returning()).function(FunctionPatch::returning("xen_changeset", "y"));
    let highest = [".text", ".rodata.str", ".livepatch.depends", ".livepatch.xen_depends"];
    let highest = highest
        .into_iter()
        .fold(patching(returning()), |builder, section| builder.defect(section, Defect::Alignment(1 << 63)));
    let unloaded = |name: &str, len: usize| {
        made(&patching(returning()).section(name, vec![0; len]).defect(name, Defect::NotAllocated))
    };
    for (what, editor) in [
        ("a NOP of 3 bytes", made(&patching(FunctionPatch::nop("f", 3)))),
        ("a NOP of 1 byte", made(&patching(FunctionPatch::nop("f", 1)))),
        ("alignments whose sum wraps around", made(&highest)),
        ("a load hook that is NULL", hooked().set(".livepatch.hooks.load", section::SIZE, 16)),
        ("a load hook that points at data", hooked().entry(".rela.livepatch.hooks.load", 0, (16, 8), 0x1000)),
        (
            "an unload hook that is a number",
            hooked().patch(".livepatch.hooks.unload", 0, &[1]).entry(".rela.livepatch.hooks.unload", 0, (8, 4), 0),
        ),
        ("exceptions that are not loaded", unloaded(".ex_table", 8)),
        ("alternatives that are not loaded", unloaded(".altinstructions", 14)),
        ("bug frames that are not loaded", unloaded(".bug_frames.2", 8)),
        ("one function twice", made(&patching(returning()).function(returning()))),
        (
            "two functions that overlap",
            made(
                &patching(FunctionPatch::returning("f", "x").at(0xffff_82d0_4020_0000))
                    .function(FunctionPatch::returning("g", "y").at(0xffff_82d0_4020_0004)),
            ),
        ),
        ("an address of nobody", made(&patching(returning().at(0xffff_8700_0000_0000)))),
        ("an address at the very end", made(&patching(returning().at(0xffff_ffff_ffff_ffc0)))),
        ("code that is not executable", made(&two.clone().defect(".text", Defect::Flags(2)))),
        ("a name that does not end", {
            let strings = u64::try_from(extra().field(".livepatch.strings", section::SIZE) - 1).unwrap();
            extra().set(".livepatch.strings", section::SIZE, strings)
        }),
        ("new code that is a number", made(&two).entry(RELA_FUNCS, 1, relocation::OFFSET, 0x28).patch(FUNCS, 8, &[1])),
    ] {
        for release in SEEN {
            assert!(hurts(&editor, release), "{what}, 4.{}", release.0);
        }
    }
    for release in SEEN {
        assert!(!hurts(&made(&two), release), "4.{}", release.0);
    }
}

/// Xen uses the size in the section's header to find the next relocation. Without every second one these functions have no new
/// code.
#[test]
fn relocations_are_as_far_apart_as_their_header_says() {
    let strided = hooked().set(RELA_FUNCS, section::ENTRY_SIZE, 48);
    assert!(Payload::parse(&strided.bytes).unwrap().functions().iter().all(xen_livepatch::payload::Function::is_nop));
    assert_eq!(check(&strided, &Target::new((4, 17))), []);
    let names = (1..4).step_by(2).fold(strided, |editor, index| editor.entry(RELA_FUNCS, index, relocation::OFFSET, 0));
    assert!(!hurts(&names, (17, 7)), "they are not looked at");
    assert!(hurts(&hooked().entry(RELA_FUNCS, 0, relocation::OFFSET, 0x28), (17, 7)));
}

#[test]
fn neighbours_are_no_overlap() {
    let at = |address| FunctionPatch::returning("f", "x").at(address).old_size(5);
    let both =
        |distance: u64| made(&patching(at(0xffff_82d0_4020_0000)).function(at(0xffff_82d0_4020_0000 + distance)));
    assert!(hurts(&both(4), (17, 7)));
    assert!(!hurts(&both(5), (17, 7)));
    // In either order, and by name as well.
    let later = made(&patching(at(0xffff_82d0_4020_0004)).function(at(0xffff_82d0_4020_0000)));
    assert!(hurts(&later, (17, 7)));
    let named = |name: &str| FunctionPatch::nop(name, 8);
    assert!(hurts(&made(&patching(named("f")).function(named("f"))), (17, 7)));
    assert!(!hurts(&made(&patching(named("f")).function(named("g"))), (17, 7)));
    // A function without bytes does not overlap.
    let none =
        made(&patching(at(0xffff_82d0_4020_0000)).function(FunctionPatch::nop("g", 0).at(0xffff_82d0_4020_0002)));
    assert!(!hurts(&none, (14, 4)));
}

#[test]
fn pointers_stay_in_their_section() {
    let hurt = |editor: Editor| hurts(&editor, (17, 7));
    let text = u64::try_from(hooked().field(".text", section::SIZE)).unwrap();
    let hook = |addend| hooked().entry(".rela.livepatch.hooks.load", 0, relocation::ADDEND, addend);
    assert!(!hurt(hook(text - 1)));
    assert!(hurt(hook(text)), "there the next section may begin");
    assert!(hurt(hook(u64::MAX)));
    // New code ends there as well.
    let new_size = |size: u64| hooked().patch(FUNCS, 24, &u32::try_from(size).unwrap().to_le_bytes());
    assert!(!hurt(new_size(text)));
    assert!(hurt(new_size(text + 1)));
    // `hooked_after`, and `hooked_loads`, of four bytes.
    let after = |value| hooked().entry(".symtab", 28, symbol::VALUE, value);
    assert!(!hurt(after(text - 12)));
    assert!(hurt(after(text - 11)));
    assert!(hurt(after(u64::MAX)));
    assert!(!hurt(hooked().entry(".symtab", 20, symbol::SIZE, 4)));
    assert!(hurt(hooked().entry(".symtab", 20, symbol::SIZE, 5)));
    // Old code that is the payload's own.
    let own = hooked().entry(RELA_FUNCS, 0, relocation::OFFSET, 0x10).entry(RELA_FUNCS, 0, relocation::SYMBOL, 5);
    let own = check(&own, &Target::new((4, 17)));
    let is_own = |finding: &Finding| {
        matches!(finding.problem, Problem::Function { problem: FunctionProblem::OwnCode, .. }) && finding.hurts_xen()
    };
    assert!(own.iter().any(is_own), "{own:?}");
}

/// A jump comes after an `endbr64`. Without knowledge of the first instruction, it may be in either place.
#[test]
fn functions_that_overlap() {
    const AT: u64 = 0xffff_82d0_4030_0000;
    let function = |address, first: Option<&[u8; 4]>| {
        let function = FunctionPatch::returning(format!("f{address:x}"), "x").at(address);
        match first {
            Some(first) => function.expecting(first),
            None => function,
        }
    };
    let nop = |size| FunctionPatch::nop("nop", size).at(AT).old_size(64);
    let (endbr, other) = (Some(&[0xf3, 0x0f, 0x1e, 0xfa]), Some(&[0x90; 4]));
    for (what, first, second, overlap) in [
        ("jumps on other code", function(AT, other), function(AT + 4, other), true),
        ("jumps on other code", function(AT, other), function(AT + 5, other), false),
        ("jumps after ENDBR64", function(AT, endbr), function(AT + 4, endbr), true),
        ("jumps after ENDBR64", function(AT, endbr), function(AT + 5, endbr), false),
        ("one after ENDBR64", function(AT, endbr), function(AT + 8, other), true),
        ("one after ENDBR64", function(AT, endbr), function(AT + 9, other), false),
        ("the other after ENDBR64", function(AT + 4, endbr), function(AT + 12, other), true),
        ("the other after ENDBR64", function(AT, other), function(AT + 1, endbr), false),
        ("jumps on unknown code", function(AT, None), function(AT + 8, None), true),
        ("jumps on unknown code", function(AT, None), function(AT + 9, None), false),
        ("jumps on code without room for an ENDBR64", function(AT, None).old_size(8), function(AT + 5, None), false),
        ("jumps on code with room for one", function(AT, None).old_size(9), function(AT + 5, None), true),
        ("a NOP and a jump", nop(16), function(AT + 15, other), true),
        ("a NOP and a jump", nop(16), function(AT + 16, other), false),
        (
            "a NOP after ENDBR64 and a jump",
            nop(16).expecting(&[0xf3, 0x0f, 0x1e, 0xfa]),
            function(AT + 15, other),
            true,
        ),
    ] {
        for turned in [false, true] {
            let [first, second] = if turned { [&second, &first] } else { [&first, &second] };
            let payload = made(&patching(first.clone()).function(second.clone()));
            let findings = check(&payload, &Target::new((4, 17)).point(7));
            let twice = |finding: &Finding| {
                matches!(finding.problem, Problem::Function { problem: FunctionProblem::Twice { first: 0 }, .. })
            };
            assert_eq!(findings.iter().any(twice), overlap, "{what}, turned {turned}: {findings:?}");
        }
    }
}

/// An alternative, with its padding, changes only code of the section that its address is relocated against.
#[test]
fn alternatives_stay_in_their_section() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/payload/crashes/alternative-strays.livepatch");
    let file = Editor::new(&fs::read(file).unwrap()).patch(".altinstructions", 8, &[0, 0, 4, 4, 2]);
    let code = u64::try_from(file.field(".text.hunted", section::SIZE)).unwrap();
    let at = |addend: u64| file.clone().entry(".rela.altinstructions", 0, relocation::ADDEND, addend);
    for (addend, harmful) in [(0, false), (u64::MAX, true), (code - 6, false), (code - 5, true)] {
        for release in SEEN {
            assert_eq!(hurts(&at(addend), release), harmful, "{addend}, 4.{}", release.0);
        }
    }
}

#[test]
fn old_code_is_near_its_symbol() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/payload/crashes/old-address-far.livepatch");
    let file = fs::read(file).unwrap();
    let old = |addend| Editor::new(&file).entry(RELA_FUNCS, 2, relocation::ADDEND, addend);
    for release in SEEN {
        assert!(!hurts(&old(4095), release));
        assert!(hurts(&old(4096), release));
        assert!(!hurts(&old(0_u64.wrapping_sub(4095)), release));
        assert!(hurts(&old(0_u64.wrapping_sub(4096)), release));
    }
    // An address that is too far away is refused before anything is read there.
    let far = patching(FunctionPatch::returning("f", "x").at(0xffff_82cf_b000_0000)).for_release((4, 13));
    let findings = check(&made(&far), &Target::new((4, 13)));
    let [Finding { problem: Problem::Function { problem: FunctionProblem::TooFar, .. }, .. }] = findings[..] else {
        panic!("{findings:?}")
    };
}

#[test]
fn names_and_code_of_xen_are_near_their_symbol() {
    for (table, index) in [(RELA_FUNCS, 0), (RELA_FUNCS, 1), (".rela.livepatch.hooks.load", 0)] {
        for (addend, harmful) in
            [(0, false), (4095, false), (4096, true), (4095_u64.wrapping_neg(), false), (4096_u64.wrapping_neg(), true)]
        {
            let editor = xens(hooked(), 22).entry(table, index, relocation::SYMBOL, 22);
            let editor = editor.entry(table, index, relocation::ADDEND, addend);
            assert_eq!(hurts(&editor, (17, 7)), harmful, "{table} {index} {addend}");
        }
    }
}

/// 4.7 does not check the size of sections without bytes. It refuses more than it has room for; large payloads below that are
/// not linked by the check.
#[test]
fn memory_has_limits() {
    let check = |bytes: u64| {
        let payload = patching(FunctionPatch::returning("f", "x")).for_release((4, 7)).bss(bytes);
        check(&made(&payload), &Target::new((4, 7)))
    };
    let kinds = |findings: Vec<Finding>| findings.iter().map(|finding| finding.severity).collect::<Vec<_>>();
    assert_eq!(kinds(check(8 << 20)), []);
    assert_eq!(kinds(check(32 << 20)), [Severity::Harmful]);
    assert_eq!(kinds(check(1 << 30)), [Severity::Refused]);
    let huge = check(1 << 40);
    let [Finding { problem: Problem::TooMuchMemory { needed }, severity: Severity::Refused, .. }] = huge[..] else {
        panic!("{huge:?}")
    };
    let (rest, page) = (needed - (1 << 40), 4096);
    assert_eq!(kinds(check((1 << 30) - rest)), [Severity::Harmful]);
    assert_eq!(kinds(check((1 << 30) - rest + page)), [Severity::Refused]);
    assert_eq!(kinds(check((16 << 20) - rest)), []);
    assert_eq!(kinds(check((16 << 20) - rest + page)), [Severity::Harmful]);
}

/// Xen writes to all symbols except the first.
#[test]
fn symbols_that_overlap_what_is_read_after_them_are_harmful() {
    let field = |field| u64::try_from(hooked().field(".symtab", field)).unwrap();
    let (start, end) = (field(section::OFFSET), field(section::OFFSET) + field(section::SIZE));
    for (table, offset, size, expected) in [
        (".rela.text", start, 24, false),
        (".rela.text", start + 1, 24, true),
        (".rela.text", start + 48, 0, false),
        (".rela.text", end - 1, 24, true),
        (".rela.text", end, 24, false),
        (".strtab", end - 1, 8, true),
        (".shstrtab", end - 1, 8, true),
        (".modinfo", end - 1, 8, false),
    ] {
        let editor = hooked().set(table, section::SIZE, size);
        // By its number, since this may hide the names.
        let base = editor.get(0, header::TABLE) + 64 * editor.index(table);
        let found = problems(&check(&editor.put(base, section::OFFSET, offset), &Target::new((4, 17))));
        let overlap = Problem::Overlapping { what: "its symbol table and what Xen reads after it" };
        assert_eq!(found.contains(&overlap), expected, "{table} {offset} {size}: {found:?}");
    }
}

/// Xen applies the relocations of each section, which may overlap in a file.
#[test]
fn relocations_that_overlap_without_end_are_harmful() {
    let tables = ["text", "livepatch.hooks.load", "livepatch.hooks.unload", "livepatch.hooks.preapply"];
    let harmful = |count: u64| {
        let mut editor = hooked();
        let (start, first) = (editor.bytes.len(), editor.field(".rela.text", section::OFFSET));
        let relocation = editor.bytes[first..first + 24].to_vec();
        (0..count).for_each(|_| editor.bytes.extend_from_slice(&relocation));
        let text = u64::try_from(editor.index(".text")).unwrap();
        let editor = tables.iter().fold(editor, |editor, table| {
            let table = format!(".rela.{table}");
            let editor = editor.set(&table, section::OFFSET, u64::try_from(start).unwrap());
            editor.set(&table, section::SIZE, 24 * count).set(&table, section::INFO, text)
        });
        let most = u64::try_from(editor.bytes.len()).unwrap() / 24;
        let overlap = Problem::Overlapping { what: "its relocation sections" };
        (problems(&check(&editor, &Target::new((4, 17)))).contains(&overlap), 4 * count + 8 > most)
    };
    for count in 1..100 {
        let (found, expected) = harmful(count);
        assert_eq!(found, expected, "{count}");
    }
}

/// Xen compares the names of all symbols, which may overlap in a file.
#[test]
fn names_that_overlap_without_end_are_harmful() {
    let long = "n".repeat(90_000);
    let symbols = (0..50).fold(patching(FunctionPatch::returning("f", "x")).defines(&long), |builder, number| {
        builder.defines(format!("s{number}"))
    });
    let editor = made(&symbols);
    let strings = editor.field(".strtab", section::OFFSET);
    let start = editor.bytes[strings..].windows(100).position(|bytes| bytes == &long.as_bytes()[..100]).unwrap();
    let count = editor.field(".symtab", section::SIZE) / 24;
    let renamed = |names: usize| {
        (count - names..count).fold(editor.clone(), |editor, index| {
            editor.entry(".symtab", index, symbol::NAME, u64::try_from(start).unwrap())
        })
    };
    let too_many = |editor: &Editor| {
        check(editor, &Target::new((4, 17))).iter().any(|finding| {
            finding.hurts_xen() && matches!(finding.problem, Problem::Overlapping { what: "the names of its symbols" })
        })
    };
    let overlapping = |names: usize| too_many(&renamed(names));
    assert!(!overlapping(40));
    assert!(overlapping(48));
    // To the byte: another name ends where these do.
    let names = |editor: &Editor| -> Vec<usize> {
        let name = |index| strings + editor.get(editor.field(".symtab", section::OFFSET) + 24 * index, symbol::NAME);
        let len = |start: usize| editor.bytes[start..].iter().position(|byte| *byte == 0).unwrap();
        (1..count).map(|index| len(name(index))).collect()
    };
    let many = renamed(45);
    let (all, last) = (names(&many), count - 46);
    let room = (4 << 20) - all.iter().sum::<usize>() + all[last - 1];
    for (len, expected) in [(room, false), (room + 1, true)] {
        let at = u64::try_from(start + long.len() - len).unwrap();
        assert_eq!(too_many(&many.clone().entry(".symtab", last, symbol::NAME, at)), expected, "{len}");
    }
}

/// The files on which hunts ended, and the releases in which they are harmful.
#[test]
fn payloads_of_hunts_are_harmful() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/payload/crashes");
    let mut count = 0;
    for (file, releases) in [
        ("alternative-by-relocation", &[14][..]),
        ("alternative-feature", &[14, 17]),
        ("alternative-strays", &[14, 17, 20]),
        ("applied-preset", &[14]),
        ("endbr-patched-twice", &[14, 17, 20]),
        ("name-number", &[14, 17, 20]),
        ("name-stray-with-address", &[14, 17, 20]),
        ("nop-zero-endbr", &[14, 17, 20]),
        ("old-address-far", &[14, 17, 20]),
        ("pointer-leaves-section", &[14, 17, 20]),
        ("symbol-outside", &[14, 17, 20]),
        ("symtab-overlaps-4.14", &[14, 17, 20]),
        ("symtab-overlaps-4.17", &[14, 17, 20]),
        ("symtab-overlaps-4.20", &[14, 17, 20]),
        ("xen-depends-nobits", &[20]),
    ] {
        let payload = Payload::parse(&fs::read(directory.join(format!("{file}.livepatch"))).unwrap()).unwrap();
        for (minor, point) in SEEN {
            let findings = payload.check_against(&Target::new((4, minor)).point(point));
            let harmful = findings.iter().any(Finding::hurts_xen);
            assert_eq!(harmful, releases.contains(&minor), "{file} on 4.{minor}: {findings:?}");
        }
        count += 1;
    }
    assert_eq!(fs::read_dir(directory).unwrap().count(), count, "each file is here");
}

#[test]
fn a_text_of_findings_is_short() {
    let functions =
        (0..3000).fold(PayloadBuilder::named("p", &xen()), |builder, _| builder.function(FunctionPatch::nop("f", 1)));
    let findings = check(&made(&functions), &Target::new((4, 17)));
    assert!(findings.len() > 3000);
    assert!(matches!(findings[0].problem, Problem::Function { .. }));
}
