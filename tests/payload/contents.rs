//! Payloads with a fault each: functions, hooks, metadata and relocations.

use crate::prelude::*;

#[test]
fn function_versions_are_checked() {
    let bare = (0..4).fold(hooked(), |editor, index| editor.entry(RELA_FUNCS, index, relocation::OFFSET, 0));
    expect_findings(
        "versions",
        [
            ("version 1", NEW, Editor::version_1()),
            ("version 2", OLD, extra()),
            ("version 3", NEW, Editor::function(32, &[3])),
            ("version 9 of the second", NEW, hooked().patch(FUNCS, 104 + 32, &[9])),
            ("207 bytes", NEW, hooked().set(FUNCS, section::SIZE, 207)),
            ("8 bytes", NEW, bare.set(FUNCS, section::SIZE, 8)),
            ("zeros", NEW, extra().set(FUNCS, section::TYPE, 8)),
        ],
    );
}

/// Removes a relocation of the one function: 0 of its name, 1 of its new address.
fn without(editor: Editor, pointer: usize) -> Editor {
    editor.entry(RELA_FUNCS, pointer, relocation::OFFSET, 0x28)
}

#[test]
fn functions_are_checked() {
    let old = |offset, bytes: &[u8]| Editor::version_1().patch(FUNCS, offset, bytes);
    let v47 = || Target::new((4, 7));
    let by_number = without(Editor::function(16, &XENS_ADDRESS), 0);
    let by_symbol = xens(extra(), 14).entry(RELA_FUNCS, 0, relocation::OFFSET, 0x10);
    let by_symbol = by_symbol.entry(RELA_FUNCS, 0, relocation::SYMBOL, 14);
    expect_findings(
        "functions",
        [
            ("an old size of 0", NEW, Editor::function(28, &[0])),
            ("an old size of 4", NEW, Editor::function(28, &[4])),
            ("an old size of 0", v47(), old(28, &[0])),
            ("no new code", v47(), without(Editor::version_1(), 1)),
            ("a new size of 0", v47(), old(24, &[0])),
            ("32 no-operations", NEW, without(Editor::function(24, &[32, 0, 0, 0, 32]), 1)),
            ("17 no-operations for 16 bytes", NEW, without(Editor::function(24, &[17]), 1)),
            ("reserved bits", NEW, Editor::function(72, &[0x81])),
            ("an expectation of 17 bytes", NEW, Editor::function(72, &[1 | 17 << 1])),
            // A function without a size is refused for that alone.
            ("an expectation, but no old size", NEW, Editor::function(28, &[0]).patch(FUNCS, 72, &[1 | 4 << 1])),
            // A function without a name is called by its address, or by the symbol of Xen against which that is relocated.
            ("an address, but no old size", NEW, by_number.patch(FUNCS, 28, &[0])),
            ("a symbol for an address, but no old size", NEW, by_symbol.patch(FUNCS, 28, &[0])),
            ("a name far outside", NEW, extra().entry(RELA_FUNCS, 0, relocation::ADDEND, 1 << 40)),
            // The number of a symbol that is not loaded is one near NULL.
            ("a name that is not loaded", OLD, Editor::version_1().clear_flag(".livepatch.strings", 2)),
            ("a name of two relocations", NEW, extra().entry(RELA_FUNCS, 1, relocation::OFFSET, 4)),
            ("a name that is relocated in part", NEW, extra().entry(RELA_FUNCS, 0, relocation::TYPE, 0)),
            ("no name", NEW, without(extra(), 0)),
            ("no name", OLD, without(Editor::version_1(), 0)),
        ],
    );
}

#[test]
fn old_addresses_are_inside_xen() {
    let nowhere = || Editor::function(16, &0x7fff_ffff_ffff_u64.to_le_bytes());
    let v414 = || Target::new((4, 14));
    expect_findings(
        "addresses",
        [
            ("an address outside", NEW, nowhere()),
            // Releases that do not look for `endbr64` first refuse it for its distance.
            ("an address outside", v414().point(4), nowhere()),
            ("an address outside", v414().point(5), nowhere()),
            // Either is possible where the point release is not known.
            ("an address outside", v414(), nowhere()),
        ],
    );
    let either: Vec<String> = check(&nowhere(), &v414()).iter().map(ToString::to_string).collect();
    let unknown = "and this Xen does not reveal its point release; accept";
    let refused = format!(" (possibly: 4.14.0 to 4.14.4 do not take it, {unknown} function-too-far to load it anyway)");
    let harmed = "(possibly: 4.14.5 and 4.14.6 crash on it or are damaged,";
    let harmed = format!(" {harmed} {unknown} function-not-in-xen to load it anyway)");
    assert!(either[0].ends_with(&refused) && either[1].ends_with(&harmed), "{either:?}");

    expect_in_releases("address-1", [("address 1", Editor::version_1().patch(FUNCS, 16, &[1]))]);
    // Other parts of the hypervisor's half of the address space, the places of other releases, and one in Xen.
    let addresses = [0xffff_8700_0000_0000, 0xffff_ffff_ffff_ffc0, 0xffff_82d0_8023_0f90, 0xffff_82d0_4100_0000];
    let addresses = addresses.map(u64::to_le_bytes).into_iter().chain([XENS_ADDRESS]);
    let at = |bytes| (format!("{:#x}", u64::from_le_bytes(bytes)), Editor::function(16, &bytes));
    expect_in_releases("addresses", addresses.map(at));
}

#[test]
fn relocations_change_pointers_of_functions_alone() {
    // Xen's own state, and the pointers, come last.
    let relocated = [17, 24, 32, 57, 64, 65, 72, 96, 8, 16, 33, 56].into_iter().flat_map(|at| {
        let own = hooked().entry(RELA_FUNCS, 3, relocation::OFFSET, at);
        let foreign = xens(own.clone(), 22).entry(RELA_FUNCS, 3, relocation::SYMBOL, 22);
        [(format!("byte {at}"), own), (format!("byte {at}, by a symbol of Xen's"), foreign)]
    });
    expect_in_releases("relocated-functions", relocated);
}

#[test]
fn hooks_are_checked() {
    let (load, rela) = (".livepatch.hooks.load", ".rela.livepatch.hooks.load");
    let size = |section, size| hooked().set(section, section::SIZE, size);
    let absolute = hooked().entry(".symtab", 22, symbol::SECTION, 0xfff1).entry(".symtab", 22, symbol::VALUE, 0x1234);
    let number = absolute.entry(rela, 0, relocation::SYMBOL, 22).entry(rela, 0, relocation::ADDEND, 0);
    expect_findings(
        "hooks",
        [
            ("9 bytes of load hooks", NEW, size(load, 9)),
            ("16 bytes of load hooks", NEW, size(load, 16)),
            ("16 bytes of a preapply hook", NEW, size(".livepatch.hooks.preapply", 16)),
            ("a hook that is a number", NEW, number),
        ],
    );
    // Before 4.8 there are none, before 4.14 only two.
    let one_function = (2..4).fold(hooked(), |editor, index| editor.entry(RELA_FUNCS, index, relocation::OFFSET, 0x28));
    let one_function = one_function.patch(FUNCS, 32, &[1]).set(FUNCS, section::SIZE, 64);
    let old = |section, size| one_function.clone().set(section, section::SIZE, size);
    expect_in_releases(
        "hooks",
        [
            ("9 bytes of load hooks", old(load, 9)),
            // Xen does not read an empty one, loaded or not.
            ("an empty section of load hooks that is not loaded", old(load, 0).clear_flag(load, 2)),
            ("9 bytes of preapply hooks", old(".livepatch.hooks.preapply", 9)),
        ],
    );
}

#[test]
fn metadata_are_checked() {
    let open = extra().set(".modinfo", section::SIZE, 5);
    expect_findings("metadata", [("none", NEW, extra().empty(".modinfo")), ("the first bytes", NEW, open)]);
}

#[test]
fn relocations_are_checked() {
    let first = |field, value| hooked().entry(".rela.text", 0, field, value);
    let table = |field, value| hooked().set(".rela.text", field, value);
    let null = || first(relocation::SYMBOL, 0);
    let end = u64::try_from(hooked().field(".text", section::SIZE)).unwrap();
    let stack = u64::try_from(hooked().index(".note.GNU-stack")).unwrap();
    let symbol = hooked().get(hooked().field(".rela.text", section::OFFSET), relocation::SYMBOL);
    let unloaded = hooked().entry(".symtab", symbol, symbol::SECTION, stack);
    expect_findings(
        "relocations",
        [
            ("symbol 0", NEW, null()),
            ("symbol 0 twice", NEW, null().entry(".rela.text", 3, relocation::SYMBOL, 0)),
            // Only those of one section and with one problem are counted together.
            ("symbol 0, and an offset outside", NEW, null().entry(".rela.text", 3, relocation::OFFSET, u64::MAX)),
            ("symbol 0 in two sections", NEW, null().entry(".rela.livepatch.hooks.preapply", 0, relocation::SYMBOL, 0)),
            ("symbol 5000", NEW, first(relocation::SYMBOL, 5000)),
            ("the last four bytes", NEW, first(relocation::OFFSET, end - 4)),
            ("four bytes, three of them the last", NEW, first(relocation::OFFSET, end - 3)),
            ("the end", NEW, first(relocation::OFFSET, end)),
            ("the highest offset", NEW, first(relocation::OFFSET, u64::MAX)),
            ("a symbol that is not loaded", NEW, unloaded.clone()),
            ("a symbol that is not loaded", Target::new((4, 16)).point(0), unloaded.clone()),
            ("relocations of section 0", NEW, table(section::INFO, 0)),
            ("another symbol table", NEW, table(section::LINK, 1)),
            ("entries of 16 bytes", NEW, table(section::ENTRY_SIZE, 16)),
            ("no addends", NEW, table(section::TYPE, 9)),
        ],
    );
    expect_in_releases("unloaded", [("a symbol that is not loaded", unloaded)]);
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
    let both = changed(loaded(hooked()));
    expect_in_releases(
        "relocated-relocations",
        [
            ("relocations that are loaded and changed", both.clone()),
            ("relocations that are loaded", loaded(hooked())),
            ("relocations that are changed", changed(hooked())),
            ("relocations that are loaded and changed by none", both.empty(preapply)),
        ],
    );
}

/// The first point releases of 4.7 to 4.9 do not check the number of a symbol.
#[test]
fn symbol_numbers_crash_old_releases() {
    let relocation = |symbol| Editor::version_1().entry(".rela.text", 0, relocation::SYMBOL, symbol);
    let symbols = u64::try_from(Editor::version_1().field(".symtab", section::SIZE) / 24).unwrap();
    expect_findings(
        "symbol-0",
        [
            ("symbol 0", Target::new((4, 10)), relocation(0)),
            ("symbol 0", Target::new((4, 9)), relocation(0)),
            ("the symbol after the last", Target::new((4, 9)), relocation(symbols)),
            ("the symbol after that", Target::new((4, 9)), relocation(symbols + 1)),
            ("symbol 0, before 4.8.2", Target::new((4, 8)).points(..2), relocation(0)),
        ],
    );
}
