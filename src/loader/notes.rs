//! Build-ids: the payload's own, and those that it depends on.

use std::borrow::Cow;

use super::details::NoteProblem;
use super::memory::Memory;
use super::problem::Problem;
use super::{Known, Loading, Step, id};
use crate::types::errno::Errno;
use crate::types::widen::to_u64;
use crate::xen::format::SectionName;
use crate::xen::rules;

const NT_GNU_BUILD_ID: u32 = 3;
const OWNER: &[u8] = b"GNU\0";
const HEADER: usize = 12;

#[derive(Debug, Default)]
pub(super) struct Ids<'d> {
    pub(super) own: Cow<'d, [u8]>,
    pub(super) depends: Cow<'d, [u8]>,
    /// Empty where this Xen does not read it here.
    xen_depends: Cow<'d, [u8]>,
}

/// Compares with Xen before anything is linked.
pub(super) fn check_xen_first(loading: &mut Loading<'_, '_>) -> Step {
    let first = loading.has(&rules::XEN_DEPENDS_FIRST);
    let section = loading.elf.section(SectionName::XenDepends);
    if first && section.is_some_and(|section| section.is_zeroed() && section.size > 0) {
        // There is nothing of it in the file, so that Xen reads what comes there instead, be it outside the file.
        return harm(loading, SectionName::XenDepends, NoteProblem::NotInFile);
    }
    if !first {
        return Ok(());
    }
    let Some(section) = section else {
        return loading.refuse(Errno::EINVAL, Problem::MissingSection { section: SectionName::XenDepends.text() });
    };
    match parse(loading.elf.bytes(section)) {
        Ok(wanted) => compare(loading, wanted),
        Err(NoteProblem::PastEnd) => harm(loading, SectionName::XenDepends, NoteProblem::PastEnd),
        Err(problem) => {
            loading.refuse(Errno::EINVAL, Problem::Note { section: SectionName::XenDepends.text(), problem })
        }
    }
}

fn compare(loading: &mut Loading<'_, '_>, wanted: &[u8]) -> Step {
    match loading.host.build_id() {
        Known::Unknown => Ok(()),
        Known::Absent => loading.refuse(Errno::ENODATA, Problem::XenWithoutBuildId),
        Known::Is(found) if found == wanted => Ok(()),
        Known::Is(found) => {
            let problem = Problem::BuiltForAnotherXen { expected: id(wanted), found: id(found) };
            loading.refuse(Errno::EINVAL, problem)
        }
    }
}

/// Reads the notes of a linked payload. Its own build-id must not be loaded yet.
pub(super) fn read<'d>(loading: &mut Loading<'_, '_>, memory: &Memory<'d>) -> Step<Ids<'d>> {
    let own = note(loading, memory, SectionName::BuildId)?;
    if !own.is_empty() && loading.host.is_loaded(&own) {
        loading.refuse(Errno::EEXIST, Problem::AlreadyLoaded { build_id: id(&own) })?;
    }
    let depends = note(loading, memory, SectionName::Depends)?;
    let late = loading.has(&rules::XEN_DEPENDS) && !loading.has(&rules::XEN_DEPENDS_FIRST);
    let xen_depends = if late { note(loading, memory, SectionName::XenDepends)? } else { Cow::default() };
    Ok(Ids { own, depends, xen_depends })
}

/// The build-id of a note; empty where there is none.
fn note<'d>(loading: &mut Loading<'_, '_>, memory: &Memory<'d>, section: SectionName) -> Step<Cow<'d, [u8]>> {
    let Some((start, bytes)) = loading.loaded(section, memory)? else { return Ok(Cow::default()) };
    // An empty one was refused before.
    if bytes.is_empty() {
        return Ok(Cow::default());
    }
    if !memory.is_known(start, to_u64(bytes.len())) {
        harm(loading, section, NoteProblem::Relocated)?;
        return Ok(Cow::default());
    }
    let id = match &bytes {
        Cow::Borrowed(bytes) => parse(bytes).map(Cow::Borrowed),
        Cow::Owned(bytes) => parse(bytes).map(|id| Cow::Owned(id.into())),
    };
    let problem = match id {
        Ok(id) => return Ok(id),
        Err(NoteProblem::PastEnd) => {
            harm(loading, section, NoteProblem::PastEnd)?;
            return Ok(Cow::default());
        }
        Err(problem) => problem,
    };
    // Newer releases hand on what their parser of notes says.
    let absent = matches!(problem, NoteProblem::Type { .. } | NoteProblem::Owner);
    let exact = absent && loading.has(&rules::XEN_DEPENDS_FIRST);
    let errno = if exact { Errno::ENODATA } else { Errno::EINVAL };
    loading.refuse(errno, Problem::Note { section: section.text(), problem })?;
    Ok(Cow::default())
}

fn harm(loading: &mut Loading<'_, '_>, section: SectionName, problem: NoteProblem) -> Step {
    loading.harm(Problem::Note { section: section.text(), problem })
}

/// Compares with Xen once everything else is read; or never, before 4.14.
pub(super) fn check_xen_last(loading: &mut Loading<'_, '_>, ids: &Ids<'_>) -> Step {
    if loading.has(&rules::XEN_DEPENDS) {
        let unread = ids.xen_depends.is_empty();
        return if unread { Ok(()) } else { compare(loading, &ids.xen_depends) };
    }
    let section = loading.elf.section(SectionName::XenDepends).map(|section| loading.elf.bytes(section));
    let Some(expected) = section.and_then(|data| parse(data).ok()) else { return Ok(()) };
    match loading.host.build_id() {
        Known::Is(found) if found != expected => {
            loading.unnoticed(Problem::BuiltForAnotherXen { expected: id(expected), found: id(found) })
        }
        _ => Ok(()),
    }
}

/// The build-id in the first note of a section. Xen does not look at a second one.
pub(crate) fn parse(section: &[u8]) -> Result<&[u8], NoteProblem> {
    let (head, rest) = section.split_first_chunk::<HEADER>().ok_or(NoteProblem::TooShort)?;
    if rest.is_empty() {
        return Err(NoteProblem::TooShort);
    }
    let mut words = head.chunks_exact(4).map(|word| word.iter().rev().fold(0, |sum, byte| sum << 8 | u32::from(*byte)));
    let mut next = || words.next().unwrap_or_default();
    let (owner_size, size, kind) = (next(), next(), next());
    if kind != NT_GNU_BUILD_ID {
        return Err(NoteProblem::Type { found: kind });
    }
    let both = owner_size.checked_add(size).ok_or(NoteProblem::TooShort)?;
    if u64::from(owner_size) < to_u64(OWNER.len()) || u64::from(both) > to_u64(rest.len()) {
        return Err(NoteProblem::TooShort);
    }
    if !rest.starts_with(OWNER) {
        return Err(NoteProblem::Owner);
    }
    if size == 0 {
        return Err(NoteProblem::Empty);
    }
    let bytes = |from: u32, len: u32| {
        let start = usize::try_from(from).ok()?;
        rest.get(start..start.checked_add(usize::try_from(len).ok()?)?)
    };
    // The owner is padded, which Xen does not count.
    owner_size.checked_next_multiple_of(4).and_then(|from| bytes(from, size)).ok_or(NoteProblem::PastEnd)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_are_read_as_xen_reads_them() {
        use NoteProblem as N;
        let note = |owner_len: u32, id_len: u32, kind: u32, rest: &[u8]| {
            [&owner_len.to_le_bytes()[..], &id_len.to_le_bytes(), &kind.to_le_bytes(), rest].concat()
        };
        assert_eq!(parse(&note(4, 2, 3, b"GNU\0\xab\xcd")), Ok(&b"\xab\xcd"[..]));
        assert_eq!(parse(&note(5, 1, 3, b"GNU\0x\0\0\0\xab")), Ok(&b"\xab"[..]), "the owner is padded");
        for (section, problem) in [
            (note(4, 2, 3, b"")[..11].to_vec(), N::TooShort),
            (note(4, 2, 3, b""), N::TooShort),
            (note(4, 2, 1, b"GNU\0\xab\xcd"), N::Type { found: 1 }),
            (note(4, u32::MAX, 3, b"GNU\0\xab\xcd"), N::TooShort),
            (note(3, 2, 3, b"GNU\0\xab\xcd"), N::TooShort),
            (note(4, 3, 3, b"GNU\0\xab\xcd"), N::TooShort),
            (note(4, 2, 3, b"Xen\0\xab\xcd"), N::Owner),
            (note(4, 2, 3, b"GNUx\xab\xcd"), N::Owner),
            (note(4, 0, 3, b"GNU\0\xab\xcd"), N::Empty),
            (note(5, 1, 3, b"GNU\0xy"), N::PastEnd),
        ] {
            assert_eq!(parse(&section), Err(problem), "{section:02x?}");
        }
    }
}
