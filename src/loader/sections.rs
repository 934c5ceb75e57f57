//! The section table, the symbol table's header and the string tables; the sections that are required.

use object::elf::{SHT_REL, SHT_RELA, SHT_STRTAB, SHT_SYMTAB};

use super::problem::Problem;
use super::problem::linking::SymbolTableProblem;
use super::{Linker, Progress};
use crate::types::errno::Errno;
use crate::types::widen::{to_u64, to_usize};
use crate::xen::elf::{Elf, HEADER_SIZE, LE, SECTION_HEADER_SIZE, SYMBOL_SIZE, Section};
use crate::xen::format::{HookKind, MAX_SIZE, SectionName};
use crate::xen::rules;

pub(super) fn check(linker: &mut Linker<'_, '_>) -> Progress {
    let elf = linker.elf;
    let mut tables = 0_usize;
    for section in elf.sections.iter().skip(1) {
        check_section(linker, section)?;
        if section.kind == SHT_SYMTAB {
            tables = tables.saturating_add(1);
            if tables == 2 {
                symbol_table(linker, Errno::EOPNOTSUPP, SymbolTableProblem::Several)?;
            } else if tables == 1 && section.link >= elf.header.e_shnum.get(LE).into() {
                symbol_table(linker, Errno::EINVAL, SymbolTableProblem::NoStrings)?;
            }
        }
    }
    if elf.has_section_names() { check_tables(linker) } else { Ok(()) }
}

fn check_section(linker: &mut Linker<'_, '_>, section: &Section) -> Progress {
    let file = to_u64(linker.elf.data.len());
    let &Section { offset, size, address, alignment, .. } = section;
    let wraps = !section.is_zeroed() && offset <= file && offset.checked_add(size).is_none();
    if offset >= HEADER_SIZE && wraps {
        // Xen computes an end that wraps around to one inside the file.
        return linker.harm(Problem::SectionWraps { section: linker.name_of(section), size });
    }
    if offset < HEADER_SIZE || !section.is_complete() {
        return linker
            .refuse(Errno::EINVAL, Problem::SectionOutside { section: linker.name_of(section), offset, size, file });
    }
    if alignment != 0 && linker.has(&rules::ALIGNMENT_CHECKED) {
        if !alignment.is_power_of_two() {
            let problem = Problem::Alignment { section: linker.name_of(section), found: alignment };
            return linker.refuse(Errno::EOPNOTSUPP, problem);
        }
        if address % alignment != 0 {
            let problem = Problem::Misaligned { section: linker.name_of(section), address, alignment };
            return linker.refuse(Errno::EINVAL, problem);
        }
    }
    let limited = linker.has(&rules::NOBITS_LIMITED) && (section.is_allocated() || section.is_writable());
    if limited && section.is_zeroed() && size > to_u64(MAX_SIZE) {
        return linker.refuse(Errno::EINVAL, Problem::ZeroedTooLarge { section: linker.name_of(section), size });
    }
    Ok(())
}

fn symbol_table(linker: &mut Linker<'_, '_>, errno: Errno, problem: SymbolTableProblem) -> Progress {
    linker.refuse(errno, Problem::SymbolTable { problem })
}

/// Checks the symbol table and its strings, then those of the sections' names.
fn check_tables(linker: &mut Linker<'_, '_>) -> Progress {
    let elf = linker.elf;
    match elf.symbol_table.and_then(|index| elf.sections.get(index)) {
        None => symbol_table(linker, Errno::EINVAL, SymbolTableProblem::Missing)?,
        Some(table) => {
            if table.size == 0 {
                symbol_table(linker, Errno::EINVAL, SymbolTableProblem::Empty)?;
            } else if table.entry_size < SYMBOL_SIZE || table.size % table.entry_size != 0 {
                symbol_table(linker, Errno::EINVAL, SymbolTableProblem::EntrySize)?;
            }
            if table.link == 0 {
                linker.harm(Problem::SymbolTable { problem: SymbolTableProblem::NullStrings })?;
            } else if elf.section_at(table.link).is_some_and(|strings| !is_string_table(elf, strings)) {
                symbol_table(linker, Errno::EINVAL, SymbolTableProblem::NoStrings)?;
            }
        }
    }
    let names = elf.section_at(elf.header.e_shstrndx.get(LE).0.into());
    if names.is_none_or(|names| !is_string_table(elf, names)) {
        linker.refuse(Errno::EINVAL, Problem::SectionNames)?;
    }
    check_overlaps(linker)
}

fn is_string_table(elf: &Elf<'_>, section: &Section) -> bool {
    let bytes = elf.bytes(section);
    section.kind == SHT_STRTAB && bytes.first() == Some(&0) && bytes.last() == Some(&0)
}

/// Xen writes the values of symbols into its copy of the file, from which it continues to read.
fn check_overlaps(linker: &mut Linker<'_, '_>) -> Progress {
    let elf = linker.elf;
    let Some(symbols) = elf.symbol_table.and_then(|index| elf.sections.get(index)) else { return Ok(()) };
    // Xen does not write to the first symbol.
    let (start, end) = (symbols.offset.saturating_add(symbols.entry_size), symbols.offset.saturating_add(symbols.size));
    let overlaps = |offset: u64, size: u64| size > 0 && offset < end && start < offset.saturating_add(size);
    let names = u32::from(elf.header.e_shstrndx.get(LE).0);
    let read_later = elf.sections.iter().skip(1).filter(|section| {
        let strings = [names, symbols.link].iter().any(|index| section.index == to_usize(*index));
        strings || matches!(section.kind, SHT_REL | SHT_RELA)
    });
    let headers = SECTION_HEADER_SIZE.saturating_mul(to_u64(elf.sections.len()));
    let table = elf.header.e_shoff.get(LE);
    let stride = u64::from(elf.header.e_shentsize.get(LE)).saturating_mul(to_u64(elf.sections.len()));
    let tables = overlaps(table, stride.max(headers));
    if tables || read_later.into_iter().any(|section| overlaps(section.offset, section.size)) {
        linker.harm(Problem::Overlapping { what: "its symbol table and what Xen reads after it" })
    } else {
        Ok(())
    }
}

pub(super) fn check_names(linker: &mut Linker<'_, '_>) -> Progress {
    let elf = linker.elf;
    if elf.names_all_sections() {
        return Ok(());
    }
    for section in elf.sections.iter().skip(1).filter(|section| elf.name(section).is_none()) {
        let problem = Problem::SectionName { index: section.index, offset: section.name_offset.into() };
        linker.refuse(Errno::EINVAL, problem)?;
    }
    Ok(())
}

/// Checks the sections that are required, and those of which at least one is.
pub(super) fn check_required(linker: &mut Linker<'_, '_>) -> Progress {
    let elf = linker.elf;
    let hooks_suffice = linker.has(&rules::ACTION_HOOKS);
    let xen_depends = linker.has(&rules::XEN_DEPENDS) && !linker.has(&rules::XEN_DEPENDS_FIRST);
    let required = [
        (SectionName::Funcs, !hooks_suffice),
        (SectionName::Depends, true),
        (SectionName::XenDepends, xen_depends),
        (SectionName::BuildId, true),
    ];
    for (name, _) in required.into_iter().filter(|(_, required)| *required) {
        let section = name.text();
        match elf.section(name) {
            None => linker.refuse(Errno::EINVAL, Problem::MissingSection { section })?,
            Some(found) if found.size == 0 => linker.refuse(Errno::EINVAL, Problem::EmptySection { section })?,
            Some(_) => {}
        }
    }
    if !hooks_suffice {
        return Ok(());
    }
    let mut any = false;
    for name in core::iter::once(SectionName::Funcs).chain(HookKind::ALL.map(HookKind::section_name)) {
        let Some(found) = elf.section(name) else { continue };
        any = true;
        if found.size == 0 {
            linker.refuse(Errno::EINVAL, Problem::EmptySection { section: name.text() })?;
        }
    }
    if any { Ok(()) } else { linker.refuse(Errno::EINVAL, Problem::NothingToPatch) }
}
