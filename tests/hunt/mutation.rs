//! Changes to a payload: first to its sections, then to numbers in the written file, then to bytes.

use super::exclusions::{Exclusions, Place};
use super::fields::{self, Field, alternative, function, header, note, relocation, section, symbol};
use super::image::{ENTRY, Image, NOBITS, RELA, SYMTAB, Section, Written};
use super::numbers;
use super::random::Random;
use super::seed::Seed;
use super::structure;

/// Types of relocations, known to Xen and others.
const TYPES: [u64; 10] = [0, 1, 2, 4, 3, 9, 10, 11, 24, 42];
const TYPES_ON_ARM: [u64; 18] =
    [0, 256, 257, 258, 259, 260, 261, 262, 263, 270, 274, 275, 277, 280, 282, 283, 287, 311];

/// The number of attempts to find an allowed number.
const TRIES: usize = 12;

/// A file, with the changes to it.
pub struct Mutant {
    pub file: Vec<u8>,
    pub changes: Vec<String>,
    /// The number of changes to make; some were left out, or found nothing to change.
    pub planned: usize,
}

/// Makes `count` changes to a seed, or those of them whose bits are set in `keep`. Each change follows from `key` and its number
/// alone, so that the others stay the same without it, as far as possible.
pub fn mutate(seed: &mut Seed, key: u64, count: usize, keep: u32) -> Mutant {
    let kept = (0..count).filter(|number| keep & (1 << number) != 0);
    let mut randoms: Vec<Random> =
        kept.map(|number| Random::new(key ^ (number as u64 + 1).wrapping_mul(0x9e6c_63d0_876a_68ee))).collect();
    let mut changes = Vec::new();
    randoms.retain_mut(|random| {
        let structural = random.percent(14);
        if structural {
            changes.extend(structure::change(&mut seed.image, seed.runs, random));
        }
        !structural
    });
    let mut written = seed.image.write();
    let exclusions = Exclusions { image: &seed.image, runs: seed.runs };
    for mut random in randoms {
        let mut field = Fields { exclusions: &exclusions, random: &mut random, written: &mut written };
        changes.extend(field.change());
    }
    Mutant { file: written.file, changes, planned: count }
}

struct Fields<'a, 'b> {
    exclusions: &'a Exclusions<'b>,
    random: &'a mut Random,
    written: &'a mut Written,
}

impl Fields<'_, '_> {
    fn change(&mut self) -> Option<String> {
        let changed = match self.random.below(100) {
            0..4 => self.header(),
            4..7 => self.two_sections(),
            7..20 => self.symbol(),
            20..37 => self.relocation(),
            37..53 => self.function(),
            53..63 => self.table(),
            63..66 => self.note(),
            66..68 => self.bytes_of(".modinfo"),
            68..73 => self.bytes(),
            _ => None,
        };
        changed.or_else(|| self.section())
    }

    fn image(&self) -> &Image {
        self.exclusions.image
    }

    /// A number from elsewhere in the section headers.
    fn elsewhere(&mut self) -> u64 {
        let index = self.random.below(self.exclusions.image.sections.len());
        let (_, field) = self.random.of(&section::ALL);
        fields::get(&self.written.file, self.written.header_of(index), field)
    }

    /// Writes another number to a place of the file, if an allowed one is found.
    fn put(&mut self, what: &str, base: usize, field: Field, place: Place) -> Option<String> {
        let old = fields::get(&self.written.file, base, field);
        let bits = if field.1 >= 8 { u64::MAX } else { (1 << (8 * field.1)) - 1 };
        for _ in 0..TRIES {
            let elsewhere = self.elsewhere();
            let value = match place {
                Place::Section(_, section::FLAGS) => numbers::flags(self.random, old),
                Place::Section(_, section::TYPE) if self.random.percent(80) => numbers::kind(self.random),
                Place::Section(_, section::ALIGNMENT) => numbers::alignment(self.random, old),
                Place::Relocation(_, _, relocation::TYPE) if self.random.percent(70) => {
                    self.random.of(if self.image().is_arm() { &TYPES_ON_ARM } else { &TYPES })
                }
                Place::Relocation(_, _, relocation::SYMBOL) | Place::Symbol(_, symbol::SECTION)
                    if self.random.percent(60) =>
                {
                    self.random.below(40) as u64
                }
                _ => numbers::instead_of(self.random, old, elsewhere),
            } & bits;
            if value != old && self.exclusions.allows(place, value) {
                fields::put(&mut self.written.file, base, field, value);
                return Some(format!("{what}: {old:#x} -> {value:#x}"));
            }
        }
        None
    }

    fn header(&mut self) -> Option<String> {
        let (name, field) = self.random.of(&header::ALL);
        self.put(&format!("header {name}"), 0, field, Place::Header(field))
    }

    fn section(&mut self) -> Option<String> {
        let index = self.random.below(self.image().sections.len());
        let (name, field) = self.random.of(&section::ALL);
        let what = format!("section {} ({}) {name}", index + 1, self.image().sections[index].name);
        let base = self.written.header_of(index);
        self.put(&what, base, field, Place::Section(index, field))
    }

    /// Makes two changes at once: zeros at any offset of the file, or two sections with the same alignment.
    fn two_sections(&mut self) -> Option<String> {
        let [one, other] = [0; 2].map(|_| self.random.below(self.exclusions.image.sections.len()));
        let changes = if self.random.percent(50) {
            let offset = numbers::instead_of(self.random, 0x1000, 1 << 21);
            [(one, section::TYPE, NOBITS), (one, section::OFFSET, offset)]
        } else {
            let alignment = numbers::alignment(self.random, 8);
            [(one, section::ALIGNMENT, alignment), (other, section::ALIGNMENT, alignment)]
        };
        let allowed =
            |&(index, field, value): &(usize, Field, u64)| self.exclusions.allows(Place::Section(index, field), value);
        if !changes.iter().all(allowed) {
            return None;
        }
        for (index, field, value) in changes {
            let base = self.written.header_of(index);
            fields::put(&mut self.written.file, base, field, value);
        }
        let [(_, _, first), (_, _, second)] = changes;
        let names = [one, other].map(|index| &self.exclusions.image.sections[index].name);
        Some(format!("sections {} ({}) and {} ({}): {first:#x}, {second:#x}", one + 1, names[0], other + 1, names[1]))
    }

    fn symbol(&mut self) -> Option<String> {
        let table = self.section_of(|section| section.get(section::TYPE) == SYMTAB)?;
        let (entry, at) = self.entry(table, ENTRY)?;
        let (name, field) = self.random.of(&symbol::ALL);
        self.put(&format!("symbol {entry} {name}"), at, field, Place::Symbol(entry, field))
    }

    fn relocation(&mut self) -> Option<String> {
        let table = self.section_of(|section| section.get(section::TYPE) == RELA)?;
        let (entry, at) = self.entry(table, ENTRY)?;
        let (name, field) = self.random.of(&relocation::ALL);
        let what = format!("{} {entry} {name}", self.image().sections[table].name);
        self.put(&what, at, field, Place::Relocation(table, entry * ENTRY, field))
    }

    fn function(&mut self) -> Option<String> {
        let table = self.section_of(|section| section.name == ".livepatch.funcs")?;
        let (entry, at) = self.entry(table, self.exclusions.image.function_size)?;
        let (name, field) = self.random.of(&function::ALL);
        self.put(&format!("function {entry} {name}"), at, field, Place::Function(field))
    }

    fn table(&mut self) -> Option<String> {
        let is_table = |section: &Section| {
            matches!(&section.name[..], ".altinstructions" | ".ex_table") || section.name.starts_with(".bug_frames.")
        };
        let table = self.section_of(is_table)?;
        let section = &self.image().sections[table];
        let (name, alternatives) = (section.name.clone(), section.name == ".altinstructions");
        let arm = self.image().is_arm();
        let size = match (alternatives, arm) {
            (true, true) => alternative::SIZE_ON_ARM,
            (true, false) => alternative::SIZE,
            (false, true) => 16,
            (false, false) => 8,
        };
        let (entry, at) = self.entry(table, size)?;
        let (what, field) = if alternatives {
            self.random.of(&alternative::ALL[..if arm { 5 } else { 7 }])
        } else {
            self.random.of(&[("first", (0, 4)), ("second", (4, 4))])
        };
        self.put(&format!("{name} {entry} {what}"), at, field, Place::Other(table))
    }

    fn note(&mut self) -> Option<String> {
        let is_note = |section: &Section| {
            matches!(&section.name[..], ".livepatch.depends" | ".livepatch.xen_depends" | ".note.gnu.build-id")
        };
        let section = self.section_of(is_note)?;
        let (name, field) = self.random.of(&note::ALL);
        let what = format!("{} {name}", self.image().sections[section].name);
        self.put(&what, self.written.data[section], field, Place::Other(section))
    }

    fn bytes_of(&mut self, name: &str) -> Option<String> {
        let section = self.section_of(|section| section.name == name)?;
        let (entry, at) = self.entry(section, 1)?;
        self.put(&format!("{name} byte {entry}"), at, (0, 1), Place::Other(section))
    }

    /// Changes some bytes of a section, unless they are excluded.
    fn bytes(&mut self) -> Option<String> {
        let exclusions = self.exclusions;
        let index = self.random.below(exclusions.image.sections.len());
        let name = exclusions.image.sections[index].name.clone();
        if !exclusions.allows_bytes(index) {
            return None;
        }
        let size = self.random.of(&[1, 1, 1, 2, 4, 8]);
        let (entry, at) = self.entry(index, 1)?;
        if entry + size > exclusions.image.sections[index].data.len() {
            return None;
        }
        self.put(&format!("{name} bytes at {entry}"), at, (0, size), Place::Other(index))
    }

    /// A random section with a property.
    fn section_of(&mut self, is: impl Fn(&Section) -> bool) -> Option<usize> {
        let sections = self.exclusions.image.sections.iter().enumerate();
        let matching: Vec<_> = sections.filter(|(_, section)| is(section)).map(|(index, _)| index).collect();
        (!matching.is_empty()).then(|| self.random.of(&matching))
    }

    /// The number of a random entry, and its offset in the file.
    fn entry(&mut self, section: usize, size: usize) -> Option<(usize, usize)> {
        let count = self.exclusions.image.sections[section].data.len() / size;
        if count == 0 {
            return None;
        }
        let entry = self.random.below(count);
        Some((entry, self.written.data[section] + entry * size))
    }
}
