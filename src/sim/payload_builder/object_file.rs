//! Relocatable ELF files, written out.

use object::elf::{
    self, ELFMAG, FileHeader64, Ident, Rela64, RelocationType, SHF_ALLOC, SHF_EXECINSTR, SHF_WRITE, SectionFlags,
    SectionHeader64, SectionType, Sym64, SymbolBind, SymbolInfo, SymbolOther, SymbolSection, SymbolType,
};
use object::pod::bytes_of;
use object::{I64, LittleEndian as LE, U16, U32, U64};

use crate::sim::machine::Machine;
use crate::types::to_u64;
use crate::xen::Architecture;

#[derive(Clone, Debug)]
pub(super) enum Target {
    /// A section of the file, by name.
    Section(&'static str),
    /// A symbol that Xen or another payload defines.
    Undefined(String),
    /// Symbol 0, the undefined one.
    Null,
}

impl Target {
    /// This many bytes past it.
    pub(super) fn plus(self, offset: u64) -> (Self, i64) {
        (self, i64::try_from(offset).expect("no allocation has more than i64::MAX bytes"))
    }
}

#[derive(Clone, Debug)]
pub(super) struct Relocation {
    offset: u64,
    /// Of the bytes that it changes.
    len: u64,
    kind: RelocationType,
    target: Target,
    addend: i64,
}

impl Relocation {
    /// Eight bytes at `offset` that hold an address.
    pub(super) fn pointer(machine: &Machine, offset: u64, (target, addend): (Target, i64)) -> Self {
        Self { offset, len: 8, kind: machine.pointer, target, addend }
    }

    /// Four bytes of an instruction, at `offset`, encoded as its processor requires.
    pub(super) fn instruction(offset: u64, kind: RelocationType, (target, addend): (Target, i64)) -> Self {
        Self { offset, len: 4, kind, target, addend }
    }
}

#[derive(Clone, Debug)]
pub(super) struct Section {
    pub(super) name: String,
    kind: SectionType,
    pub(super) flags: SectionFlags,
    pub(super) alignment: u64,
    pub(super) contents: Vec<u8>,
    /// Bytes after the contents that are zero and not in the file.
    zeros: u64,
    pub(super) relocations: Vec<Relocation>,
    link: &'static str,
    info: u32,
    entry_size: usize,
}

impl Section {
    fn new(name: impl Into<String>, kind: SectionType, flags: u64, alignment: u64, contents: Vec<u8>) -> Self {
        let (name, flags) = (name.into(), SectionFlags(flags));
        let (zeros, relocations, link, info, entry_size) = (0, Vec::new(), "", 0, 0);
        Self { name, kind, flags, alignment, contents, zeros, relocations, link, info, entry_size }
    }

    pub(super) fn executable(name: &str) -> Self {
        Self::new(name, elf::SHT_PROGBITS, SHF_ALLOC.0 | SHF_EXECINSTR.0, 16, Vec::new())
    }

    pub(super) fn read_only(name: &str, alignment: u64, contents: Vec<u8>) -> Self {
        Self::new(name, elf::SHT_PROGBITS, SHF_ALLOC.0, alignment, contents)
    }

    pub(super) fn writable(name: &str, alignment: u64, contents: Vec<u8>) -> Self {
        Self::new(name, elf::SHT_PROGBITS, SHF_ALLOC.0 | SHF_WRITE.0, alignment, contents)
    }

    pub(super) fn zeroed(name: &str, len: u64) -> Self {
        let section = Self::new(name, elf::SHT_NOBITS, SHF_ALLOC.0 | SHF_WRITE.0, 8, Vec::new());
        Self { zeros: len, ..section }
    }

    /// A GNU build-id note.
    pub(super) fn note(name: &str, description: &[u8]) -> Self {
        let mut note = Vec::new();
        for field in [4, small(description.len()), elf::NT_GNU_BUILD_ID.0] {
            note.extend(field.to_le_bytes());
        }
        note.extend(b"GNU\0");
        note.extend(description);
        note.resize(note.len().next_multiple_of(4), 0);
        Self::new(name, elf::SHT_NOTE, SHF_ALLOC.0, 4, note)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.contents.is_empty()
    }

    /// Addresses; `None` if there are none.
    pub(super) fn pointers(
        name: &str,
        machine: &Machine,
        targets: impl Iterator<Item = (Target, i64)>,
    ) -> Option<Self> {
        let relocations: Vec<Relocation> =
            targets.zip((0..).step_by(8)).map(|(target, at)| Relocation::pointer(machine, at, target)).collect();
        let section = Self::read_only(name, 8, vec![0; 8 * relocations.len()]);
        (!relocations.is_empty()).then_some(Self { relocations, ..section })
    }

    fn apply(&mut self, defect: &Defect) {
        match defect {
            // The section has been removed.
            Defect::Missing => {}
            Defect::NotAllocated => self.flags = SectionFlags(self.flags.0 & !SHF_ALLOC.0),
            Defect::Flags(flags) => self.flags = SectionFlags(*flags),
            Defect::Alignment(alignment) => self.alignment = *alignment,
            Defect::Contents(contents) => self.contents.clone_from(contents),
            Defect::Truncated(len) => self.contents.truncate(*len),
            Defect::Patched(offset, bytes) => {
                self.contents.iter_mut().skip(*offset).zip(bytes).for_each(|(to, from)| *to = *from);
            }
            Defect::NullSymbol => {
                self.relocations.iter_mut().for_each(|relocation| relocation.target = Target::Null);
            }
        }
        let len = to_u64(self.contents.len());
        self.relocations.retain(|relocation| relocation.offset + relocation.len <= len);
    }
}

/// A defect of a section, for tests of code that refuses the payload. See
/// [`PayloadBuilder::defect`](super::PayloadBuilder::defect).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Defect {
    /// The section is missing. References to it refer to symbol 0 or section 0 instead: **without `.strtab` a real Xen
    /// crashes** (seen on 4.14, 4.17 and 4.20).
    Missing,
    /// The section lacks `SHF_ALLOC`, so Xen doesn't load it. In special sections **this crashes every real Xen up to
    /// 4.17, 4.18.3 and 4.19.0, and corrupts later ones**.
    NotAllocated,
    /// The section has exactly these flags (`sh_flags`). Xen refuses one that is both writable and executable.
    Flags(u64),
    /// The section has this alignment (`sh_addralign`). With 0 in a loaded section **a real Xen overwrites its own memory**.
    Alignment(u64),
    /// The section contains these bytes instead. Empty metadata **makes a real Xen from 4.14 on read far outside of it**.
    Contents(Vec<u8>),
    /// The section ends after this many bytes.
    Truncated(usize),
    /// The section contains these bytes from this offset on, up to its end.
    Patched(usize, Vec<u8>),
    /// The section's relocations name symbol 0. **Xen 4.7.0 to 4.7.3, 4.8.0, 4.8.1 and 4.9.0 crash on that.**
    NullSymbol,
}

/// A symbol that the file defines.
#[derive(Clone, Debug)]
pub(super) struct Symbol {
    pub(super) name: String,
    pub(super) kind: SymbolType,
    pub(super) bind: SymbolBind,
    pub(super) section: &'static str,
    pub(super) value: u64,
    pub(super) size: u64,
}

/// The bytes of a file: header, what the sections contain, section headers. Local symbols come first.
pub(super) fn write(
    architecture: Architecture,
    mut sections: Vec<Section>,
    symbols: &[Symbol],
    defects: &[(String, Defect)],
) -> Vec<u8> {
    remove_missing(&mut sections, defects);
    apply(defects, &mut sections);
    let mut tables = tables(&sections, symbols);
    remove_missing(&mut tables, defects);
    let mut names = vec![0];
    let name_offsets: Vec<u32> =
        sections.iter().chain(&tables).map(|section| add_string(&mut names, &section.name)).collect();
    if let Some(table) = tables.iter_mut().find(|table| table.name == ".shstrtab") {
        table.contents = names;
    }
    apply(defects, &mut tables);
    sections.append(&mut tables);
    lay_out(architecture, &sections, &name_offsets)
}

fn remove_missing(sections: &mut Vec<Section>, defects: &[(String, Defect)]) {
    let is_missing =
        |section: &Section| defects.iter().any(|(name, defect)| *name == section.name && *defect == Defect::Missing);
    sections.retain(|section| !is_missing(section));
}

fn apply(defects: &[(String, Defect)], sections: &mut [Section]) {
    for (name, defect) in defects {
        sections.iter_mut().filter(|section| section.name == *name).for_each(|section| section.apply(defect));
    }
}

/// Relocations, symbols and strings. They come last, so the indexes of the other sections don't change.
fn tables(sections: &[Section], defined: &[Symbol]) -> Vec<Section> {
    let mut symbols = SymbolTable::new(sections);
    let (local, global) = defined.split_at(defined.partition_point(|symbol| symbol.bind == elf::STB_LOCAL));
    for symbol in local {
        symbols.define(symbol);
    }
    let first_global = symbols.len();
    for symbol in global {
        symbols.define(symbol);
    }

    let mut tables = Vec::new();
    for (section, index) in sections.iter().zip(1..) {
        if !section.relocations.is_empty() {
            let name = format!(".rela{}", section.name);
            let entries = section.relocations.iter().flat_map(|relocation| symbols.relocation(relocation)).collect();
            tables.push(Section {
                link: ".symtab",
                info: index,
                entry_size: size_of::<Rela64<LE>>(),
                ..Section::new(name, elf::SHT_RELA, elf::SHF_INFO_LINK.0, 8, entries)
            });
        }
    }
    tables.push(Section {
        link: ".strtab",
        info: first_global,
        entry_size: size_of::<Sym64<LE>>(),
        ..Section::new(".symtab", elf::SHT_SYMTAB, 0, 8, symbols.entries)
    });
    tables.push(Section::new(".strtab", elf::SHT_STRTAB, 0, 1, symbols.strings));
    tables.push(Section::new(".shstrtab", elf::SHT_STRTAB, 0, 1, Vec::new()));
    tables
}

/// Appends to a string table, which begins with the empty string. Returns the offset.
fn add_string(table: &mut Vec<u8>, string: &str) -> u32 {
    if string.is_empty() {
        return 0;
    }
    let offset = small(table.len());
    table.extend(string.bytes().chain([0]));
    offset
}

/// The symbol table: symbol 0, one for each section under the section's own index, then those with names.
struct SymbolTable<'a> {
    sections: &'a [Section],
    entries: Vec<u8>,
    strings: Vec<u8>,
}

impl<'a> SymbolTable<'a> {
    fn new(sections: &'a [Section]) -> Self {
        let mut table = Self { sections, entries: Vec::new(), strings: vec![0] };
        table.push("", elf::STB_LOCAL, elf::STT_NOTYPE, 0, 0, 0);
        for index in (1..).take(sections.len()) {
            table.push("", elf::STB_LOCAL, elf::STT_SECTION, index, 0, 0);
        }
        table
    }

    fn len(&self) -> u32 {
        small(self.entries.len() / size_of::<Sym64<LE>>())
    }

    fn push(&mut self, name: &str, bind: SymbolBind, kind: SymbolType, section: u32, value: u64, size: u64) {
        let symbol = Sym64 {
            st_name: U32::new(LE, add_string(&mut self.strings, name)),
            st_info: SymbolInfo::new(bind, kind),
            st_other: SymbolOther(0),
            st_shndx: U16::new(LE, symbol_section(section)),
            st_value: U64::new(LE, value),
            st_size: U64::new(LE, size),
        };
        self.entries.extend(bytes_of(&symbol));
    }

    fn define(&mut self, symbol: &Symbol) {
        let section = section_index(self.sections, symbol.section);
        self.push(&symbol.name, symbol.bind, symbol.kind, section, symbol.value, symbol.size);
    }

    /// The entry of a relocation. Adds the symbol that it refers to, if the file doesn't define that.
    fn relocation(&mut self, relocation: &Relocation) -> Vec<u8> {
        let symbol = match &relocation.target {
            Target::Section(name) => section_index(self.sections, name),
            Target::Undefined(name) => {
                let index = self.len();
                self.push(name, elf::STB_GLOBAL, elf::STT_NOTYPE, 0, 0, 0);
                index
            }
            Target::Null => 0,
        };
        let entry = Rela64 {
            r_offset: U64::new(LE, relocation.offset),
            r_info: U64::new(LE, (u64::from(symbol) << 32) | u64::from(relocation.kind.0)),
            r_addend: I64::new(LE, relocation.addend),
        };
        bytes_of(&entry).to_vec()
    }
}

/// The index of the first section of this name, or 0, the undefined section.
fn section_index(sections: &[Section], name: &str) -> u32 {
    sections.iter().zip(1..).find(|(section, _)| section.name == name).map_or(0, |(_, index)| index)
}

fn lay_out(architecture: Architecture, sections: &[Section], name_offsets: &[u32]) -> Vec<u8> {
    let mut file = vec![0; size_of::<FileHeader64<LE>>()];
    let mut headers = vec![0; size_of::<SectionHeader64<LE>>()];
    for (section, name) in sections.iter().zip(name_offsets) {
        // As aligned as any section needs, whatever alignment a defect sets.
        file.resize(file.len().next_multiple_of(16), 0);
        let header = SectionHeader64 {
            sh_name: U32::new(LE, *name),
            sh_type: U32::new(LE, section.kind),
            sh_flags: U64::new(LE, section.flags),
            sh_addr: U64::new(LE, 0),
            sh_offset: U64::new(LE, to_u64(file.len())),
            sh_size: U64::new(LE, to_u64(section.contents.len()).wrapping_add(section.zeros)),
            sh_link: U32::new(LE, section_index(sections, section.link)),
            sh_info: U32::new(LE, section.info),
            sh_addralign: U64::new(LE, section.alignment),
            sh_entsize: U64::new(LE, to_u64(section.entry_size)),
        };
        headers.extend(bytes_of(&header));
        file.extend(&section.contents);
    }
    file.resize(file.len().next_multiple_of(16), 0);
    let header = FileHeader64 {
        e_ident: Ident {
            magic: ELFMAG,
            class: elf::ELFCLASS64,
            data: elf::ELFDATA2LSB,
            version: elf::EV_CURRENT,
            os_abi: elf::ELFOSABI_NONE,
            abi_version: 0,
            padding: [0; 7],
        },
        e_type: U16::new(LE, elf::ET_REL),
        e_machine: U16::new(LE, elf::Machine(architecture.raw())),
        e_version: U32::new(LE, elf::EV_CURRENT.0.into()),
        e_entry: U64::new(LE, 0),
        e_phoff: U64::new(LE, 0),
        e_shoff: U64::new(LE, to_u64(file.len())),
        e_flags: U32::new(LE, elf::FileFlags(0)),
        e_ehsize: U16::new(LE, narrow(size_of::<FileHeader64<LE>>())),
        e_phentsize: U16::new(LE, 0),
        e_phnum: U16::new(LE, 0),
        e_shentsize: U16::new(LE, narrow(size_of::<SectionHeader64<LE>>())),
        e_shnum: U16::new(LE, narrow(sections.len() + 1)),
        e_shstrndx: U16::new(LE, symbol_section(section_index(sections, ".shstrtab"))),
    };
    file.iter_mut().zip(bytes_of(&header)).for_each(|(to, from)| *to = *from);
    file.append(&mut headers);
    file
}

// A file that is too large for its fields is written all the same: Xen refuses more than 2 MiB, and more than 1023 sections.

fn small(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

fn symbol_section(index: u32) -> SymbolSection {
    SymbolSection(u16::try_from(index).unwrap_or(u16::MAX))
}

fn narrow(len: usize) -> u16 {
    u16::try_from(len).unwrap_or(u16::MAX)
}
