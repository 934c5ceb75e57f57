//! Debug sections, and the size of a file without them.

use core::fmt;

use object::elf::{SHT_GROUP, SHT_PROGBITS, SHT_REL, SHT_RELA, STT_FILE};

use super::{Elf, HEADER_SIZE, LE, SECTION_HEADER_SIZE, SYMBOL_SIZE, Section, Symbol};
use crate::types::{to_u64, to_usize};
use crate::xen::format::MAX_SIZE;

/// The beginnings of the names that GNU binutils treat as debug sections.
const PREFIXES: [&[u8]; 5] = [b".debug", b".zdebug", b".gnu.debuglto_.debug_", b".gnu.linkonce.wi.", b".stab"];

/// Advice on a file that is larger than Xen takes.
pub(crate) struct Smaller(pub(crate) Option<u64>);

impl fmt::Display for Smaller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(size) if fits(size) => write!(f, "strip -S leaves about {size} of them"),
            Some(size) => {
                write!(
                    f,
                    "strip -S leaves about {size} of them, still too many: leave out what the patch does not change"
                )
            }
            None => f.write_str("leave out debug information (strip -S) and what the patch does not change"),
        }
    }
}

/// Returns true if Xen takes a file of this size.
pub(crate) fn fits(size: u64) -> bool {
    size <= to_u64(MAX_SIZE)
}

impl<'d> Elf<'d> {
    /// An estimate of the size that `strip -S` leaves; `None` if there is no debug section, or nothing to gain.
    ///
    /// The sum of the header, the remaining sections, and their headers, with all alignments. Symbols of files and of removed
    /// sections are left out, and so are names that nothing needs any more. Names that share their ends count fully, up to the
    /// present size of their table, so the sum is rather too large than too small.
    pub(crate) fn size_without_debug(&self) -> Option<u64> {
        let mut gone: Vec<bool> = self.sections.iter().map(|section| self.is_debug(section)).collect();
        if !gone.contains(&true) {
            return None;
        }
        // Relocations are removed with their section, and groups with their members, relocations among them.
        self.add(&mut gone, |gone, section| {
            matches!(section.kind, SHT_REL | SHT_RELA) && !section.is_allocated() && has(gone, section.info)
        });
        // Each section is in one group at most; a hostile file with more would take long.
        let mut left = self.sections.len();
        self.add(&mut gone, |gone, section| {
            let count = self.members(section).len();
            if section.kind != SHT_GROUP || count > left {
                return false;
            }
            left = left.saturating_sub(count);
            self.members(section).all(|member| has(gone, member))
        });
        let names_of_sections = usize::from(self.header.e_shstrndx.get(LE).0);
        let names_of_symbols = self.symbol_table.and_then(|table| self.sections.get(table)).map(|table| table.link);
        let mut size = HEADER_SIZE;
        let mut count = 1_u64;
        for (section, _) in self.sections.iter().zip(&gone).skip(1).filter(|(_, gone)| !**gone) {
            count = count.saturating_add(1);
            if section.is_zeroed() {
                continue;
            }
            let index = u32::try_from(section.index).ok();
            let len = if Some(section.index) == self.symbol_table {
                to_u64(self.symbols_left(&gone).count()).saturating_mul(SYMBOL_SIZE)
            } else if section.index == names_of_sections && index != names_of_symbols {
                let left = self.sections.iter().zip(&gone).filter(|(_, gone)| !**gone);
                section.size.min(names(left.map(|(section, _)| self.name(section))))
            } else if index == names_of_symbols && section.index != names_of_sections {
                section.size.min(names(self.symbols_left(&gone).map(|symbol| self.symbol_name(symbol))))
            } else {
                section.size
            };
            size = aligned(size, section.alignment).saturating_add(len);
        }
        let size = aligned(size, 8).saturating_add(count.saturating_mul(SECTION_HEADER_SIZE));
        (size < to_u64(self.data.len())).then_some(size)
    }

    /// Adds the sections that are removed because of others.
    fn add(&self, gone: &mut [bool], mut goes: impl FnMut(&[bool], &Section) -> bool) {
        let more: Vec<bool> = self.sections.iter().map(|section| goes(gone, section)).collect();
        for (gone, more) in gone.iter_mut().zip(more) {
            *gone |= more;
        }
    }

    /// The remaining symbols.
    fn symbols_left(&self, gone: &[bool]) -> impl Iterator<Item = &Symbol> {
        self.symbols.iter().filter(move |symbol| {
            let section = symbol.st_shndx.get(LE);
            symbol.st_type() != STT_FILE && (section.is_reserved() || !has(gone, section.0.into()))
        })
    }

    fn is_debug(&self, section: &Section) -> bool {
        let named = self.name(section).is_some_and(|name| {
            name == b".line" || name == b".gdb_index" || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
        });
        named && section.kind == SHT_PROGBITS && !section.is_allocated()
    }

    /// The sections of a group.
    fn members(&self, group: &Section) -> impl ExactSizeIterator<Item = u32> + use<'d> {
        // The first word holds flags.
        let words = self.bytes(group).chunks_exact(4).skip(1);
        words.map(|word| word.try_into().map_or(0, u32::from_le_bytes))
    }
}

fn has(gone: &[bool], index: u32) -> bool {
    gone.get(to_usize(index)).is_some_and(|gone| *gone)
}

/// The bytes of a table of these names.
fn names<'n>(names: impl Iterator<Item = Option<&'n [u8]>>) -> u64 {
    let lengths = names.flatten().map(|name| to_u64(name.len())).filter(|len| *len > 0);
    lengths.fold(1, |sum, len| sum.saturating_add(len).saturating_add(1))
}

fn aligned(offset: u64, alignment: u64) -> u64 {
    offset.checked_next_multiple_of(alignment.max(1)).unwrap_or(u64::MAX)
}
