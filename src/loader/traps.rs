//! Traps in hooks that run while Xen does not know the payload's code.

use core::ops::Range;

use super::memory::{Memory, Pointer};
use super::problem::Problem;
use super::tables::{BUG_FRAME, BUG_FRAMES, EXCEPTION};
use super::{Loading, Step};
use crate::types::widen::to_u64;
use crate::xen::elf::LE;
use crate::xen::format::{HookKind, SectionName};
use crate::xen::rules;

/// The hooks that run before an apply has registered the payload's code, or after a revert has taken it back. (A hook after
/// an apply that failed is another; that is rare enough.)
const UNREGISTERED: [HookKind; 4] = [HookKind::Load, HookKind::PreApply, HookKind::Apply, HookKind::PostRevert];

/// Reports the hooks whose own code has a bug frame or an entry in the table of exceptions. Xen dies of a trap there that
/// it can't explain: of a WARN, and of a fault that it would have survived.
///
/// The file does not show if the trap is ever met, nor which functions a hook calls.
pub(super) fn check(loading: &mut Loading<'_, '_>, memory: &Memory<'_>) -> Step {
    if loading.has(&rules::UNLOAD_WAITS) {
        return Ok(());
    }
    for kind in UNREGISTERED {
        let since = if kind.may_be_several() { &rules::LOAD_HOOKS } else { &rules::ACTION_HOOKS };
        let Some(section) = loading.elf.section(kind.section_name()).filter(|_| loading.has(since)) else { continue };
        let Some(start) = memory.address_of(section.index) else { continue };
        let count = usize::try_from(section.size / 8).unwrap_or_default();
        let hooks = (0..count).map(|index| start.saturating_add(to_u64(index.saturating_mul(8))));
        let code: Vec<Range<u64>> = hooks.filter_map(|at| function_at(loading, memory, memory.pointer(at))).collect();
        for table in BUG_FRAMES.into_iter().chain([SectionName::ExTable]) {
            if has_entry_in(loading, memory, table, &code) {
                loading.may_harm(Problem::TrapInHook { hook: kind.section(), table: table.text() })?;
            }
        }
    }
    Ok(())
}

/// The bytes of the function that a pointer leads to: as many as its symbol has, or all up to the end of the section.
fn function_at(loading: &Loading<'_, '_>, memory: &Memory<'_>, pointer: Pointer) -> Option<Range<u64>> {
    let Pointer::Own { section, address } = pointer else { return None };
    let (_, rest) = loading.rest_of(memory, section, address)?;
    let base = memory.address_of(section)?;
    let named = loading.elf.symbols.iter().skip(1).filter(|symbol| {
        usize::from(symbol.st_shndx.get(LE).0) == section
            && base.checked_add(symbol.st_value.get(LE)) == Some(address)
            && symbol.st_size.get(LE) > 0
    });
    let size = named.map(|symbol| symbol.st_size.get(LE)).max().unwrap_or(rest);
    Some(address..address.saturating_add(size.min(rest)))
}

/// Returns true if a table has an entry about code in one of these places.
fn has_entry_in(loading: &Loading<'_, '_>, memory: &Memory<'_>, table: SectionName, code: &[Range<u64>]) -> bool {
    let (frame, narrow) = match (table == SectionName::ExTable, loading.is_x86()) {
        (true, _) => (EXCEPTION, false),
        (false, true) => (BUG_FRAME[0], true),
        (false, false) => (BUG_FRAME[1], false),
    };
    let Some(section) = loading.elf.section(table).filter(|_| !code.is_empty()) else { return false };
    let Some(start) = memory.address_of(section.index) else { return false };
    let entries = usize::try_from(section.size / frame).unwrap_or_default();
    (0..entries).any(|index| {
        let at = start.saturating_add(to_u64(index).saturating_mul(frame));
        let Some(word) = memory.known(at) else { return false };
        let word = i32::from_le_bytes(word);
        // In a frame on x86 the distance to the trap has 24 bits, and part of the line number the others.
        let distance = if narrow { word.wrapping_shl(8).wrapping_shr(8) } else { word };
        let place = at.wrapping_add_signed(distance.into());
        code.iter().any(|code| code.contains(&place))
    })
}
