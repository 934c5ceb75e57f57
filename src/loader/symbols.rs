//! Symbols: their names, what they stand for, and which of them are new.

use object::elf::{SHF_MERGE, SHN_ABS, SHN_COMMON, SHN_UNDEF};

use super::details::SymbolProblem;
use super::finding::Finding;
use super::memory::Memory;
use super::problem::Problem;
use super::writes::Origin;
use super::{Known, Loading, Step};
use crate::types::errno::Errno;
use crate::xen::elf::{LE, Symbol};
use crate::xen::symbol_name::SymbolName;

/// The longest name of a symbol that Xen keeps.
const LONGEST_KEPT: usize = 127;

/// More bytes than the names of all symbols have that fit into a payload, even where linkers let names share their ends.
/// A hostile file could name each with a text of 2 MiB, which would keep Xen busy for minutes.
const MOST_NAMES: usize = 4 << 20;

/// What a symbol stands for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Value {
    pub(super) number: u64,
    pub(super) origin: Origin,
    /// Whether the number is the one that Xen would have.
    pub(super) known: bool,
    /// Whether it is of a section that is not loaded.
    pub(super) unloaded: bool,
}

impl Value {
    const NULL: Self = Self { number: 0, origin: Origin::Number, known: true, unloaded: false };
}

pub(super) fn check_names(loading: &mut Loading<'_, '_>) -> Step {
    let elf = loading.elf;
    // That there are no names at all was reported with the table.
    if elf.symbol_names.is_empty() {
        return Ok(());
    }
    // In a file of the usual size even the longest names would not be too much.
    let few = elf.symbols.len().saturating_mul(elf.symbol_names.len()) <= MOST_NAMES;
    let mut total = 0_usize;
    for (first, symbol) in elf.symbols.iter().enumerate().skip(1) {
        let start = usize::try_from(symbol.st_name.get(LE)).unwrap_or(usize::MAX);
        let Some(name) = elf.symbol_names.get(start..).filter(|name| !name.is_empty()) else {
            loading.refuse(Errno::EINVAL, Problem::Symbols { problem: SymbolProblem::Name, first, count: 1 })?;
            continue;
        };
        if few {
            continue;
        }
        total = total.saturating_add(name.iter().position(|byte| *byte == 0).unwrap_or(name.len()));
        if total > MOST_NAMES {
            return loading.harm(Problem::Overlapping { what: "the names of its symbols" });
        }
    }
    Ok(())
}

/// What each symbol stands for, by its number.
pub(super) fn resolve(loading: &mut Loading<'_, '_>, memory: &Memory<'_>) -> Step<Vec<Value>> {
    let elf = loading.elf;
    let mut values = Vec::with_capacity(elf.symbols.len().saturating_add(1));
    values.push(Value::NULL);
    for (number, symbol) in elf.symbols.iter().enumerate().skip(1) {
        values.push(value(loading, memory, number, symbol)?);
    }
    Ok(values)
}

fn value(loading: &mut Loading<'_, '_>, memory: &Memory<'_>, symbol_number: usize, symbol: &Symbol) -> Step<Value> {
    let elf = loading.elf;
    let (section, number) = (symbol.st_shndx.get(LE), symbol.st_value.get(LE));
    let absolute = Value { number, ..Value::NULL };
    let foreign = Value { origin: Origin::Foreign { symbol: symbol_number, offset: 0 }, ..absolute };
    let problem = match section {
        SHN_UNDEF => {
            let name = elf.symbol_name(symbol).unwrap_or_default();
            let found = loading.host.symbol(name);
            if let Known::Is(number) = found {
                return Ok(Value { number, ..foreign });
            }
            let problem = || Problem::UnknownSymbol { symbol: SymbolName::new(name) };
            match found {
                Known::Absent => loading.refuse(Errno::ENOENT, problem())?,
                // The rest is still checked: a loaded payload may have a label of this name by chance.
                _ if is_local_label(name) => loading.sink.take(Finding::refused(Errno::ENOENT, problem()))?,
                _ => {}
            }
            return Ok(Value { known: false, ..foreign });
        }
        SHN_ABS => return Ok(absolute),
        SHN_COMMON => (Errno::EINVAL, SymbolProblem::Common),
        _ if section.is_reserved() => (Errno::EOPNOTSUPP, SymbolProblem::Reserved),
        _ => match elf.sections.get(usize::from(section.0)) {
            None => (Errno::EINVAL, SymbolProblem::NoSuchSection),
            Some(section) => {
                // Of a file that was cut off, or put together wrongly: Xen would run or read what follows.
                let end = number.checked_add(symbol.st_size.get(LE));
                if section.is_allocated() && end.is_none_or(|end| end > section.size) {
                    let problem = SymbolProblem::PastEnd;
                    loading.harm(Problem::Symbols { problem, first: symbol_number, count: 1 })?;
                }
                return Ok(match memory.address_of(section.index) {
                    Some(address) => {
                        let known = loading.host.knows_addresses();
                        Value {
                            number: number.wrapping_add(address),
                            origin: Origin::Own { section: section.index },
                            known,
                            ..absolute
                        }
                    }
                    None => Value { unloaded: true, ..absolute },
                });
            }
        },
    };
    let (errno, problem) = problem;
    loading.refuse(errno, Problem::Symbols { problem, first: symbol_number, count: 1 })?;
    Ok(foreign)
}

/// The symbols that later payloads may refer to. Those of the code that replaces Xen's stand for Xen's own; all others
/// must be new.
pub(super) fn check_new<'d>(
    loading: &mut Loading<'_, 'd>,
    values: &[Value],
    mut replaced: Vec<u64>,
) -> Step<Vec<(&'d [u8], u64)>> {
    let elf = loading.elf;
    replaced.sort_unstable();
    let mut new = Vec::new();
    for (symbol, value) in elf.symbols.iter().zip(values).skip(1) {
        let Some(section) = elf.section_of(symbol).filter(|section| section.is_allocated()) else { continue };
        if replaced.binary_search(&value.number).is_ok() {
            continue;
        }
        let name = elf.symbol_name(symbol).unwrap_or_default();
        let intermediate = section.flags & SHF_MERGE.0 != 0 && is_local_label(name);
        let mapping = !loading.is_x86() && is_mapping(name);
        if name.is_empty() || intermediate || mapping {
            continue;
        }
        let name = name.get(..LONGEST_KEPT).unwrap_or(name);
        if let Known::Is(_) = loading.host.symbol(name) {
            loading.refuse(Errno::EEXIST, Problem::DuplicateSymbol { symbol: SymbolName::new(name) })?;
        }
        new.push((name, value.number));
    }
    Ok(new)
}

/// Returns true for a label that compilers and assemblers keep to themselves, such as `.LC2`. Linkers drop most of them, and
/// Xen's symbol table has its local symbols under other names (`file.c#name`).
fn is_local_label(name: &[u8]) -> bool {
    name.starts_with(b".L")
}

/// Whether it is one of Arm's marks for where code (`$x`) and data (`$d`) begin.
fn is_mapping(name: &[u8]) -> bool {
    matches!(name, [b'$', b'x' | b'd'] | [b'$', b'x' | b'd', b'.', ..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_on_arm_are_these() {
        for (name, expected) in [("$x", true), ("$d.1", true), ("$x1", false), ("$a", false), ("x", false), ("", false)]
        {
            assert_eq!(is_mapping(name.as_bytes()), expected, "{name}");
        }
    }
}
