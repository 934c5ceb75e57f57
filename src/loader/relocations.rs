//! Relocations: the ones that Xen applies, and their effect on the payload's linker.memory.

use object::elf::{SHT_REL, SHT_RELA};

use super::problem::Problem;
use super::problem::linking::{RelocationProblem, RelocationSectionProblem};
use super::symbols::SymbolValue;
use super::writes::Origin;
use super::{Linker, Progress};
use crate::types::errno::Errno;
use crate::types::widen::{to_u64, to_usize};
use crate::xen::elf::{LE, RELOCATION_SIZE, Relocation, Section, symbol_index};
use crate::xen::rules;

/// The size of a relocation without an addend.
const REL_SIZE: u64 = 16;

/// Applies all relocations.
pub(super) fn relocate(linker: &mut Linker<'_, '_>) -> Progress {
    let elf = linker.elf;
    let mut left = elf.data.len() / RELOCATION_SIZE;
    for table in elf.sections.iter().skip(1).filter(|section| matches!(section.kind, SHT_REL | SHT_RELA)) {
        if table.info == 0 {
            let problem = RelocationSectionProblem::NullSection;
            linker.harm(Problem::RelocationSection { section: linker.name_of(table), problem })?;
            continue;
        }
        // Xen ignores relocations of a section that it does not load.
        let Some(base) = elf.section_at(table.info).filter(|base| base.is_allocated()) else { continue };
        if !check_table(linker, table)? {
            continue;
        }
        let entries = elf.relocations_in(table);
        let Some(rest) = left.checked_sub(entries.len()) else {
            return linker.harm(Problem::Overlapping { what: "its relocation sections" });
        };
        left = rest;
        for (first, relocation) in entries.iter().enumerate() {
            let Err(Failed { consequence, problem }) = apply(linker, base, relocation) else {
                continue;
            };
            let problem = Problem::Relocations { section: linker.name_of(table), problem, first, count: 1 };
            match consequence {
                Consequence::Refused(errno) => linker.refuse(errno, problem)?,
                Consequence::Unnoticed => linker.unnoticed(problem)?,
                Consequence::Harmful => linker.harm(problem)?,
            }
        }
    }
    linker.memory.relocated();
    Ok(())
}

/// Returns true if Xen applies the relocations of a section.
fn check_table(linker: &mut Linker<'_, '_>, table: &Section) -> Progress<bool> {
    let elf = linker.elf;
    let refuse = |linker: &mut Linker<'_, '_>, errno, problem| {
        linker.refuse(errno, Problem::RelocationSection { section: linker.name_of(table), problem })
    };
    if Some(to_usize(table.link)) != elf.symbol_table {
        refuse(linker, Errno::EINVAL, RelocationSectionProblem::SymbolTable { found: table.link })?;
        return Ok(false);
    }
    let with_addends = table.kind == SHT_RELA;
    let size_first = linker.has(&rules::RELOCATION_SIZE_FIRST);
    if with_addends || size_first {
        if table.size == 0 {
            return Ok(false);
        }
        let least = if with_addends { to_u64(RELOCATION_SIZE) } else { REL_SIZE };
        if table.entry_size < least || table.size % table.entry_size != 0 {
            refuse(linker, Errno::EINVAL, RelocationSectionProblem::EntrySize { found: table.entry_size })?;
            return Ok(false);
        }
    }
    if !with_addends {
        refuse(linker, linker.machine.without_addends, RelocationSectionProblem::WithoutAddends)?;
        return Ok(false);
    }
    // Newer releases read the entries where they were loaded, if they were.
    let moved = linker.memory.address_of(table.index).filter(|_| linker.has(&rules::XEN_DEPENDS_FIRST));
    if moved.is_some() && is_relocated(linker, table) {
        let problem = RelocationSectionProblem::Relocated;
        linker.harm(Problem::RelocationSection { section: linker.name_of(table), problem })?;
        return Ok(false);
    }
    Ok(true)
}

/// Returns true if there are relocations of a section.
fn is_relocated(linker: &Linker<'_, '_>, section: &Section) -> bool {
    let mut tables = linker.elf.sections.iter().filter(|table| matches!(table.kind, SHT_REL | SHT_RELA));
    tables.any(|table| to_usize(table.info) == section.index && table.size > 0)
}

/// A relocation that can't be applied.
struct Failed {
    consequence: Consequence,
    problem: RelocationProblem,
}

enum Consequence {
    Refused(Errno),
    Unnoticed,
    Harmful,
}

fn refused(errno: Errno, problem: RelocationProblem) -> Failed {
    Failed { consequence: Consequence::Refused(errno), problem }
}

fn apply(linker: &mut Linker<'_, '_>, base: &Section, relocation: &Relocation) -> Result<(), Failed> {
    let value = symbol(linker, symbol_index(relocation))?;
    let unloaded_refused = linker.has(&rules::UNLOADED_SYMBOLS_REFUSED);
    if value.unloaded && unloaded_refused {
        return Err(refused(Errno::EINVAL, RelocationProblem::SymbolNotLoaded));
    }
    let kind = relocation.r_type(LE, false).0;
    let offset = relocation.r_offset.get(LE);
    let fits = |width: u64| offset.checked_add(width).is_some_and(|end| end <= base.size);
    let outside = || refused(Errno::EINVAL, RelocationProblem::Outside);
    if linker.machine.relocation_room.is_some_and(|room| !fits(room)) {
        return Err(outside());
    }
    let Some(effect) = linker.machine.relocation_type(kind) else {
        return Err(refused(Errno::EOPNOTSUPP, RelocationProblem::Type { found: kind }));
    };
    let width = effect.width();
    if width == 0 {
        return Ok(());
    }
    if !fits(width) {
        return Err(outside());
    }
    let Some(at) = linker.memory.address_of(base.index).map(|start| start.wrapping_add(offset)) else { return Ok(()) };
    let addend = relocation.r_addend.get(LE);
    let target = value.number.wrapping_add_signed(addend);
    // A distance inside the payload is the same wherever it is loaded.
    let known = if effect.is_relative() && !linker.host.knows_addresses() {
        matches!(value.origin, Origin::Own { .. })
    } else {
        value.known
    };
    let old = if effect.is_partial() { linker.memory.instruction(at) } else { 0 };
    let (number, holds) = effect.apply(target, at, old);
    let origin = match value.origin {
        Origin::Foreign { symbol, .. } => Origin::Foreign { symbol, offset: addend },
        own => own,
    };
    let whole = !effect.is_partial() || linker.memory.is_known(at, width);
    linker.memory.relocate(at, number, width, origin, known && whole);
    if known && !holds {
        return Err(refused(Errno::EOVERFLOW, RelocationProblem::Overflow));
    }
    if value.unloaded {
        return Err(Failed { consequence: Consequence::Unnoticed, problem: RelocationProblem::SymbolNotLoaded });
    }
    Ok(())
}

fn symbol(linker: &Linker<'_, '_>, number: u32) -> Result<SymbolValue, Failed> {
    let checked = linker.has(&rules::SYMBOL_NUMBER_CHECKED);
    let failed = |errno, problem, checked: bool| {
        if checked { refused(errno, problem) } else { Failed { consequence: Consequence::Harmful, problem } }
    };
    if number == 0 {
        return Err(failed(Errno::EOPNOTSUPP, RelocationProblem::NullSymbol, checked));
    }
    let index = to_usize(number);
    // Without the rule, Xen accepts the first number after the last symbol, and no other.
    let refused = checked || index != linker.values.len();
    linker.values.get(index).copied().ok_or_else(|| failed(Errno::EINVAL, RelocationProblem::NoSuchSymbol, refused))
}
