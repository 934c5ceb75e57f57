//! Payloads that crashed real hypervisors, and others of their kind.

use std::fs;
use std::path::{Path, PathBuf};

use crate::prelude::*;

fn made(builder: &PayloadBuilder) -> Editor {
    Editor::new(&builder.build())
}

fn patching(function: FunctionPatch) -> PayloadBuilder {
    PayloadBuilder::named("p", &xen()).function(function)
}

/// The files on which hunts ended.
fn crashes() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/payload/crashes")
}

fn crash(name: &str) -> Editor {
    Editor::new(&fs::read(crashes().join(format!("{name}.livepatch"))).unwrap())
}

/// Seen on 4.14.6, 4.17.7 and 4.20.3; by their source, others crash as well.
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
    expect_in_releases(
        "crashes",
        [
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
            (
                "new code that is a number",
                made(&two).entry(RELA_FUNCS, 1, relocation::OFFSET, 0x28).patch(FUNCS, 8, &[1]),
            ),
            ("two functions", made(&two)),
        ],
    );
}

/// Xen uses the size in the section's header to find the next relocation. Without every second one these functions have no new
/// code.
#[test]
fn relocations_are_as_far_apart_as_their_header_says() {
    let strided = hooked().set(RELA_FUNCS, section::ENTRY_SIZE, 48);
    assert!(Payload::parse(&strided.bytes).unwrap().functions().iter().all(xen_livepatch::payload::Function::is_nop));
    // Their names are not looked at.
    let names =
        (1..4).step_by(2).fold(strided.clone(), |editor, index| editor.entry(RELA_FUNCS, index, relocation::OFFSET, 0));
    expect_in_releases(
        "strides",
        [
            ("entries of 48 bytes", strided),
            ("entries of 48 bytes, changed in between", names),
            ("no name", hooked().entry(RELA_FUNCS, 0, relocation::OFFSET, 0x28)),
        ],
    );
}

#[test]
fn pointers_stay_in_their_section() {
    let text = u64::try_from(hooked().field(".text", section::SIZE)).unwrap();
    let hook = |addend| hooked().entry(".rela.livepatch.hooks.load", 0, relocation::ADDEND, addend);
    let new_size = |size: u64| hooked().patch(FUNCS, 24, &u32::try_from(size).unwrap().to_le_bytes());
    // `hooked_after`, and `hooked_loads`, of four bytes.
    let after = |value| hooked().entry(".symtab", 28, symbol::VALUE, value);
    let loads = |size| hooked().entry(".symtab", 20, symbol::SIZE, size);
    let own = hooked().entry(RELA_FUNCS, 0, relocation::OFFSET, 0x10).entry(RELA_FUNCS, 0, relocation::SYMBOL, 5);
    expect_in_releases(
        "pointers",
        [
            ("a hook at the last byte", hook(text - 1)),
            // The next section may begin there.
            ("a hook at the end", hook(text)),
            ("a hook before the section", hook(u64::MAX)),
            ("new code up to the end", new_size(text)),
            ("new code past the end", new_size(text + 1)),
            ("a symbol of the last bytes", after(text - 12)),
            ("a symbol past the end", after(text - 11)),
            ("a symbol before the section", after(u64::MAX)),
            ("a symbol of as many bytes as there are", loads(4)),
            ("a symbol of more bytes", loads(5)),
            ("old code that is the payload's own", own),
        ],
    );
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
    let size = |address, size| function(address, None).old_size(size);
    let pairs = [
        ("jumps on other code, 4 bytes apart", function(AT, other), function(AT + 4, other)),
        ("jumps on other code, 5 bytes apart", function(AT, other), function(AT + 5, other)),
        ("jumps after ENDBR64, 4 bytes apart", function(AT, endbr), function(AT + 4, endbr)),
        ("jumps after ENDBR64, 5 bytes apart", function(AT, endbr), function(AT + 5, endbr)),
        ("a jump after ENDBR64, 8 bytes before another", function(AT, endbr), function(AT + 8, other)),
        ("a jump after ENDBR64, 9 bytes before another", function(AT, endbr), function(AT + 9, other)),
        ("another jump 8 bytes after one after ENDBR64", function(AT + 4, endbr), function(AT + 12, other)),
        ("a jump 1 byte before one after ENDBR64", function(AT, other), function(AT + 1, endbr)),
        ("jumps on unknown code, 8 bytes apart", function(AT, None), function(AT + 8, None)),
        ("jumps on unknown code, 9 bytes apart", function(AT, None), function(AT + 9, None)),
        ("jumps on code without room for an ENDBR64", size(AT, 8), function(AT + 5, None)),
        ("jumps on code with room for one", size(AT, 9), function(AT + 5, None)),
        ("jumps without room for an ENDBR64, 4 bytes apart", size(AT, 5), size(AT + 4, 5)),
        ("jumps without room for an ENDBR64, 5 bytes apart", size(AT, 5), size(AT + 5, 5)),
        ("16 bytes of no-operations 15 bytes before a jump", nop(16), function(AT + 15, other)),
        ("16 bytes of no-operations 16 bytes before a jump", nop(16), function(AT + 16, other)),
        (
            "16 bytes of no-operations after ENDBR64 15 bytes before a jump",
            nop(16).expecting(&[0xf3, 0x0f, 0x1e, 0xfa]),
            function(AT + 15, other),
        ),
        // A function without bytes does not overlap.
        ("no no-operations inside a jump", size(AT, 5), FunctionPatch::nop("nop", 0).at(AT + 2)),
        ("two of one name", FunctionPatch::nop("f", 8), FunctionPatch::nop("f", 8)),
        ("two of different names", FunctionPatch::nop("f", 8), FunctionPatch::nop("g", 8)),
    ];
    let both = |(what, first, second): (&str, FunctionPatch, FunctionPatch)| {
        let turned = made(&patching(second.clone()).function(first.clone()));
        [(what.to_owned(), made(&patching(first).function(second))), (format!("{what}, turned"), turned)]
    };
    expect_in_releases("overlaps", pairs.into_iter().flat_map(both));

    let nop = |name: &str| FunctionPatch::nop(name, 8);
    let third = made(&patching(nop("g")).function(nop("f")).function(nop("f")));
    expect_findings("overlaps", [("the third function on the second", Target::new((4, 17)).point(7), third)]);
}

/// An alternative, with its padding, changes only code of the section that its address is relocated against.
#[test]
fn places_are_near_those_that_they_are_relocated_against() {
    let file = crash("alternative-strays").patch(".altinstructions", 8, &[0, 0, 4, 4, 2]);
    let code = u64::try_from(file.field(".text.hunted", section::SIZE)).unwrap();
    let alternative = [0, u64::MAX, code - 6, code - 5].map(|addend| {
        let editor = file.clone().entry(".rela.altinstructions", 0, relocation::ADDEND, addend);
        (format!("an alternative at {addend:#x} of {code:#x}"), editor)
    });
    let near = [0, 4095, 4096, 4095_u64.wrapping_neg(), 4096_u64.wrapping_neg()];
    let old = crash("old-address-far");
    let old = near.map(|addend| {
        let editor = old.clone().entry(RELA_FUNCS, 2, relocation::ADDEND, addend);
        (format!("old code at {addend:#x} of its symbol"), editor)
    });
    let of_xen = [(RELA_FUNCS, 0), (RELA_FUNCS, 1), (".rela.livepatch.hooks.load", 0)];
    let of_xen = of_xen.into_iter().flat_map(|(table, index)| {
        near.map(|addend| {
            let editor = xens(hooked(), 22).entry(table, index, relocation::SYMBOL, 22);
            let editor = editor.entry(table, index, relocation::ADDEND, addend);
            (format!("{table} {index}, at {addend:#x} of a symbol of Xen's"), editor)
        })
    });
    expect_in_releases("places", alternative.into_iter().chain(old).chain(of_xen));
    // An address that is too far away is refused before anything is read there.
    let far = patching(FunctionPatch::returning("f", "x").at(0xffff_82cf_b000_0000)).for_release((4, 13));
    expect_in_releases("distance", [("an address outside, too far from the payload", made(&far))]);
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
    let places = [
        (".rela.text", start, 24),
        (".rela.text", start + 1, 24),
        (".rela.text", start + 48, 0),
        (".rela.text", end - 1, 24),
        (".rela.text", end, 24),
        (".strtab", end - 1, 8),
        (".shstrtab", end - 1, 8),
        (".modinfo", end - 1, 8),
    ];
    let moved = places.map(|(table, offset, size)| {
        let editor = hooked().set(table, section::SIZE, size);
        // By its number, since this may hide the names.
        let base = editor.get(0, header::TABLE) + 64 * editor.index(table);
        let place = format!("{size} bytes of {table} at {offset}, symbols from {start} to {end}");
        (place, editor.put(base, section::OFFSET, offset))
    });
    expect_in_releases("symbol-overlaps", moved);
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

#[test]
fn payloads_of_hunts_are_harmful() {
    let mut names: Vec<String> = fs::read_dir(crashes())
        .unwrap()
        .map(|file| file.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    names.sort();
    expect_in_releases("hunts", names.iter().map(|name| (name, crash(name))));
}

#[test]
fn a_text_of_findings_is_short() {
    let functions =
        (0..3000).fold(PayloadBuilder::named("p", &xen()), |builder, _| builder.function(FunctionPatch::nop("f", 1)));
    let findings = check(&made(&functions), &Target::new((4, 17)));
    assert!(findings.len() > 3000);
    assert!(matches!(findings[0].problem, Problem::Function { .. }));
}
