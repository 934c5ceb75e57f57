//! Where sections come to lie: code, then writable data, then constants, each from a page of its own on.

use super::memory::Memory;
use super::problem::Problem;
use super::{Loading, NoRoom, Step};
use crate::types::errno::Errno;
use crate::xen::elf::Section;
use crate::xen::rules;

const PAGE: u64 = 4096;

/// The size of the part of the address space that payloads are in. More can't be had.
const MOST: u64 = 1 << 30;

/// The kinds of regions, in their order.
const CODE: usize = 0;
const WRITABLE: usize = 1;
const CONSTANTS: usize = 2;

/// The memory, and whether Xen would apply the payload again after a revert. `None` where there is no place.
pub(super) fn place<'d>(loading: &mut Loading<'_, 'd>) -> Step<Option<(Memory<'d>, bool)>> {
    let elf = loading.elf;
    let mut sizes = [0_u64; 3];
    let mut memory = Memory::new(elf.sections.len());
    let mut writable = Vec::new();
    for section in elf.sections.iter().skip(1) {
        // What is not in the file was refused before.
        if loading.ignores(section) || !section.is_complete() {
            continue;
        }
        let region = match (section.is_executable(), section.is_writable()) {
            (true, false) => CODE,
            (false, true) => WRITABLE,
            (false, false) => CONSTANTS,
            (true, true) => {
                let problem = Problem::WritableCode { section: loading.name_of(section) };
                loading.refuse(Errno::EOPNOTSUPP, problem)?;
                continue;
            }
        };
        let Some(size) = sizes.get_mut(region) else { continue };
        let Some(offset) = offset(loading, section, *size)? else { return Ok(None) };
        *size = offset.saturating_add(section.size);
        memory.place(section.index, region, offset, elf.bytes(section));
        if region == WRITABLE && section.size > 0 {
            writable.push(elf.name(section).unwrap_or_default());
        }
    }
    let Some((starts, total)) = regions(sizes) else {
        let last = memory.last_placed().and_then(|section| elf.sections.get(section));
        let section = last.map(|section| loading.name_of(section)).unwrap_or_default();
        loading.harm(Problem::MemoryWraps { section })?;
        return Ok(None);
    };
    let Some(base) = room(loading, total)? else { return Ok(None) };
    let safe_to_reapply = rules::allows_reapply(writable.into_iter(), loading.has(&rules::READ_ONLY_REAPPLIES));
    let [text_size, ..] = sizes;
    memory.settle(base, total, starts, text_size);
    Ok(Some((memory, safe_to_reapply)))
}

/// The offset of the next section in a region of this size. Xen computes it with 64 bits that wrap around.
fn offset(loading: &mut Loading<'_, '_>, section: &Section, size: u64) -> Step<Option<u64>> {
    if section.alignment == 0 {
        if size > 0 {
            loading.harm(Problem::ZeroAlignment { section: loading.name_of(section) })?;
        }
        return Ok(Some(size));
    }
    let mask = section.alignment.wrapping_sub(1);
    let offset = size.checked_add(mask).map(|end| end & !mask);
    let fits = offset.filter(|offset| offset.checked_add(section.size).is_some());
    if fits.is_none() {
        loading.harm(Problem::MemoryWraps { section: loading.name_of(section) })?;
    }
    Ok(fits)
}

/// Where the regions begin, and the size of the whole; `None` where it wraps around.
fn regions([code, writable, constants]: [u64; 3]) -> Option<([u64; 3], u64)> {
    let second = code.checked_next_multiple_of(PAGE)?;
    let third = second.checked_add(writable.checked_next_multiple_of(PAGE)?)?;
    let end = third.checked_add(constants)?.checked_next_multiple_of(PAGE)?;
    Some(([0, second, third], end))
}

fn room(loading: &mut Loading<'_, '_>, total: u64) -> Step<Option<u64>> {
    let room = if total == 0 || total > MOST { Err(NoRoom::OutOfMemory) } else { loading.host.room(total) };
    let problem = Problem::TooMuchMemory { needed: total };
    match room {
        Ok(base) => return Ok(Some(base)),
        Err(NoRoom::OutOfMemory) => loading.refuse(Errno::ENOMEM, problem)?,
        Err(NoRoom::TooMuchToCheck) => loading.harm(problem)?,
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

    #[test]
    fn the_regions_are_in_this_order() {
        assert_eq!([CODE, WRITABLE, CONSTANTS], [0, 1, 2]);
    }
}
