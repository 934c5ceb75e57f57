//! The parts of an ELF file that Xen reads, without trust in any of its bytes.
//!
//! Faults do not stop the reading: unreadable parts are missing. Work and memory stay in proportion to the file, whatever its
//! counts, sizes and overlaps claim.

mod debug;

use core::marker::PhantomData;
use core::num::NonZeroU16;

use object::elf::{ELFCLASS64, ELFDATA2LSB, ELFMAG, FileHeader64, Rela64, SHT_NOBITS, SHT_RELA, SHT_SYMTAB};
use object::elf::{
    EM_ARM, EM_X86_64, R_X86_64_64, SHF_ALLOC, SHF_EXECINSTR, SHF_WRITE, SHN_ABS, STT_SECTION, SectionHeader64,
    SectionType, Sym64,
};
use object::{LittleEndian, pod};

pub(crate) use debug::{Smaller, fits};

use crate::types::to_usize;
use crate::xen::format::SectionName;

pub(crate) type Header = FileHeader64<LittleEndian>;
type SectionHeader = SectionHeader64<LittleEndian>;
pub(crate) type Symbol = Sym64<LittleEndian>;
pub(crate) type Relocation = Rela64<LittleEndian>;

/// Every number in a payload is little-endian.
pub(crate) const LE: LittleEndian = LittleEndian;
pub(crate) const HEADER_SIZE: u64 = 64;
pub(crate) const SECTION_HEADER_SIZE: u64 = 64;
pub(crate) const RELOCATION_SIZE: usize = 24;
pub(crate) const SYMBOL_SIZE: u64 = 24;

/// The bytes after which names are cut. No name in Xen has more than 127; without a limit a file could name all its sections
/// with one text of 2 MiB.
const MAX_NAME: usize = 128;

/// The name of a symbol or a section that has none in the file: Xen reads an empty text.
pub(crate) const UNNAMED: &[u8] = b"";

/// The bytes from address 0 on that are never mapped, to which NULL pointers lead.
const NULL_PAGE: u64 = 4096;

/// The header of a file in the byte order that it claims to have.
pub(crate) fn header(data: &[u8]) -> Result<Header, &'static str> {
    let header = header_in_any_order(data)?;
    if header.e_ident.data == ELFDATA2LSB { Ok(header) } else { Err("it is not a little-endian ELF file") }
}

/// The header of a file, whatever byte order it claims to have.
pub(crate) fn header_in_any_order(data: &[u8]) -> Result<Header, &'static str> {
    let (header, _) = pod::from_bytes::<Header>(data).map_err(|()| "it is too short for an ELF file")?;
    let ident = &header.e_ident;
    if ident.magic != ELFMAG {
        Err("it is not an ELF file")
    } else if ident.class == ELFCLASS64 {
        Ok(*header)
    } else if header.e_machine.get(LE) == EM_ARM {
        // The machine is at the same offset in 32-bit files.
        Err("it is for 32-bit Arm, which is not supported: only x86-64 and 64-bit Arm are")
    } else {
        Err("it is not a 64-bit ELF file")
    }
}

/// The header and the sections of a file, which are found once.
#[derive(Clone, Debug)]
pub(crate) struct Outline {
    header: Header,
    /// All sections, the null section first; none if the table is not in the file.
    sections: Vec<Section>,
    /// The first section of each name that Xen looks up, which is the one that it uses.
    named: [Option<NonZeroU16>; SectionName::ALL.len()],
    /// True if the file has the names of all sections but the null section.
    all_named: bool,
    /// The index of the section of the first symbol table.
    symbol_table: Option<usize>,
}

impl Outline {
    /// Finds the sections of a file with this header.
    pub(crate) fn of(data: &[u8], header: Header) -> Self {
        let headers = section_headers(data, &header);
        let names = headers.get(header.e_shstrndx.get(LE).0.into());
        let names = names.map_or(&[][..], |names| Section::new(0, None, names, data).bytes_in(data));
        let mut sections = Vec::with_capacity(headers.len());
        let mut first = [None; SectionName::ALL.len()];
        let (mut all_named, mut symbol_table) = (true, None);
        for (header, number) in headers.iter().zip(0_u16..) {
            let name = name_at(names, header.sh_name.get(LE));
            if let Some(index) = NonZeroU16::new(number) {
                all_named &= name.is_some();
                if header.sh_type.get(LE) == SHT_SYMTAB {
                    symbol_table.get_or_insert(number.into());
                }
                if let Some(first) = name.and_then(SectionName::of).and_then(|name| first.get_mut(name.index())) {
                    first.get_or_insert(index);
                }
            }
            sections.push(Section::new(number.into(), name, header, data));
        }
        Self { header, sections, named: first, all_named, symbol_table }
    }
}

/// A view of a file.
#[derive(Clone, Copy)]
pub(crate) struct Elf<'d> {
    pub(crate) data: &'d [u8],
    pub(crate) header: &'d Header,
    pub(crate) sections: &'d [Section],
    named: &'d [Option<NonZeroU16>; SectionName::ALL.len()],
    names: &'d [u8],
    all_named: bool,
    /// The first symbol table, and the index of its section.
    pub(crate) symbols: Table<'d, Symbol>,
    pub(crate) symbol_table: Option<usize>,
    pub(crate) symbol_names: &'d [u8],
}

/// An entry of the section table.
#[derive(Clone, Debug)]
pub(crate) struct Section {
    /// Its number, from 0.
    pub(crate) index: usize,
    /// `None` if the file has no name for it.
    name_len: Option<u8>,
    pub(crate) name_offset: u32,
    pub(crate) kind: SectionType,
    pub(crate) flags: u64,
    pub(crate) address: u64,
    pub(crate) offset: u64,
    pub(crate) size: u64,
    pub(crate) link: u32,
    pub(crate) info: u32,
    pub(crate) alignment: u64,
    pub(crate) entry_size: u64,
    is_inside: bool,
}

impl Section {
    fn new(index: usize, name: Option<&[u8]>, header: &SectionHeader, data: &[u8]) -> Self {
        let kind = header.sh_type.get(LE);
        let (offset, size) = (header.sh_offset.get(LE), header.sh_size.get(LE));
        Self {
            index,
            name_len: name.and_then(|name| u8::try_from(name.len()).ok()),
            name_offset: header.sh_name.get(LE),
            kind,
            flags: header.sh_flags.get(LE).0,
            address: header.sh_addr.get(LE),
            offset,
            size,
            link: header.sh_link.get(LE),
            info: header.sh_info.get(LE),
            alignment: header.sh_addralign.get(LE),
            entry_size: header.sh_entsize.get(LE),
            is_inside: kind != SHT_NOBITS && part(data, offset, size).is_some(),
        }
    }

    pub(crate) fn is_allocated(&self) -> bool {
        self.flags & SHF_ALLOC.0 != 0
    }

    pub(crate) fn is_writable(&self) -> bool {
        self.flags & SHF_WRITE.0 != 0
    }

    pub(crate) fn is_executable(&self) -> bool {
        self.flags & SHF_EXECINSTR.0 != 0
    }

    pub(crate) fn is_zeroed(&self) -> bool {
        self.kind == SHT_NOBITS
    }

    /// Returns true if all of the section is in the file.
    pub(crate) fn is_complete(&self) -> bool {
        self.is_zeroed() || self.is_inside
    }

    /// The bytes in the file; none if it has none there, or is not complete.
    fn bytes_in<'d>(&self, data: &'d [u8]) -> &'d [u8] {
        part(data, self.offset, self.size).filter(|_| self.is_inside).unwrap_or(&[])
    }
}

impl<'d> Elf<'d> {
    /// The view of a file with this outline.
    pub(crate) fn new(data: &'d [u8], outline: &'d Outline) -> Self {
        let Outline { header, sections, named, all_named, symbol_table } = outline;
        let strings = sections.get(usize::from(header.e_shstrndx.get(LE).0));
        let mut elf = Self {
            data,
            header,
            sections,
            named,
            names: strings.map_or(&[], |strings| strings.bytes_in(data)),
            all_named: *all_named,
            symbols: Table::empty(),
            symbol_table: *symbol_table,
            symbol_names: &[],
        };
        if let Some(table) = symbol_table.and_then(|index| sections.get(index)) {
            elf.symbols = Table::of(table, data);
            elf.symbol_names = elf.section_at(table.link).map_or(&[], |names| names.bytes_in(data));
        }
        elf
    }

    /// The bytes of a section in the file; none if it has none there, or is not complete.
    pub(crate) fn bytes(&self, section: &Section) -> &'d [u8] {
        section.bytes_in(self.data)
    }

    /// The name of a section, without its NUL; `None` if the file has none.
    pub(crate) fn name(&self, section: &Section) -> Option<&'d [u8]> {
        part(self.names, section.name_offset.into(), section.name_len?.into())
    }

    /// Returns true if the header leads to the names of the sections.
    pub(crate) fn has_section_names(&self) -> bool {
        let index = self.header.e_shstrndx.get(LE).0;
        index != 0 && self.sections.len() > usize::from(index)
    }

    /// Returns true if the file has the names of all sections but the null section.
    pub(crate) fn names_all_sections(&self) -> bool {
        self.all_named
    }

    /// The first section of this name, which is the one that Xen uses.
    pub(crate) fn section(&self, name: SectionName) -> Option<&'d Section> {
        let index = self.named.get(name.index()).copied().flatten()?;
        self.sections.get(usize::from(index.get()))
    }

    pub(crate) fn section_at(&self, index: u32) -> Option<&'d Section> {
        self.sections.get(to_usize(index))
    }

    pub(crate) fn symbol(&self, index: u32) -> Option<&'d Symbol> {
        self.symbols.get(to_usize(index))
    }

    /// The name of a symbol; `None` if it is outside the string table.
    pub(crate) fn symbol_name(&self, symbol: &Symbol) -> Option<&'d [u8]> {
        name_at(self.symbol_names, symbol.st_name.get(LE))
    }

    /// The section that a symbol is defined in.
    pub(crate) fn section_of(&self, symbol: &Symbol) -> Option<&'d Section> {
        let index = symbol.st_shndx.get(LE);
        let index = (!index.is_reserved() && index.0 != 0).then_some(index.0)?;
        self.sections.get(usize::from(index))
    }

    /// The name and offset of a symbol. Symbols of sections have the section's name.
    pub(crate) fn place(&self, symbol: &Symbol) -> (&'d [u8], u64) {
        let value = symbol.st_value.get(LE);
        let section = self.section_of(symbol);
        match (self.symbol_name(symbol).filter(|name| !name.is_empty()), section) {
            (Some(name), _) if symbol.st_type() != STT_SECTION => (name, 0),
            (_, Some(section)) => (self.name(section).unwrap_or(UNNAMED), value),
            (name, None) => (name.unwrap_or(UNNAMED), value),
        }
    }

    /// The relocations with addends of a section, in the order in which Xen applies them.
    ///
    /// At most as many as fit into the file: no toolchain emits more, but sections may overlap.
    pub(crate) fn relocations_of(&self, name: SectionName) -> impl Iterator<Item = &'d Relocation> {
        let target = self.section(name).and_then(|section| u32::try_from(section.index).ok());
        let data = self.data;
        self.sections
            .iter()
            .filter(move |section| section.kind == SHT_RELA && Some(section.info) == target)
            .flat_map(move |section| Table::of(section, data).iter())
            .take(self.data.len() / RELOCATION_SIZE)
    }

    /// The entries of a relocation section with addends.
    pub(crate) fn relocations_in(&self, section: &Section) -> Table<'d, Relocation> {
        Table::of(section, self.data)
    }

    /// The text to which a relocated pointer leads. `Err` if there is none, `None` for a pointer out of the payload.
    pub(crate) fn text_at(&self, relocation: &Relocation) -> Option<Result<&'d [u8], Stray>> {
        let symbol = self.symbol(symbol_index(relocation))?;
        let offset = symbol.st_value.get(LE).checked_add_signed(relocation.r_addend.get(LE));
        if symbol.st_shndx.get(LE) == SHN_ABS && offset.is_none_or(|address| address < NULL_PAGE) {
            return Some(Err(Stray));
        }
        let section = self.section_of(symbol)?;
        let offset =
            offset.filter(|offset| *offset < section.size && section.is_allocated() && self.is_pointer(relocation));
        let Some(offset) = offset.and_then(|offset| usize::try_from(offset).ok()) else { return Some(Err(Stray)) };
        // Zeros follow the bytes in the file, if any.
        Some(Ok(text_at(self.bytes(section), offset).unwrap_or(UNNAMED)))
    }

    /// Returns true if a relocation writes a whole address, as far as that is known.
    fn is_pointer(&self, relocation: &Relocation) -> bool {
        self.header.e_machine.get(LE) != EM_X86_64 || relocation.r_type(LE, false) == R_X86_64_64
    }
}

/// A pointer that leads nowhere.
pub(crate) struct Stray;

pub(crate) fn symbol_index(relocation: &Relocation) -> u32 {
    relocation.r_sym(LE, false)
}

/// The entries of a section, at the distance of its header, which Xen uses even if it is more than the size of an entry.
#[derive(Clone, Copy)]
pub(crate) struct Table<'d, T> {
    data: &'d [u8],
    stride: usize,
    entries: PhantomData<T>,
}

impl<'d, T: pod::Pod> Table<'d, T> {
    const fn empty() -> Self {
        Self { data: &[], stride: 1, entries: PhantomData }
    }

    /// The entries of a section; none if the distance is less than the size of an entry.
    fn of(section: &Section, data: &'d [u8]) -> Self {
        match usize::try_from(section.entry_size) {
            Ok(stride) if stride >= size_of::<T>() => {
                Self { data: section.bytes_in(data), stride, entries: PhantomData }
            }
            _ => Self::empty(),
        }
    }

    pub(crate) fn len(self) -> usize {
        self.data.len() / self.stride
    }

    pub(crate) fn get(self, index: usize) -> Option<&'d T> {
        let start = index.checked_mul(self.stride)?;
        let entry = self.data.get(start..start.checked_add(self.stride)?)?;
        pod::from_bytes(entry).ok().map(|(entry, _)| entry)
    }

    pub(crate) fn iter(self) -> impl Iterator<Item = &'d T> {
        self.data.chunks_exact(self.stride).map_while(|entry| pod::from_bytes(entry).ok().map(|(entry, _)| entry))
    }
}

/// The table of section headers; empty if it is not in the file.
fn section_headers<'d>(data: &'d [u8], header: &Header) -> Table<'d, SectionHeader> {
    let stride = usize::from(header.e_shentsize.get(LE));
    let size = u64::from(header.e_shnum.get(LE)).saturating_mul(header.e_shentsize.get(LE).into());
    match part(data, header.e_shoff.get(LE), size) {
        // A smaller stride would make entries overlap.
        Some(data) if stride >= size_of::<SectionHeader>() => Table { data, stride, entries: PhantomData },
        _ => Table::empty(),
    }
}

/// So many bytes from an offset on; `None` if not all are there.
fn part(data: &[u8], offset: u64, len: u64) -> Option<&[u8]> {
    let start = usize::try_from(offset).ok()?;
    data.get(start..start.checked_add(usize::try_from(len).ok()?)?)
}

/// A name in a string table. Offset 0 is an empty name even without a table.
fn name_at(names: &[u8], offset: u32) -> Option<&[u8]> {
    text_at(names, to_usize(offset)).or((offset == 0).then_some(UNNAMED))
}

/// The text up to the next NUL, the end, or the limit of names.
fn text_at(bytes: &[u8], start: usize) -> Option<&[u8]> {
    let rest = bytes.get(start..)?;
    // Most symbols of a small payload are those of sections, which have no name.
    if *rest.first()? == 0 {
        return Some(UNNAMED);
    }
    let rest = rest.get(..MAX_NAME).unwrap_or(rest);
    rest.get(..nul(rest).unwrap_or(rest.len()))
}

/// The index of the first NUL. Most of the reading is of names, for which words of eight bytes are faster than bytes.
fn nul(text: &[u8]) -> Option<usize> {
    const LOWEST: u64 = 0x0101_0101_0101_0101;
    let words = text.chunks_exact(size_of::<u64>());
    let rest = words.remainder();
    let mut before = 0_usize;
    for word in words {
        let word = word.first_chunk().copied().map_or(0, u64::from_le_bytes);
        // The highest bit of each byte that is zero, up to the first one at least.
        let zeros = word.wrapping_sub(LOWEST) & !word & (LOWEST << 7);
        if zeros != 0 {
            return before.checked_add(usize::try_from(zeros.trailing_zeros() / 8).ok()?);
        }
        before = before.saturating_add(8);
    }
    rest.iter().position(|byte| *byte == 0).and_then(|at| before.checked_add(at))
}
