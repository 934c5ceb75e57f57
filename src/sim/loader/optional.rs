//! Sections that a payload may have besides (stage 12).

use super::elf::Elf;
use super::layout::Linked;
use super::{Surroundings, contents, names};
use crate::errno::Errno;
use crate::name::escaped;
use crate::sim::bytes::{i32_at, length};
use crate::sim::payload::{Stop, refuse};
use crate::sim::release::since;

/// Checks them, and gives the metadata.
pub(super) fn check(elf: &Elf<'_>, linked: &Linked, around: &Surroundings<'_>) -> Result<Vec<u8>, Stop> {
    let release = around.release;
    let alternative: usize = if release.has(since::LONG_ALTERNATIVES) { 14 } else { 12 };
    let tables: [(&[u8], usize); 6] = [
        (b".bug_frames.0", 8),
        (b".bug_frames.1", 8),
        (b".bug_frames.2", 8),
        (b".bug_frames.3", 8),
        (b".altinstructions", alternative),
        (b".ex_table", 8),
    ];
    for (name, entry) in tables {
        let Some(section) = elf.section(name) else { continue };
        let bytes = contents::of(section, around)?;
        if bytes.len() % entry != 0 {
            return refuse(Errno::EINVAL, format!("{} of a wrong size", escaped(name)));
        }
        if name == b".altinstructions" && release.has(since::ALTERNATIVES_CHECKED) {
            let start = section.address.unwrap_or_default();
            // Both the instruction and its alternative, each relative to its own field.
            in_text(bytes, entry, &[0, 4], start, linked, name)?;
        }
    }
    if release.has(since::ALT_CALL_SITES) {
        let name = b".alt_call_sites";
        if let Some(section) = elf.section(name) {
            let bytes = contents::of(section, around)?;
            if bytes.len() % 4 != 0 {
                return refuse(Errno::EINVAL, format!("{} of a wrong size", escaped(name)));
            }
            in_text(bytes, 4, &[0], section.address.unwrap_or_default(), linked, name)?;
        }
    }
    metadata(elf, around)
}

/// Checks that what the fields of each entry point to is code of this payload.
fn in_text(
    bytes: &[u8],
    entry_size: usize,
    fields: &[usize],
    start: u64,
    linked: &Linked,
    name: &[u8],
) -> Result<(), Stop> {
    for (entry, at) in bytes.chunks_exact(entry_size).zip((0_u64..).step_by(entry_size)) {
        for field in fields {
            let displacement = i32_at(entry, *field).unwrap_or_default();
            let field = u64::try_from(*field).unwrap_or_default();
            let target = start.wrapping_add(at).wrapping_add(field).wrapping_add_signed(displacement.into());
            if target.wrapping_sub(linked.base) >= linked.text_size {
                return refuse(Errno::EINVAL, format!("{} points outside the payload's code", escaped(name)));
            }
        }
    }
    Ok(())
}

fn metadata(elf: &Elf<'_>, around: &Surroundings<'_>) -> Result<Vec<u8>, Stop> {
    let section = elf.section(names::MODINFO).filter(|_| around.release.has(since::MODINFO));
    let Some(section) = section else { return Ok(Vec::new()) };
    let bytes = contents::of(section, around)?;
    if length(bytes) == 0 {
        return Err(Stop::Crashed(".modinfo is empty, and Xen looks at its last byte".into()));
    }
    if bytes.last() != Some(&0) {
        return refuse(Errno::EINVAL, ".modinfo doesn't end with a NUL");
    }
    Ok(bytes.into())
}
