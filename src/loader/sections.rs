//! The section table, the symbol table's header and the string tables; the sections that a payload has to have.

use object::elf::{SHT_REL, SHT_RELA, SHT_STRTAB, SHT_SYMTAB};

use super::details::SymbolTableProblem;
use super::problem::Problem;
use super::{Loading, Step};
use crate::types::errno::Errno;
use crate::types::widen::to_u64;
use crate::xen::elf::{Elf, HEADER_SIZE, LE, SECTION_HEADER_SIZE, SYMBOL_SIZE, Section};
use crate::xen::format::{HookKind, MAX_SIZE, SectionName};
use crate::xen::rules;

pub(super) fn check(loading: &mut Loading<'_, '_>) -> Step {
    let elf = loading.elf;
    let mut tables = 0_usize;
    for section in elf.sections.iter().skip(1) {
        check_section(loading, section)?;
        if section.kind == SHT_SYMTAB {
            tables = tables.saturating_add(1);
            if tables == 2 {
                symbol_table(loading, Errno::EOPNOTSUPP, SymbolTableProblem::Several)?;
            } else if tables == 1 && section.link >= elf.header.e_shnum.get(LE).into() {
                symbol_table(loading, Errno::EINVAL, SymbolTableProblem::NoStrings)?;
            }
        }
    }
    if elf.has_section_names() { check_tables(loading) } else { Ok(()) }
}

fn check_section(loading: &mut Loading<'_, '_>, section: &Section) -> Step {
    let file = to_u64(loading.elf.data.len());
    let &Section { offset, size, address, alignment, .. } = section;
    let wraps = !section.is_zeroed() && offset <= file && offset.checked_add(size).is_none();
    if offset >= HEADER_SIZE && wraps {
        // Xen takes the end, which begins at 0 again, for one inside the file.
        return loading.harm(Problem::SectionWraps { section: loading.name_of(section), size });
    }
    if offset < HEADER_SIZE || !section.is_complete() {
        return loading
            .refuse(Errno::EINVAL, Problem::SectionOutside { section: loading.name_of(section), offset, size, file });
    }
    if alignment != 0 && loading.has(&rules::ALIGNMENT_CHECKED) {
        if !alignment.is_power_of_two() {
            let problem = Problem::Alignment { section: loading.name_of(section), found: alignment };
            return loading.refuse(Errno::EOPNOTSUPP, problem);
        }
        if address % alignment != 0 {
            let problem = Problem::Misaligned { section: loading.name_of(section), address, alignment };
            return loading.refuse(Errno::EINVAL, problem);
        }
    }
    let limited = loading.has(&rules::NOBITS_LIMITED) && (section.is_allocated() || section.is_writable());
    if limited && section.is_zeroed() && size > to_u64(MAX_SIZE) {
        return loading.refuse(Errno::EINVAL, Problem::ZeroedTooLarge { section: loading.name_of(section), size });
    }
    Ok(())
}

fn symbol_table(loading: &mut Loading<'_, '_>, errno: Errno, problem: SymbolTableProblem) -> Step {
    loading.refuse(errno, Problem::SymbolTable { problem })
}

/// The symbol table and its strings, then those of the sections' names.
fn check_tables(loading: &mut Loading<'_, '_>) -> Step {
    let elf = loading.elf;
    match elf.symbol_table.and_then(|index| elf.sections.get(index)) {
        None => symbol_table(loading, Errno::EINVAL, SymbolTableProblem::Missing)?,
        Some(table) => {
            if table.size == 0 {
                symbol_table(loading, Errno::EINVAL, SymbolTableProblem::Empty)?;
            } else if table.entry_size < SYMBOL_SIZE || table.size % table.entry_size != 0 {
                symbol_table(loading, Errno::EINVAL, SymbolTableProblem::EntrySize)?;
            }
            if table.link == 0 {
                loading.harm(Problem::SymbolTable { problem: SymbolTableProblem::NullStrings })?;
            } else if elf.section_at(table.link).is_some_and(|strings| !is_string_table(elf, strings)) {
                symbol_table(loading, Errno::EINVAL, SymbolTableProblem::NoStrings)?;
            }
        }
    }
    let names = elf.section_at(elf.header.e_shstrndx.get(LE).0.into());
    if names.is_none_or(|names| !is_string_table(elf, names)) {
        loading.refuse(Errno::EINVAL, Problem::SectionNames)?;
    }
    check_overlaps(loading)
}

fn is_string_table(elf: &Elf<'_>, section: &Section) -> bool {
    let bytes = elf.bytes(section);
    section.kind == SHT_STRTAB && bytes.first() == Some(&0) && bytes.last() == Some(&0)
}

/// Xen writes the values of symbols into the file, and goes on reading from it.
fn check_overlaps(loading: &mut Loading<'_, '_>) -> Step {
    let elf = loading.elf;
    let Some(symbols) = elf.symbol_table.and_then(|index| elf.sections.get(index)) else { return Ok(()) };
    // The first symbol is left alone.
    let (start, end) = (symbols.offset.saturating_add(symbols.entry_size), symbols.offset.saturating_add(symbols.size));
    let overlaps = |offset: u64, size: u64| size > 0 && offset < end && start < offset.saturating_add(size);
    let names = u32::from(elf.header.e_shstrndx.get(LE).0);
    let read_later = elf.sections.iter().skip(1).filter(|section| {
        let strings = [names, symbols.link].iter().any(|index| to_u64(section.index) == u64::from(*index));
        strings || matches!(section.kind, SHT_REL | SHT_RELA)
    });
    let headers = SECTION_HEADER_SIZE.saturating_mul(to_u64(elf.sections.len()));
    let table = elf.header.e_shoff.get(LE);
    let stride = u64::from(elf.header.e_shentsize.get(LE)).saturating_mul(to_u64(elf.sections.len()));
    let any = overlaps(table, stride.max(headers)) || read_later.into_iter().any(|s| overlaps(s.offset, s.size));
    if any {
        loading.harm(Problem::Overlapping { what: "its symbol table and what Xen reads after it" })
    } else {
        Ok(())
    }
}

pub(super) fn check_names(loading: &mut Loading<'_, '_>) -> Step {
    let elf = loading.elf;
    for section in elf.sections.iter().skip(1).filter(|section| elf.name(section).is_none()) {
        let problem = Problem::SectionName { index: section.index, offset: section.name_offset.into() };
        loading.refuse(Errno::EINVAL, problem)?;
    }
    Ok(())
}

/// Those that have to be there, and those of which one has to.
pub(super) fn check_required(loading: &mut Loading<'_, '_>) -> Step {
    let elf = loading.elf;
    let hooks_suffice = loading.has(&rules::ACTION_HOOKS);
    let xen_depends = loading.has(&rules::XEN_DEPENDS);
    let before = loading.has(&rules::XEN_DEPENDS_FIRST);
    let required = [
        (SectionName::Funcs, !hooks_suffice),
        (SectionName::Depends, true),
        (SectionName::XenDepends, xen_depends && !before),
        (SectionName::BuildId, true),
    ];
    for name in required.into_iter().filter_map(|(name, required)| required.then_some(name)) {
        let section = name.text();
        match elf.section(name) {
            None => loading.refuse(Errno::EINVAL, Problem::MissingSection { section })?,
            Some(found) if found.size == 0 => loading.refuse(Errno::EINVAL, Problem::EmptySection { section })?,
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
            loading.refuse(Errno::EINVAL, Problem::EmptySection { section: name.text() })?;
        }
    }
    if any { Ok(()) } else { loading.refuse(Errno::EINVAL, Problem::NothingToPatch) }
}
