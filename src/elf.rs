//! An ELF file as far as Xen looks at it, read without trusting a byte of it.
//!
//! What is wrong with the file does not stop the reading: what can't be read is missing. Work and memory stay in
//! proportion to the file, whatever its counts, sizes and overlaps claim.

mod debug;

use core::marker::PhantomData;

use object::elf::{ELFCLASS64, ELFDATA2LSB, ELFMAG, FileHeader64, Rela64, SHT_NOBITS, SHT_RELA, SHT_SYMTAB};
use object::elf::{
    EM_ARM, EM_X86_64, R_X86_64_64, SHF_ALLOC, SHF_EXECINSTR, SHF_WRITE, SHN_ABS, STT_SECTION, SectionHeader64,
    SectionType, Sym64,
};
use object::{LittleEndian, pod};

pub(crate) use debug::{Smaller, fits};

pub(crate) type Header = FileHeader64<LittleEndian>;
pub(crate) type Symbol = Sym64<LittleEndian>;
pub(crate) type Relocation = Rela64<LittleEndian>;

/// Every number in a payload is little-endian.
pub(crate) const LE: LittleEndian = LittleEndian;
pub(crate) const HEADER_SIZE: u64 = 64;
pub(crate) const SECTION_HEADER_SIZE: u64 = 64;
pub(crate) const RELOCATION_SIZE: usize = 24;
pub(crate) const SYMBOL_SIZE: u64 = 24;

/// Where names are cut. Xen has none of more than 127 bytes; without a limit a file could name all its sections with
/// one text of 2 MiB.
const MAX_NAME: usize = 128;

/// What NULL pointers lead to, which is nowhere mapped.
const NULL_PAGE: u64 = 4096;

/// The header of a file that can be read at all.
pub(crate) fn header(data: &[u8]) -> Result<Header, &'static str> {
    let header = header_in_any_order(data)?;
    if header.e_ident.data == ELFDATA2LSB { Ok(header) } else { Err("it is not a little-endian ELF file") }
}

/// The same, for who does not look which byte order the file claims to have.
pub(crate) fn header_in_any_order(data: &[u8]) -> Result<Header, &'static str> {
    let (header, _) = pod::from_bytes::<Header>(data).map_err(|()| "it is too short for an ELF file")?;
    let ident = &header.e_ident;
    if ident.magic != ELFMAG {
        Err("it is not an ELF file")
    } else if ident.class == ELFCLASS64 {
        Ok(*header)
    } else if header.e_machine.get(LE) == EM_ARM {
        // The machine is at the same place in files of 32 bits.
        Err("it is for 32-bit Arm, which is not supported: only x86-64 and 64-bit Arm are")
    } else {
        Err("it is not a 64-bit ELF file")
    }
}

/// A view of a file.
pub(crate) struct Elf<'d> {
    pub(crate) data: &'d [u8],
    pub(crate) header: &'d Header,
    /// All of them, the null section first; none where the table is not in the file.
    pub(crate) sections: Vec<Section<'d>>,
    /// The first symbol table, and where it is among the sections.
    pub(crate) symbols: Table<'d, Symbol>,
    pub(crate) symbol_table: Option<usize>,
    pub(crate) symbol_names: &'d [u8],
}

pub(crate) struct Section<'d> {
    /// Which one it is, counted from 0.
    pub(crate) index: usize,
    /// Without its NUL; `None` where the file has none.
    pub(crate) name: Option<&'d [u8]>,
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
    /// Empty where the section has no bytes in the file, or claims some that are not there.
    pub(crate) data: &'d [u8],
    is_inside: bool,
}

impl Section<'_> {
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

    /// Whether the file has what the section claims to contain.
    pub(crate) fn is_complete(&self) -> bool {
        self.is_zeroed() || self.is_inside
    }
}

impl<'d> Elf<'d> {
    pub(crate) fn new(data: &'d [u8], header: &'d Header) -> Self {
        let mut elf = Self {
            data,
            header,
            sections: sections(data, header),
            symbols: Table::empty(),
            symbol_table: None,
            symbol_names: &[],
        };
        let names = elf.sections.get(usize::from(header.e_shstrndx.get(LE).0)).map_or(&[][..], |section| section.data);
        for section in &mut elf.sections {
            section.name = name_at(names, section.name_offset);
        }
        let mut tables = elf.sections.iter().enumerate().skip(1).filter(|(_, section)| section.kind == SHT_SYMTAB);
        if let Some((index, table)) = tables.next() {
            elf.symbol_table = Some(index);
            elf.symbols = Table::of(table);
            elf.symbol_names = usize::try_from(table.link)
                .ok()
                .and_then(|link| elf.sections.get(link))
                .map_or(&[], |names| names.data);
        }
        elf
    }

    /// Whether the header leads to the names of the sections.
    pub(crate) fn has_section_names(&self) -> bool {
        let index = self.header.e_shstrndx.get(LE).0;
        index != 0 && self.sections.len() > usize::from(index)
    }

    /// The first section of this name, which is the one that counts for Xen.
    pub(crate) fn section(&self, name: &str) -> Option<&Section<'d>> {
        self.sections.iter().skip(1).find(|section| section.name == Some(name.as_bytes()))
    }

    pub(crate) fn section_at(&self, index: u32) -> Option<&Section<'d>> {
        self.sections.get(usize::try_from(index).ok()?)
    }

    pub(crate) fn symbol(&self, index: u32) -> Option<&'d Symbol> {
        self.symbols.get(usize::try_from(index).ok()?)
    }

    /// The name of a symbol; `None` where it is outside the string table.
    pub(crate) fn symbol_name(&self, symbol: &Symbol) -> Option<&'d [u8]> {
        name_at(self.symbol_names, symbol.st_name.get(LE))
    }

    /// The section that a symbol is defined in.
    pub(crate) fn section_of(&self, symbol: &Symbol) -> Option<&Section<'d>> {
        let index = symbol.st_shndx.get(LE);
        let index = (!index.is_reserved() && index.0 != 0).then_some(index.0)?;
        self.sections.get(usize::from(index))
    }

    /// What a symbol stands for: its name and an offset. Symbols of sections have no name but the section's.
    pub(crate) fn place(&self, symbol: &Symbol) -> (&'d [u8], u64) {
        let value = symbol.st_value.get(LE);
        let section = self.section_of(symbol);
        match (self.symbol_name(symbol).filter(|name| !name.is_empty()), section) {
            (Some(name), _) if symbol.st_type() != STT_SECTION => (name, 0),
            (_, Some(section)) => (section.name.unwrap_or_default(), value),
            (name, None) => (name.unwrap_or_default(), value),
        }
    }

    /// The relocations with addends of a section, in the order in which Xen does them.
    ///
    /// No more than fit into the file once: no toolchain leaves more, but sections may overlap.
    pub(crate) fn relocations_of(&self, name: &str) -> impl Iterator<Item = &'d Relocation> {
        let target = self.sections.iter().skip(1).position(|section| section.name == Some(name.as_bytes()));
        let target = target.and_then(|index| u32::try_from(index.saturating_add(1)).ok());
        self.sections
            .iter()
            .filter(move |section| section.kind == SHT_RELA && Some(section.info) == target)
            .flat_map(|section| relocations_in(section).iter())
            .take(self.data.len() / RELOCATION_SIZE)
    }

    /// The text that a relocation of a pointer makes it point at. `Err` for a pointer to where the payload has none, `None`
    /// for one that leads out of the payload.
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
        Some(Ok(text_at(section.data, offset).unwrap_or_default()))
    }

    /// Whether a relocation puts a whole address where it is for, as far as that is known.
    fn is_pointer(&self, relocation: &Relocation) -> bool {
        self.header.e_machine.get(LE) != EM_X86_64 || relocation.r_type(LE, false) == R_X86_64_64
    }
}

/// A pointer to nowhere.
pub(crate) struct Stray;

pub(crate) fn symbol_index(relocation: &Relocation) -> u32 {
    relocation.r_sym(LE, false)
}

/// The entries of a relocation section with addends.
pub(crate) fn relocations_in<'d>(section: &Section<'d>) -> Table<'d, Relocation> {
    Table::of(section)
}

/// The entries of a section, as far apart as its header says. That may be more than an entry takes, and Xen follows it.
pub(crate) struct Table<'d, T> {
    data: &'d [u8],
    stride: usize,
    entries: PhantomData<T>,
}

impl<T> Clone for Table<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Table<'_, T> {}

impl<'d, T: pod::Pod> Table<'d, T> {
    const fn empty() -> Self {
        Self { data: &[], stride: 1, entries: PhantomData }
    }

    /// None where the entries are said to be smaller than they are.
    fn of(section: &Section<'d>) -> Self {
        let stride = usize::try_from(section.entry_size).unwrap_or(usize::MAX);
        if stride < size_of::<T>() { Self::empty() } else { Self { data: section.data, stride, entries: PhantomData } }
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
        (0..self.len()).map_while(move |index| self.get(index))
    }
}

fn headers<'d>(data: &'d [u8], header: &Header) -> impl Iterator<Item = &'d SectionHeader64<LittleEndian>> {
    let start = usize::try_from(header.e_shoff.get(LE)).unwrap_or(usize::MAX);
    let stride = usize::from(header.e_shentsize.get(LE));
    let end = usize::from(header.e_shnum.get(LE)).checked_mul(stride).and_then(|size| start.checked_add(size));
    let table = end.and_then(|end| data.get(start..end)).unwrap_or_default();
    // A smaller stride would make entries overlap; `from_bytes` then fails for each of them.
    table.chunks_exact(stride.max(1)).filter_map(|entry| pod::from_bytes(entry).ok()).map(|(entry, _)| entry)
}

fn sections<'d>(data: &'d [u8], header: &Header) -> Vec<Section<'d>> {
    headers(data, header)
        .enumerate()
        .map(|(index, header)| {
            let kind = header.sh_type.get(LE);
            let (offset, size) = (header.sh_offset.get(LE), header.sh_size.get(LE));
            let start = usize::try_from(offset).unwrap_or(usize::MAX);
            let end = usize::try_from(size).ok().and_then(|size| start.checked_add(size));
            let in_file = end.filter(|_| kind != SHT_NOBITS).and_then(|end| data.get(start..end));
            Section {
                index,
                name: None,
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
                data: in_file.unwrap_or_default(),
                is_inside: in_file.is_some(),
            }
        })
        .collect()
}

/// A name in a string table. Offset 0 is no name even where there is no table.
fn name_at(names: &[u8], offset: u32) -> Option<&[u8]> {
    let start = usize::try_from(offset).ok()?;
    if start == 0 { Some(text_at(names, 0).unwrap_or_default()) } else { text_at(names, start) }
}

/// The text up to the next NUL, the end, or where names are cut.
fn text_at(bytes: &[u8], start: usize) -> Option<&[u8]> {
    let rest = bytes.get(start..).filter(|rest| !rest.is_empty())?;
    rest.iter()
        .take(MAX_NAME)
        .copied()
        .position(|byte| byte == 0)
        .map_or_else(|| rest.get(..MAX_NAME.min(rest.len())), |end| rest.get(..end))
}
