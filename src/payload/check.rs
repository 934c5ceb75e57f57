//! What Xen would refuse, and what it would not: the check of a payload, in the order in which Xen looks at it.

mod functions;
mod relocations;

use object::elf::{ET_REL, SHN_ABS, SHN_COMMON, SHT_STRTAB, SHT_SYMTAB};

use super::elf::{Elf, HEADER_SIZE, Header, LE, SECTION_HEADER_SIZE, Section, Symbol};
use super::finding::{Finding, SymbolProblem, SymbolTableProblem};
use super::funcs;
use super::hooks::HookKind;
use super::name::SymbolName;
use super::notes;
use super::target::{Architecture, Target};
use super::{MAX_SIZE, METADATA};

type Release = (u16, u16);

/// The bounds of what all releases have in common.
const ALWAYS: Release = (0, 0);
const FOR_EVER: Release = (u16::MAX, u16::MAX);

/// The sections that a payload must have: which, from which release on, and before which.
const REQUIRED: [(&str, Release, Release); 4] = [
    (funcs::SECTION, ALWAYS, (4, 14)),
    (notes::DEPENDS, ALWAYS, FOR_EVER),
    (notes::XEN_DEPENDS, (4, 14), FOR_EVER),
    (notes::BUILD_ID, ALWAYS, FOR_EVER),
];

/// From when on a payload may consist of hooks alone, and a patching section may not be empty.
const PATCHING_SECTIONS: Release = (4, 14);

/// The releases that may read `.livepatch.xen_depends` at the address where it would be loaded, as the other special
/// sections still are, and up to which point release.
const XEN_DEPENDS_READ_EARLY: [(Release, u16); 2] = [((4, 18), 4), ((4, 19), 1)];

/// The findings of all stages.
pub(super) fn findings(elf: &Elf<'_>, target: &Target) -> Vec<Finding> {
    let mut findings = Vec::new();
    header(elf, target, &mut findings);
    sections(elf, target, &mut findings);
    // Without the names there is nothing of which to say that it is missing.
    if elf.has_section_names() {
        for stage in [
            symbol_table,
            names,
            required_sections,
            allocation,
            symbols,
            relocations::check,
            functions::check,
            hooks,
            build_ids,
            metadata,
        ] {
            stage(elf, target, &mut findings);
        }
    }
    findings
}

fn header(elf: &Elf<'_>, target: &Target, findings: &mut Vec<Finding>) {
    if elf.data.len() > MAX_SIZE {
        findings.push(Finding::TooLarge { size: wide(elf.data.len()) });
    }
    findings.extend(
        header_fields(elf.header, wide(elf.data.len()))
            .into_iter()
            .filter(|(_, _, _, fine)| !fine)
            .map(|(field, found, expected, _)| Finding::Header { field, expected, found }),
    );
    let found = Architecture::from_raw(elf.header.e_machine.get(LE).0);
    let known = target.known_architecture().or((!target.since((4, 8))).then_some(Architecture::X86_64));
    if matches!(found, Architecture::Other(_)) || known.is_some_and(|known| known != found) {
        findings.push(Finding::Architecture { expected: known, found });
    }
}

/// What Xen looks at in the header: the field, what is there, what has to be there, and whether it is.
fn header_fields(header: &Header, file: u64) -> [(&'static str, u64, &'static str, bool); 10] {
    let ident = &header.e_ident;
    let (ident_version, os_abi, abi_version) = (ident.version.0, ident.os_abi.0, ident.abi_version);
    let (version, kind, programs) = (header.e_version.get(LE), header.e_type.get(LE).0, header.e_phnum.get(LE));
    let (count, names) = (header.e_shnum.get(LE), header.e_shstrndx.get(LE).0);
    let (table, entry) = (header.e_shoff.get(LE), u64::from(header.e_shentsize.get(LE)));
    let end = entry.checked_mul(u64::from(count)).and_then(|size| table.checked_add(size));
    [
        ("EI_VERSION", ident_version.into(), "1", ident_version == 1),
        ("EI_OSABI", os_abi.into(), "0 or 9", matches!(os_abi, 0 | 9)),
        ("EI_ABIVERSION", abi_version.into(), "0", abi_version == 0),
        ("e_version", version.into(), "1", version == 1),
        ("e_type", kind.into(), "1 (ET_REL)", kind == ET_REL.0),
        ("e_phnum", programs.into(), "0", programs == 0),
        ("e_shnum", count.into(), "less than 1024", count < 1024),
        ("e_shstrndx", names.into(), "a section that there is", names != 0 && names < count),
        ("e_shentsize", entry, "64", entry >= SECTION_HEADER_SIZE),
        ("e_shoff", table, "a section table in the file", table < file && end.is_some_and(|end| end <= file)),
    ]
}

fn sections(elf: &Elf<'_>, target: &Target, findings: &mut Vec<Finding>) {
    for section in elf.sections.iter().skip(1) {
        let name = || name_of(section);
        let &Section { offset, size, address, alignment, .. } = section;
        if offset < HEADER_SIZE || !section.is_complete() {
            findings.push(Finding::SectionOutside { section: name(), offset, size, file: wide(elf.data.len()) });
        }
        if target.since((4, 10)) {
            if alignment != 0 && !alignment.is_power_of_two() {
                findings.push(Finding::Alignment { section: name(), found: alignment });
            } else if alignment != 0 && address % alignment != 0 {
                findings.push(Finding::Misaligned { section: name(), address, alignment });
            }
        }
        if target.since((4, 8)) && section.is_zeroed() && section.is_allocated() && size > wide(MAX_SIZE) {
            findings.push(Finding::ZeroedTooLarge { section: name(), size });
        }
    }
}

fn symbol_table(elf: &Elf<'_>, _: &Target, findings: &mut Vec<Finding>) {
    let mut problem = |problem| findings.push(Finding::SymbolTable { problem });
    let mut tables = elf.sections.iter().skip(1).filter(|section| section.kind == SHT_SYMTAB);
    let Some(table) = tables.next() else { return problem(SymbolTableProblem::Missing) };
    if tables.next().is_some() {
        problem(SymbolTableProblem::Several);
    }
    if table.size == 0 {
        problem(SymbolTableProblem::Empty);
    }
    if table.link == 0 {
        problem(SymbolTableProblem::NullStrings);
    } else if elf.section_at(table.link).is_none_or(|strings| strings.kind != SHT_STRTAB || strings.size == 0) {
        problem(SymbolTableProblem::NoStrings);
    }
}

fn names(elf: &Elf<'_>, _: &Target, findings: &mut Vec<Finding>) {
    let unnamed = elf.sections.iter().enumerate().skip(1).filter(|(_, section)| section.name.is_none());
    findings.extend(unnamed.map(|(index, section)| Finding::SectionName { index, offset: section.name_offset.into() }));
}

fn required_sections(elf: &Elf<'_>, target: &Target, findings: &mut Vec<Finding>) {
    for (section, _, _) in REQUIRED.iter().filter(|(_, since, before)| target.since(*since) && !target.since(*before)) {
        match elf.section(section) {
            None => findings.push(Finding::MissingSection { section }),
            Some(found) if found.size == 0 => findings.push(Finding::EmptySection { section }),
            Some(_) => {}
        }
    }
    if target.since(PATCHING_SECTIONS) {
        let patching = core::iter::once(funcs::SECTION).chain(HookKind::ALL.map(HookKind::section));
        let present: Vec<_> = patching.filter_map(|name| elf.section(name).map(|section| (name, section))).collect();
        let empty = present.iter().filter(|(_, found)| found.size == 0);
        findings.extend(empty.map(|(section, _)| Finding::EmptySection { section }));
        if present.is_empty() {
            findings.push(Finding::NothingToPatch);
        }
    }
}

/// How the sections would lie in Xen's memory.
fn allocation(elf: &Elf<'_>, target: &Target, findings: &mut Vec<Finding>) {
    for section in elf.sections.iter().skip(1).filter(|section| section.is_allocated()) {
        // Releases from 4.8 to 4.13 leave empty sections alone.
        let leaves_empty_ones = target.since((4, 8)) && !target.since((4, 14));
        if section.alignment == 0 && (section.size > 0 || !leaves_empty_ones) {
            findings.push(Finding::ZeroAlignment { section: name_of(section) });
        }
        if section.is_writable() && section.is_executable() && section.size > 0 {
            findings.push(Finding::WritableCode { section: name_of(section) });
        }
    }
    let not_allocated = special_sections(target)
        .filter(|name| elf.section(name).is_some_and(|section| section.size > 0 && !section.is_allocated()));
    findings.extend(not_allocated.map(|section| Finding::NotAllocated { section }));
}

/// The sections that this Xen reads where they are loaded.
fn special_sections(target: &Target) -> impl Iterator<Item = &'static str> {
    let xen_depends = target.since((4, 14)) && (!target.since((4, 18)) || target.may_precede(&XEN_DEPENDS_READ_EARLY));
    let hooks = HookKind::ALL.into_iter().filter(|kind| target.since(kind.since())).map(HookKind::section);
    [funcs::SECTION, notes::DEPENDS]
        .into_iter()
        .chain(xen_depends.then_some(notes::XEN_DEPENDS))
        .chain([notes::BUILD_ID])
        .chain(hooks)
        .chain(target.since((4, 14)).then_some(METADATA))
}

fn symbols(elf: &Elf<'_>, _: &Target, findings: &mut Vec<Finding>) {
    const PROBLEMS: [SymbolProblem; 4] =
        [SymbolProblem::Name, SymbolProblem::Common, SymbolProblem::Reserved, SymbolProblem::NoSuchSection];
    for problem in PROBLEMS {
        let symbols = elf.symbols.iter().enumerate().skip(1);
        let mut wrong = symbols.filter(|(_, symbol)| has(elf, symbol, problem)).map(|(index, _)| index);
        if let Some(first) = wrong.next() {
            findings.push(Finding::Symbols { problem, first, count: wrong.count().saturating_add(1) });
        }
    }
}

fn has(elf: &Elf<'_>, symbol: &Symbol, problem: SymbolProblem) -> bool {
    let section = symbol.st_shndx.get(LE);
    match problem {
        SymbolProblem::Name => !elf.symbol_names.is_empty() && elf.symbol_name(symbol).is_none(),
        SymbolProblem::Common => section == SHN_COMMON,
        SymbolProblem::Reserved => section.is_reserved() && section != SHN_COMMON && section != SHN_ABS,
        SymbolProblem::NoSuchSection => !section.is_reserved() && section.0 >= elf.header.e_shnum.get(LE),
    }
}

fn hooks(elf: &Elf<'_>, target: &Target, findings: &mut Vec<Finding>) {
    for kind in HookKind::ALL.into_iter().filter(|kind| target.since(kind.since())) {
        let size = elf.section(kind.section()).map_or(0, |section| section.size);
        let several = kind.may_be_several();
        // An empty one was found before, where that matters.
        if size % 8 != 0 || (size > 8 && !several) {
            findings.push(Finding::HookSize { section: kind.section(), size, several });
        }
    }
}

fn build_ids(elf: &Elf<'_>, target: &Target, findings: &mut Vec<Finding>) {
    let xen_compares = target.since((4, 14));
    for name in [notes::BUILD_ID, notes::DEPENDS, notes::XEN_DEPENDS] {
        let Some(section) = elf.section(name).filter(|section| section.size > 0 && section.is_complete()) else {
            continue;
        };
        let is_xens = name == notes::XEN_DEPENDS;
        match (notes::build_id(section), target.known_build_id()) {
            (Err(problem), _) if xen_compares || !is_xens => findings.push(Finding::Note { section: name, problem }),
            (Ok(expected), Some(found)) if is_xens && expected != *found => {
                findings.push(Finding::BuiltForAnotherXen { expected, found: found.clone(), xen_compares });
            }
            _ => {}
        }
    }
}

fn metadata(elf: &Elf<'_>, target: &Target, findings: &mut Vec<Finding>) {
    let Some(section) = elf.section(METADATA).filter(|_| target.since((4, 14))) else { return };
    if section.size == 0 {
        findings.push(Finding::EmptyMetadata);
    } else if section.data.last().is_some_and(|last| *last != 0) {
        findings.push(Finding::UnterminatedMetadata);
    }
}

/// What a finding calls a section.
fn name_of(section: &Section<'_>) -> SymbolName {
    SymbolName::new(section.name.filter(|name| !name.is_empty()).unwrap_or(b"(a section without a name)"))
}

fn wide(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}
