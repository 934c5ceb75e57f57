//! Flaws of payloads. Those that the simulated Xen does not survive are not tried, see `generator.rs`.
//!
//! Left out on purpose: special sections without memory, alignments of 0, empty metadata, functions with neither name
//! nor address or with one that isn't Xen's, sections with an end that wraps around at 64 bits, code that isn't linked, symbol tables
//! without strings, relocations of section 0, hooks other than those that return a number, and payloads that patch a function twice
//! or another payload, which is gone when they are reverted.

use super::fields::section::{ADDRESS, ALIGNMENT, ENTRY_SIZE, HEADER, LINK, NAME, OFFSET, SIZE, TYPE};
use super::fields::{self, Field, function, header, relocation};
use super::host::PATCHED;
use super::image::Image;
use super::random::Random;
use super::recipe::Ingredients;
use super::tables::Entry;
use crate::prelude::*;

#[derive(Clone, Debug)]
pub enum Flaw {
    Section(&'static str, Defect),
    /// Bytes of the file's header.
    Header(usize, &'static [u8]),
    /// Bytes of a section's header.
    SectionHeader(&'static str, Field, &'static [u8]),
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
const PATCHED_BYTES: [(&str, usize, &[&[u8]]); 18] = [
    // Functions: new size, old size, version, expectation.
    (".livepatch.funcs", 24, &[&[0; 4]]),
    (".livepatch.funcs", 28, &[&[0; 4], &[4, 0, 0, 0], &[5, 0, 0, 0], &[8, 0, 0, 0], &[9, 0, 0, 0], &[0xff; 4]]),
    (".livepatch.funcs", 32, &[&[0], &[1], &[3]]),
    (".livepatch.funcs", 72, &[&[0x01], &[0x3f], &[0x41], &[0x83], &[0xfe]]),
    // Symbols: name; common, reserved, out of range, undefined.
    (".symtab", 24, &[&[0xff, 0xff, 0xff, 0x7f], &[0xff; 4]]),
    (".symtab", 30, &[&[0xf2, 0xff], &[0x00, 0xff], &[0x84, 0x03], &[0, 0]]),
    (".strtab", 0, &[b"x"]),
    (".shstrtab", 0, &[b"x"]),
    // Relocations: offset, type, symbol, addend.
    (".rela.text", 0, &[&[0xff, 0xff, 0, 0, 0, 0, 0, 0], &[0xff; 8]]),
    (".rela.text", 8, &[&[99]]),
    (".rela.text", 12, &[&[0xff, 0xff, 0, 0], &[0xff; 4]]),
    (".rela.text", 16, &[&[0, 0, 0, 0, 0, 1, 0, 0], &[0, 0, 0, 0, 0, 0xff, 0xff, 0xff]]),
    (".rela.livepatch.funcs", 0, &[&[0xff, 0xff, 0, 0, 0, 0, 0, 0], &[0xff; 8]]),
    (".rela.livepatch.funcs", 8, &[&[99]]),
    (".rela.livepatch.funcs", 12, &[&[0xff, 0xff, 0, 0]]),
    (".rela.rodata.needed", 0, &[&[1]]),
    (".rela.rodata.needed", 8, &[&[2], &[4]]),
    (".rela.rodata.needed", 12, &[&[0xff, 0xff, 0, 0]]),
];

/// In a note: size of the owner, of the build-id, type, owner.
const PATCHED_NOTES: [(usize, &[&[u8]]); 5] = [
    (0, &[&[0], &[3], &[5], &[8], &[0xff; 4]]),
    (4, &[&[0], &[19], &[21], &[0xff; 4], &[0xfb, 0xff, 0xff, 0xff]]),
    (8, &[&[0], &[1]]),
    (12, &[b"Xen"]),
    (15, &[b"x"]),
];

const FLAGS: [(&str, &[u64]); 10] = [
    (".text", &[7]),
    (".livepatch.funcs", &[7]),
    (".rodata.str", &[0, 3, 7]),
    (".livepatch.depends", &[3, 7]),
    (".livepatch.xen_depends", &[3]),
    (".modinfo", &[3]),
    (".rodata.needed", &[0]),
    (".rodata.defined", &[0]),
    (".data", &[0, 2]),
    (".bss", &[2]),
];

const ALIGNMENTS: [(&str, &[u64]); 5] = [
    (".text", &[0, 1, 3, 64, 1 << 14, 1 << 63]),
    (".rodata.str", &[6, 1 << 13, 1 << 20]),
    (".livepatch.depends", &[1, 1 << 20, 1 << 30, 1 << 63]),
    (".livepatch.funcs", &[1, 4096, 1 << 21]),
    (".symtab", &[5]),
];

const HEADERS: [(usize, &[&[u8]]); 18] = [
    (0, &[b"x"]),
    (1, &[b"e"]),
    (4, &[&[1]]),
    (5, &[&[2]]),
    (6, &[&[0], &[2]]),
    (7, &[&[3], &[9], &[97]]),
    (8, &[&[1]]),
    (9, &[&[1]]),
    (16, &[&[2], &[3]]),
    (18, &[&[3], &[183]]),
    (20, &[&[0], &[2]]),
    (24, &[&[1]]),
    (40, &[&[0xff; 8], &[0, 0, 1]]),
    (48, &[&[1]]),
    (56, &[&[1]]),
    (58, &[&[0], &[63]]),
    (60, &[&[0, 0], &[0, 4]]),
    (62, &[&[0, 0], &[0xff, 0xff]]),
];

const SECTION_HEADERS: [(&str, Field, &[&[u8]]); 22] = [
    (".text", NAME, &[&[0xff, 0xff, 0xff, 0x7f]]),
    (".symtab", NAME, &[&[0xff; 4]]),
    (".rodata.str", TYPE, &[&[2]]),
    (".rela.text", TYPE, &[&[9]]),
    (".rela.livepatch.funcs", TYPE, &[&[9]]),
    (".strtab", TYPE, &[&[1]]),
    (".shstrtab", TYPE, &[&[1]]),
    (".text", ADDRESS, &[&[1], &[16]]),
    (".rodata.str", ADDRESS, &[&[1]]),
    (".livepatch.depends", ADDRESS, &[&[2]]),
    (".text", OFFSET, &[&[63, 0], &[0xff; 8]]),
    (".strtab", OFFSET, &[&[0xff, 0xff, 0xff, 0x7f]]),
    (".data", SIZE, &[&[0, 0, 0, 0, 0, 1]]),
    (".livepatch.depends", SIZE, &[&[0xff; 7]]),
    (".rela.text", LINK, &[&[0]]),
    (".rela.livepatch.funcs", LINK, &[&[1]]),
    (".symtab", LINK, &[&[1]]),
    (".livepatch.depends", ALIGNMENT, &[&[6]]),
    (".rela.rodata.needed", ENTRY_SIZE, &[&[25], &[48], &[0xff; 8]]),
    (".rela.text", ENTRY_SIZE, &[&[0], &[0, 1]]),
    (".rela.livepatch.funcs", ENTRY_SIZE, &[&[23]]),
    (".symtab", ENTRY_SIZE, &[&[0], &[25]]),
];

const EXTRAS: [(&str, &[usize]); 12] = [
    (".ex_table", &[0, 5, 16]),
    (".bug_frames.0", &[0, 5, 8]),
    (".bug_frames.1", &[12]),
    (".bug_frames.2", &[7]),
    (".bug_frames.3", &[1]),
    (".altinstructions", &[5]),
    (".livepatch.hooks.load", &[5]),
    (".livepatch.hooks.preapply", &[5, 8]),
    (".livepatch.hooks.postrevert", &[16]),
    (".livepatch.xen_depends", &[5]),
    (".modinfo", &[3]),
    (".unheard.of", &[10]),
];

impl Flaw {
    pub fn random(random: &mut Random, of: &SimulatedXen) -> Self {
        let (minor, arm) = (of.release().minor(), of.architecture() == Architecture::AArch64);
        if arm && random.percent(15) {
            return Self::of_arm(random);
        }
        match random.below(138) {
            0..12 => Self::Table(Entry::random(random, arm)),
            // Before there were expectations, an address somewhere would be patched.
            12..22 if minor >= 14 && random.percent(30) => Self::Address(random.of(&[0x20_1000, 0x20_0040, 0x20_2220])),
            12..22 => random.of(&[
                Self::AddressByRelocation,
                Self::UnloadedZeros(4 << 20),
                Self::UnloadedZeros(16),
                Self::NoRelocations,
                Self::EmptyTarget,
            ]),
            22..31 => Section(random.of(&MISSING), Defect::Missing),
            31..41 => {
                let (section, lengths) = random.of(&TRUNCATED);
                Section(section, Defect::Truncated(random.of(lengths)))
            }
            41..61 => {
                // Before there were expectations, a second function has its new address there.
                let hurts = |section, offset| minor < 14 && (section, offset) == (".livepatch.funcs", 72);
                let harmless = PATCHED_BYTES.into_iter().filter(|(section, offset, _)| !hurts(*section, *offset));
                let (section, offset, choices) = random.of(&harmless.collect::<Vec<_>>());
                Section(section, Defect::Patched(offset, random.of(choices).into()))
            }
            61..70 => {
                let (offset, choices) = random.of(&PATCHED_NOTES);
                Section(random.of(&NOTES), Defect::Patched(offset, random.of(choices).into()))
            }
            70..78 => {
                let (section, choices) = random.of(&FLAGS);
                Section(section, Defect::Flags(random.of(choices)))
            }
            78..84 => {
                let (section, choices) = random.of(&ALIGNMENTS);
                Section(section, Defect::Alignment(random.of(choices)))
            }
            84..98 => {
                let (offset, choices) = random.of(&HEADERS);
                Header(offset, random.of(choices))
            }
            98..111 => {
                let (section, field, choices) = random.of(&SECTION_HEADERS);
                SectionHeader(section, field, random.of(choices))
            }
            // One that says nothing.
            111..120 if random.percent(10) => Extra(".altinstructions", 14),
            111..120 => {
                let (section, lengths) = random.of(&EXTRAS);
                Extra(section, random.of(lengths))
            }
            120..122 => Section(random.of(&[".text", ".livepatch.funcs"]), Defect::NullSymbol),
            122..132 => {
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
                    Section(".livepatch.depends", Defect::Truncated(len)),
                    Section(".livepatch.xen_depends", Defect::Truncated(len)),
                    Section(".note.gnu.build-id", Defect::Truncated(len)),
                ])
            }
            132..135 if random.percent(50) => Self::Cut(random.below(1000)),
            132..135 => random.of(&[Self::Tail(1), Self::Tail(5000)]),
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
        Flaw::SectionHeader(section, field, bytes) => put_in_header(&mut file, section, *field, bytes),
        Flaw::AddressByRelocation => return address_by_relocation(&file),
        Flaw::NoRelocations => {
            put_in_header(&mut file, ".rela.rodata.needed", TYPE, &[9]);
            put_in_header(&mut file, ".rela.rodata.needed", SIZE, &[0; 8]);
        }
        Flaw::EmptyTarget => put_in_header(&mut file, ".rodata.needed", SIZE, &[0; 8]),
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

/// Writes to the header of the first section of this name, if there is one.
fn put_in_header(file: &mut [u8], section: &str, (offset, _): Field, bytes: &[u8]) {
    if let Some(index) = Image::read(file, 0).index(section) {
        let headers = usize::try_from(fields::get(file, 0, header::TABLE)).unwrap();
        put(file, headers + HEADER * (index + 1) + offset, bytes);
    }
}

/// Makes the relocation of the first function's name one of its address, against the symbol of Xen's function.
fn address_by_relocation(file: &[u8]) -> Vec<u8> {
    let mut image = Image::read(file, 0);
    let symbol = image.undefined(PATCHED);
    if let Some(table) = image.index(".rela.livepatch.funcs") {
        let entry = &mut image.sections[table].data;
        // The name of the first function, if the function has one.
        if fields::get(entry, 0, relocation::OFFSET) == 0 {
            fields::put(entry, 0, relocation::OFFSET, function::OLD_ADDRESS.0 as u64);
            fields::put(entry, 0, relocation::SYMBOL, symbol);
            fields::put(entry, 0, relocation::ADDEND, 0);
        }
    }
    image.write().file
}
