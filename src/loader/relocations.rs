//! Relocations: which Xen does, and what they make of the payload's memory.

use object::elf as e;
use object::elf::{SHT_REL, SHT_RELA};

use super::details::{RelocationProblem, RelocationSectionProblem};
use super::memory::{Memory, Origin};
use super::problem::Problem;
use super::symbols::Value;
use super::{Loading, Step, name_of, wide};
use crate::elf::{LE, RELOCATION_SIZE, Relocation, Section, relocations_in, symbol_index};
use crate::errno::Errno;
use crate::rules::{self, Answer};

/// The size of a relocation without an addend.
const REL_SIZE: u64 = 16;

/// How a relocation changes memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effect {
    Nothing,
    /// Writes the value of the symbol, or the distance to it, in this many bytes.
    Absolute(u64),
    Relative(u64),
    /// Changes an instruction of four bytes.
    Instruction,
}

/// What Xen knows to do on x86: by type.
const X86: [(u32, Effect); 4] = [
    (e::R_X86_64_NONE.0, Effect::Nothing),
    (e::R_X86_64_64.0, Effect::Absolute(8)),
    (e::R_X86_64_PC32.0, Effect::Relative(4)),
    (e::R_X86_64_PLT32.0, Effect::Relative(4)),
];

/// The same for data on Arm. All need four bytes of room, also those that change two.
const ARM: [(u32, Effect); 6] = [
    (e::R_AARCH64_ABS64.0, Effect::Absolute(8)),
    (e::R_AARCH64_ABS32.0, Effect::Absolute(4)),
    (e::R_AARCH64_ABS16.0, Effect::Absolute(2)),
    (e::R_AARCH64_PREL64.0, Effect::Relative(8)),
    (e::R_AARCH64_PREL32.0, Effect::Relative(4)),
    (e::R_AARCH64_PREL16.0, Effect::Relative(2)),
];

/// The types of Arm's instructions that Xen knows, first and last of a run.
const ARM_INSTRUCTIONS: [(u32, u32); 5] = [
    (e::R_AARCH64_MOVW_UABS_G0.0, e::R_AARCH64_MOVW_SABS_G2.0),
    (e::R_AARCH64_ADR_PREL_LO21.0, e::R_AARCH64_CONDBR19.0),
    (e::R_AARCH64_JUMP26.0, e::R_AARCH64_LDST64_ABS_LO12_NC.0),
    (e::R_AARCH64_MOVW_PREL_G0.0, e::R_AARCH64_MOVW_PREL_G3.0),
    (e::R_AARCH64_LDST128_ABS_LO12_NC.0, e::R_AARCH64_LDST128_ABS_LO12_NC.0),
];

fn effect(x86: bool, kind: u32) -> Option<Effect> {
    let table: &[_] = if x86 { &X86 } else { &ARM };
    let known = table.iter().find(|(known, _)| *known == kind).map(|(_, effect)| *effect);
    let instruction = !x86 && ARM_INSTRUCTIONS.iter().any(|(first, last)| (*first..=*last).contains(&kind));
    known.or(instruction.then_some(Effect::Instruction))
}

/// Does all of them.
pub(super) fn relocate(loading: &mut Loading<'_, '_>, memory: &mut Memory, values: &[Value]) -> Step {
    let elf = loading.elf;
    let mut left = elf.data.len() / RELOCATION_SIZE;
    for table in elf.sections.iter().skip(1).filter(|section| matches!(section.kind, SHT_REL | SHT_RELA)) {
        if table.info == 0 {
            let problem = RelocationSectionProblem::NullSection;
            loading.harm(Problem::RelocationSection { section: name_of(table), problem })?;
            continue;
        }
        // Xen leaves alone what is for a section that it does not load.
        let Some(base) = elf.section_at(table.info).filter(|base| base.is_allocated()) else { continue };
        if !check_table(loading, memory, table)? {
            continue;
        }
        let entries = relocations_in(table);
        let Some(rest) = left.checked_sub(entries.len()) else {
            return loading.harm(Problem::Overlapping { what: "its relocation sections" });
        };
        left = rest;
        for (first, relocation) in entries.iter().enumerate() {
            if let Err(Wrong(severity, problem)) = one(loading, memory, values, base, relocation) {
                let problem = Problem::Relocations { section: name_of(table), problem, first, count: 1 };
                match severity {
                    Wrongness::Refused(errno) => loading.refuse(errno, problem)?,
                    Wrongness::Unnoticed => loading.unnoticed(problem)?,
                    Wrongness::Harmful => loading.harm(problem)?,
                }
            }
        }
    }
    Ok(())
}

/// Whether there is anything in a section of relocations for Xen to do.
fn check_table(loading: &mut Loading<'_, '_>, memory: &Memory, table: &Section<'_>) -> Step<bool> {
    let elf = loading.elf;
    let refuse = |loading: &mut Loading<'_, '_>, errno, problem| {
        loading.refuse(errno, Problem::RelocationSection { section: name_of(table), problem })
    };
    if usize::try_from(table.link).ok() != elf.symbol_table {
        refuse(loading, Errno::EINVAL, RelocationSectionProblem::SymbolTable { found: table.link })?;
        return Ok(false);
    }
    let with_addends = table.kind == SHT_RELA;
    let size_first = loading.has(&rules::RELOCATION_SIZE_FIRST).surely();
    if with_addends || size_first {
        if table.size == 0 {
            return Ok(false);
        }
        let least = if with_addends { wide(RELOCATION_SIZE) } else { REL_SIZE };
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
    let moved = memory.address_of(table.index).filter(|_| loading.has(&rules::XEN_DEPENDS_FIRST).perhaps());
    if moved.is_some() && is_relocated(loading, table) {
        let problem = RelocationSectionProblem::Relocated;
        loading.harm(Problem::RelocationSection { section: name_of(table), problem })?;
        return Ok(false);
    }
    Ok(true)
}

/// Whether there are relocations for a section.
fn is_relocated(loading: &Loading<'_, '_>, section: &Section<'_>) -> bool {
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
    memory: &mut Memory,
    values: &[Value],
    base: &Section<'_>,
    relocation: &Relocation,
) -> Result<(), Wrong> {
    let value = symbol(loading, values, symbol_index(relocation))?;
    let unloaded_refused = loading.has(&rules::UNLOADED_SYMBOLS_REFUSED);
    if value.unloaded && unloaded_refused.surely() {
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
    let (width, relative) = match effect {
        Effect::Nothing => return Ok(()),
        Effect::Absolute(width) => (width, false),
        Effect::Relative(width) => (width, true),
        Effect::Instruction => (4, true),
    };
    if !fits(width) {
        return Err(outside());
    }
    let Some(at) = memory.address_of(base.index).map(|start| start.wrapping_add(offset)) else { return Ok(()) };
    let addend = relocation.r_addend.get(LE);
    let target = value.number.wrapping_add_signed(addend);
    let number = if relative { target.wrapping_sub(at) } else { target };
    // A distance inside the payload is the same wherever it is loaded.
    let known = if relative && !loading.host.knows_addresses() {
        matches!(value.origin, Origin::Own { .. })
    } else {
        value.known
    };
    if effect == Effect::Instruction {
        memory.relocate(at, number, width, value.origin, false);
        return Ok(());
    }
    let origin = match value.origin {
        Origin::Foreign { symbol, .. } => Origin::Foreign { symbol, offset: addend },
        own => own,
    };
    memory.relocate(at, number, width, origin, known);
    if known && !holds(number, width, loading.is_x86()) {
        return Err(refused(Errno::EOVERFLOW, RelocationProblem::Overflow));
    }
    if value.unloaded {
        return Err(Wrong(Wrongness::Unnoticed, RelocationProblem::SymbolNotLoaded));
    }
    Ok(())
}

/// Whether a number fits into this many bytes: on x86 with a sign, on Arm with or without.
fn holds(number: u64, width: u64, x86: bool) -> bool {
    let signed = i64::from_le_bytes(number.to_le_bytes());
    match width {
        4 => i32::try_from(signed).is_ok() || (!x86 && u32::try_from(signed).is_ok()),
        2 => i16::try_from(signed).is_ok() || u16::try_from(signed).is_ok(),
        _ => true,
    }
}

fn symbol(loading: &Loading<'_, '_>, values: &[Value], number: u32) -> Result<Value, Wrong> {
    let checked = loading.has(&rules::SYMBOL_NUMBER_CHECKED);
    let wrong = |errno, problem, looks: Answer| {
        Wrong(if looks.surely() { Wrongness::Refused(errno) } else { Wrongness::Harmful }, problem)
    };
    if number == 0 {
        return Err(wrong(Errno::EOPNOTSUPP, RelocationProblem::NullSymbol, checked));
    }
    let index = usize::try_from(number).unwrap_or(usize::MAX);
    values.get(index).copied().ok_or_else(|| {
        // The old mistake lets just the first number after the last symbol through.
        let looks = if index == values.len() { checked } else { Answer::Yes };
        wrong(Errno::EINVAL, RelocationProblem::NoSuchSymbol, looks)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_architecture_has_its_types() {
        let known = |x86| (0..400).filter(|kind| effect(x86, *kind).is_some()).collect::<Vec<_>>();
        assert_eq!(known(true), [0, 1, 2, 4]);
        let arm: Vec<u32> = (257..=272).chain(274..=280).chain(282..=293).chain([299]).collect();
        assert_eq!(known(false), arm);
        assert_eq!((effect(true, 1), effect(true, 4)), (Some(Effect::Absolute(8)), Some(Effect::Relative(4))));
        assert_eq!((effect(false, 257), effect(false, 262)), (Some(Effect::Absolute(8)), Some(Effect::Relative(2))));
    }

    #[test]
    fn numbers_have_to_fit() {
        assert!(holds(0x7fff_ffff, 4, true) && holds(0xffff_ffff_8000_0000, 4, true) && holds(u64::MAX, 8, true));
        assert!(!holds(0x8000_0000, 4, true) && holds(0x8000_0000, 4, false) && !holds(1 << 32, 4, false));
        assert!(holds(0xffff, 2, false) && !holds(0x1_0000, 2, false) && holds(u64::MAX, 2, false));
    }
}
