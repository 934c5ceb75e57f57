//! Build-ids: the payload's own, and those that it depends on (stages 3b and 11).

use super::elf::{Elf, Section};
use super::{Surroundings, contents, names};
use crate::build_id::BuildId;
use crate::errno::Errno;
use crate::sim::bytes::{at, length, u32_at};
use crate::sim::host::CONTINUES;
use crate::sim::image::round_up;
use crate::sim::payload::{Stop, refuse};
use crate::sim::release::since;

const NT_GNU_BUILD_ID: u32 = 3;
const HEADER: u64 = 12;

pub(super) struct Ids {
    pub(super) own: Vec<u8>,
    pub(super) depends: Vec<u8>,
    /// Empty where the release doesn't read it at this stage.
    pub(super) xen_depends: Vec<u8>,
}

/// Compares with Xen before anything is linked.
pub(super) fn check_xen_first(elf: &Elf<'_>, xen: Option<&[u8]>) -> Result<(), Stop> {
    let wanted = elf.section(names::XEN_DEPENDS).and_then(|section| parse(section.data).ok());
    let Some(wanted) = wanted else {
        return refuse(Errno::EINVAL, "no usable .livepatch.xen_depends");
    };
    let xen = xen.ok_or(Errno::ENODATA)?;
    if wanted != xen {
        let lines = vec![
            "build-id mismatch:".into(),
            format!("{CONTINUES} livepatch: {}", BuildId::new(wanted)).into(),
            format!("{} xen: {}", CONTINUES.repeat(7), BuildId::new(xen)).into(),
        ];
        return Err(Stop::Refused(Errno::EINVAL, lines));
    }
    Ok(())
}

/// Reads the notes of a linked payload. Its own build-id must not be loaded yet.
pub(super) fn read(elf: &Elf<'_>, around: &Surroundings<'_>) -> Result<Ids, Stop> {
    let own = note(elf.section(names::BUILD_ID), around)?;
    if around.loaded.iter().any(|payload| payload.build_id == own) {
        return Err(Errno::EEXIST.into());
    }
    let depends = note(elf.section(names::DEPENDS), around)?;
    let late = around.release.has(since::XEN_DEPENDS) && !around.release.has(since::XEN_DEPENDS_FIRST);
    let xen_depends = if late { note(elf.section(names::XEN_DEPENDS), around)? } else { Vec::new() };
    Ok(Ids { own, depends, xen_depends })
}

fn note(section: Option<&Section<'_>>, around: &Surroundings<'_>) -> Result<Vec<u8>, Stop> {
    let Some(section) = section else { return Ok(Vec::new()) };
    let errno = match parse(contents::of(section, around)?) {
        Ok(id) => return Ok(id.into()),
        Err(errno) if around.release.has(since::XEN_DEPENDS_FIRST) => errno,
        Err(_) => Errno::EINVAL,
    };
    refuse(errno, format!("no build-id in {}", crate::name::escaped(section.name)))
}

/// The build-id in a note.
fn parse(section: &[u8]) -> Result<&[u8], Errno> {
    if length(section) <= HEADER {
        return Err(Errno::EINVAL);
    }
    let word = |offset| u32_at(section, offset).unwrap_or_default();
    let (owner_len, id_len) = (word(0), word(4));
    if word(8) != NT_GNU_BUILD_ID {
        return Err(Errno::ENODATA);
    }
    let both = owner_len.checked_add(id_len).ok_or(Errno::EINVAL)?;
    if owner_len < 4 || u64::from(both) > length(section).saturating_sub(HEADER) {
        return Err(Errno::EINVAL);
    }
    if at(section, HEADER, 4) != Some(b"GNU\0") {
        return Err(Errno::ENODATA);
    }
    let start = HEADER.saturating_add(round_up(owner_len.into(), 4));
    at(section, start, id_len.into()).filter(|id| !id.is_empty()).ok_or(Errno::EINVAL)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_are_refused_as_xen_refuses_them() {
        let note = |owner_len: u32, id_len: u32, kind: u32, rest: &[u8]| {
            [&owner_len.to_le_bytes()[..], &id_len.to_le_bytes(), &kind.to_le_bytes(), rest].concat()
        };
        assert_eq!(parse(&note(4, 2, 3, b"GNU\0\xab\xcd")), Ok(&b"\xab\xcd"[..]));
        for (section, errno) in [
            (note(4, 2, 3, b""), Errno::EINVAL),
            (note(4, 2, 1, b"GNU\0\xab\xcd"), Errno::ENODATA),
            (note(4, u32::MAX, 3, b"GNU\0\xab\xcd"), Errno::EINVAL),
            (note(3, 2, 3, b"GNU\0\xab\xcd"), Errno::EINVAL),
            (note(4, 3, 3, b"GNU\0\xab\xcd"), Errno::EINVAL),
            (note(4, 2, 3, b"Xen\0\xab\xcd"), Errno::ENODATA),
            (note(4, 0, 3, b"GNU\0\xab\xcd"), Errno::EINVAL),
        ] {
            assert_eq!(parse(&section), Err(errno), "{section:02x?}");
        }
    }
}
