//! What a payload consists of: required sections, functions, hooks, symbols (stages 7 to 10, and 14).

use super::elf::{Elf, SHF_ALLOC, SHF_MERGE, Section};
use super::{Hooks, Surroundings, names};
use crate::errno::Errno;
use crate::name::escaped;
use crate::sim::bytes::{signed, u32_at, u64_at};
use crate::sim::payload::{Function, Stop, refuse};
use crate::sim::release::{Release, since};

/// Bytes of a function's entry, by payload version.
const ENTRY_SIZES: [usize; 2] = [64, 104];
/// Where its expectation begins in version 2.
const EXPECTATION: usize = 72;
/// A jump with a 32-bit displacement.
const JUMP_SIZE: u32 = 5;
const ENDBR_SIZE: u32 = 4;
/// Below lies nothing that Xen could read.
const XENS_HALF: u64 = 0xffff_8000_0000_0000;
/// The longest run of NOPs that a function may become.
const MAX_NOPS: u32 = 31;

/// The linked bytes of a section. Xen follows a wrong pointer where the section was not loaded: at once, or once the
/// memory of the upload has been used for something else.
pub(super) fn of<'a>(section: &Section<'_>, around: &'a Surroundings<'_>) -> Result<&'a [u8], Stop> {
    // An empty one has an address in some releases only, and nobody reads from it.
    if section.flags & SHF_ALLOC != 0 && section.size == 0 {
        return Ok(&[]);
    }
    let bytes = section.address.and_then(|address| around.image.read(address, section.size));
    bytes.ok_or_else(|| Stop::Crashed(format!("section {} is read but not allocatable", escaped(section.name))))
}

pub(super) fn check_sections(elf: &Elf<'_>, release: Release) -> Result<(), Stop> {
    let required: &[&[u8]] = if release.has(since::XEN_DEPENDS) {
        &[names::DEPENDS, names::XEN_DEPENDS, names::BUILD_ID]
    } else {
        &[names::FUNCS, names::DEPENDS, names::BUILD_ID]
    };
    for name in required {
        match elf.section(name) {
            None => return refuse(Errno::EINVAL, format!("{} is missing", escaped(name))),
            Some(section) if section.size == 0 => return refuse(Errno::EINVAL, format!("{} is empty", escaped(name))),
            Some(_) => {}
        }
    }
    if !release.has(since::ACTION_HOOKS) {
        return Ok(());
    }
    let mut any = false;
    for name in [names::FUNCS, names::LOAD, names::UNLOAD].into_iter().chain(names::SINGLE_HOOKS) {
        if let Some(section) = elf.section(name) {
            if section.size == 0 {
                return refuse(Errno::EINVAL, format!("{} is empty", escaped(name)));
            }
            any = true;
        }
    }
    if any { Ok(()) } else { refuse(Errno::EINVAL, "no functions and no hooks") }
}

pub(super) fn functions(elf: &Elf<'_>, around: &Surroundings<'_>) -> Result<Vec<Function>, Stop> {
    let Some(section) = elf.section(names::FUNCS) else { return Ok(Vec::new()) };
    let bytes = of(section, around)?;
    let [first, second] = ENTRY_SIZES;
    let (version, entry_size) = if around.release.has(since::PAYLOAD_VERSION_2) { (2, second) } else { (1, first) };
    if bytes.len() % entry_size != 0 {
        return refuse(Errno::EINVAL, "functions of a wrong size");
    }
    bytes.chunks_exact(entry_size).map(|entry| function(entry, version, around)).collect()
}

fn function(entry: &[u8], version: u8, around: &Surroundings<'_>) -> Result<Function, Stop> {
    let release = around.release;
    let address = |offset| u64_at(entry, offset).unwrap_or_default();
    let size = |offset| u32_at(entry, offset).unwrap_or_default();
    let mut function = Function {
        old_address: address(16),
        name: around.image.string(address(0)).map(Vec::from).unwrap_or_default(),
        new_address: address(8),
        new_size: size(24),
        old_size: size(28),
        expectation: entry.get(EXPECTATION..).map(Vec::from).unwrap_or_default(),
        saved: None,
    };
    if entry.get(32) != Some(&version) {
        return refuse(Errno::EOPNOTSUPP, "a function of another payload version");
    }
    let undefined = if release.has(since::NOP_PATCHES) {
        function.old_size == 0
    } else {
        function.new_address == 0 || function.new_size == 0
    };
    if undefined {
        return refuse(Errno::EINVAL, "a function without address or size");
    }
    let find = |function: &mut Function| -> Result<(), Stop> {
        if function.old_address == 0 {
            function.old_address = named(address(0), around)?;
        }
        Ok(())
    };
    if release.has(since::ENDBR_AWARE) {
        find(&mut function)?;
        check_sizes(&function, around)?;
    } else {
        check_sizes(&function, around)?;
        find(&mut function)?;
    }
    let distance = signed(function.old_address.wrapping_sub(function.new_address));
    if release.has(since::DISTANCE_CHECKED) && function.new_address != 0 && i32::try_from(distance).is_err() {
        return refuse(Errno::EOVERFLOW, "a function too far from what it replaces");
    }
    Ok(function)
}

/// The address of the function whose name is at this address.
fn named(name: u64, around: &Surroundings<'_>) -> Result<u64, Stop> {
    let Some(name) = around.image.string(name) else {
        return Err(Stop::Crashed("a function has neither an address nor a name".into()));
    };
    match around.symbol(name) {
        Some(address) => Ok(address),
        None => refuse(Errno::ENOENT, format!("no function {} to replace", escaped(name))),
    }
}

fn check_sizes(function: &Function, around: &Surroundings<'_>) -> Result<(), Stop> {
    let release = around.release;
    let nops = function.new_address == 0 && release.has(since::NOP_PATCHES);
    if (nops && function.new_size > MAX_NOPS) || (!release.has(since::NOP_PATCHES) && function.new_size == 0) {
        return refuse(Errno::EOPNOTSUPP, "a function of an unsupported new size");
    }
    let patch = if nops { function.new_size } else { JUMP_SIZE };
    if release.has(since::ENDBR_AWARE) && function.old_address < XENS_HALF {
        return Err(Stop::Crashed("a function's old address, where Xen looks for ENDBR64, is none of Xen's".into()));
    }
    let endbr = release.has(since::ENDBR_AWARE) && around.image.has_endbr(function.old_address);
    let needed = if endbr { patch.saturating_add(ENDBR_SIZE) } else { patch };
    if function.old_size < needed {
        return refuse(Errno::EINVAL, "a function too small to be patched");
    }
    Ok(())
}

pub(super) fn hooks(elf: &Elf<'_>, around: &Surroundings<'_>) -> Result<Hooks, Stop> {
    if around.release.has(since::LOAD_HOOKS) {
        for section in [names::LOAD, names::UNLOAD].iter().filter_map(|name| elf.section(name)) {
            if of(section, around)?.len() % 8 != 0 {
                return refuse(Errno::EINVAL, format!("{} of a wrong size", escaped(section.name)));
            }
        }
    }
    if !around.release.has(since::ACTION_HOOKS) {
        return Ok(Hooks::default());
    }
    let mut addresses = [0; names::SINGLE_HOOKS.len()];
    for (address, name) in addresses.iter_mut().zip(names::SINGLE_HOOKS) {
        let Some(section) = elf.section(name) else { continue };
        if section.size != 8 {
            return refuse(Errno::EINVAL, format!("{} of a wrong size", escaped(name)));
        }
        *address = u64_at(of(section, around)?, 0).unwrap_or_default();
    }
    let [before_apply, instead_of_apply, after_apply, before_revert, instead_of_revert, after_revert] = addresses;
    Ok(Hooks { before_apply, instead_of_apply, after_apply, before_revert, instead_of_revert, after_revert })
}

/// The symbols that later payloads may refer to. Those of patched functions replace Xen's own; all others must be new.
pub(super) fn new_symbols(
    elf: &Elf<'_>,
    around: &Surroundings<'_>,
    functions: &[Function],
) -> Result<Vec<(Vec<u8>, u64)>, Stop> {
    let mut new = Vec::new();
    for symbol in elf.symbols.iter().skip(1) {
        let section = elf.sections.get(usize::from(symbol.section)).filter(|_| symbol.section != 0);
        let Some(section) = section.filter(|section| section.flags & SHF_ALLOC != 0) else { continue };
        let intermediate = section.flags & SHF_MERGE != 0 && symbol.name.starts_with(b".L");
        // Objects and functions.
        let named_code_or_data = matches!(symbol.info & 0xf, 1 | 2);
        let counts = around.release.has(since::SYMBOLS_OF_ANY_TYPE) || named_code_or_data;
        let replaces = functions.iter().any(|function| function.new_address == symbol.value);
        if symbol.name.is_empty() || intermediate || !counts || replaces {
            continue;
        }
        if around.symbol(symbol.name).is_some() {
            return refuse(Errno::EEXIST, [b"duplicate new symbol: ", symbol.name].concat());
        }
        new.push((symbol.name.to_vec(), symbol.value));
    }
    Ok(new)
}
