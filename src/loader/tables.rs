//! Tables that a payload may have besides: bug frames, alternatives, indirect calls, exceptions; and its metadata.

use super::details::TableProblem;
use super::limits;
use super::memory::Memory;
use super::problem::Problem;
use super::{Loading, Step, wide};
use crate::errno::Errno;
use crate::format::MODINFO;
use crate::rules;

const BUG_FRAMES: [&str; 4] = [".bug_frames.0", ".bug_frames.1", ".bug_frames.2", ".bug_frames.3"];
const ALTERNATIVES: &str = ".altinstructions";
const REPLACEMENTS: &str = ".altinstr_replacement";
const ALT_CALL_SITES: &str = ".alt_call_sites";
const EX_TABLE: &str = ".ex_table";

/// A bug frame, and an entry of the table of exceptions.
const ENTRY: u64 = 8;
/// An indirect call is `ff 15` and a distance of four bytes; a table has the distance to each.
const CALL: u64 = 6;
const CALL_SITE: u64 = 4;

/// The most that an alternative replaces.
const LONGEST_ORIGINAL: u32 = 254;
/// Turns an alternative's feature around.
const NEGATED: u16 = 1 << 15;

pub(super) fn check(loading: &mut Loading<'_, '_>, memory: &Memory) -> Step {
    for name in BUG_FRAMES {
        whole_entries(loading, memory, name, ENTRY)?;
    }
    check_alternatives(loading, memory)?;
    if loading.has(&rules::ALT_CALL_SITES).surely() {
        check_call_sites(loading, memory)?;
    }
    if loading.elf.section(EX_TABLE).is_none() {
        return Ok(());
    }
    if !loading.is_x86() {
        return refuse(loading, Errno::EOPNOTSUPP, EX_TABLE, None, TableProblem::Unsupported);
    }
    if let Some((_, [])) = whole_entries(loading, memory, EX_TABLE, ENTRY)? {
        if !loading.has(&rules::EMPTY_EX_TABLE).surely() {
            refuse(loading, Errno::EINVAL, EX_TABLE, None, TableProblem::Empty)?;
        }
    }
    Ok(())
}

fn refuse(
    loading: &mut Loading<'_, '_>,
    errno: Errno,
    section: &'static str,
    index: Option<usize>,
    problem: TableProblem,
) -> Step {
    loading.refuse(errno, Problem::Table { section, index, problem })
}

/// A table that is there and loaded: its address and bytes.
fn whole_entries<'m>(
    loading: &mut Loading<'_, '_>,
    memory: &'m Memory,
    name: &'static str,
    entry_size: u64,
) -> Step<Option<(u64, &'m [u8])>> {
    let Some(section) = loading.elf.section(name) else { return Ok(None) };
    if section.size % entry_size != 0 {
        refuse(loading, Errno::EINVAL, name, None, TableProblem::Size { size: section.size, entry_size })?;
    }
    if section.size == 0 {
        return Ok(Some((0, &[])));
    }
    loading.loaded(name, memory)
}

/// An alternative, as its table has it.
struct Alternative {
    original: u64,
    /// The section that the original is relocated against.
    section: Option<usize>,
    replacement: u64,
    feature: u16,
    original_len: u32,
    replacement_len: u32,
    padding: u32,
}

impl Alternative {
    /// Reads the entry at an address.
    fn read(memory: &Memory, entry: &[u8], at: u64, negated: bool) -> Option<Self> {
        let distance = |offset: usize| -> Option<u64> {
            let bytes = entry.get(offset..)?.first_chunk().copied()?;
            Some(at.wrapping_add(wide(offset)).wrapping_add_signed(i32::from_le_bytes(bytes).into()))
        };
        let feature = u16::from_le_bytes(entry.get(8..)?.first_chunk().copied()?);
        Some(Self {
            original: distance(0)?,
            section: memory.distance_to(at),
            replacement: distance(4)?,
            feature: if negated { feature & !NEGATED } else { feature },
            original_len: u32::from(*entry.get(10)?),
            replacement_len: u32::from(*entry.get(11)?),
            padding: entry.get(12).copied().map_or(0, u32::from),
        })
    }

    fn total(&self) -> u32 {
        self.original_len.saturating_add(self.padding)
    }
}

fn check_alternatives(loading: &mut Loading<'_, '_>, memory: &Memory) -> Step {
    // Arm has no padding in any release.
    let padded = loading.is_x86() && loading.has(&rules::PADDED_ALTERNATIVES).surely();
    let entry_size: u64 = if padded { 14 } else { 12 };
    let Some((start, bytes)) = whole_entries(loading, memory, ALTERNATIVES, entry_size)? else { return Ok(()) };
    if bytes.is_empty() {
        return Ok(());
    }
    let checked = loading.has(&rules::ALTERNATIVES_CHECKED);
    if memory.text_size == 0 || loading.elf.section(REPLACEMENTS).is_none() {
        let problem = Problem::Table { section: ALTERNATIVES, index: None, problem: TableProblem::NothingToReplace };
        return loading.refuse_or_harm(checked, Errno::EINVAL, problem);
    }
    let negated = loading.has(&rules::NEGATED_ALTERNATIVES).surely();
    let step = usize::try_from(entry_size).unwrap_or(1);
    let entries = bytes.chunks_exact(step).zip((0_usize..).step_by(step)).map(|(entry, offset)| {
        let at = start.saturating_add(wide(offset));
        (memory.known(at, entry_size).is_some(), Alternative::read(memory, entry, at, negated))
    });
    let mut alternatives = Vec::new();
    for (index, (known, alternative)) in entries.enumerate() {
        let Some(alternative) = alternative.filter(|_| known) else {
            let problem = TableProblem::Relocated;
            return loading.harm(Problem::Table { section: ALTERNATIVES, index: Some(index), problem });
        };
        alternatives.push(alternative);
    }
    // Newer releases look at all places before they look at what is done there.
    for (index, alternative) in alternatives.iter().enumerate() {
        if let Some(problem) = outside(loading, memory, alternative) {
            let problem = Problem::Table { section: ALTERNATIVES, index: Some(index), problem };
            return loading.refuse_or_harm(checked, Errno::EINVAL, problem);
        }
    }
    for (index, alternative) in alternatives.iter().enumerate() {
        check_alternative(loading, memory, index, alternative)?;
    }
    Ok(())
}

/// The place of an alternative that is not where it has to be.
fn outside(loading: &Loading<'_, '_>, memory: &Memory, alternative: &Alternative) -> Option<TableProblem> {
    let &Alternative { original, replacement, original_len, replacement_len, .. } = alternative;
    if !is_inside(original, original_len.into(), memory.base, memory.text_size) {
        return Some(TableProblem::OriginalOutside);
    }
    let section = loading.elf.section(REPLACEMENTS)?;
    // What is not loaded has no address, which no replacement is at.
    let start = memory.address_of(section.index).unwrap_or_default();
    let fits = is_inside(replacement, replacement_len.into(), start, section.size);
    // A callback has an address instead of a replacement.
    let callback = !loading.is_x86() && replacement_len == 0;
    (!fits && !callback).then_some(TableProblem::ReplacementOutside)
}

fn is_inside(address: u64, len: u64, start: u64, size: u64) -> bool {
    address.checked_sub(start).and_then(|offset| offset.checked_add(len)).is_some_and(|end| end <= size)
}

fn check_alternative(loading: &mut Loading<'_, '_>, memory: &Memory, index: usize, alternative: &Alternative) -> Step {
    let total = alternative.total();
    let table = |problem| Problem::Table { section: ALTERNATIVES, index: Some(index), problem };
    if !loading.is_x86() {
        let &Alternative { original_len, replacement_len: found, .. } = alternative;
        let fits = found == 0 || (found == original_len && found % 4 == 0);
        let problem = TableProblem::ReplacementTooLong { found, room: original_len };
        return if fits { Ok(()) } else { loading.harm(table(problem)) };
    }
    let refused = loading.has(&rules::ALTERNATIVES_REFUSED);
    let (least, most) = limits::features(loading.target);
    let feature = u32::from(alternative.feature);
    if alternative.replacement_len > total {
        let problem = TableProblem::ReplacementTooLong { found: alternative.replacement_len, room: total };
        loading.refuse_or_harm(refused, Errno::ENOSPC, table(problem))?;
    } else if total > LONGEST_ORIGINAL {
        loading.refuse_or_harm(refused, Errno::ENOSPC, table(TableProblem::OriginalTooLong { found: total }))?;
    } else if feature >= most || (feature >= least && !refused.surely()) {
        loading.refuse_or_harm(refused, Errno::ERANGE, table(TableProblem::NoSuchFeature { found: feature }))?;
    }
    // Xen writes to the padding as well, and does not look where that ends.
    if !is_inside(alternative.original, total.into(), memory.base, memory.text_size) {
        return loading.harm(table(TableProblem::OriginalOutside));
    }
    if strays(loading, memory, alternative.section, alternative.original, total.into()) {
        return loading.harm(table(TableProblem::OriginalStrays));
    }
    let indirect = loading.has(&rules::INDIRECT_ALTERNATIVES).and(loading.has(&rules::ALT_CALL_SITES).not());
    if indirect.perhaps() && is_indirect(memory, alternative) && !is_call_pointer(memory, alternative.original) {
        return loading.harm(table(TableProblem::CallPointer));
    }
    Ok(())
}

/// Whether code that Xen is to change is not all in the section that its place is relocated against: it is other code then.
fn strays(loading: &Loading<'_, '_>, memory: &Memory, section: Option<usize>, start: u64, len: u64) -> bool {
    let rest = |section| loading.rest_of(memory, section, start).map_or(0, |(_, rest)| rest);
    section.is_some_and(|section| rest(section) < len)
}

/// Whether an alternative stands for an indirect call or jump: a direct one to itself in place of `ff 15` or `ff 25`.
fn is_indirect(memory: &Memory, alternative: &Alternative) -> bool {
    let to_itself = memory.at(alternative.replacement, 5).filter(|_| alternative.replacement_len >= 5);
    let to_itself = to_itself.is_some_and(|code| matches!(code, [0xe8 | 0xe9, 0xfb, 0xff, 0xff, 0xff]));
    let through = memory.at(alternative.original, 2).filter(|_| u64::from(alternative.original_len) >= CALL);
    to_itself && matches!(through, Some([0xff, 0x15 | 0x25]))
}

/// Whether the pointer of an indirect call is where Xen can read it, as far as that is known.
fn is_call_pointer(memory: &Memory, call: u64) -> bool {
    let Some(distance) = memory.known(call.saturating_add(2), 4).and_then(|bytes| bytes.first_chunk().copied()) else {
        // It is a symbol's outside the payload.
        return true;
    };
    let pointer = call.wrapping_add(CALL).wrapping_add_signed(i32::from_le_bytes(distance).into());
    memory.at(pointer, 8).is_some()
}

fn check_call_sites(loading: &mut Loading<'_, '_>, memory: &Memory) -> Step {
    let name = ALT_CALL_SITES;
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
        let distance = entry.first_chunk().copied().filter(|_| memory.known(at, CALL_SITE).is_some());
        let Some(distance) = distance else {
            let problem = TableProblem::Relocated;
            return loading.harm(Problem::Table { section: name, index: Some(index), problem });
        };
        let call = at.wrapping_add_signed(i32::from_le_bytes(distance).into());
        if !is_inside(call, CALL, memory.base, memory.text_size) {
            return refuse(loading, Errno::EINVAL, name, Some(index), TableProblem::OriginalOutside);
        }
        calls.push((call, memory.distance_to(at)));
    }
    for (index, (call, section)) in calls.into_iter().enumerate() {
        if memory.at(call, 2) != Some(&[0xff, 0x15]) {
            return refuse(loading, Errno::EINVAL, name, Some(index), TableProblem::NotACall);
        }
        if strays(loading, memory, section, call, CALL) {
            return loading.harm(Problem::Table {
                section: name,
                index: Some(index),
                problem: TableProblem::OriginalStrays,
            });
        }
        if !is_call_pointer(memory, call) || is_stray_call(memory, call) {
            let problem = TableProblem::CallPointer;
            return loading.harm(Problem::Table { section: name, index: Some(index), problem });
        }
    }
    Ok(())
}

/// Whether the pointer of an indirect call is in the payload, and leads to where there is nothing: Xen looks whether the
/// function begins with `endbr64`.
fn is_stray_call(memory: &Memory, call: u64) -> bool {
    use super::memory::Pointer;
    let distance = memory.known(call.saturating_add(2), 4).and_then(|bytes| bytes.first_chunk().copied());
    let Some(distance) = distance else { return false };
    let pointer = call.wrapping_add(CALL).wrapping_add_signed(i32::from_le_bytes(distance).into());
    match memory.pointer(pointer) {
        Pointer::Null | Pointer::Foreign { .. } => false,
        Pointer::Own { address, .. } => memory.at(address, 4).is_none(),
        Pointer::Number(_) | Pointer::Mangled => true,
    }
}

/// The raw metadata.
pub(super) fn metadata(loading: &mut Loading<'_, '_>, memory: &Memory) -> Step<Vec<u8>> {
    let Some(section) = loading.elf.section(MODINFO).filter(|_| loading.has(&rules::METADATA).surely()) else {
        return Ok(Vec::new());
    };
    if section.size == 0 {
        loading.harm(Problem::EmptyMetadata)?;
        return Ok(Vec::new());
    }
    let Some((start, bytes)) = loading.loaded(MODINFO, memory)? else { return Ok(Vec::new()) };
    let last = start.saturating_add(wide(bytes.len())).saturating_sub(1);
    let ends = memory.known(last, 1) == Some(&[0]);
    if !ends {
        let open = memory.known(last, 1).is_none();
        if open {
            loading.harm(Problem::UnterminatedMetadata)?;
        } else {
            loading.refuse(Errno::EINVAL, Problem::UnterminatedMetadata)?;
        }
    }
    Ok(bytes.into())
}
