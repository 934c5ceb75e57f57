//! Symbols: their names, their values, and the new ones among them.

use object::elf::{SHF_MERGE, SHN_ABS, SHN_COMMON, SHN_UNDEF};

use super::finding::Finding;
use super::problem::Problem;
use super::problem::linking::SymbolProblem;
use super::writes::Origin;
use super::{Linker, Lookup, NewSymbol, Progress};
use crate::types::errno::Errno;
use crate::types::widen::to_usize;
use crate::xen::elf::{LE, Symbol, UNNAMED};
use crate::xen::symbol_name::{SymbolName, is_local_label};

/// The most bytes of a symbol's name that Xen keeps.
const LONGEST_KEPT: usize = 127;

/// More bytes than the symbol names of any real payload have, even if linkers let names share their ends. A hostile file
/// could name each symbol with a text of 2 MiB, which would keep Xen busy for minutes.
const MOST_NAMES: usize = 4 << 20;

/// The value of a symbol.
#[derive(Clone, Copy, Debug)]
pub(super) struct SymbolValue {
    pub(super) number: u64,
    pub(super) origin: Origin,
    /// True if the number is the one that Xen would compute.
    pub(super) known: bool,
    /// True if it is in a section that is not loaded.
    pub(super) unloaded: bool,
}

impl SymbolValue {
    const NULL: Self = Self { number: 0, origin: Origin::Number, known: true, unloaded: false };
}

pub(super) fn check_names(linker: &mut Linker<'_, '_>) -> Progress {
    let elf = linker.elf;
    // A missing table of names was reported with the symbol table.
    if elf.symbol_names.is_empty() {
        return Ok(());
    }
    // In a file of the usual size, the longest possible names are few enough.
    let few = elf.symbols.len().saturating_mul(elf.symbol_names.len()) <= MOST_NAMES;
    let mut total = 0_usize;
    for (first, symbol) in elf.symbols.iter().enumerate().skip(1) {
        let Some(name) = elf.symbol_names.get(to_usize(symbol.st_name.get(LE))..).filter(|name| !name.is_empty())
        else {
            linker.refuse(Errno::EINVAL, Problem::Symbols { problem: SymbolProblem::Name, first, count: 1 })?;
            continue;
        };
        if few {
            continue;
        }
        total = total.saturating_add(name.iter().position(|byte| *byte == 0).unwrap_or(name.len()));
        if total > MOST_NAMES {
            return linker.harm(Problem::Overlapping { what: "the names of its symbols" });
        }
    }
    Ok(())
}

/// Computes the values of all symbols.
pub(super) fn resolve(linker: &mut Linker<'_, '_>) -> Progress {
    let elf = linker.elf;
    let known = linker.host.knows_addresses();
    linker.values.reserve_exact(elf.symbols.len().saturating_add(1));
    linker.values.push(SymbolValue::NULL);
    for (number, symbol) in elf.symbols.iter().enumerate().skip(1) {
        let value = value(linker, number, symbol, known)?;
        linker.values.push(value);
    }
    Ok(())
}

/// Computes the value of a symbol. `known`: the host knows the addresses of payloads, so that Xen would compute the same.
fn value(linker: &mut Linker<'_, '_>, symbol_number: usize, symbol: &Symbol, known: bool) -> Progress<SymbolValue> {
    let elf = linker.elf;
    let (section, number) = (symbol.st_shndx.get(LE), symbol.st_value.get(LE));
    let absolute = SymbolValue { number, ..SymbolValue::NULL };
    let foreign = SymbolValue { origin: Origin::Foreign { symbol: symbol_number, offset: 0 }, ..absolute };
    let problem = match section {
        SHN_UNDEF => {
            let name = elf.symbol_name(symbol).unwrap_or(UNNAMED);
            let found = linker.host.symbol(name);
            if let Lookup::Found(number) = found {
                return Ok(SymbolValue { number, ..foreign });
            }
            let problem = || Problem::UnknownSymbol { symbol: SymbolName::new(name) };
            match found {
                Lookup::Absent => linker.refuse(Errno::ENOENT, problem())?,
                // Checks continue: a loaded payload may have a label of this name by chance.
                _ if is_local_label(name) => (linker.sink)(Finding::refused(Errno::ENOENT, problem()))?,
                _ => {}
            }
            return Ok(SymbolValue { known: false, ..foreign });
        }
        SHN_ABS => return Ok(absolute),
        SHN_COMMON => (Errno::EINVAL, SymbolProblem::Common),
        _ if section.is_reserved() => (Errno::EOPNOTSUPP, SymbolProblem::Reserved),
        _ => match elf.sections.get(usize::from(section.0)) {
            None => (Errno::EINVAL, SymbolProblem::NoSuchSection),
            Some(section) => {
                // A truncated or wrongly assembled file: Xen would run or read past the section.
                let end = number.checked_add(symbol.st_size.get(LE));
                if section.is_allocated() && end.is_none_or(|end| end > section.size) {
                    let problem = SymbolProblem::PastEnd;
                    linker.harm(Problem::Symbols { problem, first: symbol_number, count: 1 })?;
                }
                return Ok(match linker.memory.address_of(section.index) {
                    Some(address) => SymbolValue {
                        number: number.wrapping_add(address),
                        origin: Origin::Own { section: section.index },
                        known,
                        ..absolute
                    },
                    None => SymbolValue { unloaded: true, ..absolute },
                });
            }
        },
    };
    let (errno, problem) = problem;
    linker.refuse(errno, Problem::Symbols { problem, first: symbol_number, count: 1 })?;
    Ok(foreign)
}

/// The symbols that later payloads may refer to. Those of replacement code stand for Xen's own; all others must be new.
pub(super) fn check_new<'d>(linker: &mut Linker<'_, 'd>, mut replaced: Vec<u64>) -> Progress<Vec<NewSymbol<'d>>> {
    let elf = linker.elf;
    replaced.sort_unstable();
    let mut new = Vec::new();
    let values = std::mem::take(&mut linker.values);
    for (symbol, value) in elf.symbols.iter().zip(&values).skip(1) {
        // Most symbols of a small payload are those of sections, and have no name.
        let name = elf.symbol_name(symbol).unwrap_or(UNNAMED);
        if name.is_empty() {
            continue;
        }
        let Some(section) = elf.section_of(symbol).filter(|section| section.is_allocated()) else { continue };
        let intermediate = section.flags & SHF_MERGE.0 != 0 && is_local_label(name);
        let mapping = linker.machine.mapping_symbols && is_mapping(name);
        if intermediate || mapping || replaced.binary_search(&value.number).is_ok() {
            continue;
        }
        let name = name.get(..LONGEST_KEPT).unwrap_or(name);
        if matches!(linker.host.symbol(name), Lookup::Found(_)) {
            linker.refuse(Errno::EEXIST, Problem::DuplicateSymbol { symbol: SymbolName::new(name) })?;
        }
        new.push((name, value.number));
    }
    Ok(new)
}

/// Returns true for Arm's mapping symbols, which mark the beginning of code (`$x`) and data (`$d`).
fn is_mapping(name: &[u8]) -> bool {
    matches!(name, [b'$', b'x' | b'd'] | [b'$', b'x' | b'd', b'.', ..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mapping_symbols_of_arm_are_recognised() {
        for (name, expected) in [("$x", true), ("$d.1", true), ("$x1", false), ("$a", false), ("x", false), ("", false)]
        {
            assert_eq!(is_mapping(name.as_bytes()), expected, "{name}");
        }
    }
}
