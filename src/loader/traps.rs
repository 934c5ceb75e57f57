//! Traps in hooks that run while the payload's code is not registered with Xen.

use core::ops::Range;

use super::hooks;
use super::memory::Pointer;
use super::problem::Problem;
use super::tables::{BUG_FRAMES, EXCEPTION};
use super::{Linker, Progress};
use crate::xen::elf::LE;
use crate::xen::format::{HookKind, SectionName};
use crate::xen::rules;

/// The hooks that run before an apply has registered the payload's code, or after a revert has unregistered it. (Hooks after
/// a failed apply, which is rare, are left out.)
const UNREGISTERED: [HookKind; 4] = [HookKind::Load, HookKind::PreApply, HookKind::Apply, HookKind::PostRevert];

/// Reports hooks whose own code has a bug frame or an entry in the table of exceptions. A trap there, be it a WARN or a fault
/// that Xen could survive, is fatal.
///
/// The file shows neither if the trap is ever reached nor the functions that a hook calls.
pub(super) fn check(linker: &mut Linker<'_, '_>) -> Progress {
    if linker.has(&rules::UNLOAD_WAITS) {
        return Ok(());
    }
    for kind in UNREGISTERED {
        let section = linker.elf.section(kind.section_name()).filter(|_| linker.has(hooks::since(kind)));
        let Some(section) = section else { continue };
        let Some(start) = linker.memory.address_of(section.index) else { continue };
        let hooks = hooks::pointers(start, section.size);
        let code: Vec<Range<u64>> = hooks.filter_map(|at| function_at(linker, linker.memory.pointer(at))).collect();
        for table in BUG_FRAMES.into_iter().chain([SectionName::ExTable]) {
            if has_entry_in(linker, table, &code) {
                linker.may_harm(Problem::TrapInHook { hook: kind.section(), table: table.text() })?;
            }
        }
    }
    Ok(())
}

/// The addresses of the function that a pointer leads to: as many as its symbol has, or all up to the end of the section.
fn function_at(linker: &Linker<'_, '_>, pointer: Pointer) -> Option<Range<u64>> {
    let Pointer::Own { section, address } = pointer else { return None };
    let (_, rest) = linker.rest_of(section, address)?;
    let base = linker.memory.address_of(section)?;
    let named = linker.elf.symbols.iter().skip(1).filter(|symbol| {
        usize::from(symbol.st_shndx.get(LE).0) == section
            && base.checked_add(symbol.st_value.get(LE)) == Some(address)
            && symbol.st_size.get(LE) > 0
    });
    let size = named.map(|symbol| symbol.st_size.get(LE)).max().unwrap_or(rest);
    Some(address..address.saturating_add(size.min(rest)))
}

/// Returns true if a table has an entry for code at one of these addresses.
fn has_entry_in(linker: &Linker<'_, '_>, table: SectionName, code: &[Range<u64>]) -> bool {
    let (entry_size, unused_bits) = match table {
        SectionName::ExTable => (EXCEPTION, 0),
        _ => (linker.machine.bug_frame_size, 32 - linker.machine.bug_distance_bits),
    };
    let Some(section) = linker.elf.section(table).filter(|_| !code.is_empty()) else { return false };
    let Some(start) = linker.memory.address_of(section.index) else { return false };
    (0..section.size / entry_size).any(|index| {
        let at = start.saturating_add(index.saturating_mul(entry_size));
        let Some(word) = linker.memory.known(at) else { return false };
        // The bits that the distance to the trap does not use are part of the line number.
        let distance = i32::from_le_bytes(word) << unused_bits >> unused_bits;
        let place = at.wrapping_add_signed(distance.into());
        code.iter().any(|code| code.contains(&place))
    })
}
