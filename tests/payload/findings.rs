//! Payloads with a fault each: the file, its sections, symbols and notes.
//!
//! The findings are in `tests/payload/findings/`, as a user reads them.

use std::fmt::{Display, Write};
use std::path::Path;
use std::{env, fs};

use crate::prelude::*;

pub(crate) const FUNCS: &str = ".livepatch.funcs";
pub(crate) const RELA_FUNCS: &str = ".rela.livepatch.funcs";
pub(crate) const NEW: Target = Target::new((4, 17));
pub(crate) const OLD: Target = Target::new((4, 13));
/// The address of a function in Xen's memory.
pub(crate) const XENS_ADDRESS: [u8; 8] = 0xffff_82d0_4023_0f90_u64.to_le_bytes();

pub(crate) fn check(editor: &Editor, target: &Target) -> Vec<Finding> {
    Payload::parse(&editor.bytes).unwrap().check_against(target)
}

/// Checks payloads, and compares all findings with those in a file of `tests/payload/findings`.
#[track_caller]
pub(crate) fn expect_findings(name: &str, payloads: impl IntoIterator<Item = (impl Display, Target, Editor)>) {
    let mut found = String::new();
    for (what, target, editor) in payloads {
        let point = match target.known_points() {
            (point, Some(same)) if point == same => format!(".{point}"),
            _ => String::new(),
        };
        writeln!(found, "{what}, Xen 4.{}{point}", target.release().1).unwrap();
        let lines: Vec<String> = check(&editor, &target).iter().map(line).collect();
        writeln!(found, "  {}", if lines.is_empty() { "nothing found".into() } else { lines.join("\n  ") }).unwrap();
    }
    expect_text(&format!("findings/{name}.txt"), &found);
}

/// Checks payloads for every point release, and compares the kinds of findings with those in a file of
/// `tests/payload/releases`, as well as the answers of the simulated Xen, which that names if the first finding does not foretell
/// them.
#[track_caller]
pub(crate) fn expect_in_releases(name: &str, payloads: impl IntoIterator<Item = (impl Display, Editor)>) {
    let of_series = |last: Release| (0..=last.point()).map(move |point| last.at(point));
    let releases: Vec<Release> = Release::ALL.into_iter().flat_map(of_series).collect();
    let mut text = String::new();
    for (what, editor) in payloads {
        let payload = Payload::parse(&editor.bytes).unwrap();
        let found = |release: Release| {
            let target = Target::from(release).build_id(xen()).architecture(payload.architecture());
            let findings = payload.check_against(&target);
            let mut found: Vec<String> = findings.iter().map(outcome).collect();
            found.dedup();
            let found = if found.is_empty() { "nothing found".into() } else { found.join(", ") };
            match simulated(&payload, release) {
                answer if answer == foretold(&findings) => (release, found),
                answer => (release, format!("{found}; simulated: {answer}")),
            }
        };
        let found: Vec<(Release, String)> = releases.iter().copied().map(found).collect();
        let mut outcomes: Vec<(&str, Vec<String>)> = Vec::new();
        for run in found.chunk_by(|(_, one), (_, next)| one == next) {
            let ((first, outcome), (last, _)) = (&run[0], &run[run.len() - 1]);
            let run = if first == last { first.to_string() } else { format!("{first} to {last}") };
            match outcomes.iter_mut().find(|(known, _)| known == outcome) {
                Some((_, runs)) => runs.push(run),
                None => outcomes.push((outcome, vec![run])),
            }
        }
        let outcomes = outcomes.iter().map(|(outcome, runs)| format!("  {outcome}: {}\n", runs.join(", ")));
        text.extend([format!("{what}\n")].into_iter().chain(outcomes));
    }
    expect_text(&format!("releases/{name}.txt"), &text);
}

/// The answer to an upload after these findings.
fn foretold(findings: &[Finding]) -> String {
    let stops = |finding: &&Finding| finding.keeps_from_loading() || finding.severity == Severity::Harmful;
    match findings.iter().find(stops) {
        Some(Finding { errno: Some(errno), .. }) => format!("{errno:?}"),
        Some(_) => "a crash".into(),
        None => "loaded".into(),
    }
}

/// The answer of the simulated Xen, which knows its own symbols and addresses, to an upload.
fn simulated(payload: &Payload, release: Release) -> String {
    let xen = SimulatedXen::builder(release).build_id(Some(xen())).architecture(payload.architecture());
    let symbols = ["f", "g", "long", "dump_runq", "xen_changeset", "xen_compile_date", "xen_compiler", "xen_deny"];
    let xen = symbols.into_iter().fold(xen, |xen, name| xen.symbol(name, [0x90; 300])).build();
    let answer = xen.other_upload("p", payload.bytes());
    assert_eq!(xen.loaded().len(), usize::from(answer.is_ok()));
    assert_eq!(
        xen.crashed().is_none() && answer.is_ok(),
        xen.other_action("p", Action::Unload, Flags::empty()).is_ok()
    );
    match answer {
        Ok(()) => "loaded".into(),
        Err(_) if xen.crashed().is_some() => "a crash".into(),
        Err(errno) => format!("{errno:?}"),
    }
}

/// Compares a text with a file in `tests/payload`, which `TRYCMD=overwrite` rewrites.
#[track_caller]
pub(crate) fn expect_text(file: &str, found: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/payload").join(file);
    if env::var("TRYCMD").is_ok_and(|mode| mode == "overwrite") {
        fs::write(&file, found).unwrap();
    }
    let expected = fs::read_to_string(&file).unwrap();
    for (line, (found, expected)) in found.lines().zip(expected.lines()).enumerate() {
        assert_eq!(found, expected, "line {} of {}", line + 1, file.display());
    }
    assert_eq!(found.len(), expected.len(), "{}", file.display());
}

/// The severity, the error number, the kind and the text of a finding.
fn line(finding: &Finding) -> String {
    format!("{} {}", outcome(finding), finding.problem)
}

fn outcome(finding: &Finding) -> String {
    let refused = finding.severity == Severity::Refused;
    assert_eq!(finding.hurts_xen(), matches!(finding.severity, Severity::Harmful | Severity::PossiblyHarmful));
    assert!(finding.errno.is_some() == refused || !finding.severity.is_certain(), "{finding:?}");
    assert!(refused || !finding.keeps_from_loading());
    let errno = finding.errno.map_or(String::new(), |errno| format!(" with {errno:?}"));
    let later = if refused && !finding.keeps_from_loading() { " when it is applied" } else { "" };
    format!("{}{errno}{later} [{}]", finding.severity, finding.kind())
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

#[test]
fn nothing_is_found_in_good_ones() {
    let old = [Editor::version_1(), Editor::version_1().hide(".livepatch.xen_depends")];
    let new = [HOOKED, EXTRA_VERSION, STACKED].map(Editor::new);
    let names = ["version 1", "version 1, no build-id of a Xen", "hooked", "extra-version", "stacked"];
    expect_in_releases("good", names.into_iter().zip(old.into_iter().chain(new)));
    // Also of an architecture that is not known.
    for bytes in [HOOKED, EXTRA_VERSION, STACKED] {
        assert_eq!(check(&Editor::new(bytes), &NEW.build_id(xen())), []);
    }
}

#[test]
fn nothing_is_found_in_odd_ones_that_xen_takes() {
    let debug = |editor: Editor| editor.clear_flag(".note.gnu.property", 2);
    let odd = [
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
    ];
    expect_in_releases("odd", odd);
    // Sections that a release does not read have no findings.
    let old = Editor::version_1().empty(".modinfo").clear_flag(".livepatch.xen_depends", 2);
    let another = old.clone().patch(".livepatch.xen_depends", 8, &[4]);
    expect_in_releases("not-read", [("sections that are not read", old), ("another note that is not read", another)]);
}

#[test]
fn the_header_is_checked() {
    let file = u64::try_from(EXTRA_VERSION.len()).unwrap();
    let fields = [
        ("EI_VERSION", 2, (6, 1)),
        ("EI_OSABI", 3, (7, 1)),
        ("EI_OSABI", 9, (7, 1)),
        ("EI_ABIVERSION", 1, (8, 1)),
        ("e_version", 2, (20, 4)),
        ("e_type", 3, (16, 2)),
        ("e_phnum", 1, (56, 2)),
        ("e_shstrndx", 0, header::NAMES),
        ("e_shstrndx", 18, header::NAMES),
        ("e_shstrndx", 500, header::NAMES),
        ("e_shentsize", 0, (58, 2)),
        ("e_shentsize", 63, (58, 2)),
        ("e_shoff", file - 64, header::TABLE),
        ("e_shoff", file, header::TABLE),
        ("e_shoff", 1 << 40, header::TABLE),
        ("e_shoff", u64::MAX, header::TABLE),
        ("e_machine", 40, header::MACHINE),
    ];
    let changed = fields.map(|(name, value, field)| (format!("{name} {value}"), NEW, extra().header(field, value)));
    let mut many = extra();
    let header = many.get(0, header::TABLE) + 64 * many.index(".note.GNU-stack");
    let header = many.bytes[header..header + 64].to_vec();
    let count = many.get(0, header::COUNT);
    many.bytes.extend(header.repeat(1024 - count));
    let mut large = extra();
    large.bytes.resize(Payload::MAX_SIZE, 0);
    let mut too_large = large.clone();
    too_large.bytes.push(0);
    let sizes = [
        ("a section more than there are", extra().header(header::COUNT, u64::try_from(count + 1).unwrap())),
        ("1023 sections", many.clone().header(header::COUNT, 1023)),
        ("1024 sections", many.header(header::COUNT, 1024)),
        ("2 MiB", large),
        ("2 MiB and a byte", too_large),
    ];
    let changed: Vec<_> = changed.into_iter().chain(sizes.map(|(what, editor)| (what.into(), NEW, editor))).collect();
    expect_in_releases("header", changed.iter().map(|(what, _, editor)| (what, editor.clone())));
    expect_findings("header", changed);
}

#[test]
fn the_architecture_is_checked() {
    let arm = |editor: Editor| editor.header(header::MACHINE, 183);
    let (x86, aarch64) = (NEW.architecture(Architecture::X86_64), NEW.architecture(Architecture::AArch64));
    expect_findings(
        "architecture",
        [
            ("one for Arm on x86-64", x86, arm(extra())),
            ("one for x86-64 on Arm", aarch64, extra()),
            ("one for Arm, where there is only x86-64", Target::new((4, 7)), arm(Editor::version_1())),
        ],
    );
}

#[test]
fn sections_have_to_be_in_the_file() {
    let fields = [
        (".data", section::SIZE, 1 << 40),
        (".data", section::OFFSET, 63),
        (".data", section::OFFSET, u64::MAX),
        (".livepatch.depends", section::SIZE, 5000),
        (FUNCS, section::SIZE, 104 * 100),
        (".livepatch.hooks.load", section::SIZE, 8000),
        (".rela.text", section::SIZE, 24 * 1000),
        (".note.GNU-stack", section::OFFSET, 0),
        (".note.GNU-stack", section::OFFSET, 5000),
        (".modinfo", section::SIZE, u64::MAX),
        (".data", section::NAME, 5000),
    ];
    let changed = |(name, field, value): (&str, Field, u64)| {
        (format!("{name} with {value} at byte {} of its header", field.0), NEW, hooked().set(name, field, value))
    };
    expect_findings("sections", fields.map(changed));
}

#[test]
fn alignments_and_flags_are_checked() {
    let text = |editor: Editor, field, value| editor.set(".text", field, value);
    let align = |editor: Editor, section, value| editor.set(section, section::ALIGNMENT, value);
    let zeros = |size, flags| extra().set(".bss", section::SIZE, size).set(".bss", section::FLAGS, flags);
    let (one, high) = ((2 << 20) + 1, align(extra(), ".livepatch.depends", 1 << 63));
    expect_findings(
        "alignments",
        [
            ("alignment 24", NEW, text(extra(), section::ALIGNMENT, 24)),
            ("an address that is not aligned", NEW, text(extra(), section::ADDRESS, 8)),
            ("alignment 0", NEW, align(extra(), ".livepatch.depends", 0)),
            ("alignment 0 after four bytes", NEW, align(hooked(), FUNCS, 0)),
            ("one high alignment", NEW, high.clone()),
            ("two high alignments", NEW, align(high, ".livepatch.xen_depends", 1 << 63)),
            ("writable code", NEW, hooked().set(".data", section::FLAGS, 7)),
            ("2 MiB of zeros", NEW, zeros(2 << 20, 3)),
            ("2 MiB of zeros, and a byte", NEW, zeros(one, 3)),
            ("zeros that are writable", NEW, zeros(one, 1)),
            ("zeros that are allocated", NEW, zeros(one, 2)),
            ("zeros that are executable", NEW, zeros(one, 4)),
            ("zeros without a flag", NEW, zeros(one, 0)),
        ],
    );
    expect_in_releases(
        "alignments",
        [
            ("alignment 24", text(Editor::version_1(), section::ALIGNMENT, 24)),
            ("address 8", text(Editor::version_1(), section::ADDRESS, 8)),
            ("alignment 0", align(Editor::version_1(), ".livepatch.depends", 0)),
            // Before the first one of its kind there is nothing to overlap.
            ("alignment 0 of code", align(Editor::version_1(), ".text", 0)),
            ("3 MiB of zeros", Editor::version_1().set(".bss", section::SIZE, 3 << 20)),
        ],
    );
}

#[test]
fn symbols_are_checked() {
    let table = |field, value| hooked().set(".symtab", field, value);
    let entry_size = |size| extra().set(".symtab", section::ENTRY_SIZE, size);
    let symbol = |number, field, value| hooked().entry(".symtab", number, field, value);
    let both = |field, value| symbol(20, field, value).entry(".symtab", 22, field, value);
    expect_findings(
        "symbols",
        [
            ("no table", NEW, table(section::TYPE, 1)),
            ("an empty table", NEW, hooked().empty(".symtab")),
            ("two tables", NEW, hooked().set(".note.GNU-stack", section::TYPE, 2)),
            ("no names", NEW, hooked().set(".strtab", section::TYPE, 1)),
            ("another section of names", NEW, table(section::LINK, 30)),
            ("names in no section", NEW, table(section::LINK, 500)),
            ("names in section 0", NEW, table(section::LINK, 0)),
            ("entries of 0 bytes", NEW, entry_size(0)),
            ("entries of 16 bytes", NEW, entry_size(16)),
            ("entries of 24 bytes", NEW, entry_size(24)),
            ("entries of 25 bytes", NEW, entry_size(25)),
            ("entries of 48 bytes", NEW, entry_size(48)),
            ("a name outside", NEW, symbol(20, symbol::NAME, 5000)),
            ("two names outside", NEW, both(symbol::NAME, 5000)),
            ("a common symbol", NEW, symbol(20, symbol::SECTION, 0xfff2)),
            ("two common symbols", NEW, both(symbol::SECTION, 0xfff2)),
            ("a reserved symbol", NEW, symbol(20, symbol::SECTION, 0xffff)),
            ("two reserved symbols", NEW, both(symbol::SECTION, 0xffff)),
            ("a symbol in no section", NEW, symbol(20, symbol::SECTION, 500)),
            ("two symbols in no section", NEW, both(symbol::SECTION, 500)),
            (
                "two problems with the same error number",
                NEW,
                symbol(20, symbol::SECTION, 0xfff2).entry(".symtab", 22, symbol::SECTION, 500),
            ),
        ],
    );
}

/// No Xen has a compiler's local label. It may have any other name.
#[test]
fn undefined_local_labels_are_in_no_xen() {
    let undefined = |name: &[u8]| {
        let symbols = hooked().field(".symtab", section::OFFSET);
        let at = hooked().get(symbols + 24 * 20, symbol::NAME);
        xens(hooked().patch(".strtab", at, name), 20)
    };
    let defined = undefined(b".LC2\0").entry(".symtab", 20, symbol::SECTION, 1);
    let newest = || Target::new((4, 22));
    expect_findings(
        "local-labels",
        [
            (".LC2", NEW, undefined(b".LC2\0")),
            (".LC2", newest(), undefined(b".LC2\0")),
            (".L", NEW, undefined(b".L\0")),
            (".L", newest(), undefined(b".L\0")),
            (".LC2, and another fault", NEW, undefined(b".LC2\0").set(".rela.text", section::INFO, 0)),
            (".LC2, which is defined", NEW, defined.clone()),
            (".LC2, which is defined", newest(), defined),
        ],
    );
    for target in [NEW, newest()] {
        for name in [&b".M2\0"[..], b"L2\0", b"x.LC2\0", b"$d\0"] {
            assert_eq!(check(&undefined(name), &target), [], "{name:?}");
        }
    }
}

#[test]
fn sections_are_required_by_release() {
    let new = [FUNCS, ".livepatch.depends", ".livepatch.xen_depends", ".note.gnu.build-id"].map(|name| (NEW, name));
    let old = [FUNCS, ".livepatch.depends", ".note.gnu.build-id"].map(|name| (OLD, name));
    let faults = new.into_iter().chain(old).flat_map(|(target, name)| {
        let whole = if target == NEW { extra() } else { Editor::version_1() };
        let missing = (format!("no {name}"), target.clone(), whole.clone().hide(name));
        [missing, (format!("an empty {name}"), target, whole.empty(name))]
    });
    let hooks = [".livepatch.hooks.load", ".livepatch.hooks.postrevert"];
    let hooks = hooks.map(|name| (format!("an empty {name}"), NEW, hooked().empty(name)));
    expect_findings("required-sections", faults.chain(hooks));
}

#[test]
fn special_sections_have_to_be_loaded() {
    let ids = [".livepatch.depends", ".note.gnu.build-id", FUNCS];
    let new = ids.into_iter().chain([".livepatch.xen_depends", ".modinfo"]).map(|name| (name, NEW, extra()));
    let hooks = ["load", "unload", "preapply", "postrevert"].map(|kind| format!(".livepatch.hooks.{kind}"));
    let hooks = hooks.iter().map(|name| (&**name, NEW, hooked()));
    let old = ids.map(|name| (name, OLD, Editor::version_1()));
    let faults = new.chain(hooks).chain(old);
    expect_findings("not-loaded", faults.map(|(name, target, editor)| (name, target, editor.clear_flag(name, 2))));
    // Newer releases read this section before they load anything.
    let xen_depends = extra().clear_flag(".livepatch.xen_depends", 2);
    expect_in_releases("not-loaded", [("a build-id of a Xen that is not loaded", xen_depends)]);
}

#[test]
fn notes_are_checked() {
    let faults = [".livepatch.depends", ".livepatch.xen_depends", ".note.gnu.build-id"].into_iter().flat_map(|name| {
        let changed = [
            ("type 4", 8, 4),
            ("another owner", 12, b'X'),
            ("a build-id of 21 bytes", 4, 21),
            ("a large owner", 3, 0xff),
            ("a large build-id", 7, 0xff),
        ];
        let changed = changed.map(|(what, offset, byte)| (what, extra().patch(name, offset, &[byte])));
        let all = changed.into_iter().chain([("11 bytes in all", extra().set(name, section::SIZE, 11))]);
        all.map(move |(what, editor)| (format!("{name}, {what}"), NEW, editor))
    });
    expect_findings("notes", faults);
}

#[test]
fn the_xen_has_to_be_the_one_it_was_built_for() {
    let other: BuildId = "0011".parse().unwrap();
    expect_findings(
        "build-id",
        [
            ("another Xen", NEW.build_id(other.clone()), extra()),
            ("another Xen", OLD.build_id(other.clone()), Editor::version_1()),
            ("no build-id of a Xen", OLD.build_id(other), Editor::version_1().hide(".livepatch.xen_depends")),
        ],
    );
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
    expect_findings("order", [("all at once", NEW, bad)]);
}
