//! The changes that the hunt leaves out, since only a processor can judge them.
//!
//! Xen runs a payload's code in two ways. New functions run when Xen calls the old ones. The hunt patches only functions
//! that nothing calls meanwhile, so payloads without hooks may be changed anywhere except in:
//!
//! - the bytes of code sections, which Xen does not read;
//! - an old address that is a number inside Xen's image, or nine bytes to 1 GiB past a symbol of Xen: it would patch the code
//!   there, as requested. (For the same reason a name never becomes that of another function.)
//!
//! Hooks run on every apply or revert. Payloads with hooks also keep:
//!
//! - the file offsets, types and sizes of code sections (unless the size becomes 0);
//! - the values of symbols in code sections, and the sections of other symbols if they would become code sections;
//! - the relocations of code sections, with the headers of their tables and the sections of their symbols: code would call or
//!   write something else, such as the pointer to a hook;
//! - the offsets and entry sizes of the symbol table and the section headers, on which all of these depend;
//! - the code that hooks point at (they may point at no code at all), the kinds of hooks, and the code that alternatives change;
//! - old addresses outside the payload's own code.
//!
//! Hooks in place of an action exist only in payloads without functions, for which doing nothing is right; no section gets
//! the name of one.

use super::fields::{self, Field, function, header, relocation, section, symbol};
use super::image::{ENTRY, Image, SYMTAB, Section};

/// The addresses of Xen's image and payloads in all releases.
const XEN: core::ops::Range<u64> = 0xffff_82d0_0000_0000..0xffff_82d1_0000_0000;
const XEN_ON_ARM: [core::ops::Range<u64>; 2] = [0x20_0000..0x1000_0000, 4 << 39..5 << 39];

const FUNCS: &str = ".livepatch.funcs";
/// The beginning of the names of sections of hooks.
const HOOKS: &str = ".livepatch.hooks.";

/// A place that can be changed. Sections count from 0, as in `Image::sections`.
#[derive(Clone, Copy, Debug)]
pub enum Place {
    Header(Field),
    Section(usize, Field),
    Symbol(usize, Field),
    /// The section, and the offset of the entry in it.
    Relocation(usize, usize, Field),
    Function(Field),
    /// Other bytes of a section.
    Other(usize),
}

pub struct Exclusions<'a> {
    pub image: &'a Image,
    pub runs: bool,
}

impl Exclusions<'_> {
    pub fn allows(&self, place: Place, value: u64) -> bool {
        match place {
            Place::Header(field) => !self.runs || !(field == header::TABLE || field == (58, 2)),
            Place::Section(index, field) => !self.runs || self.allows_section(index, field, value),
            Place::Symbol(entry, field) => !self.runs || self.allows_symbol(entry, field, value),
            Place::Relocation(index, at, field) => self.allows_relocation(index, at, field, value),
            Place::Function(field) => field != function::OLD_ADDRESS || !self.is_xens(value),
            Place::Other(index) => self.allows_bytes(index),
        }
    }

    fn is_xens(&self, address: u64) -> bool {
        if self.image.is_arm() { XEN_ON_ARM.iter().any(|xen| xen.contains(&address)) } else { XEN.contains(&address) }
    }

    /// Returns true if any bytes of a section may be changed.
    pub fn allows_bytes(&self, index: usize) -> bool {
        let section = &self.image.sections[index];
        let is_table = section.is_relocations() || section.get(section::TYPE) == SYMTAB;
        let is_for_functions = section.is_relocations() && self.base(section) == FUNCS;
        !(section.is_code() || is_for_functions || is_table && self.runs)
    }

    /// Returns true if a section may be moved, removed, doubled, or truncated.
    pub fn allows_moving(&self, index: usize) -> bool {
        let section = &self.image.sections[index];
        !self.runs || !(section.is_code() || self.is_for_code(index) || self.is_used_by_code(index))
    }

    /// Returns true if a section may be renamed.
    pub fn allows_name(&self, index: usize, name: &str) -> bool {
        !(self.runs && self.image.sections[index].name.starts_with(HOOKS) && name.starts_with(HOOKS))
    }

    /// Counted as in the file.
    fn is_code(&self, section: u64) -> bool {
        self.section(section).is_some_and(Section::is_code)
    }

    fn is_for_code(&self, index: usize) -> bool {
        let section = &self.image.sections[index];
        section.is_relocations() && self.is_code(section.get(section::INFO))
    }

    /// The name of the section that a section of relocations changes.
    fn base(&self, relocations: &Section) -> &str {
        self.name(relocations.get(section::INFO))
    }

    /// Counted as in the file.
    fn name(&self, section: u64) -> &str {
        self.section(section).map_or("", |section| &section.name)
    }

    /// Counted as in the file.
    fn section(&self, number: u64) -> Option<&Section> {
        self.image.sections.get(usize::try_from(number).ok()?.checked_sub(1)?)
    }

    fn allows_section(&self, index: usize, field: Field, value: u64) -> bool {
        let section = &self.image.sections[index];
        if section.is_code() {
            return !matches!(field, section::TYPE | section::OFFSET) && (field != section::SIZE || value == 0);
        }
        if self.is_for_code(index) {
            return matches!(
                field,
                section::NAME | section::FLAGS | section::ADDRESS | section::ALIGNMENT | section::LINK
            );
        }
        if section.is_relocations() && field == section::INFO {
            return !(self.is_code(value) || self.name(value).starts_with(HOOKS));
        }
        if section.name.starts_with(HOOKS) && field == section::NAME {
            return false;
        }
        if self.is_used_by_code(index) {
            return matches!(
                field,
                section::ADDRESS | section::ALIGNMENT | section::LINK | section::INFO | section::ENTRY_SIZE
            );
        }
        section.get(section::TYPE) != SYMTAB || !matches!(field, section::OFFSET | section::ENTRY_SIZE)
    }

    fn symbol(&self, index: u64, field: Field) -> u64 {
        let table = self.image.index(".symtab").map(|table| &self.image.sections[table].data[..]);
        let at = usize::try_from(index).unwrap_or(usize::MAX).saturating_mul(ENTRY);
        table.filter(|table| at < table.len()).map_or(0, |table| fields::get(table, at, field))
    }

    /// The symbols that relocations of code are against.
    fn symbols_of_code(&self) -> impl Iterator<Item = u64> {
        let for_code = (0..self.image.sections.len()).filter(|&index| self.is_for_code(index));
        let entries = for_code.flat_map(|index| self.image.sections[index].data.chunks_exact(ENTRY));
        entries.map(|entry| fields::get(entry, 0, relocation::SYMBOL))
    }

    /// Returns true if code refers to a section.
    fn is_used_by_code(&self, index: usize) -> bool {
        self.symbols_of_code().any(|symbol| self.symbol(symbol, symbol::SECTION) == index as u64 + 1)
    }

    fn allows_symbol(&self, entry: usize, field: Field, value: u64) -> bool {
        if self.symbols_of_code().any(|symbol| symbol == entry as u64) {
            return !matches!(field, symbol::NAME | symbol::VALUE | symbol::SECTION);
        }
        let is_of_code = self.is_code(self.symbol(entry as u64, symbol::SECTION));
        match field {
            symbol::VALUE => !is_of_code,
            symbol::SECTION => !self.is_code(value),
            _ => true,
        }
    }

    fn allows_relocation(&self, index: usize, at: usize, field: Field, value: u64) -> bool {
        let section = &self.image.sections[index];
        let of = |field| fields::get(&section.data, at, field);
        let base = self.base(section);
        let target = self.symbol(of(relocation::SYMBOL), symbol::SECTION);
        let value_target = self.symbol(value, symbol::SECTION);
        if base == FUNCS && of(relocation::OFFSET) % self.image.function_size as u64 == function::OLD_ADDRESS.0 as u64 {
            let far = size_of_distance(value) >= 1 << 30;
            return match field {
                relocation::ADDEND => value <= 8 || far,
                relocation::SYMBOL => !self.runs || value_target == 0,
                _ => true,
            };
        }
        if !self.runs {
            return true;
        }
        if base.starts_with(HOOKS) {
            return match field {
                relocation::ADDEND => !self.is_code(target) || size_of_distance(value) >= 1 << 20,
                relocation::SYMBOL => value_target != 0 && !self.is_code(value_target),
                _ => true,
            };
        }
        let changes_code = matches!(base, ".altinstructions" | ".alt_call_sites");
        !(self.is_for_code(index) || changes_code && field == relocation::SYMBOL && self.is_code(value_target))
    }
}

/// The absolute value of an addend.
fn size_of_distance(addend: u64) -> u64 {
    addend.min(addend.wrapping_neg())
}
