//! The notes of a payload, each of which holds a build-id.

use super::elf::Section;
use super::finding::NoteProblem;
use crate::build_id::BuildId;

pub(super) const BUILD_ID: &str = ".note.gnu.build-id";
pub(super) const DEPENDS: &str = ".livepatch.depends";
pub(super) const XEN_DEPENDS: &str = ".livepatch.xen_depends";

/// `NT_GNU_BUILD_ID`.
const BUILD_ID_TYPE: u32 = 3;

/// The build-id in the first note of a section. Xen does not look at a second one.
pub(super) fn build_id(section: &Section<'_>) -> Result<BuildId, NoteProblem> {
    let (head, rest) = section.data.split_first_chunk::<12>().ok_or(NoteProblem::TooShort)?;
    let mut words = head.chunks_exact(4).map(|word| word.iter().rev().fold(0, |sum, byte| sum << 8 | u32::from(*byte)));
    let mut next = || words.next().unwrap_or_default();
    let (owner_size, size, kind) = (next(), next(), next());
    if kind != BUILD_ID_TYPE {
        return Err(NoteProblem::Type { found: kind });
    }
    let bytes = |from: u32, len: u32| {
        let start = usize::try_from(from).ok()?;
        rest.get(start..start.checked_add(usize::try_from(len).ok()?)?)
    };
    let owner = bytes(0, owner_size).ok_or(NoteProblem::TooShort)?;
    if owner.strip_suffix(b"\0").unwrap_or(owner) != b"GNU" {
        return Err(NoteProblem::Owner);
    }
    bytes(owner_size.next_multiple_of(4), size).map(BuildId::new).ok_or(NoteProblem::TooShort)
}
