//! Alternatives: code of the payload that Xen overwrites while it loads it, where the processor has a feature.

use super::details::TableProblem;
use super::limits;
use super::memory::Memory;
use super::problem::Problem;
use super::tables::{CALL, is_call_pointer, is_inside, strays, whole_entries};
use super::{Loading, Step};
use crate::types::errno::Errno;
use crate::types::widen::to_u64;
use crate::xen::format::SectionName;
use crate::xen::rules;

const ALTERNATIVES: &str = SectionName::Alternatives.text();

/// The most that an alternative replaces.
const LONGEST_ORIGINAL: u32 = 254;
/// Turns an alternative's feature around.
const NEGATED: u16 = 1 << 15;

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
    fn read(memory: &Memory<'_>, entry: &[u8], at: u64, negated: bool) -> Option<Self> {
        let distance = |offset: usize| -> Option<u64> {
            let bytes = entry.get(offset..)?.first_chunk().copied()?;
            Some(at.wrapping_add(to_u64(offset)).wrapping_add_signed(i32::from_le_bytes(bytes).into()))
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

pub(super) fn check(loading: &mut Loading<'_, '_>, memory: &Memory<'_>) -> Step {
    // Arm has no padding in any release.
    let padded = loading.is_x86() && loading.has(&rules::PADDED_ALTERNATIVES);
    let entry_size: u64 = if padded { 14 } else { 12 };
    let Some((start, bytes)) = whole_entries(loading, memory, SectionName::Alternatives, entry_size)? else {
        return Ok(());
    };
    if bytes.is_empty() {
        return Ok(());
    }
    let checked = loading.has(&rules::ALTERNATIVES_CHECKED);
    if memory.text_size == 0 || loading.elf.section(SectionName::Replacements).is_none() {
        let problem = Problem::Table { section: ALTERNATIVES, index: None, problem: TableProblem::NothingToReplace };
        return loading.refuse_or_harm(checked, Errno::EINVAL, problem);
    }
    let negated = loading.is_x86() && loading.has(&rules::NEGATED_ALTERNATIVES);
    let step = usize::try_from(entry_size).unwrap_or(1);
    let entries = bytes.chunks_exact(step).zip((0_usize..).step_by(step)).map(|(entry, offset)| {
        let at = start.saturating_add(to_u64(offset));
        (memory.is_known(at, entry_size), Alternative::read(memory, entry, at, negated))
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
fn outside(loading: &Loading<'_, '_>, memory: &Memory<'_>, alternative: &Alternative) -> Option<TableProblem> {
    let &Alternative { original, replacement, original_len, replacement_len, .. } = alternative;
    if !is_inside(original, original_len.into(), memory.base, memory.text_size) {
        return Some(TableProblem::OriginalOutside);
    }
    let section = loading.elf.section(SectionName::Replacements)?;
    // What is not loaded has no address, which no replacement is at.
    let start = memory.address_of(section.index).unwrap_or_default();
    let fits = is_inside(replacement, replacement_len.into(), start, section.size);
    // A callback has its function there, which may be one of Xen's where nobody looks.
    let callback = !loading.has(&rules::ALTERNATIVES_CHECKED) && is_callback(loading, alternative);
    (!fits && !callback).then_some(TableProblem::ReplacementOutside)
}

fn check_alternative(
    loading: &mut Loading<'_, '_>,
    memory: &Memory<'_>,
    index: usize,
    alternative: &Alternative,
) -> Step {
    let total = alternative.total();
    let table = |problem| Problem::Table { section: ALTERNATIVES, index: Some(index), problem };
    if !loading.is_x86() {
        return match arm_problem(loading, memory, alternative) {
            Some(problem) => loading.harm(table(problem)),
            None => Ok(()),
        };
    }
    let refused = loading.has(&rules::ALTERNATIVES_REFUSED);
    let feature = u32::from(alternative.feature);
    if alternative.replacement_len > total {
        let problem = TableProblem::ReplacementTooLong { found: alternative.replacement_len, room: total };
        loading.refuse_or_harm(refused, Errno::ENOSPC, table(problem))?;
    } else if total > LONGEST_ORIGINAL {
        loading.refuse_or_harm(refused, Errno::ENOSPC, table(TableProblem::OriginalTooLong { found: total }))?;
    } else if feature >= limits::features(loading.release) {
        loading.refuse_or_harm(refused, Errno::ERANGE, table(TableProblem::NoSuchFeature { found: feature }))?;
    }
    // Xen writes to the padding as well, and does not look where that ends.
    if !is_inside(alternative.original, total.into(), memory.base, memory.text_size) {
        return loading.harm(table(TableProblem::OriginalOutside));
    }
    if strays(loading, memory, alternative.section, alternative.original, total.into()) {
        return loading.harm(table(TableProblem::OriginalStrays));
    }
    let indirect = loading.has(&rules::INDIRECT_ALTERNATIVES) && !loading.has(&rules::ALT_CALL_SITES);
    if indirect && is_indirect(memory, alternative) && !is_call_pointer(memory, alternative.original) {
        return loading.harm(table(TableProblem::CallPointer));
    }
    Ok(())
}

/// Whether an alternative on Arm has a function that Xen calls, in place of a replacement.
fn is_callback(loading: &Loading<'_, '_>, alternative: &Alternative) -> bool {
    !loading.is_x86()
        && loading.has(&rules::ALTERNATIVE_CALLBACKS_ON_ARM)
        && u32::from(alternative.feature) >= limits::arm_features(loading.release)
}

/// What brings a Xen on Arm down, which does not refuse an alternative in any release. One of a feature that this processor
/// lacks is passed over, but that can't be told from here.
fn arm_problem(loading: &Loading<'_, '_>, memory: &Memory<'_>, alternative: &Alternative) -> Option<TableProblem> {
    let &Alternative { original, section, replacement, feature, original_len, replacement_len, .. } = alternative;
    let features = limits::arm_features(loading.release);
    if is_callback(loading, alternative) {
        // The first number that is no feature is the one of callbacks; Xen calls the others' replacements as well.
        let proper = u32::from(feature) == features && replacement_len == 0;
        // The payload's code is not executable yet.
        let own = memory.contains(replacement, 1);
        return (!proper || own).then_some(TableProblem::NoSuchFeature { found: feature.into() });
    }
    let known = u32::from(feature) < features || loading.has(&rules::ALTERNATIVE_CALLBACKS_ON_ARM);
    if known && replacement_len != original_len {
        return Some(TableProblem::ReplacementTooLong { found: replacement_len, room: original_len });
    }
    if strays(loading, memory, section, original, original_len.into()) {
        return Some(TableProblem::OriginalStrays);
    }
    let whole = replacement.saturating_add((original_len & !3).into());
    let mut instructions = (replacement..whole).step_by(4);
    let stray = |at: u64| {
        let target = branch_target(memory.word(at), at)?;
        let inside = (replacement..=replacement.saturating_add(replacement_len.into())).contains(&target);
        (!inside && !memory.is_foreign(at)).then_some(())
    };
    instructions.any(|at| stray(at).is_some()).then_some(TableProblem::BranchOutside)
}

/// Where an instruction of Arm branches to that has its distance in itself.
fn branch_target(instruction: u64, at: u64) -> Option<u64> {
    let field = |first: u32, len: u32| {
        let above = 64_u32.saturating_sub(len);
        let number = i64::from_le_bytes((instruction >> first << above).to_le_bytes());
        // In words of four bytes.
        number.checked_shr(above).map(|number| number.saturating_mul(4))
    };
    let distance = match instruction {
        // b, bl; cbz, cbnz; b.cond; tbz, tbnz.
        _ if instruction & 0x7c00_0000 == 0x1400_0000 => field(0, 26),
        _ if instruction & 0x7e00_0000 == 0x3400_0000 => field(5, 19),
        _ if instruction & 0xff00_0010 == 0x5400_0000 => field(5, 19),
        _ if instruction & 0x7e00_0000 == 0x3600_0000 => field(5, 14),
        _ => None,
    };
    distance.map(|distance| at.wrapping_add_signed(distance))
}

/// Whether an alternative stands for an indirect call or jump: a direct one to itself in place of `ff 15` or `ff 25`.
fn is_indirect(memory: &Memory<'_>, alternative: &Alternative) -> bool {
    let to_itself = memory.read(alternative.replacement);
    let to_itself = alternative.replacement_len >= 5 && matches!(to_itself, [0xe8 | 0xe9, 0xfb, 0xff, 0xff, 0xff]);
    let through = memory.read(alternative.original);
    to_itself && u64::from(alternative.original_len) >= CALL && matches!(through, [0xff, 0x15 | 0x25])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn branches_of_arm_are_recognised() {
        for (instruction, target) in [
            (0x1400_0001, Some(0x1004)),
            (0x17ff_ffff, Some(0xffc)),
            (0x9400_0002, Some(0x1008)),
            (0x3400_0040, Some(0x1008)),
            (0xb5ff_ffe1, Some(0xffc)),
            (0x5400_0061, Some(0x100c)),
            (0x3607_ffe0, Some(0xffc)),
            (0xb700_0020, Some(0x1004)),
            // ret; br x0; blr x0; adr x0, .; nop.
            (0xd65f_03c0, None),
            (0xd61f_0000, None),
            (0xd63f_0000, None),
            (0x1000_0000, None),
            (0xd503_201f, None),
        ] {
            assert_eq!(branch_target(instruction, 0x1000), target, "{instruction:#x}");
        }
    }
}
