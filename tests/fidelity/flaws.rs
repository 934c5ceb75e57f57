//! Flaws of payloads that a real Xen notices, and survives.
//!
//! Left out on purpose: special sections without memory, alignments of 0, empty metadata, functions with neither name
//! nor address or with one that isn't Xen's, sections with an end that wraps around at 64 bits, code that isn't linked, symbol tables
//! without strings, relocations of section 0, hooks other than those that return a number, and payloads that patch a function twice
//! or another payload, which is gone when they are reverted.

use xen_livepatch::Release;
use xen_livepatch::payload::{Architecture, HookKind};
use xen_livepatch::sim::{Defect, FunctionPatch, HookCode, PayloadBuilder, SimulatedXen};

use super::host::PATCHED;
use super::random::Random;
use super::recipe::Ingredients;
use super::tables::Entry;

#[derive(Clone, Debug)]
pub enum Flaw {
    Section(&'static str, Defect),
    /// Bytes of the file's header.
    Header(usize, &'static [u8]),
    /// Bytes of a section's header.
    SectionHeader(&'static str, usize, &'static [u8]),
    /// A section of zeros besides.
    Extra(&'static str, usize),
    /// A hook, and another of the same kind.
    TwoHooks(HookKind),
    /// Metadata without its NUL.
    OpenMetadata,
    /// A function that Xen doesn't have.
    UnknownFunction(&'static str),
    /// So many NOPs in a function of this size.
    Nops(u32, u32),
    /// A function at this offset in Xen's image, whose code is not as it expects.
    Address(u64),
    /// The function's address comes from a relocation, and its name is NULL.
    AddressByRelocation,
    /// A pointer to one of Xen's functions, relocated with this type.
    Relocation(u16),
    /// Alternatives or indirect calls.
    Table(Entry),
    /// Section of zeros that is not loaded.
    UnloadedZeros(u64),
    /// Relocations without addends, none of them.
    NoRelocations,
    /// Relocations for a section that is empty.
    EmptyTarget,
    /// So many thousandths of the file.
    Cut(usize),
    /// Bytes past its end.
    Tail(usize),
    /// No ELF file at all.
    Noise(usize),
    /// Nothing.
    Empty,
}

use Flaw::{Extra, Header, Section, SectionHeader};

const NOTES: [&str; 3] = [".livepatch.depends", ".livepatch.xen_depends", ".note.gnu.build-id"];

const MISSING: [&str; 9] = [
    ".livepatch.depends",
    ".livepatch.xen_depends",
    ".note.gnu.build-id",
    ".livepatch.funcs",
    ".text",
    ".rodata.str",
    ".symtab",
    ".shstrtab",
    ".data",
];

const TRUNCATED: [(&str, &[usize]); 11] = [
    (".livepatch.funcs", &[0, 1, 103, 105]),
    (".livepatch.hooks.preapply", &[0, 4]),
    (".livepatch.hooks.prerevert", &[0, 4]),
    (".livepatch.hooks.load", &[0, 4]),
    (".livepatch.hooks.unload", &[0, 4]),
    (".modinfo", &[1, 3]),
    (".symtab", &[0, 23, 24, 48, 120, 192]),
    (".strtab", &[1, 3]),
    (".shstrtab", &[1, 4]),
    (".rela.livepatch.funcs", &[25]),
    (".rela.text", &[1, 25]),
];

/// Bytes to write at an offset in a section.
const PATCHED_BYTES: [(&str, usize, &[u8]); 38] = [
    // Functions: new size, old size, version, expectation.
    (".livepatch.funcs", 24, &[0; 4]),
    (".livepatch.funcs", 28, &[0; 4]),
    (".livepatch.funcs", 28, &[4, 0, 0, 0]),
    (".livepatch.funcs", 28, &[5, 0, 0, 0]),
    (".livepatch.funcs", 28, &[8, 0, 0, 0]),
    (".livepatch.funcs", 28, &[9, 0, 0, 0]),
    (".livepatch.funcs", 28, &[0xff; 4]),
    (".livepatch.funcs", 32, &[0]),
    (".livepatch.funcs", 32, &[1]),
    (".livepatch.funcs", 32, &[3]),
    (".livepatch.funcs", 72, &[0x01]),
    (".livepatch.funcs", 72, &[0x3f]),
    (".livepatch.funcs", 72, &[0x41]),
    (".livepatch.funcs", 72, &[0x83]),
    (".livepatch.funcs", 72, &[0xfe]),
    // Symbols: name; common, reserved, out of range, undefined.
    (".symtab", 24, &[0xff, 0xff, 0xff, 0x7f]),
    (".symtab", 24, &[0xff; 4]),
    (".symtab", 30, &[0xf2, 0xff]),
    (".symtab", 30, &[0x00, 0xff]),
    (".symtab", 30, &[0x84, 0x03]),
    (".symtab", 30, &[0, 0]),
    (".strtab", 0, b"x"),
    (".shstrtab", 0, b"x"),
    // Relocations: offset, type, symbol, addend.
    (".rela.text", 0, &[0xff, 0xff, 0, 0, 0, 0, 0, 0]),
    (".rela.text", 0, &[0xff; 8]),
    (".rela.text", 8, &[99]),
    (".rela.text", 12, &[0xff, 0xff, 0, 0]),
    (".rela.text", 12, &[0xff; 4]),
    (".rela.text", 16, &[0, 0, 0, 0, 0, 1, 0, 0]),
    (".rela.text", 16, &[0, 0, 0, 0, 0, 0xff, 0xff, 0xff]),
    (".rela.livepatch.funcs", 0, &[0xff, 0xff, 0, 0, 0, 0, 0, 0]),
    (".rela.livepatch.funcs", 0, &[0xff; 8]),
    (".rela.livepatch.funcs", 8, &[99]),
    (".rela.livepatch.funcs", 12, &[0xff, 0xff, 0, 0]),
    (".rela.rodata.needed", 0, &[1]),
    (".rela.rodata.needed", 8, &[2]),
    (".rela.rodata.needed", 8, &[4]),
    (".rela.rodata.needed", 12, &[0xff, 0xff, 0, 0]),
];

/// In a note: size of the owner, of the build-id, type, owner.
const PATCHED_NOTES: [(usize, &[u8]); 14] = [
    (0, &[0]),
    (0, &[3]),
    (0, &[5]),
    (0, &[8]),
    (0, &[0xff; 4]),
    (4, &[0]),
    (4, &[19]),
    (4, &[21]),
    (4, &[0xff; 4]),
    (4, &[0xfb, 0xff, 0xff, 0xff]),
    (8, &[0]),
    (8, &[1]),
    (12, b"Xen"),
    (15, b"x"),
];

const FLAGS: [(&str, u64); 14] = [
    (".text", 7),
    (".livepatch.funcs", 7),
    (".rodata.str", 7),
    (".livepatch.depends", 7),
    (".rodata.str", 3),
    (".livepatch.depends", 3),
    (".livepatch.xen_depends", 3),
    (".modinfo", 3),
    (".rodata.str", 0),
    (".rodata.needed", 0),
    (".rodata.defined", 0),
    (".data", 0),
    (".data", 2),
    (".bss", 2),
];

const ALIGNMENTS: [(&str, u64); 17] = [
    (".text", 0),
    (".text", 1 << 63),
    (".rodata.str", 1 << 20),
    (".livepatch.depends", 1 << 20),
    (".livepatch.depends", 1 << 30),
    (".livepatch.depends", 1 << 63),
    (".livepatch.funcs", 1 << 21),
    (".text", 1),
    (".text", 3),
    (".text", 64),
    (".text", 1 << 14),
    (".livepatch.funcs", 1),
    (".livepatch.funcs", 4096),
    (".rodata.str", 6),
    (".rodata.str", 1 << 13),
    (".livepatch.depends", 1),
    (".symtab", 5),
];

const HEADERS: [(usize, &[u8]); 28] = [
    (0, b"x"),
    (1, b"e"),
    (4, &[1]),
    (5, &[2]),
    (6, &[0]),
    (6, &[2]),
    (7, &[3]),
    (7, &[9]),
    (7, &[97]),
    (8, &[1]),
    (9, &[1]),
    (16, &[2]),
    (16, &[3]),
    (18, &[3]),
    (18, &[183]),
    (20, &[0]),
    (20, &[2]),
    (24, &[1]),
    (40, &[0xff; 8]),
    (40, &[0, 0, 1]),
    (48, &[1]),
    (56, &[1]),
    (58, &[0]),
    (58, &[63]),
    (60, &[0, 0]),
    (60, &[0, 4]),
    (62, &[0, 0]),
    (62, &[0xff, 0xff]),
];

// Fields of a section's header.
const NAME: usize = 0;
const KIND: usize = 4;
const ADDRESS: usize = 16;
const OFFSET: usize = 24;
const SIZE: usize = 32;
const LINK: usize = 40;
const ALIGNMENT: usize = 48;
const ENTRY_SIZE: usize = 56;

const SECTION_HEADERS: [(&str, usize, &[u8]); 28] = [
    (".rela.rodata.needed", ENTRY_SIZE, &[25]),
    (".rela.rodata.needed", ENTRY_SIZE, &[48]),
    (".rela.rodata.needed", ENTRY_SIZE, &[0xff; 8]),
    (".rela.text", ENTRY_SIZE, &[0, 1]),
    (".text", NAME, &[0xff, 0xff, 0xff, 0x7f]),
    (".symtab", NAME, &[0xff; 4]),
    (".rodata.str", KIND, &[2]),
    (".rela.text", KIND, &[9]),
    (".rela.livepatch.funcs", KIND, &[9]),
    (".strtab", KIND, &[1]),
    (".shstrtab", KIND, &[1]),
    (".text", ADDRESS, &[1]),
    (".text", ADDRESS, &[16]),
    (".rodata.str", ADDRESS, &[1]),
    (".livepatch.depends", ADDRESS, &[2]),
    (".text", OFFSET, &[63, 0]),
    (".text", OFFSET, &[0xff; 8]),
    (".strtab", OFFSET, &[0xff, 0xff, 0xff, 0x7f]),
    (".data", SIZE, &[0, 0, 0, 0, 0, 1]),
    (".livepatch.depends", SIZE, &[0xff; 7]),
    (".rela.text", LINK, &[0]),
    (".rela.livepatch.funcs", LINK, &[1]),
    (".symtab", LINK, &[1]),
    (".livepatch.depends", ALIGNMENT, &[6]),
    (".rela.text", ENTRY_SIZE, &[0]),
    (".rela.livepatch.funcs", ENTRY_SIZE, &[23]),
    (".symtab", ENTRY_SIZE, &[0]),
    (".symtab", ENTRY_SIZE, &[25]),
];

const EXTRAS: [(&str, usize); 17] = [
    (".ex_table", 0),
    (".ex_table", 16),
    (".bug_frames.0", 0),
    (".bug_frames.0", 5),
    (".bug_frames.0", 8),
    (".bug_frames.1", 12),
    (".bug_frames.2", 7),
    (".bug_frames.3", 1),
    (".altinstructions", 5),
    (".ex_table", 5),
    (".livepatch.hooks.load", 5),
    (".livepatch.hooks.preapply", 5),
    (".livepatch.hooks.preapply", 8),
    (".livepatch.hooks.postrevert", 16),
    (".livepatch.xen_depends", 5),
    (".modinfo", 3),
    (".unheard.of", 10),
];

impl Flaw {
    pub fn random(random: &mut Random, of: &SimulatedXen) -> Self {
        let (release, arm) = (of.release(), of.architecture() == Architecture::AArch64);
        let minor = release.minor();
        if arm && random.percent(15) {
            return Self::of_arm(random);
        }
        match random.weighted(&[
            (12, 12),
            (10, 13),
            (9, 0),
            (10, 1),
            (20, 2),
            (9, 3),
            (8, 4),
            (6, 5),
            (14, 6),
            (13, 7),
            (9, 8),
            (12, 9),
            (3, 10),
            (3, 11),
        ]) {
            0 => Section(random.of(&MISSING), Defect::Missing),
            1 => {
                let (section, lengths) = random.of(&TRUNCATED);
                Section(section, Defect::Truncated(random.of(lengths)))
            }
            2 => {
                // Before there were expectations, a second function has its new address there.
                let hurts =
                    |section, offset| release < Release::V4_14.at(0) && (section, offset) == (".livepatch.funcs", 72);
                let harmless: Vec<_> =
                    PATCHED_BYTES.into_iter().filter(|(at, offset, _)| !hurts(*at, *offset)).collect();
                let (section, offset, bytes) = random.of(&harmless);
                Section(section, Defect::Patched(offset, bytes.into()))
            }
            3 => {
                let (offset, bytes) = random.of(&PATCHED_NOTES);
                Section(random.of(&NOTES), Defect::Patched(offset, bytes.into()))
            }
            4 => {
                let (section, flags) = random.of(&FLAGS);
                Section(section, Defect::Flags(flags))
            }
            5 => {
                let (section, alignment) = random.of(&ALIGNMENTS);
                Section(section, Defect::Alignment(alignment))
            }
            6 => {
                let (offset, bytes) = random.of(&HEADERS);
                Header(offset, bytes)
            }
            7 => {
                let (section, offset, bytes) = random.of(&SECTION_HEADERS);
                SectionHeader(section, offset, bytes)
            }
            // One that says nothing; before it was checked, Xen would have acted on it.
            8 if minor >= 17 && random.percent(10) => Extra(".altinstructions", 14),
            8 => {
                let (section, len) = random.of(&EXTRAS);
                Extra(section, len)
            }
            9 => {
                let len = random.below(40);
                random.of(&[
                    Self::TwoHooks(HookKind::PreApply),
                    Self::TwoHooks(HookKind::PostRevert),
                    Self::TwoHooks(HookKind::Load),
                    Self::OpenMetadata,
                    Self::UnknownFunction("no_such_function"),
                    Self::UnknownFunction(""),
                    Self::Nops(32, 64),
                    Self::Nops(6, 5),
                    Section(".text", Defect::NullSymbol),
                    Section(".livepatch.funcs", Defect::NullSymbol),
                    Section(".livepatch.depends", Defect::Truncated(len)),
                    Section(".livepatch.xen_depends", Defect::Truncated(len)),
                    Section(".note.gnu.build-id", Defect::Truncated(len)),
                ])
            }
            12 => Self::Table(Entry::random(random, release, arm)),
            // Before there were expectations, an address somewhere would be patched.
            13 if minor >= 14 && random.percent(30) => Self::Address(random.of(&[0x20_1000, 0x20_0040, 0x20_2220])),
            13 => random.of(&[
                Self::AddressByRelocation,
                Self::UnloadedZeros(4 << 20),
                Self::UnloadedZeros(16),
                Self::NoRelocations,
                Self::EmptyTarget,
            ]),
            10 if random.percent(50) => Self::Cut(random.below(1000)),
            10 => random.of(&[Self::Tail(1), Self::Tail(5000)]),
            _ => random.of(&[Self::Noise(1), Self::Noise(64), Self::Noise(5000), Self::Empty]),
        }
    }

    /// A flaw of Arm alone.
    fn of_arm(random: &mut Random) -> Self {
        match random.below(10) {
            // All that there are, and some in between and around that there are not.
            0..7 => Self::Relocation(u16::try_from(random.below(50)).unwrap() + 255),
            7 => Self::Relocation(random.of(&[0, 1, 0x1_00, 1024])),
            8 => Header(18, &[62]),
            _ => Self::Nops(random.of(&[1, 2, 3, 6, 30]), 32),
        }
    }
}

/// The address of Xen's image, roughly.
fn image(of: &Ingredients) -> u64 {
    match of.is_arm() {
        true if of.release < Release::V4_18.at(0) => 0,
        true => 4 << 39,
        false if of.release < Release::V4_14.at(0) => 0xffff_82d0_8000_0000,
        false => 0xffff_82d0_4000_0000,
    }
}

/// The payload with the flaw, or without it if it has no such part.
pub fn build(flaw: &Flaw, builder: PayloadBuilder, of: &Ingredients) -> Vec<u8> {
    if let Flaw::Table(entry) = flaw {
        return entry.build(builder, of);
    }
    let builder = match flaw {
        Flaw::Section(section, defect) => builder.defect(*section, defect.clone()),
        Flaw::Extra(section, len) => builder.section(*section, vec![0; *len]),
        Flaw::TwoHooks(hook) => builder.hook(*hook, HookCode::returns(0)).hook(*hook, HookCode::returns(0)),
        Flaw::OpenMetadata => builder.modinfo("open"),
        Flaw::UnknownFunction(name) => builder.function(FunctionPatch::returning(*name, "unknown")),
        Flaw::Nops(count, size) => builder.function(FunctionPatch::nop(PATCHED, *count).old_size(*size)),
        Flaw::Address(offset) => {
            let function = FunctionPatch::returning("somewhere", "else").at(image(of) + offset).old_size(40);
            builder.function(function.expecting(&[0xcc; 31]))
        }
        Flaw::AddressByRelocation => builder.needs(PATCHED),
        Flaw::Relocation(kind) => {
            builder.needs("printk").defect(".rela.rodata.needed", Defect::Patched(8, kind.to_le_bytes().into()))
        }
        Flaw::UnloadedZeros(len) => builder.bss(*len).defect(".bss", Defect::Flags(0)),
        Flaw::NoRelocations | Flaw::EmptyTarget => builder.needs("printk"),
        _ => builder,
    };
    let mut file = builder.build();
    match flaw {
        Flaw::Header(offset, bytes) => put(&mut file, *offset, bytes),
        Flaw::SectionHeader(section, offset, bytes) => {
            if let Some(header) = section_header(&file, section.as_bytes()) {
                put(&mut file, header + offset, bytes);
            }
        }
        Flaw::AddressByRelocation => address_by_relocation(&mut file),
        Flaw::NoRelocations => {
            if let Some(header) = section_header(&file, b".rela.rodata.needed") {
                put(&mut file, header + KIND, &[9]);
                put(&mut file, header + SIZE, &[0; 8]);
            }
        }
        Flaw::EmptyTarget => {
            if let Some(header) = section_header(&file, b".rodata.needed") {
                put(&mut file, header + SIZE, &[0; 8]);
            }
        }
        Flaw::Cut(thousandths) => file.truncate(file.len() * thousandths / 1000),
        Flaw::Tail(len) => file.resize(file.len() + len, 0x5a),
        Flaw::Noise(len) => file = vec![0x5a; *len],
        Flaw::Empty => file.clear(),
        _ => {}
    }
    file
}

fn put(file: &mut [u8], offset: usize, bytes: &[u8]) {
    file[offset..offset + bytes.len()].copy_from_slice(bytes);
}

/// Makes the relocation of the first function's name one of its address, against the symbol of Xen's function.
fn address_by_relocation(file: &mut [u8]) {
    const OLD_ADDRESS: usize = 16;
    let section = |name| section_header(file, name).map(|header| number(file, header + OFFSET, 8));
    let (Some(symbols), Some(relocations)) = (section(b".symtab"), section(b".rela.livepatch.funcs")) else { return };
    let count = section_header(file, b".symtab").map_or(0, |header| number(file, header + SIZE, 8) / 24);
    let strings = section(b".strtab").unwrap();
    let named = |index: &usize| {
        let entry = symbols + 24 * index;
        let undefined = number(file, entry + 6, 2) == 0;
        undefined && file[strings + number(file, entry, 4)..].starts_with(PATCHED.as_bytes())
    };
    // The name of the first function, if the function has one.
    if number(file, relocations, 8) != 0 {
        return;
    }
    if let Some(symbol) = (1..count).find(named) {
        put(file, relocations, &OLD_ADDRESS.to_le_bytes());
        put(file, relocations + 12, &u32::try_from(symbol).unwrap().to_le_bytes());
        put(file, relocations + 16, &[0; 8]);
    }
}

fn number(file: &[u8], offset: usize, len: usize) -> usize {
    file[offset..offset + len].iter().rev().fold(0, |number, byte| number << 8 | usize::from(*byte))
}

/// The offset of the header of the first section of this name.
fn section_header(file: &[u8], name: &[u8]) -> Option<usize> {
    let (table, count, names) = (number(file, 40, 8), number(file, 60, 2), number(file, 62, 2));
    let header = |index| table + 64 * index;
    let strings = number(file, header(names) + OFFSET, 8);
    (1..count).map(header).find(|header| {
        let at = strings + number(file, *header + NAME, 4);
        file[at..].starts_with(name) && file[at + name.len()] == 0
    })
}
