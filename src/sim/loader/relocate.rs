//! Relocations of x86-64 (stage 6).

use super::elf::{Elf, SHT_REL, SHT_RELA, Section};
use super::layout::Linked;
use crate::errno::Errno;
use crate::sim::bytes::{put, signed, u64_at};
use crate::sim::payload::{Stop, refuse};
use crate::sim::release::{Release, since};

const R_X86_64_NONE: u32 = 0;
const R_X86_64_64: u32 = 1;
const R_X86_64_PC32: u32 = 2;
const R_X86_64_PLT32: u32 = 4;

const ENTRY_SIZE: u64 = 24;

struct Relocation {
    offset: u64,
    symbol: u64,
    kind: u32,
    addend: u64,
}

/// Writes the addresses that a payload refers to into it.
pub(super) fn relocate(elf: &Elf<'_>, linked: &mut Linked, release: Release) -> Result<(), Stop> {
    for table in elf.sections.iter().skip(1).filter(|section| matches!(section.kind, SHT_RELA | SHT_REL)) {
        if table.info == 0 {
            return Err(Stop::Crashed("relocations are for section 0, which Xen has no pointer to".into()));
        }
        let target = usize::try_from(table.info).ok().and_then(|index| elf.sections.get(index));
        // Those of sections that aren't loaded are left alone.
        let Some(target) = target.filter(|target| target.address.is_some()) else { continue };
        if table.link != elf.symbol_table {
            return refuse(Errno::EINVAL, "relocations with another symbol table");
        }
        if table.kind == SHT_REL {
            return refuse(Errno::EOPNOTSUPP, "relocations without addends");
        }
        if table.size == 0 {
            continue;
        }
        if table.entry_size < ENTRY_SIZE || table.size.checked_rem(table.entry_size) != Some(0) {
            return refuse(Errno::EINVAL, "relocations of a wrong size");
        }
        let entry_size = usize::try_from(table.entry_size).unwrap_or(usize::MAX);
        for entry in table.data.chunks_exact(entry_size) {
            if let Some(relocation) = read(entry) {
                apply(elf, linked, target, &relocation, release)?;
            }
        }
    }
    Ok(())
}

fn read(entry: &[u8]) -> Option<Relocation> {
    let info = u64_at(entry, 8)?;
    Some(Relocation {
        offset: u64_at(entry, 0)?,
        symbol: info >> 32,
        kind: u32::try_from(info & u64::from(u32::MAX)).ok()?,
        addend: u64_at(entry, 16)?,
    })
}

fn apply(
    elf: &Elf<'_>,
    linked: &mut Linked,
    target: &Section<'_>,
    relocation: &Relocation,
    release: Release,
) -> Result<(), Stop> {
    if relocation.symbol == 0 {
        return refuse(Errno::EOPNOTSUPP, "a relocation against no symbol");
    }
    let symbol = usize::try_from(relocation.symbol).ok().and_then(|index| elf.symbols.get(index));
    let Some(symbol) = symbol else {
        return refuse(Errno::EINVAL, "a relocation against a symbol out of range");
    };
    if symbol.ignored && release.has(since::IGNORED_SYMBOLS_REFUSED) {
        return refuse(Errno::EINVAL, "a relocation against a symbol of a section that is not loaded");
    }
    let at = target.address.unwrap_or_default().wrapping_add(relocation.offset);
    let value = symbol.value.wrapping_add(relocation.addend);
    let (value, width) = match relocation.kind {
        R_X86_64_NONE => return Ok(()),
        R_X86_64_64 => (value, 8),
        R_X86_64_PC32 | R_X86_64_PLT32 => (value.wrapping_sub(at), 4),
        other => return refuse(Errno::EOPNOTSUPP, format!("a relocation of unknown type {other}")),
    };
    if relocation.offset.checked_add(width).is_none_or(|end| end > target.size) {
        return refuse(Errno::EINVAL, "a relocation outside its section");
    }
    let fits = width == 8 || i32::try_from(signed(value)).is_ok();
    if !fits {
        return refuse(Errno::EOVERFLOW, "a relocation over more than 2 GiB");
    }
    let offset = usize::try_from(at.wrapping_sub(linked.base)).unwrap_or(usize::MAX);
    let bytes = value.to_le_bytes();
    let (low, _) = bytes.split_at(if width == 8 { 8 } else { 4 });
    put(&mut linked.bytes, offset, low);
    Ok(())
}
