//! The tables of a payload's code: bug frames, indirect calls, exceptions.

use std::borrow::Cow;

use super::memory::{Memory, Pointer};
use super::problem::Problem;
use super::problem::contents::TableProblem;
use super::{Linker, Progress};
use crate::types::errno::Errno;
use crate::xen::format::SectionName;
use crate::xen::rules;

pub(super) const BUG_FRAMES: [SectionName; 4] =
    [SectionName::BugFrames0, SectionName::BugFrames1, SectionName::BugFrames2, SectionName::BugFrames3];

/// The bytes of an entry of the table of exceptions.
pub(super) const EXCEPTION: u64 = 8;
/// The bytes of an indirect call, `ff 15` and a distance of four bytes.
pub(super) const CALL: u64 = 6;
/// The bytes of the distance to an indirect call, an entry of their table.
const CALL_SITE: u64 = 4;

pub(super) fn check_bug_frames(linker: &mut Linker<'_, '_>) -> Progress {
    let fourth = linker.machine.fourth_bug_frames.is_none_or(|since| linker.has(since));
    for name in BUG_FRAMES.into_iter().take(if fourth { 4 } else { 3 }) {
        whole_entries(linker, name, linker.machine.bug_frame_size)?;
    }
    Ok(())
}

/// Checks indirect calls and exceptions.
pub(super) fn check(linker: &mut Linker<'_, '_>) -> Progress {
    if linker.has(&rules::ALT_CALL_SITES) {
        check_call_sites(linker)?;
    }
    if linker.elf.section(SectionName::ExTable).is_none() {
        return Ok(());
    }
    if !linker.machine.exceptions {
        return refuse(linker, Errno::EOPNOTSUPP, SectionName::ExTable, None, TableProblem::Unsupported);
    }
    let entries = whole_entries(linker, SectionName::ExTable, EXCEPTION)?;
    if entries.is_some_and(|(_, entries)| entries.is_empty()) && !linker.has(&rules::EMPTY_EX_TABLE) {
        refuse(linker, Errno::EINVAL, SectionName::ExTable, None, TableProblem::Empty)?;
    }
    Ok(())
}

fn harm(linker: &mut Linker<'_, '_>, section: SectionName, index: usize, problem: TableProblem) -> Progress {
    linker.harm(Problem::Table { section: section.text(), index: Some(index), problem })
}

fn refuse(
    linker: &mut Linker<'_, '_>,
    errno: Errno,
    section: SectionName,
    index: Option<usize>,
    problem: TableProblem,
) -> Progress {
    linker.refuse(errno, Problem::Table { section: section.text(), index, problem })
}

/// The address and bytes of a table that is there and loaded.
pub(super) fn whole_entries<'d>(
    linker: &mut Linker<'_, 'd>,
    name: SectionName,
    entry_size: u64,
) -> Progress<Option<(u64, Cow<'d, [u8]>)>> {
    let Some(section) = linker.elf.section(name) else { return Ok(None) };
    if section.size % entry_size != 0 {
        refuse(linker, Errno::EINVAL, name, None, TableProblem::Size { size: section.size, entry_size })?;
    }
    if section.size == 0 {
        return Ok(Some((0, Cow::Borrowed(&[]))));
    }
    linker.loaded(name)
}

pub(super) fn is_inside(address: u64, len: u64, start: u64, size: u64) -> bool {
    address.checked_sub(start).and_then(|offset| offset.checked_add(len)).is_some_and(|end| end <= size)
}

/// Returns true if code that Xen changes is not completely in the section that its address is relocated against, so that it is
/// other code.
pub(super) fn strays(linker: &Linker<'_, '_>, section: Option<usize>, start: u64, len: u64) -> bool {
    let rest = |section| linker.rest_of(section, start).map_or(0, |(_, rest)| rest);
    section.is_some_and(|section| rest(section) < len)
}

/// Returns true if Xen can read the pointer of an indirect call, as far as its address is known.
pub(super) fn is_call_pointer(memory: &Memory<'_>, call: u64) -> bool {
    memory.is_foreign(call.saturating_add(2))
        || call_pointer(memory, call).is_none_or(|pointer| memory.contains(pointer, 8))
}

/// The address of the pointer of an indirect call, if it is known.
fn call_pointer(memory: &Memory<'_>, call: u64) -> Option<u64> {
    let distance = i32::from_le_bytes(memory.known(call.saturating_add(2))?);
    Some(call.wrapping_add(CALL).wrapping_add_signed(distance.into()))
}

fn check_call_sites(linker: &mut Linker<'_, '_>) -> Progress {
    let name = SectionName::AltCallSites;
    if linker.elf.section(name).is_some() && !linker.machine.call_sites {
        return refuse(linker, Errno::EOPNOTSUPP, name, None, TableProblem::Unsupported);
    }
    let Some((start, bytes)) = whole_entries(linker, name, CALL_SITE)? else { return Ok(()) };
    if !bytes.is_empty() && linker.memory.text_size == 0 {
        return refuse(linker, Errno::EINVAL, name, None, TableProblem::NothingToReplace);
    }
    let mut calls = Vec::new();
    for (index, (entry, offset)) in bytes.chunks_exact(4).zip((0_u64..).step_by(4)).enumerate() {
        let at = start.saturating_add(offset);
        let distance = entry.first_chunk().copied().filter(|_| linker.memory.is_known(at, CALL_SITE));
        let Some(distance) = distance else {
            return harm(linker, name, index, TableProblem::Relocated);
        };
        let call = at.wrapping_add_signed(i32::from_le_bytes(distance).into());
        if !is_inside(call, CALL, linker.memory.base, linker.memory.text_size) {
            return refuse(linker, Errno::EINVAL, name, Some(index), TableProblem::OriginalOutside);
        }
        calls.push((call, linker.memory.distance_to(at)));
    }
    for (index, (call, section)) in calls.into_iter().enumerate() {
        if linker.memory.read(call) != Some([0xff, 0x15]) {
            return refuse(linker, Errno::EINVAL, name, Some(index), TableProblem::NotACall);
        }
        if strays(linker, section, call, CALL) {
            return harm(linker, name, index, TableProblem::OriginalStrays);
        }
        if !is_call_pointer(&linker.memory, call) || is_stray_call(&linker.memory, call) {
            return harm(linker, name, index, TableProblem::CallPointer);
        }
    }
    Ok(())
}

/// Returns true if the pointer of an indirect call is in the payload, and leads to no code: Xen reads the function's first bytes
/// to find an `endbr64`.
fn is_stray_call(memory: &Memory<'_>, call: u64) -> bool {
    match call_pointer(memory, call).map(|pointer| memory.pointer(pointer)) {
        None | Some(Pointer::Null | Pointer::Foreign { .. }) => false,
        Some(Pointer::Own { address, .. }) => !memory.contains(address, 4),
        Some(Pointer::Number(_) | Pointer::Mangled) => true,
    }
}
