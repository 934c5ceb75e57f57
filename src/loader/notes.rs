//! Build-ids, which are in notes: the payload's own, and those that it depends on.

use std::borrow::Cow;

use super::problem::Problem;
use super::problem::contents::NoteProblem;
use super::{Linker, Lookup, Progress};
use crate::types::build_id::BuildId;
use crate::types::errno::Errno;
use crate::types::widen::{to_u64, to_usize};
use crate::xen::format::SectionName;
use crate::xen::rules;

const NT_GNU_BUILD_ID: u32 = 3;
const OWNER: &[u8] = b"GNU\0";
const HEADER: usize = 12;

/// The build-ids of a payload; empty if there is none.
#[derive(Debug)]
pub(super) struct Ids<'d> {
    pub(super) own: Cow<'d, [u8]>,
    pub(super) depends: Cow<'d, [u8]>,
    /// Empty unless this release reads it here.
    xen_depends: Cow<'d, [u8]>,
}

/// Compares the build-ids of Xen before anything is linked, as newer releases do.
pub(super) fn check_xen_first(linker: &mut Linker<'_, '_>) -> Progress {
    if !linker.has(&rules::XEN_DEPENDS_FIRST) {
        return Ok(());
    }
    let Some(section) = linker.elf.section(SectionName::XenDepends) else {
        return linker.refuse(Errno::EINVAL, Problem::MissingSection { section: SectionName::XenDepends.text() });
    };
    if section.is_zeroed() && section.size > 0 {
        // Xen reads the file at its offset, or past the end of the file, although it has no bytes there.
        return harm(linker, SectionName::XenDepends, NoteProblem::NotInFile);
    }
    match parse(linker.elf.bytes(section)) {
        Ok(wanted) => compare(linker, wanted),
        Err(NoteProblem::PastEnd) => harm(linker, SectionName::XenDepends, NoteProblem::PastEnd),
        Err(problem) => {
            linker.refuse(Errno::EINVAL, Problem::Note { section: SectionName::XenDepends.text(), problem })
        }
    }
}

fn compare(linker: &mut Linker<'_, '_>, wanted: &[u8]) -> Progress {
    match linker.host.build_id() {
        Lookup::Unknown => Ok(()),
        Lookup::Absent => linker.refuse(Errno::ENODATA, Problem::XenWithoutBuildId),
        Lookup::Found(found) if found == wanted => Ok(()),
        Lookup::Found(found) => {
            let problem = Problem::BuiltForAnotherXen { expected: BuildId::new(wanted), found: BuildId::new(found) };
            linker.refuse(Errno::EINVAL, problem)
        }
    }
}

/// Reads the notes of a linked payload. Its own build-id must not be loaded yet.
pub(super) fn read<'d>(linker: &mut Linker<'_, 'd>) -> Progress<Ids<'d>> {
    let own = note(linker, SectionName::BuildId)?;
    if !own.is_empty() && linker.host.is_loaded(&own) {
        linker.refuse(Errno::EEXIST, Problem::AlreadyLoaded { build_id: BuildId::new(&own) })?;
    }
    let depends = note(linker, SectionName::Depends)?;
    let late = linker.has(&rules::XEN_DEPENDS) && !linker.has(&rules::XEN_DEPENDS_FIRST);
    let xen_depends = if late { note(linker, SectionName::XenDepends)? } else { Cow::default() };
    Ok(Ids { own, depends, xen_depends })
}

/// The build-id of a note; empty if there is none.
fn note<'d>(linker: &mut Linker<'_, 'd>, section: SectionName) -> Progress<Cow<'d, [u8]>> {
    let Some((start, bytes)) = linker.loaded(section)? else { return Ok(Cow::default()) };
    // An empty one was refused before.
    if bytes.is_empty() {
        return Ok(Cow::default());
    }
    let id = match &bytes {
        // Nothing relocates these.
        Cow::Borrowed(bytes) => parse(bytes).map(Cow::Borrowed),
        Cow::Owned(bytes) if linker.memory.is_known(start, to_u64(bytes.len())) => {
            parse(bytes).map(|id| Cow::Owned(id.into()))
        }
        Cow::Owned(_) => {
            harm(linker, section, NoteProblem::Relocated)?;
            return Ok(Cow::default());
        }
    };
    let problem = match id {
        Ok(id) => return Ok(id),
        Err(NoteProblem::PastEnd) => {
            harm(linker, section, NoteProblem::PastEnd)?;
            return Ok(Cow::default());
        }
        Err(problem) => problem,
    };
    // Newer releases return the error number of their parser of notes.
    let absent = matches!(problem, NoteProblem::Type { .. } | NoteProblem::Owner);
    let exact = absent && linker.has(&rules::XEN_DEPENDS_FIRST);
    let errno = if exact { Errno::ENODATA } else { Errno::EINVAL };
    linker.refuse(errno, Problem::Note { section: section.text(), problem })?;
    Ok(Cow::default())
}

fn harm(linker: &mut Linker<'_, '_>, section: SectionName, problem: NoteProblem) -> Progress {
    linker.harm(Problem::Note { section: section.text(), problem })
}

/// Compares the build-ids of Xen once everything else is read, as older releases do. Before 4.14 Xen compares nothing.
pub(super) fn check_xen_last(linker: &mut Linker<'_, '_>, ids: &Ids<'_>) -> Progress {
    if linker.has(&rules::XEN_DEPENDS) {
        let unread = ids.xen_depends.is_empty();
        return if unread { Ok(()) } else { compare(linker, &ids.xen_depends) };
    }
    let section = linker.elf.section(SectionName::XenDepends).map(|section| linker.elf.bytes(section));
    let Some(expected) = section.and_then(|data| parse(data).ok()) else { return Ok(()) };
    match linker.host.build_id() {
        Lookup::Found(found) if found != expected => linker
            .unnoticed(Problem::BuiltForAnotherXen { expected: BuildId::new(expected), found: BuildId::new(found) }),
        _ => Ok(()),
    }
}

/// The build-id in the first note of a section.
pub(crate) fn build_id_of_note(section: &[u8]) -> Option<&[u8]> {
    parse(section).ok()
}

/// Parses the first note of a section. Xen ignores any others.
fn parse(section: &[u8]) -> Result<&[u8], NoteProblem> {
    let (head, rest) = section.split_first_chunk::<HEADER>().ok_or(NoteProblem::TooShort)?;
    if rest.is_empty() {
        return Err(NoteProblem::TooShort);
    }
    let [a0, a1, a2, a3, b0, b1, b2, b3, c0, c1, c2, c3] = *head;
    let [owner_size, size, kind] = [[a0, a1, a2, a3], [b0, b1, b2, b3], [c0, c1, c2, c3]].map(u32::from_le_bytes);
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
    // The owner is padded, which Xen does not include in its check.
    let start = owner_size.checked_next_multiple_of(4).map(to_usize);
    let build_id = start.and_then(|start| rest.get(start..)).and_then(|rest| rest.get(..to_usize(size)));
    build_id.ok_or(NoteProblem::PastEnd)
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
