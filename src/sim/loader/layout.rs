//! Where sections come to lie, and what symbols then stand for (stages 4 and 5).

use super::elf::{Elf, SHF_EXECINSTR, SHF_WRITE, SHT_NOBITS};
use super::{Surroundings, names};
use crate::errno::Errno;
use crate::name::escaped;
use crate::sim::bytes::put;
use crate::sim::image::round_up;
use crate::sim::payload::{Stop, refuse};
use crate::sim::release::since;

const PAGE: u64 = 4096;
/// More than payloads can have; their memory is not even tried to be had.
const TOO_LARGE: u64 = 1 << 30;

const SHN_UNDEF: u16 = 0;
const SHN_LORESERVE: u16 = 0xff00;
const SHN_ABS: u16 = 0xfff1;
const SHN_COMMON: u16 = 0xfff2;

/// The memory of a payload: code, writable data, read-only data, each from a page of its own on.
#[derive(Debug)]
pub(super) struct Linked {
    pub(super) base: u64,
    pub(super) bytes: Vec<u8>,
    /// The code's share, from the beginning.
    pub(super) text_size: u64,
    pub(super) safe_to_reapply: bool,
}

/// Gives each allocatable section its address and copies its bytes there.
pub(super) fn place(elf: &mut Elf<'_>, around: &Surroundings<'_>) -> Result<Linked, Stop> {
    let release = around.release;
    // By kind: code, writable, read-only.
    let mut sizes = [0_u64; 3];
    let mut places = Vec::new();
    let mut writable = Vec::new();
    for (index, section) in elf.sections.iter().enumerate().skip(1) {
        if section.ignored(release) {
            continue;
        }
        let kind = match (section.flags & SHF_EXECINSTR != 0, section.flags & SHF_WRITE != 0) {
            (true, false) => 0,
            (false, true) => 1,
            (false, false) => 2,
            (true, true) => {
                return refuse(Errno::EOPNOTSUPP, format!("section {index} is both writable and executable"));
            }
        };
        if section.align == 0 {
            let name = escaped(section.name);
            return Err(Stop::Crashed(format!("section {name} has alignment 0, so that it overlaps others")));
        }
        let Some(size) = sizes.get_mut(kind) else { continue };
        let offset = round_up(*size, section.align);
        *size = offset.saturating_add(section.size);
        places.push((index, kind, offset));
        if kind == 1 && section.size != 0 {
            writable.push(section.name);
        }
    }
    let [text, data, constants] = sizes.map(|size| round_up(size, PAGE).max(size));
    let total = text.saturating_add(data).saturating_add(constants);
    let room = if total == 0 || total > TOO_LARGE { None } else { around.image.room(total) };
    let (Some(base), Ok(len)) = (room, usize::try_from(total)) else {
        return refuse(Errno::ENOMEM, "no memory for the payload");
    };
    let mut bytes = vec![0; len];
    for (index, kind, offset) in places {
        let start = [0, text, text.saturating_add(data)].get(kind).copied().unwrap_or_default();
        let at = start.saturating_add(offset);
        let Some(section) = elf.sections.get_mut(index) else { continue };
        section.address = Some(base.wrapping_add(at));
        if section.kind != SHT_NOBITS {
            put(&mut bytes, usize::try_from(at).unwrap_or(usize::MAX), section.data);
        }
    }
    let safe_to_reapply = match writable.as_slice() {
        [] => release.has(since::READ_ONLY_REAPPLIES),
        [only] => *only == names::FUNCS,
        _ => false,
    };
    Ok(Linked { base, bytes, text_size: sizes.first().copied().unwrap_or_default(), safe_to_reapply })
}

/// Turns the values of symbols into addresses.
pub(super) fn resolve(elf: &mut Elf<'_>, around: &Surroundings<'_>) -> Result<(), Stop> {
    let Elf { sections, symbols, .. } = elf;
    for symbol in symbols.iter_mut().skip(1) {
        match symbol.section {
            SHN_COMMON => return refuse(Errno::EINVAL, format!("common symbol {}", escaped(symbol.name))),
            SHN_UNDEF => match around.symbol(symbol.name) {
                Some(address) => symbol.value = address,
                None => return refuse(Errno::ENOENT, format!("unknown symbol {}", escaped(symbol.name))),
            },
            SHN_ABS => {}
            SHN_LORESERVE.. => {
                return refuse(Errno::EOPNOTSUPP, format!("symbol {} of a reserved section", escaped(symbol.name)));
            }
            index => {
                let Some(section) = sections.get(usize::from(index)) else {
                    return refuse(Errno::EINVAL, format!("symbol {} of no section", escaped(symbol.name)));
                };
                match section.address {
                    Some(address) => symbol.value = symbol.value.wrapping_add(address),
                    None => symbol.ignored = true,
                }
            }
        }
    }
    Ok(())
}
