//! Payloads with a single finding each: the file, its sections, symbols and notes.

use xen_livepatch::payload::{Architecture, NoteProblem, Problem, SymbolName, SymbolProblem, SymbolTableProblem};
use xen_livepatch::{Finding, Payload, Severity, Target};

use crate::editor::{EXTRA_VERSION, Editor, HOOKED, XEN, header, relocation, section, symbol, xen};

pub(crate) const FUNCS: &str = ".livepatch.funcs";
pub(crate) const RELA_FUNCS: &str = ".rela.livepatch.funcs";
pub(crate) const NEW: Target = Target::new((4, 17));
pub(crate) const OLD: Target = Target::new((4, 13));
/// The address of a function in Xen's memory.
pub(crate) const XENS_ADDRESS: [u8; 8] = 0xffff_82d0_4023_0f90_u64.to_le_bytes();
pub(crate) const NEVER: [u16; 0] = [];

pub(crate) fn check(editor: &Editor, target: &Target) -> Vec<Finding> {
    Payload::parse(&editor.bytes).unwrap().check_against(target)
}

/// The problems of findings.
pub(crate) fn problems(findings: &[Finding]) -> Vec<Problem> {
    findings.iter().map(|finding| finding.problem.clone()).collect()
}

pub(crate) fn hooked() -> Editor {
    Editor::new(HOOKED)
}

pub(crate) fn extra() -> Editor {
    Editor::new(EXTRA_VERSION)
}

/// Makes a symbol undefined, and so one of Xen's.
pub(crate) fn xens(editor: Editor, symbol: usize) -> Editor {
    editor.entry(".symtab", symbol, symbol::SECTION, 0)
}

/// Expects a single finding with this severity and text.
#[track_caller]
pub(crate) fn just(editor: &Editor, target: &Target, severity: Severity, text: &str) -> Problem {
    let findings = check(editor, target);
    let texts: Vec<_> = findings.iter().map(|finding| finding.problem.to_string()).collect();
    assert_eq!(texts, [text]);
    assert_eq!(findings[0].severity, severity, "{text}");
    assert_eq!(findings[0].hurts_xen(), severity == Severity::Harmful);
    assert_eq!(findings[0].errno.is_some(), severity == Severity::Refused);
    assert!(severity == Severity::Refused || !findings[0].keeps_from_loading());
    assert!(!text.contains('\n'));
    findings[0].problem.clone()
}

#[track_caller]
pub(crate) fn refused_by(target: &Target, editor: &Editor, text: &str) -> Problem {
    just(editor, target, Severity::Refused, text)
}

#[track_caller]
pub(crate) fn harmful_to(target: &Target, editor: &Editor, text: &str) -> Problem {
    just(editor, target, Severity::Harmful, text)
}

/// Expects a refusal by [`NEW`].
#[track_caller]
pub(crate) fn refused(editor: &Editor, text: &str) -> Problem {
    refused_by(&NEW, editor, text)
}

/// Expects harm to [`NEW`].
#[track_caller]
pub(crate) fn harmful(editor: &Editor, text: &str) -> Problem {
    harmful_to(&NEW, editor, text)
}

/// The releases with any finding.
pub(crate) fn found_in(editor: &Editor, minors: std::ops::RangeInclusive<u16>) -> Vec<u16> {
    minors.filter(|minor| !check(editor, &Target::new((4, *minor))).is_empty()).collect()
}

pub(crate) fn name(of: &Problem) -> Option<SymbolName> {
    match of {
        Problem::SectionOutside { section, .. }
        | Problem::Alignment { section, .. }
        | Problem::ZeroAlignment { section }
        | Problem::Misaligned { section, .. }
        | Problem::ZeroedTooLarge { section, .. }
        | Problem::WritableCode { section }
        | Problem::Relocations { section, .. }
        | Problem::RelocationSection { section, .. } => Some(section.clone()),
        _ => None,
    }
}

#[test]
fn nothing_is_found_in_good_ones() {
    for minor in 14..=22 {
        for architecture in [None, Some(Architecture::X86_64)] {
            let target = Target::new((4, minor)).build_id(xen());
            let target = architecture.into_iter().fold(target, Target::architecture);
            for bytes in [HOOKED, EXTRA_VERSION, crate::editor::STACKED] {
                assert_eq!(check(&Editor::new(bytes), &target), [], "4.{minor}");
            }
        }
    }
    for minor in 7..=13 {
        for editor in [Editor::version_1(), Editor::version_1().hide(".livepatch.xen_depends")] {
            assert_eq!(check(&editor, &Target::new((4, minor)).point(0).build_id(xen())), [], "4.{minor}");
        }
    }
}

#[test]
fn nothing_is_found_in_odd_ones_that_xen_takes() {
    let debug = |editor: Editor| editor.clear_flag(".note.gnu.property", 2);
    for (what, editor) in [
        ("an empty section", extra().set(".data", section::SIZE, 0)),
        ("no metadata", extra().hide(".modinfo")),
        ("no function", hooked().hide(FUNCS)),
        ("FreeBSD's ABI", extra().header((7, 1), 9)),
        (
            "relocations of symbol 0 in debug information",
            debug(hooked().set(".rela.text", section::INFO, 1)).entry(".rela.text", 0, relocation::SYMBOL, 0),
        ),
        (
            "relocations of no section",
            hooked().set(".rela.text", section::INFO, 500).entry(".rela.text", 0, relocation::SYMBOL, 0),
        ),
        ("an absolute symbol", hooked().entry(".symtab", 20, symbol::SECTION, 0xfff1)),
        ("an undefined symbol", hooked().entry(".symtab", 20, symbol::SECTION, 0)),
        ("a second function that has a small name", hooked().patch(".livepatch.strings", 14, b"x\0")),
        ("alignment 0 where nothing is loaded", extra().set(".strtab", section::ALIGNMENT, 0)),
        ("debug information that is aligned to 0", debug(extra()).set(".note.gnu.property", section::ALIGNMENT, 0)),
        ("two notes in one section", extra().set(".livepatch.depends", section::SIZE, 72)),
        ("a function of 5 bytes", Editor::function(28, &[5])),
        ("an expectation of all that there is", Editor::function(72, &[1 | 16 << 1])),
        ("reserved bits of no expectation", Editor::function(72, &[0xc0])),
        (
            "an empty name, and an address",
            Editor::function(16, &XENS_ADDRESS).entry(RELA_FUNCS, 0, relocation::OFFSET, 0x28),
        ),
        ("31 no-operations", Editor::function(24, &[31, 0, 0, 0, 31]).entry(RELA_FUNCS, 1, relocation::OFFSET, 0x28)),
        ("a new size of 0", Editor::function(24, &[0])),
        ("zeroed metadata", extra().set(".modinfo", section::TYPE, 8)),
    ] {
        assert_eq!(check(&editor, &NEW.build_id(xen())), [], "{what}");
    }
    // Sections that a release does not read have no findings.
    let old = Editor::version_1().empty(".modinfo").clear_flag(".livepatch.xen_depends", 2);
    assert_eq!(found_in(&old, 7..=13), NEVER);
    let old = old.patch(".livepatch.xen_depends", 8, &[4]);
    assert_eq!(found_in(&old, 7..=13), NEVER);
}

#[test]
fn the_header_is_checked() {
    let text = |field, found, expected| {
        format!(
            "the ELF header has {field} {found}, but Xen requires {expected}: build it with ld -r, and do not strip or \
             pack it after that"
        )
    };
    let file = u64::try_from(EXTRA_VERSION.len()).unwrap();
    for ((field, found, expected), place) in [
        (("EI_VERSION", 2, "1"), (6, 1)),
        (("EI_OSABI", 3, "0 or 9"), (7, 1)),
        (("EI_ABIVERSION", 1, "0"), (8, 1)),
        (("e_version", 2, "1"), (20, 4)),
        (("e_type", 3, "1 (ET_REL)"), (16, 2)),
        (("e_phnum", 1, "0"), (56, 2)),
        (("e_shstrndx", 0, "a section that exists"), header::NAMES),
        (("e_shstrndx", 18, "a section that exists"), header::NAMES),
        (("e_shstrndx", 500, "a section that exists"), header::NAMES),
        (("e_shentsize", 0, "64"), (58, 2)),
        (("e_shentsize", 63, "64"), (58, 2)),
        (("e_shoff", file - 64, "a section table in the file"), header::TABLE),
        (("e_shoff", file, "a section table in the file"), header::TABLE),
        (("e_shoff", 1 << 40, "a section table in the file"), header::TABLE),
    ] {
        refused(&extra().header(place, found), &text(field, found, expected));
    }
    let mut many = extra();
    let header = many.get(0, header::TABLE) + 64 * many.index(".note.GNU-stack");
    let header = many.bytes[header..header + 64].to_vec();
    let count = many.get(0, header::COUNT);
    many.bytes.extend(header.repeat(1024 - count));
    refused(&many.clone().header(header::COUNT, 1024), &text("e_shnum", 1024, "less than 1024"));
    assert_eq!(check(&many.header(header::COUNT, 1023), &NEW), []);

    let mut large = extra();
    large.bytes.resize(Payload::MAX_SIZE, 0);
    assert_eq!(check(&large, &NEW), []);
    large.bytes.push(0);
    refused(
        &large,
        "it has 2097153 bytes, but Xen accepts at most 2097152 (2 MiB): leave out debug information (strip -S) and what \
         the patch does not change",
    );
}

#[test]
fn the_architecture_is_checked() {
    refused(
        &extra().header(header::MACHINE, 40),
        "it is for 32-bit Arm, but Xen supports live patching only on x86-64 and AArch64: build it for the host's \
         architecture",
    );
    let arm = "it is for AArch64, but this Xen runs on x86-64: build it for the host's architecture";
    refused_by(&NEW.architecture(Architecture::X86_64), &extra().header(header::MACHINE, 183), arm);
    refused_by(&Target::new((4, 7)), &Editor::version_1().header(header::MACHINE, 183), arm);
    let finding = refused_by(
        &NEW.architecture(Architecture::AArch64),
        &extra(),
        "it is for x86-64, but this Xen runs on AArch64: build it for the host's architecture",
    );
    let (expected, found) = (Some(Architecture::AArch64), Architecture::X86_64);
    assert_eq!(finding, Problem::Architecture { expected, found });
}

#[test]
fn sections_have_to_be_in_the_file() {
    let file = HOOKED.len();
    let offset = hooked().field(".data", section::OFFSET);
    let finding = refused(
        &hooked().set(".data", section::SIZE, 1 << 40),
        &format!(
            ".data claims 1099511627776 bytes at offset {offset} of a file of {file}: the file is truncated or damaged, obtain \
             a fresh copy"
        ),
    );
    assert_eq!(name(&finding).unwrap().as_bytes(), b".data");
    for (section, field, value) in [
        (".data", section::OFFSET, 63),
        (".data", section::OFFSET, u64::MAX),
        (".livepatch.depends", section::SIZE, 5000),
        (FUNCS, section::SIZE, 104 * 100),
        (".livepatch.hooks.load", section::SIZE, 8000),
        (".rela.text", section::SIZE, 24 * 1000),
        (".note.GNU-stack", section::OFFSET, 0),
        (".note.GNU-stack", section::OFFSET, 5000),
    ] {
        let findings = check(&hooked().set(section, field, value), &NEW);
        assert!(matches!(&*problems(&findings), [Problem::SectionOutside { .. }]), "{section} {findings:?}");
    }
    harmful(
        &hooked().set(".modinfo", section::SIZE, u64::MAX),
        &format!(
            ".modinfo claims {} bytes, more than 64 bits can count from its offset: the file is damaged, obtain a fresh copy",
            u64::MAX
        ),
    );
    let index = hooked().index(".data");
    refused(
        &hooked().set(".data", section::NAME, 5000),
        &format!(
            "section {index} has its name at 5000, which is outside the section names: the file is damaged, obtain a fresh copy"
        ),
    );
}

#[test]
fn alignments_and_flags_are_checked() {
    let odd = extra().set(".text", section::ALIGNMENT, 24);
    refused(&odd, ".text has alignment 24, which is not a power of two: relink it");
    let at = extra().set(".text", section::ADDRESS, 8);
    refused(&at, ".text has address 0x8, which is not aligned to 16: relink it, without addresses");
    let old = |section, value| Editor::version_1().set(".text", section, value);
    for editor in [old(section::ALIGNMENT, 24), old(section::ADDRESS, 8)] {
        assert_eq!(found_in(&editor, 7..=13), [10, 11, 12, 13]);
    }

    let zero = "has alignment 0, with which it overlaps the sections before it: give it alignment 1";
    let depends = |editor: Editor| editor.set(".livepatch.depends", section::ALIGNMENT, 0);
    let finding = harmful(&depends(extra()), &format!(".livepatch.depends {zero}"));
    assert_eq!(name(&finding).unwrap().to_str(), Some(".livepatch.depends"));
    assert_eq!(found_in(&depends(Editor::version_1()), 7..=13), [7, 8, 9, 10, 11, 12, 13]);
    // Behind four bytes.
    harmful(&hooked().set(FUNCS, section::ALIGNMENT, 0), &format!("{FUNCS} {zero}"));
    // Before the first one of its kind there is nothing to overlap.
    assert_eq!(found_in(&old(section::ALIGNMENT, 0), 7..=13), NEVER);
    let high = |editor: Editor, section| editor.set(section, section::ALIGNMENT, 1 << 63);
    let wraps = "is aligned so high, or is so large, that the size of the whole wraps around: relink it";
    let both = high(high(extra(), ".livepatch.depends"), ".livepatch.xen_depends");
    assert!(problems(&check(&both, &NEW)).iter().any(|problem| problem.to_string().ends_with(wraps)));
    assert!(check(&both, &NEW)[0].hurts_xen());
    let needed = (1 << 63) + 0x2000;
    let one = check(&high(extra(), ".livepatch.depends"), &NEW);
    assert!(matches!(*problems(&one), [Problem::TooMuchMemory { needed: found }] if found > needed), "{one:?}");

    refused(
        &hooked().set(".data", section::FLAGS, 7),
        ".data is both writable and executable: split it into code and data",
    );
    let zeros = |editor: Editor, size| editor.set(".bss", section::SIZE, size);
    refused(
        &zeros(extra(), (2 << 20) + 1),
        ".bss has 2097153 bytes of zeros, but Xen accepts at most 2097152 (2 MiB): allocate the memory in a hook instead",
    );
    assert_eq!(check(&zeros(extra(), 2 << 20), &NEW), []);
    for (flags, limited) in [(0, false), (1, true), (2, true), (4, false)] {
        let found = check(&zeros(extra(), (2 << 20) + 1).set(".bss", section::FLAGS, flags), &NEW);
        assert_eq!(!found.is_empty(), limited, "{flags}: {found:?}");
    }
    assert_eq!(found_in(&zeros(Editor::version_1(), 3 << 20), 7..=9), [8, 9]);
}

#[test]
fn symbols_are_checked() {
    let table = |problem| format!("{problem}: build it with ld -r, and do not strip it");
    refused(&hooked().set(".symtab", section::TYPE, 1), &table("it has no symbol table"));
    refused(&hooked().set(".strtab", section::TYPE, 1), &table("its symbol table has no usable string table"));
    for (size, fits) in [(0, false), (16, false), (24, true), (25, false), (48, true)] {
        let found = problems(&check(&extra().set(".symtab", section::ENTRY_SIZE, size), &NEW));
        let problem = Problem::SymbolTable { problem: SymbolTableProblem::EntrySize };
        assert_eq!(!found.contains(&problem), fits, "{size}: {found:?}");
    }
    for link in [30, 500] {
        refused(&hooked().set(".symtab", section::LINK, link), &table("its symbol table has no usable string table"));
    }
    let two = problems(&check(&hooked().set(".note.GNU-stack", section::TYPE, 2), &NEW));
    assert_eq!(two[0], Problem::SymbolTable { problem: SymbolTableProblem::Several });
    harmful(&hooked().set(".symtab", section::LINK, 0), &table("its symbol table has section 0 for a string table"));
    refused(&hooked().empty(".symtab"), &table("its symbol table is empty"));

    for (field, value, problem, text) in [
        (
            symbol::NAME,
            5000,
            SymbolProblem::Name,
            "has its name outside the string table: the file is damaged, obtain a fresh copy",
        ),
        (
            symbol::SECTION,
            0xfff2,
            SymbolProblem::Common,
            "is a common symbol, which Xen does not take: compile with -fno-common",
        ),
        (
            symbol::SECTION,
            0xffff,
            SymbolProblem::Reserved,
            "is in a reserved section: Xen takes only absolute symbols there",
        ),
        (
            symbol::SECTION,
            500,
            SymbolProblem::NoSuchSection,
            "is in a section that does not exist: the file is damaged, obtain a fresh copy",
        ),
    ] {
        let one = hooked().entry(".symtab", 20, field, value);
        let finding = refused(&one, &format!("symbol 20 {text}"));
        assert_eq!(finding, Problem::Symbols { problem, first: 20, count: 1 });
        let two = one.entry(".symtab", 22, field, value);
        refused(&two, &format!("symbol 20 (and 1 more like it) {text}"));
    }
    // Each problem by itself, even if Xen reports the same error number.
    let different = hooked().entry(".symtab", 20, symbol::SECTION, 0xfff2).entry(".symtab", 22, symbol::SECTION, 500);
    let found = problems(&check(&different, &NEW));
    let each = |problem, first| Problem::Symbols { problem, first, count: 1 };
    assert_eq!(found, [each(SymbolProblem::Common, 20), each(SymbolProblem::NoSuchSection, 22)]);
}

/// No Xen has a compiler's local label. It may have any other name.
#[test]
fn undefined_local_labels_are_in_no_xen() {
    let undefined = |name: &[u8]| {
        let symbols = hooked().field(".symtab", section::OFFSET);
        let at = hooked().get(symbols + 24 * 20, symbol::NAME);
        xens(hooked().patch(".strtab", at, name), 20)
    };
    for target in [NEW, Target::new((4, 22))] {
        for (name, shown) in [(&b".LC2\0"[..], ".LC2"), (b".L\0", ".L")] {
            let text = format!(
                "it needs symbol {shown}, a compiler's local label, which no Xen has: rebuild it, with the section \
                 that this label is in"
            );
            refused_by(&target, &undefined(name), &text);
        }
        for name in [&b".M2\0"[..], b"L2\0", b"x.LC2\0", b"$d\0"] {
            assert_eq!(check(&undefined(name), &target), [], "{name:?}");
        }
        let defined = undefined(b".LC2\0").entry(".symtab", 20, symbol::SECTION, 1);
        assert_eq!(check(&defined, &target), []);
    }
    // Other checks continue.
    let worse = check(&undefined(b".LC2\0").set(".rela.text", section::INFO, 0), &NEW);
    assert!(worse.len() > 1, "{worse:?}");
}

#[test]
fn sections_are_required_by_release() {
    let missing = |section| {
        format!("{section} is missing, which this Xen requires: build the payload with the tools of this release")
    };
    for section in [".livepatch.depends", ".livepatch.xen_depends", ".note.gnu.build-id"] {
        refused(&extra().hide(section), &missing(section));
        refused(
            &extra().empty(section),
            &format!("{section} is empty, which this Xen refuses: leave it out or fill it"),
        );
    }
    for section in [FUNCS, ".livepatch.depends", ".note.gnu.build-id"] {
        refused_by(&OLD, &Editor::version_1().hide(section), &missing(section));
        let empty = problems(&check(&Editor::version_1().empty(section), &OLD));
        assert!(empty.contains(&Problem::EmptySection { section }), "{empty:?}");
    }
    refused(&extra().hide(FUNCS), "it has neither .livepatch.funcs nor hooks: there is nothing to patch");
    for section in [FUNCS, ".livepatch.hooks.load", ".livepatch.hooks.postrevert"] {
        let empty = problems(&check(&hooked().empty(section), &NEW));
        // Its relocations are outside it then.
        assert!(matches!(&*empty, [Problem::Relocations { .. }, Problem::EmptySection { .. }]), "{empty:?}");
    }
}

#[test]
fn special_sections_have_to_be_loaded() {
    let not_loaded = |section| {
        format!(
            "{section} is not allocatable, so that Xen reads other memory in its place: set its SHF_ALLOC flag (\"a\" in assembly)"
        )
    };
    for section in [".livepatch.depends", ".livepatch.xen_depends", ".note.gnu.build-id", FUNCS, ".modinfo"] {
        harmful(&extra().clear_flag(section, 2), &not_loaded(section));
    }
    for section in
        [".livepatch.hooks.load", ".livepatch.hooks.unload", ".livepatch.hooks.preapply", ".livepatch.hooks.postrevert"]
    {
        harmful(&hooked().clear_flag(section, 2), &not_loaded(section));
    }
    // Newer releases read this section before they load anything.
    let xen_depends = extra().clear_flag(".livepatch.xen_depends", 2);
    assert_eq!(found_in(&xen_depends, 14..=22), [14, 15, 16, 17, 18, 19]);
    for (minor, point, harmful) in [(17, 99, true), (18, 3, true), (18, 4, false), (19, 0, true), (19, 1, false)] {
        let findings = check(&xen_depends, &Target::new((4, minor)).point(point));
        assert_eq!(findings.iter().any(Finding::hurts_xen), harmful, "4.{minor}.{point}");
    }
    for section in [FUNCS, ".livepatch.depends", ".note.gnu.build-id"] {
        harmful_to(&OLD, &Editor::version_1().clear_flag(section, 2), &not_loaded(section));
    }
}

#[test]
fn notes_are_checked() {
    let has_to = "it has to begin with one note of owner GNU and type 3, the build-id";
    for section in [".livepatch.depends", ".livepatch.xen_depends", ".note.gnu.build-id"] {
        for (offset, byte, problem, text) in [
            (8, 4, NoteProblem::Type { found: 4 }, "has a note of type 4"),
            (12, b'X', NoteProblem::Owner, "has a note of another owner"),
            (4, 21, NoteProblem::TooShort, "is shorter than its note claims"),
            (3, 0xff, NoteProblem::TooShort, "is shorter than its note claims"),
            (7, 0xff, NoteProblem::TooShort, "is shorter than its note claims"),
        ] {
            let editor = extra().patch(section, offset, &[byte]);
            let finding = refused(&editor, &format!("{section} {text}: {has_to}"));
            assert_eq!(finding, Problem::Note { section, problem });
        }
        let short = extra().set(section, section::SIZE, 11);
        refused(&short, &format!("{section} is shorter than its note claims: {has_to}"));
    }
}

#[test]
fn the_xen_has_to_be_the_one_it_was_built_for() {
    let other: xen_livepatch::BuildId = "0011".parse().unwrap();
    let finding = refused_by(
        &NEW.build_id(other.clone()),
        &extra(),
        &format!("it was built for the Xen with build-id {XEN}, but this one is 0011: obtain the payload for this Xen"),
    );
    assert_eq!(finding, Problem::BuiltForAnotherXen { expected: xen(), found: other.clone() });
    just(
        &Editor::version_1(),
        &OLD.build_id(other.clone()),
        Severity::Unnoticed,
        &format!("it was built for the Xen with build-id {XEN}, but this one is 0011: obtain the payload for this Xen"),
    );
    let silent = Editor::version_1().hide(".livepatch.xen_depends");
    assert_eq!(check(&silent, &OLD.build_id(other)), []);
}

#[test]
fn all_findings_are_reported_in_the_order_in_which_xen_looks() {
    let bad = hooked()
        .header((16, 2), 2)
        .set(".note.gnu.build-id", section::ALIGNMENT, 0)
        .hide(".livepatch.depends")
        .patch(".livepatch.xen_depends", 8, &[9])
        .patch(FUNCS, 28, &[0])
        .empty(".modinfo");
    let texts: Vec<_> = check(&bad, &NEW).iter().map(|finding| finding.to_string().replace(' ', "-")).collect();
    let begin: Vec<_> = texts.iter().map(|text| text.get(..20).unwrap()).collect();
    assert_eq!(
        begin,
        [
            "the-ELF-header-has-e",
            ".note.gnu.build-id-h",
            ".livepatch.depends-i",
            "function-0-(xen_chan",
            ".livepatch.xen_depen",
            ".modinfo-is-empty,-a",
        ]
    );
}
