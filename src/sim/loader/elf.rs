//! The file as such: header, sections, their names, symbols (stages 1 to 3).

use super::MAX_SIZE;
use crate::errno::Errno;
use crate::sim::bytes::{at, length, u16_at, u32_at, u64_at, until_nul};
use crate::sim::payload::{Stop, refuse};
use crate::sim::release::{Release, since};

pub(super) const SHT_SYMTAB: u32 = 2;
pub(super) const SHT_STRTAB: u32 = 3;
pub(super) const SHT_RELA: u32 = 4;
pub(super) const SHT_NOBITS: u32 = 8;
pub(super) const SHT_REL: u32 = 9;
pub(super) const SHF_WRITE: u64 = 1;
pub(super) const SHF_ALLOC: u64 = 2;
pub(super) const SHF_EXECINSTR: u64 = 4;
pub(super) const SHF_MERGE: u64 = 16;

const HEADER_SIZE: u64 = 64;
const SECTION_SIZE: u64 = 64;
const SYMBOL_SIZE: u64 = 24;
const TOO_MANY_SECTIONS: u16 = 1024;

#[derive(Clone, Debug, Default)]
pub(super) struct Section<'a> {
    name_offset: u32,
    pub(super) name: &'a [u8],
    pub(super) kind: u32,
    pub(super) flags: u64,
    address_in_file: u64,
    offset: u64,
    pub(super) size: u64,
    pub(super) link: u32,
    pub(super) info: u32,
    pub(super) align: u64,
    pub(super) entry_size: u64,
    /// Its bytes in the file.
    pub(super) data: &'a [u8],
    /// Where it was placed, if it is loaded.
    pub(super) address: Option<u64>,
}

impl<'a> Section<'a> {
    fn read(file: &'a [u8], header: &[u8]) -> Option<Self> {
        let mut section = Self {
            name_offset: u32_at(header, 0)?,
            kind: u32_at(header, 4)?,
            flags: u64_at(header, 8)?,
            address_in_file: u64_at(header, 16)?,
            offset: u64_at(header, 24)?,
            size: u64_at(header, 32)?,
            link: u32_at(header, 40)?,
            info: u32_at(header, 44)?,
            align: u64_at(header, 48)?,
            entry_size: u64_at(header, 56)?,
            ..Self::default()
        };
        if section.offset < HEADER_SIZE {
            return None;
        }
        if section.kind != SHT_NOBITS {
            section.data = at(file, section.offset, section.size)?;
        }
        Some(section)
    }

    /// Not loaded: not allocatable, or in some releases empty.
    pub(super) fn ignored(&self, release: Release) -> bool {
        let empty_ones = release.has(since::EMPTY_SECTIONS_IGNORED) && !release.has(since::EMPTY_SECTIONS_PLACED);
        self.flags & SHF_ALLOC == 0 || (empty_ones && self.size == 0)
    }
}

#[derive(Clone, Debug, Default)]
pub(super) struct Symbol<'a> {
    pub(super) name: &'a [u8],
    pub(super) info: u8,
    pub(super) section: u16,
    pub(super) value: u64,
    /// Of a section that isn't loaded.
    pub(super) ignored: bool,
}

#[derive(Debug)]
pub(super) struct Elf<'a> {
    /// By index; the first is the empty one that every file has.
    pub(super) sections: Vec<Section<'a>>,
    /// By index; the first is the empty one.
    pub(super) symbols: Vec<Symbol<'a>>,
    pub(super) symbol_table: u32,
}

/// What the header says of the section table.
struct Table {
    offset: u64,
    entry_size: u16,
    count: u16,
    names: u16,
}

impl<'a> Elf<'a> {
    pub(super) fn read(file: &'a [u8], release: Release) -> Result<Self, Stop> {
        let table = check_header(file)?;
        let (mut sections, symbol_table) = read_sections(file, &table, release)?;
        let names = sections.get(usize::from(table.names)).map(|section| section.data).unwrap_or_default();
        for section in sections.iter_mut().skip(1) {
            let Some(name) = string_at(names, section.name_offset) else {
                return refuse(Errno::EINVAL, "a section's name lies behind the section names");
            };
            section.name = name;
        }
        let symbols = read_symbols(&sections, symbol_table)?;
        Ok(Self { sections, symbols, symbol_table })
    }

    /// The first section of a name. The others are never looked at.
    pub(super) fn section(&self, name: &[u8]) -> Option<&Section<'a>> {
        self.sections.iter().skip(1).find(|section| section.name == name)
    }
}

fn check_header(file: &[u8]) -> Result<Table, Stop> {
    let len = length(file);
    let Some((header, _)) = file.split_first_chunk::<64>() else {
        return refuse(Errno::EINVAL, "no room for an ELF header");
    };
    let half = |offset| u16_at(header, offset).unwrap_or_default();
    if !header.starts_with(b"\x7fELF") {
        return refuse(Errno::EINVAL, "not an ELF file");
    }
    let [_, _, _, _, class, data, version, os_abi, abi_version, ..] = *header;
    let relocatable = u32_at(header, 20) == Some(1)
        && version == 1
        && abi_version == 0
        // System V and FreeBSD.
        && matches!(os_abi, 0 | 9)
        && half(16) == 1
        && half(56) == 0;
    // 64 bits, little-endian, x86-64.
    if !relocatable || class != 2 || data != 1 || half(18) != 62 {
        return refuse(Errno::EOPNOTSUPP, "not a relocatable ELF file for this machine");
    }
    let table = Table {
        offset: u64_at(header, 40).unwrap_or_default(),
        entry_size: half(58),
        count: half(60),
        names: half(62),
    };
    if table.names == 0 {
        return refuse(Errno::EINVAL, "no section names");
    }
    if table.count >= TOO_MANY_SECTIONS {
        return refuse(Errno::EOPNOTSUPP, "too many sections");
    }
    let fits = table.names < table.count
        && table.offset < len
        && u64::from(table.entry_size) >= SECTION_SIZE
        && len
            .saturating_sub(table.offset)
            .checked_div(table.entry_size.into())
            .is_some_and(|n| n >= table.count.into());
    if !fits {
        return refuse(Errno::EINVAL, "a corrupt section table");
    }
    Ok(table)
}

/// The sections without their names, and which one is the symbol table.
fn read_sections<'a>(file: &'a [u8], table: &Table, release: Release) -> Result<(Vec<Section<'a>>, u32), Stop> {
    let mut sections = vec![Section::default()];
    let mut symbol_table = None;
    for index in 1..table.count {
        let offset = table.offset.saturating_add(u64::from(index).saturating_mul(table.entry_size.into()));
        let section = at(file, offset, SECTION_SIZE).and_then(|header| Section::read(file, header));
        let Some(section) = section else {
            // Xen takes the end, which begins at 0 again, for one inside the file, and copies past what there is.
            let header = at(file, offset, SECTION_SIZE).unwrap_or_default();
            let wraps = |from: u64, size: u64| from <= length(file) && from.checked_add(size).is_none();
            if u64_at(header, 24)
                .zip(u64_at(header, 32))
                .is_some_and(|(from, size)| from >= HEADER_SIZE && wraps(from, size))
            {
                return Err(Stop::Crashed(format!("section {index} is so large that its end wraps around")));
            }
            return refuse(Errno::EINVAL, format!("section {index} lies outside the file"));
        };
        if release.has(since::ALIGNMENT_CHECKED) {
            if section.align != 0 && !section.align.is_power_of_two() {
                return refuse(Errno::EOPNOTSUPP, format!("section {index} has an odd alignment"));
            }
            if section.address_in_file & section.align.wrapping_sub(1) != 0 {
                return refuse(Errno::EINVAL, format!("section {index} is not aligned"));
            }
        }
        if release.has(since::NOBITS_LIMITED) && section.kind == SHT_NOBITS && section.size > MAX_SIZE {
            return refuse(Errno::EINVAL, format!("section {index} is too large"));
        }
        if section.kind == SHT_SYMTAB {
            if symbol_table.is_some() {
                return refuse(Errno::EOPNOTSUPP, "more than one symbol table");
            }
            symbol_table = Some((u32::from(index), section.clone()));
        }
        sections.push(section);
    }
    let Some((index, symbols)) = symbol_table else {
        return refuse(Errno::EINVAL, "no symbol table");
    };
    let whole = symbols.size != 0
        && symbols.entry_size >= SYMBOL_SIZE
        && symbols.size.checked_rem(symbols.entry_size) == Some(0);
    if !whole {
        return refuse(Errno::EINVAL, "a corrupt symbol table");
    }
    for strings in [u32::from(table.names), symbols.link] {
        if strings == 0 {
            return Err(Stop::Crashed(
                "the symbol table's strings are in section 0, which Xen has no pointer to".into(),
            ));
        }
        let section = usize::try_from(strings).ok().and_then(|index| sections.get(index));
        let good = section.is_some_and(|section| {
            section.kind == SHT_STRTAB && section.data.first() == Some(&0) && section.data.last() == Some(&0)
        });
        if !good {
            return refuse(Errno::EINVAL, "a corrupt string table");
        }
    }
    Ok((sections, index))
}

fn read_symbols<'a>(sections: &[Section<'a>], symbol_table: u32) -> Result<Vec<Symbol<'a>>, Stop> {
    let by_index = |index: u32| usize::try_from(index).ok().and_then(|index| sections.get(index));
    let table = by_index(symbol_table).cloned().unwrap_or_default();
    let strings = by_index(table.link).map(|section| section.data).unwrap_or_default();
    let entry_size = usize::try_from(table.entry_size).unwrap_or(usize::MAX);
    let symbols = table.data.chunks_exact(entry_size.max(1)).enumerate().map(|(index, entry)| {
        if index == 0 {
            return Some(Symbol::default());
        }
        Some(Symbol {
            name: string_at(strings, u32_at(entry, 0)?)?,
            info: *entry.get(4)?,
            section: u16_at(entry, 6)?,
            value: u64_at(entry, 8)?,
            ignored: false,
        })
    });
    match symbols.collect() {
        Some(symbols) => Ok(symbols),
        None => refuse(Errno::EINVAL, "a symbol's name lies behind the strings"),
    }
}

fn string_at(strings: &[u8], offset: u32) -> Option<&[u8]> {
    let bytes = strings.get(usize::try_from(offset).ok()?..).filter(|bytes| !bytes.is_empty())?;
    Some(until_nul(bytes))
}
