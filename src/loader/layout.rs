//! The memory layout of a payload: code, then writable data, then constants, each region from a new page on.

use super::memory::Memory;
use super::problem::Problem;
use super::{Linker, NoRoom, Progress};
use crate::types::errno::Errno;
use crate::xen::elf::{Section, UNNAMED};
use crate::xen::rules;

const PAGE: u64 = 4096;

/// The size of the part of the address space that payloads are in: the most that Xen can allocate.
const MOST: u64 = 1 << 30;

/// A part of the memory with its own permissions, in their order.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Region {
    Code,
    Writable,
    Constants,
}

/// Places the sections. Returns true if Xen would apply the payload again after a revert; `None` if there is no place for it.
pub(super) fn place(linker: &mut Linker<'_, '_>) -> Progress<Option<bool>> {
    let elf = linker.elf;
    let [mut code, mut data, mut constants] = [0_u64; 3];
    let mut placed = Vec::with_capacity(elf.sections.len());
    for section in elf.sections.iter().skip(1) {
        // A section that is not in the file was refused before.
        if linker.ignores(section) || !section.is_complete() {
            continue;
        }
        let (region, size) = match (section.is_executable(), section.is_writable()) {
            (true, false) => (Region::Code, &mut code),
            (false, true) => (Region::Writable, &mut data),
            (false, false) => (Region::Constants, &mut constants),
            (true, true) => {
                let problem = Problem::WritableCode { section: linker.name_of(section) };
                linker.refuse(Errno::EOPNOTSUPP, problem)?;
                continue;
            }
        };
        let Some(offset) = offset(linker, section, *size)? else { return Ok(None) };
        *size = offset.saturating_add(section.size);
        placed.push((section, region, offset));
    }
    let Some(([first, second, third], total)) = regions([code, data, constants]) else {
        let (last, ..) = placed.last().expect("the sum of the sizes wraps, so a section was placed");
        linker.harm(Problem::MemoryWraps { section: linker.name_of(last) })?;
        return Ok(None);
    };
    let Some(base) = room(linker, total)? else { return Ok(None) };
    let writable = placed.iter().filter(|(section, region, _)| *region == Region::Writable && section.size > 0);
    let writable = writable.map(|(section, ..)| elf.name(section).unwrap_or(UNNAMED));
    let safe_to_reapply = rules::allows_reapply(writable, linker.has(&rules::READ_ONLY_REAPPLIES));
    let settled = placed.into_iter().map(|(section, region, offset)| {
        let start = match region {
            Region::Code => first,
            Region::Writable => second,
            Region::Constants => third,
        };
        let address = base.saturating_add(start).saturating_add(offset);
        (section.index, address, elf.bytes(section))
    });
    linker.memory = Memory::new(base, total, code, elf.sections.len(), settled);
    Ok(Some(safe_to_reapply))
}

/// The offset of the next section in a region of this size. Xen computes it with 64 bits, which may wrap around.
fn offset(linker: &mut Linker<'_, '_>, section: &Section, size: u64) -> Progress<Option<u64>> {
    if section.alignment == 0 {
        if size > 0 {
            linker.harm(Problem::ZeroAlignment { section: linker.name_of(section) })?;
        }
        return Ok(Some(size));
    }
    let mask = section.alignment.wrapping_sub(1);
    let offset = size.checked_add(mask).map(|end| end & !mask);
    let fits = offset.filter(|offset| offset.checked_add(section.size).is_some());
    if fits.is_none() {
        linker.harm(Problem::MemoryWraps { section: linker.name_of(section) })?;
    }
    Ok(fits)
}

/// The offsets of the regions, and the size of the whole; `None` if it wraps around.
fn regions([code, writable, constants]: [u64; 3]) -> Option<([u64; 3], u64)> {
    let second = code.checked_next_multiple_of(PAGE)?;
    let third = second.checked_add(writable.checked_next_multiple_of(PAGE)?)?;
    let end = third.checked_add(constants)?.checked_next_multiple_of(PAGE)?;
    Some(([0, second, third], end))
}

fn room(linker: &mut Linker<'_, '_>, total: u64) -> Progress<Option<u64>> {
    let room = if total == 0 || total > MOST { Err(NoRoom::OutOfMemory) } else { linker.host.room(total) };
    let problem = Problem::TooMuchMemory { needed: total };
    match room {
        Ok(base) => return Ok(Some(base)),
        Err(NoRoom::OutOfMemory) => linker.refuse(Errno::ENOMEM, problem)?,
        Err(NoRoom::TooMuchToCheck) => linker.harm(problem)?,
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_begin_at_pages() {
        assert_eq!(regions([1, 4096, 4097]), Some(([0, 4096, 8192], 16384)));
        assert_eq!(regions([0, 0, 0]), Some(([0, 0, 0], 0)));
        assert_eq!(regions([u64::MAX, 0, 0]), None);
        assert_eq!(regions([1 << 63, 1 << 63, 1]), None);
        assert_eq!(regions([0, 0, u64::MAX - 4094]), None);
    }
}
