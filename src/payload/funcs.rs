//! The functions that a payload replaces: `.livepatch.funcs`.

use core::convert::Infallible;
use core::fmt;
use core::str::FromStr;

use object::elf::{R_X86_64_NONE, RelocationType};

use crate::types::to_u64;
use crate::xen::SymbolName;
use crate::xen::elf::{Elf, LE, Relocation, Stray, UNNAMED, symbol_index};
use crate::xen::format::{self, FUNCTION_VERSION, PayloadVersion, RawFunction, SectionName};

/// The type of the relocation that changes nothing, on x86 and on Arm.
const NO_RELOCATION: RelocationType = R_X86_64_NONE;

/// The target of a pointer in a payload.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Address {
    /// A number in the file, which Xen uses unchanged.
    Number(u64),
    /// An offset from a symbol or from a section of the payload. Xen computes the address when it links the payload.
    Symbol {
        /// The name of the symbol, or of the section.
        name: SymbolName,
        /// The distance from it in bytes.
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

impl FromStr for Address {
    type Err = Infallible;

    /// Reads the text that `Display` writes. A text that begins with `0x` is a number, and one that ends in a sign and such
    /// a number has an offset.
    fn from_str(text: &str) -> Result<Self, Infallible> {
        let hexadecimal = |text: &str| u64::from_str_radix(text.strip_prefix("0x")?, 16).ok();
        if let Some(number) = hexadecimal(text) {
            return Ok(Self::Number(number));
        }
        let symbol = |name: &str, offset| Self::Symbol { name: SymbolName::new(name), offset };
        let parts = text.rfind(['+', '-']).map(|at| text.split_at(at));
        let offset = parts.and_then(|(_, offset)| {
            let (sign, number) = offset.split_at_checked(1)?;
            let number = i64::try_from(i128::from(hexadecimal(number)?) * if sign == "-" { -1 } else { 1 });
            number.ok()
        });
        Ok(match (parts, offset) {
            (Some((name, _)), Some(offset)) => symbol(name, offset),
            _ => symbol(text, 0),
        })
    }
}

/// The bytes that the code of a function must begin with for Xen to apply the payload (from Xen 4.14).
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
    /// The name, by which Xen finds the function if there is no address.
    pub name: Option<SymbolName>,
    /// The address, unless Xen has to find the function by its name.
    pub old_address: Option<Address>,
    /// The size in bytes.
    pub old_size: u32,
    /// The address of the new code; `None` if the beginning of the function is overwritten with no-operations instead (from
    /// Xen 4.8).
    pub new_address: Option<Address>,
    /// The size of the new code in bytes, or the number of bytes that are overwritten.
    pub new_size: u32,
    /// The bytes that the function must begin with, if the payload requires any.
    pub expectation: Option<Expectation>,
    /// The version of this entry. Xen refuses a payload unless all entries have the same.
    pub version: PayloadVersion,
}

impl Function {
    /// Returns true if the beginning of the function is overwritten with no-operations.
    #[must_use]
    pub const fn is_nop(&self) -> bool {
        self.new_address.is_none()
    }
}

impl fmt::Display for Function {
    /// Writes the name, or the address if there is no name.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.name, &self.old_address) {
            (Some(name), _) => name.fmt(f),
            (None, Some(address)) => address.fmt(f),
            (None, None) => f.write_str("(no name)"),
        }
    }
}

/// The version of the first function; `None` without a function.
pub(super) fn version(elf: &Elf<'_>) -> Option<PayloadVersion> {
    let section = elf.section(SectionName::Funcs).filter(|section| section.size > 0 && section.is_complete())?;
    if section.is_zeroed() {
        return Some(PayloadVersion::Unknown(0));
    }
    elf.bytes(section).get(FUNCTION_VERSION).copied().map(PayloadVersion::from_raw)
}

/// The functions; none if their layout is not known.
pub(super) fn functions(elf: &Elf<'_>) -> Vec<Function> {
    let data = elf.section(SectionName::Funcs).map_or(&[][..], |section| elf.bytes(section));
    let Some(entry_size) = version(elf).and_then(PayloadVersion::entry_size) else { return Vec::new() };
    let pointers = Pointers::of(elf, SectionName::Funcs);
    let entries = data.chunks_exact(entry_size).filter_map(RawFunction::read);
    entries.zip((0..).step_by(entry_size)).map(|(raw, start)| function(elf, &pointers, &raw, start)).collect()
}

fn function(elf: &Elf<'_>, pointers: &Pointers<'_>, raw: &RawFunction<'_>, start: usize) -> Function {
    let address = |number, field: usize| pointers.address(elf, number, start.saturating_add(field));
    Function {
        name: name(elf, pointers, start.saturating_add(RawFunction::NAME)).map(SymbolName::new),
        old_address: address(raw.old_address, RawFunction::OLD_ADDRESS),
        old_size: raw.old_size,
        new_address: address(raw.new_address, RawFunction::NEW_ADDRESS),
        new_size: raw.new_size,
        expectation: raw.expectation.and_then(expectation),
        version: PayloadVersion::from_raw(raw.version),
    }
}

/// The name to which the pointer at this offset leads, if it is a text of the payload.
fn name<'d>(elf: &Elf<'d>, pointers: &Pointers<'_>, offset: usize) -> Option<&'d [u8]> {
    let relocation = pointers.at(offset).filter(|_| !pointers.mangle(offset))?;
    match elf.text_at(relocation)? {
        Ok(name) => Some(name).filter(|name| !name.is_empty()),
        Err(Stray) => None,
    }
}

fn expectation(raw: &[u8; 32]) -> Option<Expectation> {
    let format::Expectation { bytes, reserved, .. } = format::Expectation::read(raw)?;
    Some(Expectation { bytes: bytes.into(), reserved })
}

/// The relocations of a section of pointers: the offset, the position among all of them, and the relocation.
pub(super) struct Pointers<'d>(Vec<(u64, usize, &'d Relocation)>);

impl<'d> Pointers<'d> {
    pub(super) fn of(elf: &Elf<'d>, section: SectionName) -> Self {
        let changing = elf.relocations_of(section).filter(|relocation| relocation.r_type(LE, false) != NO_RELOCATION);
        let mut pointers: Vec<_> =
            changing.enumerate().map(|(index, relocation)| (relocation.r_offset.get(LE), index, relocation)).collect();
        pointers.sort_by_key(|(offset, index, _)| (*offset, *index));
        Self(pointers)
    }

    /// The last relocation of the pointer at this offset, which overwrites earlier ones.
    fn last(&self, offset: u64) -> Option<(usize, &'d Relocation)> {
        let end = self.0.partition_point(|(at, _, _)| *at <= offset);
        let (at, index, relocation) = self.0.get(end.checked_sub(1)?)?;
        (*at == offset).then_some((*index, *relocation))
    }

    fn at(&self, offset: usize) -> Option<&'d Relocation> {
        self.last(to_u64(offset)).map(|(_, relocation)| relocation)
    }

    /// Returns true if the last relocation that changes any of the eight bytes at this offset is of another place.
    fn mangle(&self, offset: usize) -> bool {
        let offset = to_u64(offset);
        let last = self.last(offset).map(|(index, _)| index);
        let start = self.0.partition_point(|(at, _, _)| at.saturating_add(8) <= offset);
        let mut touching = self.0.iter().skip(start).take_while(|(at, _, _)| *at < offset.saturating_add(8));
        touching.any(|(at, index, _)| *at != offset && last.is_none_or(|last| last < *index))
    }

    /// The target of the pointer at this offset, which is this number in the file; `None` for NULL.
    pub(super) fn address(&self, elf: &Elf<'_>, number: u64, offset: usize) -> Option<Address> {
        if let Some(relocation) = self.at(offset) {
            let symbol = elf.symbol(symbol_index(relocation));
            let (name, value) = symbol.map_or((UNNAMED, 0), |symbol| elf.place(symbol));
            let offset = value.checked_add_signed(relocation.r_addend.get(LE)).and_then(|at| i64::try_from(at).ok());
            let offset = offset.unwrap_or_else(|| relocation.r_addend.get(LE));
            return Some(Address::Symbol { name: SymbolName::new(name), offset });
        }
        (number != 0 || self.mangle(offset)).then_some(Address::Number(number))
    }

    /// The targets of the pointers in a section that consists of nothing else.
    pub(super) fn addresses(&self, elf: &Elf<'_>, data: &[u8]) -> impl Iterator<Item = Option<Address>> {
        let numbers = data.chunks_exact(8).filter_map(|pointer| pointer.first_chunk().copied().map(u64::from_le_bytes));
        numbers.zip((0..).step_by(8)).map(|(number, at)| self.address(elf, number, at))
    }
}
