//! Tables that a payload may have besides: bug frames, indirect calls, exceptions; and its metadata.

use std::borrow::Cow;

use super::details::TableProblem;
use super::memory::Memory;
use super::problem::Problem;
use super::{Loading, Step};
use crate::types::errno::Errno;
use crate::types::widen::to_u64;
use crate::xen::format::SectionName;
use crate::xen::rules;

pub(super) const BUG_FRAMES: [SectionName; 4] =
    [SectionName::BugFrames0, SectionName::BugFrames1, SectionName::BugFrames2, SectionName::BugFrames3];

/// A bug frame on x86, and on Arm.
pub(super) const BUG_FRAME: [u64; 2] = [8, 16];
/// An entry of the table of exceptions.
pub(super) const EXCEPTION: u64 = 8;
/// An indirect call is `ff 15` and a distance of four bytes; a table has the distance to each.
pub(super) const CALL: u64 = 6;
const CALL_SITE: u64 = 4;

pub(super) fn check_bug_frames(loading: &mut Loading<'_, '_>, memory: &Memory<'_>) -> Step {
    let ([x86, arm], on_x86) = (BUG_FRAME, loading.is_x86());
    let fourth = on_x86 || loading.has(&rules::FOURTH_BUG_FRAMES_ON_ARM);
    for name in BUG_FRAMES.into_iter().take(if fourth { 4 } else { 3 }) {
        whole_entries(loading, memory, name, if on_x86 { x86 } else { arm })?;
    }
    Ok(())
}

/// Indirect calls and exceptions.
pub(super) fn check(loading: &mut Loading<'_, '_>, memory: &Memory<'_>) -> Step {
    if loading.has(&rules::ALT_CALL_SITES) {
        check_call_sites(loading, memory)?;
    }
    if loading.elf.section(SectionName::ExTable).is_none() {
        return Ok(());
    }
    if !loading.is_x86() {
        return refuse(loading, Errno::EOPNOTSUPP, SectionName::ExTable, None, TableProblem::Unsupported);
    }
    let entries = whole_entries(loading, memory, SectionName::ExTable, EXCEPTION)?;
    if entries.is_some_and(|(_, entries)| entries.is_empty()) && !loading.has(&rules::EMPTY_EX_TABLE) {
        refuse(loading, Errno::EINVAL, SectionName::ExTable, None, TableProblem::Empty)?;
    }
    Ok(())
}

fn refuse(
    loading: &mut Loading<'_, '_>,
    errno: Errno,
    section: SectionName,
    index: Option<usize>,
    problem: TableProblem,
) -> Step {
    loading.refuse(errno, Problem::Table { section: section.text(), index, problem })
}

/// A table that is there and loaded: its address and bytes.
pub(super) fn whole_entries<'d>(
    loading: &mut Loading<'_, '_>,
    memory: &Memory<'d>,
    name: SectionName,
    entry_size: u64,
) -> Step<Option<(u64, Cow<'d, [u8]>)>> {
    let Some(section) = loading.elf.section(name) else { return Ok(None) };
    if section.size % entry_size != 0 {
        refuse(loading, Errno::EINVAL, name, None, TableProblem::Size { size: section.size, entry_size })?;
    }
    if section.size == 0 {
        return Ok(Some((0, Cow::Borrowed(&[]))));
    }
    loading.loaded(name, memory)
}

pub(super) fn is_inside(address: u64, len: u64, start: u64, size: u64) -> bool {
    address.checked_sub(start).and_then(|offset| offset.checked_add(len)).is_some_and(|end| end <= size)
}

/// Whether code that Xen is to change is not all in the section that its place is relocated against: it is other code then.
pub(super) fn strays(
    loading: &Loading<'_, '_>,
    memory: &Memory<'_>,
    section: Option<usize>,
    start: u64,
    len: u64,
) -> bool {
    let rest = |section| loading.rest_of(memory, section, start).map_or(0, |(_, rest)| rest);
    section.is_some_and(|section| rest(section) < len)
}

/// Whether the pointer of an indirect call is where Xen can read it, as far as that is known.
pub(super) fn is_call_pointer(memory: &Memory<'_>, call: u64) -> bool {
    let field = call.saturating_add(2);
    if memory.is_foreign(field) {
        return true;
    }
    let Some(distance) = memory.known(field) else { return true };
    let pointer = call.wrapping_add(CALL).wrapping_add_signed(i32::from_le_bytes(distance).into());
    memory.contains(pointer, 8)
}

fn check_call_sites(loading: &mut Loading<'_, '_>, memory: &Memory<'_>) -> Step {
    let name = SectionName::AltCallSites;
    if loading.elf.section(name).is_some() && !loading.is_x86() {
        return refuse(loading, Errno::EOPNOTSUPP, name, None, TableProblem::Unsupported);
    }
    let Some((start, bytes)) = whole_entries(loading, memory, name, CALL_SITE)? else { return Ok(()) };
    if !bytes.is_empty() && memory.text_size == 0 {
        return refuse(loading, Errno::EINVAL, name, None, TableProblem::NothingToReplace);
    }
    let mut calls = Vec::new();
    for (index, (entry, offset)) in bytes.chunks_exact(4).zip((0_u64..).step_by(4)).enumerate() {
        let at = start.saturating_add(offset);
        let distance = entry.first_chunk().copied().filter(|_| memory.is_known(at, CALL_SITE));
        let Some(distance) = distance else {
            let problem = TableProblem::Relocated;
            return loading.harm(Problem::Table { section: name.text(), index: Some(index), problem });
        };
        let call = at.wrapping_add_signed(i32::from_le_bytes(distance).into());
        if !is_inside(call, CALL, memory.base, memory.text_size) {
            return refuse(loading, Errno::EINVAL, name, Some(index), TableProblem::OriginalOutside);
        }
        calls.push((call, memory.distance_to(at)));
    }
    for (index, (call, section)) in calls.into_iter().enumerate() {
        if memory.read(call) != [0xff, 0x15] {
            return refuse(loading, Errno::EINVAL, name, Some(index), TableProblem::NotACall);
        }
        if strays(loading, memory, section, call, CALL) {
            return loading.harm(Problem::Table {
                section: name.text(),
                index: Some(index),
                problem: TableProblem::OriginalStrays,
            });
        }
        if !is_call_pointer(memory, call) || is_stray_call(memory, call) {
            let problem = TableProblem::CallPointer;
            return loading.harm(Problem::Table { section: name.text(), index: Some(index), problem });
        }
    }
    Ok(())
}

/// Whether the pointer of an indirect call is in the payload, and leads to where there is nothing: Xen looks whether the
/// function begins with `endbr64`.
fn is_stray_call(memory: &Memory<'_>, call: u64) -> bool {
    use super::memory::Pointer;
    let Some(distance) = memory.known(call.saturating_add(2)) else { return false };
    let pointer = call.wrapping_add(CALL).wrapping_add_signed(i32::from_le_bytes(distance).into());
    match memory.pointer(pointer) {
        Pointer::Null | Pointer::Foreign { .. } => false,
        Pointer::Own { address, .. } => !memory.contains(address, 4),
        Pointer::Number(_) | Pointer::Mangled => true,
    }
}

/// The raw metadata.
pub(super) fn metadata<'d>(loading: &mut Loading<'_, '_>, memory: &Memory<'d>) -> Step<Cow<'d, [u8]>> {
    let Some(section) = loading.elf.section(SectionName::Modinfo).filter(|_| loading.has(&rules::METADATA)) else {
        return Ok(Cow::default());
    };
    if section.size == 0 {
        loading.harm(Problem::EmptyMetadata)?;
        return Ok(Cow::default());
    }
    let Some((start, bytes)) = loading.loaded(SectionName::Modinfo, memory)? else { return Ok(Cow::default()) };
    let last = start.saturating_add(to_u64(bytes.len())).saturating_sub(1);
    let ends = memory.known(last) == Some([0]);
    if !ends {
        let open = !memory.is_known(last, 1);
        if open {
            loading.harm(Problem::UnterminatedMetadata)?;
        } else {
            loading.refuse(Errno::EINVAL, Problem::UnterminatedMetadata)?;
        }
    }
    Ok(bytes)
}
