//! Relocations: which Xen does, and what they make of the payload's memory.

use object::elf::{SHT_REL, SHT_RELA};

use super::details::{RelocationProblem, RelocationSectionProblem};
use super::memory::Memory;
use super::problem::Problem;
use super::relocation_types::effect;
use super::symbols::Value;
use super::writes::Origin;
use super::{Loading, Step};
use crate::types::errno::Errno;
use crate::types::widen::to_u64;
use crate::xen::elf::{LE, RELOCATION_SIZE, Relocation, Section, symbol_index};
use crate::xen::rules;

/// The size of a relocation without an addend.
const REL_SIZE: u64 = 16;

/// Does all of them.
pub(super) fn relocate(loading: &mut Loading<'_, '_>, memory: &mut Memory<'_>, values: &[Value]) -> Step {
    let elf = loading.elf;
    let mut left = elf.data.len() / RELOCATION_SIZE;
    for table in elf.sections.iter().skip(1).filter(|section| matches!(section.kind, SHT_REL | SHT_RELA)) {
        if table.info == 0 {
            let problem = RelocationSectionProblem::NullSection;
            loading.harm(Problem::RelocationSection { section: loading.name_of(table), problem })?;
            continue;
        }
        // Xen leaves alone what is for a section that it does not load.
        let Some(base) = elf.section_at(table.info).filter(|base| base.is_allocated()) else { continue };
        if !check_table(loading, memory, table)? {
            continue;
        }
        let entries = elf.relocations_in(table);
        let Some(rest) = left.checked_sub(entries.len()) else {
            return loading.harm(Problem::Overlapping { what: "its relocation sections" });
        };
        left = rest;
        for (first, relocation) in entries.iter().enumerate() {
            if let Err(Wrong(severity, problem)) = one(loading, memory, values, base, relocation) {
                let problem = Problem::Relocations { section: loading.name_of(table), problem, first, count: 1 };
                match severity {
                    Wrongness::Refused(errno) => loading.refuse(errno, problem)?,
                    Wrongness::Unnoticed => loading.unnoticed(problem)?,
                    Wrongness::Harmful => loading.harm(problem)?,
                }
            }
        }
    }
    memory.relocated();
    Ok(())
}

/// Whether there is anything in a section of relocations for Xen to do.
fn check_table(loading: &mut Loading<'_, '_>, memory: &Memory<'_>, table: &Section) -> Step<bool> {
    let elf = loading.elf;
    let refuse = |loading: &mut Loading<'_, '_>, errno, problem| {
        loading.refuse(errno, Problem::RelocationSection { section: loading.name_of(table), problem })
    };
    if usize::try_from(table.link).ok() != elf.symbol_table {
        refuse(loading, Errno::EINVAL, RelocationSectionProblem::SymbolTable { found: table.link })?;
        return Ok(false);
    }
    let with_addends = table.kind == SHT_RELA;
    let size_first = loading.has(&rules::RELOCATION_SIZE_FIRST);
    if with_addends || size_first {
        if table.size == 0 {
            return Ok(false);
        }
        let least = if with_addends { to_u64(RELOCATION_SIZE) } else { REL_SIZE };
        if table.entry_size < least || table.size % table.entry_size != 0 {
            refuse(loading, Errno::EINVAL, RelocationSectionProblem::EntrySize { found: table.entry_size })?;
            return Ok(false);
        }
    }
    if !with_addends {
        let errno = if loading.is_x86() { Errno::EOPNOTSUPP } else { Errno::ENOSYS };
        refuse(loading, errno, RelocationSectionProblem::WithoutAddends)?;
        return Ok(false);
    }
    // Newer releases read the entries where they were loaded, if they were.
    let moved = memory.address_of(table.index).filter(|_| loading.has(&rules::XEN_DEPENDS_FIRST));
    if moved.is_some() && is_relocated(loading, table) {
        let problem = RelocationSectionProblem::Relocated;
        loading.harm(Problem::RelocationSection { section: loading.name_of(table), problem })?;
        return Ok(false);
    }
    Ok(true)
}

/// Whether there are relocations for a section.
fn is_relocated(loading: &Loading<'_, '_>, section: &Section) -> bool {
    let mut tables = loading.elf.sections.iter().filter(|table| matches!(table.kind, SHT_REL | SHT_RELA));
    tables.any(|table| usize::try_from(table.info) == Ok(section.index) && table.size > 0)
}

enum Wrongness {
    Refused(Errno),
    Unnoticed,
    Harmful,
}

struct Wrong(Wrongness, RelocationProblem);

fn refused(errno: Errno, problem: RelocationProblem) -> Wrong {
    Wrong(Wrongness::Refused(errno), problem)
}

fn one(
    loading: &Loading<'_, '_>,
    memory: &mut Memory<'_>,
    values: &[Value],
    base: &Section,
    relocation: &Relocation,
) -> Result<(), Wrong> {
    let value = symbol(loading, values, symbol_index(relocation))?;
    let unloaded_refused = loading.has(&rules::UNLOADED_SYMBOLS_REFUSED);
    if value.unloaded && unloaded_refused {
        return Err(refused(Errno::EINVAL, RelocationProblem::SymbolNotLoaded));
    }
    let kind = relocation.r_type(LE, false).0;
    let offset = relocation.r_offset.get(LE);
    let fits = |width: u64| offset.checked_add(width).is_some_and(|end| end <= base.size);
    let outside = || refused(Errno::EINVAL, RelocationProblem::Outside);
    if !loading.is_x86() && !fits(4) {
        return Err(outside());
    }
    let Some(effect) = effect(loading.is_x86(), kind) else {
        return Err(refused(Errno::EOPNOTSUPP, RelocationProblem::Type { found: kind }));
    };
    let width = effect.width();
    if width == 0 {
        return Ok(());
    }
    if !fits(width) {
        return Err(outside());
    }
    let Some(at) = memory.address_of(base.index).map(|start| start.wrapping_add(offset)) else { return Ok(()) };
    let addend = relocation.r_addend.get(LE);
    let target = value.number.wrapping_add_signed(addend);
    // A distance inside the payload is the same wherever it is loaded.
    let known = if effect.is_relative() && !loading.host.knows_addresses() {
        matches!(value.origin, Origin::Own { .. })
    } else {
        value.known
    };
    let old = if effect.is_partial() { memory.word(at) } else { 0 };
    let (number, holds) = effect.apply(target, at, old);
    let origin = match value.origin {
        Origin::Foreign { symbol, .. } => Origin::Foreign { symbol, offset: addend },
        own => own,
    };
    let whole = !effect.is_partial() || memory.is_known(at, width);
    memory.relocate(at, number, width, origin, known && whole);
    if known && !holds {
        return Err(refused(Errno::EOVERFLOW, RelocationProblem::Overflow));
    }
    if value.unloaded {
        return Err(Wrong(Wrongness::Unnoticed, RelocationProblem::SymbolNotLoaded));
    }
    Ok(())
}

fn symbol(loading: &Loading<'_, '_>, values: &[Value], number: u32) -> Result<Value, Wrong> {
    let checked = loading.has(&rules::SYMBOL_NUMBER_CHECKED);
    let wrong = |errno, problem, looks: bool| {
        Wrong(if looks { Wrongness::Refused(errno) } else { Wrongness::Harmful }, problem)
    };
    if number == 0 {
        return Err(wrong(Errno::EOPNOTSUPP, RelocationProblem::NullSymbol, checked));
    }
    let index = usize::try_from(number).unwrap_or(usize::MAX);
    values.get(index).copied().ok_or_else(|| {
        // The old mistake lets just the first number after the last symbol through.
        let looks = index != values.len() || checked;
        wrong(Errno::EINVAL, RelocationProblem::NoSuchSymbol, looks)
    })
}
