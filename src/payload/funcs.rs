//! The functions that a payload replaces: `.livepatch.funcs`.

use core::fmt;

use object::elf::{R_X86_64_NONE, RelocationType};

use crate::xen::elf::{Elf, LE, Relocation, Stray, symbol_index};
use crate::xen::format::{self, PayloadVersion, SectionName, func};
use crate::xen::symbol_name::SymbolName;

/// The relocation that changes nothing has this type on x86 and on Arm.
const NO_RELOCATION: RelocationType = R_X86_64_NONE;

/// A place that a payload points at.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Address {
    /// A number in the file, which Xen uses as it is.
    Number(u64),
    /// A symbol, or a section of the payload, and an offset from there: Xen makes it a number when it links the payload.
    Symbol {
        /// The name of the symbol, or of the section.
        name: SymbolName,
        /// How far past it.
        offset: i64,
    },
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number:#x}"),
            Self::Symbol { name, offset: 0 } => write!(f, "{name}"),
            Self::Symbol { name, offset } => {
                let sign = if *offset < 0 { '-' } else { '+' };
                write!(f, "{name}{sign}{:#x}", offset.unsigned_abs())
            }
        }
    }
}

/// What the code of a function has to begin with for Xen to apply the payload (from Xen 4.14).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Expectation {
    /// The bytes, up to 31 of them.
    pub bytes: Box<[u8]>,
    /// Two bits that have to be 0.
    pub reserved: u8,
}

/// A function that a payload replaces.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Function {
    /// Its name, by which Xen finds it if there is no address.
    pub name: Option<SymbolName>,
    /// Where it is, unless Xen has to find it by its name.
    pub old_address: Option<Address>,
    /// How many bytes it has.
    pub old_size: u32,
    /// Where the new code is; `None` if the beginning of the function is overwritten with no-operations instead (from
    /// Xen 4.8).
    pub new_address: Option<Address>,
    /// How many bytes the new code has, or how many are overwritten.
    pub new_size: u32,
    /// What the function has to begin with, if the payload says.
    pub expectation: Option<Expectation>,
    /// The version of this entry. Xen refuses a payload where it is not the same for all.
    pub version: PayloadVersion,
}

impl Function {
    /// Whether the function's beginning is overwritten with no-operations.
    #[must_use]
    pub const fn is_nop(&self) -> bool {
        self.new_address.is_none()
    }
}

impl fmt::Display for Function {
    /// The name, or the address where there is no name.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.name, &self.old_address) {
            (Some(name), _) => name.fmt(f),
            (None, Some(address)) => address.fmt(f),
            (None, None) => f.write_str("(no name)"),
        }
    }
}

/// The version that the first function says; `None` without a function.
pub(super) fn version(elf: &Elf<'_>) -> Option<PayloadVersion> {
    let section = elf.section(SectionName::Funcs).filter(|section| section.size > 0 && section.is_complete())?;
    if section.is_zeroed() {
        return Some(PayloadVersion::Unknown(0));
    }
    elf.bytes(section).get(func::VERSION).copied().map(PayloadVersion::from_raw)
}

/// The functions; none where their layout is not known.
pub(super) fn functions(elf: &Elf<'_>) -> Vec<Function> {
    let data = elf.section(SectionName::Funcs).map_or(&[][..], |section| elf.bytes(section));
    let Some(entry_size) = version(elf).and_then(PayloadVersion::entry_size) else { return Vec::new() };
    let pointers = Pointers::of(elf, SectionName::Funcs);
    let starts = (0..data.len()).step_by(entry_size);
    data.chunks_exact(entry_size).zip(starts).map(|(entry, start)| function(elf, &pointers, entry, start)).collect()
}

fn function(elf: &Elf<'_>, pointers: &Pointers<'_>, entry: &[u8], start: usize) -> Function {
    let address = |field: usize| pointers.address(elf, number(entry, field), start.saturating_add(field));
    let size = |field| u32::try_from(number(entry, field) & u64::from(u32::MAX)).unwrap_or_default();
    Function {
        name: name(elf, pointers, start.saturating_add(func::NAME)).map(SymbolName::new),
        old_address: address(func::OLD_ADDRESS),
        old_size: size(func::OLD_SIZE),
        new_address: address(func::NEW_ADDRESS),
        new_size: size(func::NEW_SIZE),
        expectation: expectation(entry),
        version: PayloadVersion::from_raw(entry.get(func::VERSION).copied().unwrap_or_default()),
    }
}

/// The name that the pointer at this offset leads to, if it is a text of the payload.
fn name<'d>(elf: &Elf<'d>, pointers: &Pointers<'_>, offset: usize) -> Option<&'d [u8]> {
    let relocation = pointers.at(offset).filter(|_| !pointers.mangle(offset))?;
    match elf.text_at(relocation)? {
        Ok(name) => Some(name).filter(|name| !name.is_empty()),
        Err(Stray) => None,
    }
}

fn expectation(entry: &[u8]) -> Option<Expectation> {
    let raw = format::Expectation::read(entry.get(func::EXPECTATION..)?)?;
    Some(Expectation { bytes: raw.bytes()?.into(), reserved: raw.reserved })
}

/// The eight bytes from `offset` on as a number, with zeros where there are fewer.
fn number(entry: &[u8], offset: usize) -> u64 {
    let bytes = entry.iter().skip(offset).take(8);
    bytes.rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}

/// The relocations of a section of pointers: their place in it, and which one it is.
pub(super) struct Pointers<'d>(Vec<(u64, usize, &'d Relocation)>);

impl<'d> Pointers<'d> {
    pub(super) fn of(elf: &Elf<'d>, section: SectionName) -> Self {
        let changing = elf.relocations_of(section).filter(|relocation| relocation.r_type(LE, false) != NO_RELOCATION);
        let mut pointers: Vec<_> =
            changing.enumerate().map(|(index, relocation)| (relocation.r_offset.get(LE), index, relocation)).collect();
        pointers.sort_by_key(|(offset, index, _)| (*offset, *index));
        Self(pointers)
    }

    /// The last relocation of the pointer at this offset, which overwrites those before.
    fn last(&self, offset: u64) -> Option<(usize, &'d Relocation)> {
        let end = self.0.partition_point(|(at, _, _)| *at <= offset);
        let (at, index, relocation) = self.0.get(end.checked_sub(1)?)?;
        (*at == offset).then_some((*index, *relocation))
    }

    fn at(&self, offset: usize) -> Option<&'d Relocation> {
        self.last(u64::try_from(offset).ok()?).map(|(_, relocation)| relocation)
    }

    /// Whether some of the eight bytes at this offset end up as what a relocation for another place put there.
    fn mangle(&self, offset: usize) -> bool {
        let Ok(offset) = u64::try_from(offset) else { return false };
        let last = self.last(offset).map(|(index, _)| index);
        let start = self.0.partition_point(|(at, _, _)| at.saturating_add(8) <= offset);
        let mut touching = self.0.iter().skip(start).take_while(|(at, _, _)| *at < offset.saturating_add(8));
        touching.any(|(at, index, _)| *at != offset && last.is_none_or(|last| last < *index))
    }

    /// What the pointer at this offset, with this number in the file, will point at; `None` for NULL.
    pub(super) fn address(&self, elf: &Elf<'_>, number: u64, offset: usize) -> Option<Address> {
        if let Some(relocation) = self.at(offset) {
            let symbol = elf.symbol(symbol_index(relocation));
            let (name, value) = symbol.map(|symbol| elf.place(symbol)).unwrap_or_default();
            let offset = value.checked_add_signed(relocation.r_addend.get(LE)).and_then(|at| i64::try_from(at).ok());
            let offset = offset.unwrap_or_else(|| relocation.r_addend.get(LE));
            return Some(Address::Symbol { name: SymbolName::new(name), offset });
        }
        (number != 0 || self.mangle(offset)).then_some(Address::Number(number))
    }

    /// The pointers in the data of a section that consists of nothing else.
    pub(super) fn addresses(&self, elf: &Elf<'_>, data: &[u8]) -> impl Iterator<Item = Option<Address>> {
        let starts = (0..data.len()).step_by(8);
        data.chunks_exact(8).zip(starts).map(|(pointer, at)| self.address(elf, number(pointer, 0), at))
    }
}
