//! Alternatives: code of the payload that Xen overwrites while loading, if the processor has a feature.

use super::machine::Alternatives;
use super::memory::Memory;
use super::problem::Problem;
use super::problem::contents::TableProblem;
use super::tables::{CALL, is_call_pointer, is_inside, strays, whole_entries};
use super::{Linker, Progress};
use crate::types::errno::Errno;
use crate::types::widen::to_u64;
use crate::xen::format::SectionName;
use crate::xen::rules;

/// The most bytes that an alternative replaces.
const LONGEST_ORIGINAL: u32 = 254;
/// The bit of a feature that is required to be absent.
const NEGATED: u16 = 1 << 15;

/// An entry of the table.
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

pub(super) fn check(linker: &mut Linker<'_, '_>) -> Progress {
    let x86 = linker.machine.alternatives == Alternatives::X86;
    let entry_size: usize = if x86 && linker.has(&rules::PADDED_ALTERNATIVES) { 14 } else { 12 };
    let Some((start, bytes)) = whole_entries(linker, SectionName::Alternatives, to_u64(entry_size))? else {
        return Ok(());
    };
    if bytes.is_empty() {
        return Ok(());
    }
    let checked = linker.has(&rules::ALTERNATIVES_CHECKED);
    if linker.memory.text_size == 0 || linker.elf.section(SectionName::Replacements).is_none() {
        return linker.refuse_or_harm(checked, Errno::EINVAL, table(None, TableProblem::NothingToReplace));
    }
    let negated = x86 && linker.has(&rules::NEGATED_ALTERNATIVES);
    let mut alternatives = Vec::new();
    for (index, entry) in bytes.chunks_exact(entry_size).enumerate() {
        let at = start.saturating_add(to_u64(index.saturating_mul(entry_size)));
        let known = linker.memory.is_known(at, to_u64(entry_size));
        let Some(alternative) = Alternative::read(&linker.memory, entry, at, negated).filter(|_| known) else {
            return linker.harm(table(Some(index), TableProblem::Relocated));
        };
        alternatives.push(alternative);
    }
    // Newer releases check the addresses of all alternatives first.
    for (index, alternative) in alternatives.iter().enumerate() {
        if let Some(problem) = outside(linker, alternative) {
            return linker.refuse_or_harm(checked, Errno::EINVAL, table(Some(index), problem));
        }
    }
    for (index, alternative) in alternatives.iter().enumerate() {
        check_alternative(linker, index, alternative)?;
    }
    Ok(())
}

fn table(index: Option<usize>, problem: TableProblem) -> Problem {
    Problem::Table { section: SectionName::Alternatives.text(), index, problem }
}

/// The problem of an alternative whose addresses are outside the places that they have to be in.
fn outside(linker: &Linker<'_, '_>, alternative: &Alternative) -> Option<TableProblem> {
    let &Alternative { original, replacement, original_len, replacement_len, .. } = alternative;
    if !is_inside(original, original_len.into(), linker.memory.base, linker.memory.text_size) {
        return Some(TableProblem::OriginalOutside);
    }
    let section = linker.elf.section(SectionName::Replacements)?;
    let start = linker.memory.address_of(section.index);
    let fits = start.is_some_and(|start| is_inside(replacement, replacement_len.into(), start, section.size));
    // A callback has its function there, which may be one of Xen's if Xen does not check.
    let callback = !linker.has(&rules::ALTERNATIVES_CHECKED) && is_callback(linker, alternative);
    (!fits && !callback).then_some(TableProblem::ReplacementOutside)
}

fn check_alternative(linker: &mut Linker<'_, '_>, index: usize, alternative: &Alternative) -> Progress {
    let total = alternative.total();
    let table = |problem| table(Some(index), problem);
    if linker.machine.alternatives == Alternatives::Arm {
        return match arm_problem(linker, alternative) {
            Some(problem) => linker.harm(table(problem)),
            None => Ok(()),
        };
    }
    let refused = linker.has(&rules::ALTERNATIVES_REFUSED);
    let feature = u32::from(alternative.feature);
    if alternative.replacement_len > total {
        let problem = TableProblem::ReplacementTooLong { found: alternative.replacement_len, room: total };
        linker.refuse_or_harm(refused, Errno::ENOSPC, table(problem))?;
    } else if total > LONGEST_ORIGINAL {
        linker.refuse_or_harm(refused, Errno::ENOSPC, table(TableProblem::OriginalTooLong { found: total }))?;
    } else if feature >= linker.machine.features(linker.release) {
        linker.refuse_or_harm(refused, Errno::ERANGE, table(TableProblem::NoSuchFeature { found: feature }))?;
    }
    // Xen writes to the padding as well, and does not check its end.
    if !is_inside(alternative.original, total.into(), linker.memory.base, linker.memory.text_size) {
        return linker.harm(table(TableProblem::OriginalOutside));
    }
    if strays(linker, alternative.section, alternative.original, total.into()) {
        return linker.harm(table(TableProblem::OriginalStrays));
    }
    let indirect = linker.has(&rules::INDIRECT_ALTERNATIVES) && !linker.has(&rules::ALT_CALL_SITES);
    if indirect && is_indirect(&linker.memory, alternative) && !is_call_pointer(&linker.memory, alternative.original) {
        return linker.harm(table(TableProblem::CallPointer));
    }
    Ok(())
}

/// Returns true if an alternative on Arm has a function that Xen calls, in place of a replacement.
fn is_callback(linker: &Linker<'_, '_>, alternative: &Alternative) -> bool {
    linker.machine.alternatives == Alternatives::Arm
        && linker.has(&rules::ALTERNATIVE_CALLBACKS_ON_ARM)
        && u32::from(alternative.feature) >= linker.machine.features(linker.release)
}

/// The problem of an alternative that crashes a Xen on Arm, which refuses none in any release. Xen skips alternatives of
/// features that the processor lacks, which the file does not show.
fn arm_problem(linker: &Linker<'_, '_>, alternative: &Alternative) -> Option<TableProblem> {
    let &Alternative { original, section, replacement, feature, original_len, replacement_len, .. } = alternative;
    let features = linker.machine.features(linker.release);
    if is_callback(linker, alternative) {
        // The first number that is no feature is that of callbacks; Xen calls the replacements of higher ones as well.
        let proper = u32::from(feature) == features && replacement_len == 0;
        // The payload's code is not executable yet.
        let own = linker.memory.contains(replacement, 1);
        return (!proper || own).then_some(TableProblem::NoSuchFeature { found: feature.into() });
    }
    let known = u32::from(feature) < features || linker.has(&rules::ALTERNATIVE_CALLBACKS_ON_ARM);
    if known && replacement_len != original_len {
        return Some(TableProblem::ReplacementTooLong { found: replacement_len, room: original_len });
    }
    if strays(linker, section, original, original_len.into()) {
        return Some(TableProblem::OriginalStrays);
    }
    let whole = replacement.saturating_add((original_len & !3).into());
    let mut instructions = (replacement..whole).step_by(4);
    let stray = |at: u64| {
        let target = branch_target(linker.memory.instruction(at), at)?;
        let inside = (replacement..=replacement.saturating_add(replacement_len.into())).contains(&target);
        (!inside && !linker.memory.is_foreign(at)).then_some(())
    };
    instructions.any(|at| stray(at).is_some()).then_some(TableProblem::BranchOutside)
}

/// The target of a branch of Arm that contains its distance.
fn branch_target(instruction: u64, at: u64) -> Option<u64> {
    let field = |first: u32, len: u32| {
        let above = 64 - len;
        let number = i64::from_le_bytes((instruction >> first << above).to_le_bytes());
        // In instructions of four bytes.
        (number >> above) * 4
    };
    let distance = match instruction {
        // b, bl; cbz, cbnz; b.cond; tbz, tbnz.
        _ if instruction & 0x7c00_0000 == 0x1400_0000 => field(0, 26),
        _ if instruction & 0x7e00_0000 == 0x3400_0000 => field(5, 19),
        _ if instruction & 0xff00_0010 == 0x5400_0000 => field(5, 19),
        _ if instruction & 0x7e00_0000 == 0x3600_0000 => field(5, 14),
        _ => return None,
    };
    Some(at.wrapping_add_signed(distance))
}

/// Returns true if an alternative stands for an indirect call or jump: a direct one to itself in place of `ff 15` or `ff 25`.
fn is_indirect(memory: &Memory<'_>, alternative: &Alternative) -> bool {
    let to_itself = memory.read(alternative.replacement);
    let to_itself =
        matches!(to_itself, Some([0xe8 | 0xe9, 0xfb, 0xff, 0xff, 0xff])) && alternative.replacement_len >= 5;
    let through = memory.read(alternative.original);
    to_itself && u64::from(alternative.original_len) >= CALL && matches!(through, Some([0xff, 0x15 | 0x25]))
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
