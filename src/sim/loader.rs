//! UPLOAD's checks of a payload, stage by stage in Xen's order.
//!
//! Each stage refuses with the number that Xen has for it. What Xen fails to check and then falls over is a
//! [`Stop::Crashed`].

mod contents;
mod elf;
mod layout;
mod notes;
mod optional;
mod relocate;

use super::image::Image;
use super::payload::{Hooks, Payload, Standing, Stop, refuse};
use super::release::{Release, since};
use crate::errno::Errno;

/// `.livepatch.*` and other names that Xen looks for.
mod names {
    pub(super) const FUNCS: &[u8] = b".livepatch.funcs";
    pub(super) const DEPENDS: &[u8] = b".livepatch.depends";
    pub(super) const XEN_DEPENDS: &[u8] = b".livepatch.xen_depends";
    pub(super) const BUILD_ID: &[u8] = b".note.gnu.build-id";
    pub(super) const MODINFO: &[u8] = b".modinfo";
    pub(super) const LOAD: &[u8] = b".livepatch.hooks.load";
    pub(super) const UNLOAD: &[u8] = b".livepatch.hooks.unload";
    /// One hook each, in the order of the fields of [`Hooks`](super::Hooks).
    pub(super) const SINGLE_HOOKS: [&[u8]; 6] = [
        b".livepatch.hooks.preapply",
        b".livepatch.hooks.apply",
        b".livepatch.hooks.postapply",
        b".livepatch.hooks.prerevert",
        b".livepatch.hooks.revert",
        b".livepatch.hooks.postrevert",
    ];
}

/// Largest section without bytes in the file, as for a payload as a whole.
pub(super) const MAX_SIZE: u64 = 2 << 20;

/// What the checks look at besides the payload itself.
#[derive(Debug)]
pub(super) struct Surroundings<'a> {
    pub(super) release: Release,
    pub(super) xen_build_id: Option<&'a [u8]>,
    pub(super) image: &'a mut Image,
    pub(super) loaded: &'a [Payload],
}

impl Surroundings<'_> {
    /// A symbol of Xen or of a loaded payload.
    fn symbol(&self, name: &[u8]) -> Option<u64> {
        self.image.symbol(name).or_else(|| self.loaded.iter().find_map(|payload| payload.symbol(name)))
    }
}

/// Checks, links and loads a payload into the image.
pub(super) fn load(around: &mut Surroundings<'_>, id: u64, name: &[u8], file: &[u8]) -> Result<Payload, Stop> {
    let release = around.release;
    let mut elf = elf::Elf::read(file, release)?;
    if release.has(since::XEN_DEPENDS_FIRST) {
        notes::check_xen_first(&elf, around.xen_build_id)?;
    }
    let mut linked = layout::place(&mut elf, around)?;
    layout::resolve(&mut elf, around)?;
    relocate::relocate(&elf, &mut linked, release)?;
    let base = linked.base;
    around.image.load(base, core::mem::take(&mut linked.bytes));
    let payload = finish(around, &elf, &linked, id, name);
    if payload.is_err() {
        around.image.unload(base);
    }
    payload
}

/// The stages that read what was linked.
fn finish(
    around: &Surroundings<'_>,
    elf: &elf::Elf<'_>,
    linked: &layout::Linked,
    id: u64,
    name: &[u8],
) -> Result<Payload, Stop> {
    let release = around.release;
    contents::check_sections(elf, release)?;
    let functions = contents::functions(elf, around)?;
    let hooks = contents::hooks(elf, around)?;
    let ids = notes::read(elf, around)?;
    let metadata = optional::check(elf, linked, around)?;
    if release.has(since::XEN_DEPENDS) && !release.has(since::XEN_DEPENDS_FIRST) {
        let xen = around.xen_build_id.ok_or(Errno::ENODATA)?;
        if ids.xen_depends != xen {
            return refuse(Errno::EINVAL, "check against hypervisor build-id failed");
        }
    }
    let new_symbols = contents::new_symbols(elf, around, &functions)?;
    Ok(Payload {
        id,
        name: name.into(),
        standing: Standing::Checked,
        rc: 0,
        reverted: false,
        safe_to_reapply: linked.safe_to_reapply,
        base: linked.base,
        build_id: ids.own,
        depends: ids.depends,
        functions,
        hooks,
        metadata,
        new_symbols,
    })
}
