//! A relocatable ELF file in parts, whose sections can be moved about and written again.
#![allow(dead_code, reason = "each suite needs some of it")]

use super::fields::{self, Field, header, relocation, section, symbol};

pub const ALLOC: u64 = 2;
pub const EXECUTE: u64 = 4;

pub const PROGBITS: u64 = 1;
pub const SYMTAB: u64 = 2;
pub const RELA: u64 = 4;
pub const NOBITS: u64 = 8;

/// The relocation types of eight bytes of an address, and of four of a distance, on x86-64 and on Arm.
const POINTERS: [u64; 2] = [1, 257];
const DISTANCES: [u64; 2] = [2, 261];

const AARCH64: u64 = 183;

pub const ENTRY: usize = 24;

#[derive(Clone, Debug)]
pub struct Section {
    pub name: String,
    /// The header, whose name, offset and size are set when it is written.
    pub header: Vec<u8>,
    pub data: Vec<u8>,
    /// Bytes that are not in the file.
    pub zeros: u64,
}

impl Section {
    pub fn new(name: &str, kind: u64, flags: u64, alignment: u64, data: impl Into<Vec<u8>>) -> Self {
        let mut new = Self { name: name.into(), header: vec![0; section::HEADER], data: data.into(), zeros: 0 };
        new.set(section::TYPE, kind);
        new.set(section::FLAGS, flags);
        new.set(section::ALIGNMENT, alignment);
        new
    }

    pub fn get(&self, field: Field) -> u64 {
        fields::get(&self.header, 0, field)
    }

    pub fn set(&mut self, field: Field, value: u64) {
        fields::put(&mut self.header, 0, field, value);
    }

    pub fn has(&self, flags: u64) -> bool {
        self.get(section::FLAGS) & flags == flags
    }

    pub fn is_code(&self) -> bool {
        self.has(ALLOC | EXECUTE)
    }

    pub fn is_relocations(&self) -> bool {
        self.get(section::TYPE) == RELA
    }
}

#[derive(Clone, Debug)]
pub struct Image {
    header: Vec<u8>,
    /// All but section 0: the number of `sections[0]` is 1.
    pub sections: Vec<Section>,
    /// The size of an entry of `.livepatch.funcs`.
    pub function_size: usize,
}

/// A file, with the offsets of its parts.
pub struct Written {
    pub file: Vec<u8>,
    /// The offset of the section headers, that of section 0 first.
    pub table: usize,
    /// The offset of the data of each section, that of `Image::sections[0]` first.
    pub data: Vec<usize>,
}

impl Written {
    pub fn header_of(&self, section: usize) -> usize {
        self.table + section::HEADER * (section + 1)
    }
}

impl Image {
    /// Reads a valid file.
    pub fn read(file: &[u8], function_size: usize) -> Self {
        let of = |field| usize::try_from(fields::get(file, 0, field)).unwrap();
        let table = of(header::TABLE);
        let mut sections: Vec<Section> = (1..of(header::COUNT))
            .map(|index| {
                let header = file[table + section::HEADER * index..][..section::HEADER].to_vec();
                let mut read = Section { name: String::new(), header, data: Vec::new(), zeros: 0 };
                let size = read.get(section::SIZE);
                if read.get(section::TYPE) == NOBITS {
                    read.zeros = size;
                } else {
                    let start = usize::try_from(read.get(section::OFFSET)).unwrap();
                    read.data = file[start..start + usize::try_from(size).unwrap()].to_vec();
                }
                read
            })
            .collect();
        let names = sections[of(header::NAMES) - 1].data.clone();
        for read in &mut sections {
            let start = usize::try_from(read.get(section::NAME)).unwrap();
            let len = names[start..].iter().position(|byte| *byte == 0).unwrap();
            read.name = String::from_utf8(names[start..start + len].to_vec()).unwrap();
        }
        Self { header: file[..header::SIZE].to_vec(), sections, function_size }
    }

    pub fn write(&mut self) -> Written {
        let mut names = vec![0];
        for section in &mut self.sections {
            section.set(section::NAME, names.len() as u64);
            names.extend(section.name.bytes().chain([0]));
        }
        if let Some(table) = self.index(".shstrtab") {
            self.sections[table].data = names;
        }
        let mut file = self.header.clone();
        let mut data = Vec::new();
        let mut headers = vec![0; section::HEADER];
        for section in &mut self.sections {
            file.resize(file.len().next_multiple_of(16), 0);
            data.push(file.len());
            section.set(section::OFFSET, file.len() as u64);
            section.set(section::SIZE, section.data.len() as u64 + section.zeros);
            file.extend(&section.data);
            headers.extend(&section.header);
        }
        file.resize(file.len().next_multiple_of(16), 0);
        let table = file.len();
        file.extend(headers);
        fields::put(&mut file, 0, header::TABLE, table as u64);
        fields::put(&mut file, 0, header::COUNT, self.sections.len() as u64 + 1);
        fields::put(&mut file, 0, header::NAMES, self.index(".shstrtab").map_or(0, |index| index as u64 + 1));
        Written { file, table, data }
    }

    pub fn is_arm(&self) -> bool {
        fields::get(&self.header, 0, header::MACHINE) == AARCH64
    }

    /// The relocation of eight bytes of an address.
    pub fn pointer(&self) -> u64 {
        POINTERS[usize::from(self.is_arm())]
    }

    /// The relocation of four bytes of a distance.
    pub fn distance(&self) -> u64 {
        DISTANCES[usize::from(self.is_arm())]
    }

    pub fn index(&self, name: &str) -> Option<usize> {
        self.sections.iter().position(|section| section.name == name)
    }

    /// Appends a section. Returns its symbol.
    pub fn add(&mut self, section: Section) -> u64 {
        self.sections.push(section);
        self.add_symbol(0, 3, self.sections.len() as u64)
    }

    /// A symbol that Xen or another payload has.
    pub fn undefined(&mut self, name: &str) -> u64 {
        let strings = self.index(".strtab").unwrap();
        let at = self.sections[strings].data.len() as u64;
        self.sections[strings].data.extend(name.bytes().chain([0]));
        self.add_symbol(at, 1 << 4, 0)
    }

    fn add_symbol(&mut self, name: u64, info: u64, section: u64) -> u64 {
        let mut entry = vec![0; ENTRY];
        fields::put(&mut entry, 0, symbol::NAME, name);
        fields::put(&mut entry, 0, symbol::INFO, info);
        fields::put(&mut entry, 0, symbol::SECTION, section);
        // Without a symbol table nothing refers to it.
        let Some(table) = self.index(".symtab") else { return 0 };
        self.sections[table].data.extend(entry);
        self.sections[table].data.len() as u64 / ENTRY as u64 - 1
    }

    /// The symbol of a section itself.
    pub fn symbol_of(&self, name: &str) -> Option<u64> {
        let section = self.index(name)? as u64 + 1;
        let symbols = &self.sections[self.index(".symtab")?].data;
        let is_it = |entry: &[u8]| {
            fields::get(entry, 0, symbol::SECTION) == section && fields::get(entry, 0, symbol::INFO) & 15 == 3
        };
        symbols.chunks_exact(ENTRY).position(is_it).map(|index| index as u64)
    }

    /// Relocates a place in a section that is there.
    pub fn relocate(&mut self, name: &str, offset: usize, kind: u64, symbol: u64, addend: i64) {
        let mut entry = vec![0; ENTRY];
        fields::put(&mut entry, 0, relocation::OFFSET, offset as u64);
        fields::put(&mut entry, 0, relocation::TYPE, kind);
        fields::put(&mut entry, 0, relocation::SYMBOL, symbol);
        fields::put(&mut entry, 0, relocation::ADDEND, u64::from_le_bytes(addend.to_le_bytes()));
        let relocations = format!(".rela{name}");
        let table = self.index(&relocations).unwrap_or_else(|| {
            let mut section = Section::new(&relocations, RELA, 0x40, 8, []);
            section.set(section::LINK, self.index(".symtab").unwrap() as u64 + 1);
            section.set(section::INFO, self.index(name).unwrap() as u64 + 1);
            section.set(section::ENTRY_SIZE, ENTRY as u64);
            self.sections.push(section);
            self.sections.len() - 1
        });
        self.sections[table].data.extend(entry);
    }

    /// Changes all numbers of sections, to 0 if one is gone.
    pub fn renumber(&mut self, new: impl Fn(u64) -> u64) {
        for section in &mut self.sections {
            if matches!(section.get(section::TYPE), RELA | SYMTAB) {
                section.set(section::LINK, new(section.get(section::LINK)));
            }
            if section.is_relocations() {
                section.set(section::INFO, new(section.get(section::INFO)));
            }
        }
        let Some(table) = self.index(".symtab") else { return };
        for entry in self.sections[table].data.chunks_exact_mut(ENTRY) {
            let section = fields::get(entry, 0, symbol::SECTION);
            if section < 0xff00 {
                fields::put(entry, 0, symbol::SECTION, new(section));
            }
        }
    }
}
