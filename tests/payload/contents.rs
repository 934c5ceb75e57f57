//! Payloads with a single finding each: functions, hooks, metadata and relocations.

use xen_livepatch::payload::{
    FunctionProblem as F, PayloadVersion, Problem, RelocationProblem as R, RelocationSectionProblem,
};
use xen_livepatch::{Finding, Severity, Target};

use crate::editor::{Editor, relocation, section, symbol};
use crate::findings::{
    FUNCS, NEVER, NEW, OLD, RELA_FUNCS, XENS_ADDRESS, check, extra, found_in, harmful, harmful_to, hooked, just, name,
    problems, refused, refused_by, xens,
};

#[test]
fn function_versions_are_checked() {
    let for_old = "xen_extra_version has payload version 1, but this Xen takes 2: it is for Xen 4.7 to 4.13, \
         build it for this one";
    let finding = refused(&Editor::version_1(), for_old);
    assert!(matches!(
        finding,
        Problem::Version { expected: PayloadVersion::V2, found: PayloadVersion::V1, function }
            if function.to_str() == Some("xen_extra_version")
    ));
    refused_by(
        &OLD,
        &extra(),
        "xen_extra_version has payload version 2, but this Xen takes 1: it is for Xen 4.14 and newer, \
         build it for this one",
    );
    refused(
        &Editor::function(32, &[3]),
        "xen_extra_version has payload version 3, but this Xen takes 2: build it for this Xen",
    );
    refused(
        &hooked().patch(FUNCS, 104 + 32, &[9]),
        "xen_compiler has payload version 9, but this Xen takes 2: build it for this Xen",
    );
    refused(
        &hooked().set(FUNCS, section::SIZE, 207),
        ".livepatch.funcs has 207 bytes, which is not a multiple of 104: build it with the tools of this release",
    );
    let bare = (0..4).fold(hooked(), |editor, index| editor.entry(RELA_FUNCS, index, relocation::OFFSET, 0));
    let tiny = check(&bare.set(FUNCS, section::SIZE, 8), &NEW);
    assert!(problems(&tiny).contains(&Problem::FunctionsSize { size: 8, entry_size: 104 }), "{tiny:?}");
    let zeroed = check(&extra().set(FUNCS, section::TYPE, 8), &NEW);
    assert!(matches!(&*problems(&zeroed), [Problem::Version { found: PayloadVersion::Unknown(0), .. }]), "{zeroed:?}");
}

/// Turns the one function into no-operations: its new address loses its relocation.
fn nop(editor: Editor) -> Editor {
    editor.entry(RELA_FUNCS, 1, relocation::OFFSET, 0x28)
}

#[test]
fn functions_are_checked() {
    let old = |offset, bytes: &[u8]| Editor::version_1().patch(FUNCS, offset, bytes);
    let v47 = Target::new((4, 7));
    for (editor, target, problem, text) in [
        (Editor::function(28, &[0]), &NEW, F::NoOldSize, "its old size is 0: it is the size of the function in Xen"),
        (
            Editor::function(28, &[4]),
            &NEW,
            F::OldSizeTooSmall { found: 4, needed: 5 },
            "its old size 4 leaves no room for a jump, which takes 5 bytes: patch its callers instead",
        ),
        (
            old(28, &[0]),
            &v47,
            F::OldSizeTooSmall { found: 0, needed: 5 },
            "its old size 0 leaves no room for a jump, which takes 5 bytes: patch its callers instead",
        ),
        (
            nop(old(0, &[])),
            &v47,
            F::NoNewCode,
            "it has no new code, which Xen accepts only from 4.8 on: give it an empty function",
        ),
        (
            old(24, &[0]),
            &v47,
            F::NoNewSize,
            "its new size is 0, which Xen accepts only from 4.8 on: it is the size of the new function",
        ),
        (
            nop(Editor::function(24, &[32, 0, 0, 0, 32])),
            &NEW,
            F::NopTooLong { found: 32 },
            "32 bytes are to become no-operations, but Xen accepts at most 31: replace the function instead",
        ),
        (
            nop(Editor::function(24, &[17])),
            &NEW,
            F::NopPastEnd { found: 17, old_size: 16 },
            "17 bytes are to become no-operations, but its old size is 16",
        ),
        (
            Editor::function(72, &[0x81]),
            &NEW,
            F::ExpectationReserved { found: 2 },
            "its expectation has reserved bits set (0x2): Xen refuses to apply it",
        ),
        (
            Editor::function(72, &[1 | 17 << 1]),
            &NEW,
            F::ExpectationPastEnd { found: 17, old_size: 16 },
            "it expects 17 bytes, but its old size is 16: Xen refuses to apply it",
        ),
    ] {
        let finding = refused_by(target, &editor, &format!("function 0 (xen_extra_version): {text}"));
        assert!(
            matches!(finding, Problem::Function { index: 0, problem: found, .. } if found == problem),
            "{finding:?}"
        );
        let later = matches!(problem, F::ExpectationReserved { .. } | F::ExpectationPastEnd { .. });
        assert_eq!(check(&editor, target)[0].keeps_from_loading(), !later, "{problem}");
    }
}

#[test]
fn old_addresses_are_inside_xen() {
    let nowhere = Editor::function(16, &0x7fff_ffff_ffff_u64.to_le_bytes());
    let text = "function 0 (xen_extra_version): its address 0x7fffffffffff is not inside Xen";
    let remedy = "leave it out, so that Xen looks up the name";
    harmful(&nowhere, &format!("{text}: {remedy}"));
    harmful_to(&Target::new((4, 14)).point(5), &nowhere, &format!("{text}: {remedy}"));
    // Either is possible where the point release is not known.
    let either: Vec<String> = check(&nowhere, &Target::new((4, 14))).iter().map(ToString::to_string).collect();
    let unknown = "and this Xen does not reveal its point release; accept";
    assert_eq!(either.len(), 2);
    assert!(
        either[0].ends_with(&format!(
            " (possibly: 4.14.0 to 4.14.4 do not take it, {unknown} function-too-far to load it anyway)"
        )),
        "{either:?}"
    );
    let harm = "(possibly: 4.14.5 and 4.14.6 crash on it or are damaged,";
    assert_eq!(either[1], format!("{text}: {remedy} {harm} {unknown} function-not-in-xen to load it anyway)"));
    // Releases that do not look for `endbr64` first refuse it for its distance.
    refused_by(
        &Target::new((4, 14)).point(4),
        &nowhere,
        "function 0 (xen_extra_version): its new code is too far from the old for a jump: let the linker place it, without \
         fixed addresses",
    );
    let nowhere = Editor::version_1().patch(FUNCS, 16, &[1]);
    assert_eq!(found_in(&nowhere, 7..=13), [7, 8, 9, 10, 11, 12, 13]);
    // Other parts of the hypervisor's half of the address space, and the places of other releases.
    for address in [0xffff_8700_0000_0000_u64, 0xffff_ffff_ffff_ffc0, 0xffff_82d0_8023_0f90, 0xffff_82d0_4100_0000] {
        assert!(check(&Editor::function(16, &address.to_le_bytes()), &NEW)[0].hurts_xen(), "{address:#x}");
    }
    assert_eq!(check(&Editor::function(16, &XENS_ADDRESS), &NEW), []);
}

#[test]
fn names_are_texts_of_the_payload() {
    let text = "function 0 ((no name)): its name is not a text of the payload, and Xen reads whatever is there: relink \
                it";
    harmful(&extra().entry(RELA_FUNCS, 0, (16, 8), 1 << 40), text);
    // The number of a symbol that is not loaded is one near NULL.
    let unloaded = check(&Editor::version_1().clear_flag(".livepatch.strings", 2), &OLD);
    assert!(unloaded.iter().any(Finding::hurts_xen), "{unloaded:?}");
    let both = problems(&check(&extra().entry(RELA_FUNCS, 1, relocation::OFFSET, 4), &NEW));
    assert_eq!(both[0].to_string(), text);

    let nameless = |editor: Editor| editor.entry(RELA_FUNCS, 0, relocation::OFFSET, 0x28);
    let text =
        "function 0 ((no name)): it has neither a name nor an address, and Xen crashes looking for it: give it one";
    harmful(&nameless(extra()), text);
    harmful_to(&OLD, &nameless(Editor::version_1()), text);
    harmful(&extra().entry(RELA_FUNCS, 0, (8, 4), 0), text);
}

/// A finding names a function without a name by its address, or by the symbol of Xen against which that is relocated.
#[test]
fn functions_are_called_by_what_they_have() {
    let no_size = "its old size is 0: it is the size of the function in Xen";
    let by_number = Editor::function(16, &XENS_ADDRESS).entry(RELA_FUNCS, 0, relocation::OFFSET, 0x28);
    let by_symbol = xens(extra(), 14).entry(RELA_FUNCS, 0, relocation::OFFSET, 0x10);
    let by_symbol = by_symbol.entry(RELA_FUNCS, 0, relocation::SYMBOL, 14);
    for (editor, called) in [(by_number, "0xffff82d040230f90"), (by_symbol, "new_extra_version")] {
        refused(&editor.patch(FUNCS, 28, &[0]), &format!("function 0 ({called}): {no_size}"));
    }
}

/// A function without a size is refused for that alone.
#[test]
fn an_expectation_of_a_function_without_size_is_no_finding() {
    let editor = Editor::function(28, &[0]).patch(FUNCS, 72, &[1 | 4 << 1]);
    refused(&editor, "function 0 (xen_extra_version): its old size is 0: it is the size of the function in Xen");
}

#[test]
fn relocations_change_pointers_of_functions_alone() {
    let relocated = |editor: Editor, target: &Target, at| {
        let editor = editor.entry(RELA_FUNCS, 3, relocation::OFFSET, at);
        let is_relocated = |problem: &Problem| matches!(problem, Problem::Function { problem: F::Relocated, .. });
        problems(&check(&editor, target)).iter().any(is_relocated)
    };
    for at in [17, 24, 32, 57, 64, 65, 72, 96] {
        assert!(relocated(hooked(), &NEW, at), "{at}");
        assert!(relocated(xens(hooked(), 22).entry(RELA_FUNCS, 3, relocation::SYMBOL, 22), &NEW, at), "{at}");
    }
    // Xen's own state, and the pointers.
    for at in [8, 16, 33, 56] {
        assert!(!relocated(hooked(), &NEW, at), "{at}");
    }
}

#[test]
fn hooks_are_checked() {
    let size = |section, size| hooked().set(section, section::SIZE, size);
    refused(
        &size(".livepatch.hooks.load", 9),
        ".livepatch.hooks.load has 9 bytes, it takes a multiple of 8: one pointer of 8 bytes for each hook",
    );
    refused(
        &size(".livepatch.hooks.preapply", 16),
        ".livepatch.hooks.preapply has 16 bytes, it takes just 8: one pointer of 8 bytes for each hook",
    );
    harmful(
        &size(".livepatch.hooks.load", 16),
        ".livepatch.hooks.load: hook 1 is a NULL pointer, which Xen calls: point it at a function",
    );
    let absolute = hooked().entry(".symtab", 22, symbol::SECTION, 0xfff1).entry(".symtab", 22, symbol::VALUE, 0x1234);
    let number = absolute.entry(".rela.livepatch.hooks.load", 0, relocation::SYMBOL, 22);
    harmful(
        &number.entry(".rela.livepatch.hooks.load", 0, relocation::ADDEND, 0),
        ".livepatch.hooks.load: hook 0 is the bare address 0x1234: it has to be relocated against a symbol",
    );
    // Before 4.8 there are none, before 4.14 only two.
    let one_function = (2..4).fold(hooked(), |editor, index| editor.entry(RELA_FUNCS, index, relocation::OFFSET, 0x28));
    let one_function = one_function.patch(FUNCS, 32, &[1]).set(FUNCS, section::SIZE, 64);
    let old = |section, size| one_function.clone().set(section, section::SIZE, size);
    assert_eq!(found_in(&old(".livepatch.hooks.load", 9), 7..=9), [8, 9]);
    // Xen does not read an empty one, loaded or not.
    let empty = old(".livepatch.hooks.load", 0).clear_flag(".livepatch.hooks.load", 2);
    assert_eq!(found_in(&empty, 8..=13), NEVER);
    assert_eq!(found_in(&old(".livepatch.hooks.preapply", 9), 7..=13), NEVER);
}

#[test]
fn metadata_are_checked() {
    harmful(
        &extra().empty(".modinfo"),
        ".modinfo is empty, and Xen then reads far outside it: leave it out, or put a text there",
    );
    refused(&extra().set(".modinfo", section::SIZE, 5), ".modinfo does not end with a NUL byte: each entry has to");
}

#[test]
fn relocations_are_checked() {
    let first = |field, value| hooked().entry(".rela.text", 0, field, value);
    let null = "is against symbol 0, since its own was discarded: rebuild the payload";
    let finding = refused(&first(relocation::SYMBOL, 0), &format!(".rela.text: relocation 0 {null}"));
    assert_eq!(name(&finding).unwrap().as_bytes(), b".rela.text");
    refused(
        &first(relocation::SYMBOL, 0).entry(".rela.text", 3, relocation::SYMBOL, 0),
        &format!(".rela.text: relocation 0 (and 1 more like it) {null}"),
    );
    refused(
        &first(relocation::SYMBOL, 5000),
        ".rela.text: relocation 0 is against a symbol that does not exist: the file is damaged, obtain a fresh copy",
    );
    let outside =
        ".rela.text: relocation 0 changes bytes outside its section: the file is damaged, obtain a fresh copy";
    let end = u64::try_from(hooked().field(".text", section::SIZE)).unwrap();
    assert_eq!(check(&first(relocation::OFFSET, end - 4), &NEW), []);
    for offset in [end - 3, end, u64::MAX] {
        refused(&first(relocation::OFFSET, offset), outside);
    }
    let stack = u64::try_from(hooked().index(".note.GNU-stack")).unwrap();
    let symbol = hooked().get(hooked().field(".rela.text", section::OFFSET), relocation::SYMBOL);
    let elsewhere = hooked().entry(".symtab", symbol, symbol::SECTION, stack);
    refused(
        &elsewhere,
        ".rela.text: relocation 0 is against a symbol in a section that is not loaded: make that section allocatable",
    );
    // Older releases do not notice.
    just(
        &elsewhere,
        &Target::new((4, 16)).point(0),
        Severity::Unnoticed,
        ".rela.text: relocation 0 is against a symbol in a section that is not loaded: make that section allocatable",
    );
    assert_eq!(found_in(&elsewhere, 14..=22), [14, 15, 16, 17, 18, 19, 20, 21, 22]);

    harmful(
        &hooked().set(".rela.text", section::INFO, 0),
        ".rela.text changes section 0: relink the payload as a relocatable file (ld -r)",
    );
    for (field, value, problem, text) in [
        (
            section::LINK,
            1,
            RelocationSectionProblem::SymbolTable { found: 1 },
            "belongs to section 1, which is not the symbol table: relink it",
        ),
        (
            section::ENTRY_SIZE,
            16,
            RelocationSectionProblem::EntrySize { found: 16 },
            "has entries of 16 bytes: relink it",
        ),
        (
            section::TYPE,
            9,
            RelocationSectionProblem::WithoutAddends,
            "has relocations without addends (SHT_REL), which Xen does not support: build the payload with SHT_RELA",
        ),
    ] {
        let finding = refused(&hooked().set(".rela.text", field, value), &format!(".rela.text {text}"));
        assert!(matches!(finding, Problem::RelocationSection { problem: found, .. } if found == problem));
    }
}

#[test]
fn relocations_are_counted_by_section_and_problem() {
    let text = |index, field, value| move |editor: Editor| editor.entry(".rela.text", index, field, value);
    let null = text(0, relocation::SYMBOL, 0);
    let outside = text(3, relocation::OFFSET, u64::MAX);
    let other = |editor: Editor| editor.entry(".rela.livepatch.hooks.preapply", 0, relocation::SYMBOL, 0);
    for editor in [null(outside(hooked())), null(other(hooked()))] {
        let found = problems(&check(&editor, &NEW));
        assert!(
            matches!(*found, [Problem::Relocations { count: 1, .. }, Problem::Relocations { count: 1, .. }]),
            "{found:?}"
        );
    }
}

/// A relocation without an effect may have any offset.
#[test]
fn a_relocation_of_type_none_is_for_no_place() {
    let none = hooked().entry(".rela.text", 0, relocation::TYPE, 0);
    assert_eq!(check(&none.entry(".rela.text", 0, relocation::OFFSET, u64::MAX), &NEW), []);
}

/// Newer releases read relocations from the payload's memory, which other relocations may have changed.
#[test]
fn relocations_of_relocations_are_read_since_4_18_4() {
    let (load, preapply) = (".rela.livepatch.hooks.load", ".rela.livepatch.hooks.preapply");
    let loaded = |editor: Editor| editor.set(load, section::FLAGS, 2);
    let index = u64::try_from(hooked().index(load)).unwrap();
    let changed = |editor: Editor| editor.set(preapply, section::INFO, index);
    let is_relocated = |editor: &Editor, (minor, point)| {
        let found = problems(&check(editor, &Target::new((4, minor)).point(point)));
        found.iter().any(|problem| match problem {
            Problem::RelocationSection { section, problem: RelocationSectionProblem::Relocated } => {
                section.as_bytes() == load.as_bytes()
            }
            _ => false,
        })
    };
    let both = changed(loaded(hooked()));
    for (release, expected) in [((17, 7), false), ((18, 3), false), ((18, 4), true), ((19, 0), false), ((20, 0), true)]
    {
        assert_eq!(is_relocated(&both, release), expected, "{release:?}");
    }
    for harmless in [loaded(hooked()), changed(hooked()), both.empty(preapply)] {
        assert_eq!(check(&harmless, &Target::new((4, 20))), []);
    }
}

/// The first point releases of 4.7 to 4.9 do not check the number of a symbol.
#[test]
fn symbol_numbers_crash_old_releases() {
    let relocation = |symbol| Editor::version_1().entry(".rela.text", 0, relocation::SYMBOL, symbol);
    let symbols = u64::try_from(Editor::version_1().field(".symtab", section::SIZE) / 24).unwrap();
    for (minor, fixed) in [(7, 4), (8, 2), (9, 1)] {
        for (symbol, crashes) in [(0, true), (symbols, true), (symbols + 1, false)] {
            let harm = |target| check(&relocation(symbol), &target).iter().map(Finding::hurts_xen).collect::<Vec<_>>();
            let release = Target::new((4, minor));
            assert_eq!(harm(release.clone()), [crashes], "4.{minor}, symbol {symbol}");
            assert_eq!(harm(release.clone().point(fixed - 1)), [crashes]);
            assert_eq!(harm(release.point(fixed)), [false]);
        }
    }
    let findings = check(&relocation(0), &Target::new((4, 10)));
    assert!(matches!(&*problems(&findings), [Problem::Relocations { problem: R::NullSymbol, .. }]));
    harmful_to(
        &Target::new((4, 8)).points(..2),
        &relocation(0),
        ".rela.text: relocation 0 is against symbol 0, since its own was \
         discarded: rebuild the payload",
    );
}
