//! The metadata of a payload: `.modinfo`.

use std::borrow::Cow;

use super::problem::Problem;
use super::{Linker, Progress};
use crate::types::errno::Errno;
use crate::types::widen::to_u64;
use crate::xen::format::SectionName;
use crate::xen::rules;

/// The raw metadata; empty in a release that does not read them.
pub(super) fn read<'d>(linker: &mut Linker<'_, 'd>) -> Progress<Cow<'d, [u8]>> {
    let Some(section) = linker.elf.section(SectionName::Modinfo).filter(|_| linker.has(&rules::METADATA)) else {
        return Ok(Cow::default());
    };
    if section.size == 0 {
        linker.harm(Problem::EmptyMetadata)?;
        return Ok(Cow::default());
    }
    let Some((start, bytes)) = linker.loaded(SectionName::Modinfo)? else { return Ok(Cow::default()) };
    let last = start.saturating_add(to_u64(bytes.len())).saturating_sub(1);
    match linker.memory.known(last) {
        Some([0]) => {}
        Some(_) => linker.refuse(Errno::EINVAL, Problem::UnterminatedMetadata)?,
        None => linker.harm(Problem::UnterminatedMetadata)?,
    }
    Ok(bytes)
}
