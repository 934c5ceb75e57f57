//! Changes to whole sections of a payload.

use super::exclusions::Exclusions;
use super::fields::{self, relocation, section};
use super::image::{ALLOC, ENTRY, Image, NOBITS, PROGBITS, Section};
use super::random::Random;

/// The names that Xen knows, except those of hooks in place of an action.
const NAMES: [&str; 18] = [
    ".livepatch.funcs",
    ".livepatch.depends",
    ".livepatch.xen_depends",
    ".note.gnu.build-id",
    ".livepatch.hooks.load",
    ".livepatch.hooks.unload",
    ".livepatch.hooks.preapply",
    ".livepatch.hooks.postapply",
    ".livepatch.hooks.prerevert",
    ".livepatch.hooks.postrevert",
    ".modinfo",
    ".altinstructions",
    ".altinstr_replacement",
    ".ex_table",
    ".bug_frames.0",
    ".bug_frames.3",
    ".alt_call_sites",
    "",
];

const LENGTHS: [usize; 16] = [0, 1, 2, 4, 7, 8, 12, 14, 15, 16, 24, 32, 64, 104, 208, 4096];

/// Changes something, unless it is excluded or not there. Returns a description.
pub fn change(image: &mut Image, runs: bool, random: &mut Random) -> Option<String> {
    let index = random.below(image.sections.len());
    let exclusions = Exclusions { image, runs };
    let (movable, bytes) = (exclusions.allows_moving(index), exclusions.allows_bytes(index));
    let name = image.sections[index].name.clone();
    match random.below(13) {
        0 if movable => {
            let copy = image.sections[index].clone();
            if random.percent(50) {
                image.sections.push(copy);
                return Some(format!("{name} again at the end"));
            }
            image.sections.insert(0, copy);
            image.renumber(|number| if number == 0 { 0 } else { number + 1 });
            Some(format!("{name} again at the beginning"))
        }
        1 if movable && name != ".shstrtab" => {
            image.sections.remove(index);
            let gone = index as u64 + 1;
            image.renumber(|number| match number {
                number if number == gone => 0,
                number => number - u64::from(number > gone),
            });
            Some(format!("without {name}"))
        }
        2 => {
            let other = random.below(image.sections.len());
            image.sections.swap(index, other);
            let (a, b) = (index as u64 + 1, other as u64 + 1);
            image.renumber(|number| match number {
                number if number == a => b,
                number if number == b => a,
                number => number,
            });
            Some(format!("sections {a} and {b} ({name}) swapped"))
        }
        3 if movable => {
            let new = random.of(&NAMES);
            if !exclusions.allows_name(index, new) {
                return None;
            }
            image.sections[index].name = new.into();
            Some(format!("{name} renamed {new}"))
        }
        4 | 5 if movable && bytes => {
            let data = &mut image.sections[index].data;
            let len = if random.percent(50) { random.of(&LENGTHS) } else { random.below(data.len() + 17) };
            data.resize(len, 0);
            Some(format!("{name} of {len} bytes"))
        }
        6 => twice(image, random),
        7 | 8 => relocations(image, runs, random),
        9 => {
            let new = random.of(&NAMES);
            let data = if random.percent(50) { Vec::new() } else { vec![0; random.of(&LENGTHS)] };
            let len = data.len();
            let flags = random.of(&[ALLOC, ALLOC, 0, 3, 6]);
            image.add(Section::new(new, PROGBITS, flags, random.of(&[1, 4, 8, 16]), data));
            Some(format!("{new} added, {len} bytes, flags {flags}"))
        }
        10 => {
            let (flags, len) = (random.of(&[2, 3, 6, 0]), random.of(&[0, 1, 4096, 1 << 20, 2 << 20]));
            let mut section = Section::new(".bss.hunted", NOBITS, flags, random.of(&[1, 8, 4096]), []);
            section.zeros = len;
            image.add(section);
            Some(format!("{len} zeros added, flags {flags}"))
        }
        11 if movable && bytes => {
            let section = &mut image.sections[index];
            section.zeros = core::mem::take(&mut section.data).len() as u64;
            section.set(section::TYPE, NOBITS);
            Some(format!("{name} zeros"))
        }
        12 => {
            let count = random.of(&[1, 30, 300, 1000]);
            for _ in 0..count {
                image.sections.push(Section::new(".hunted", PROGBITS, ALLOC, 1, *b"hunted"));
            }
            Some(format!("{count} sections more"))
        }
        _ => None,
    }
}

/// Doubles a function with its relocations.
fn twice(image: &mut Image, random: &mut Random) -> Option<String> {
    let funcs = image.index(".livepatch.funcs")?;
    let len = image.sections[funcs].data.len();
    let size = image.function_size;
    let entry = random.below(len.checked_div(size).filter(|count| *count > 0)?) * size;
    let copy = image.sections[funcs].data[entry..entry + size].to_vec();
    image.sections[funcs].data.extend(copy);
    if let Some(table) = image.index(".rela.livepatch.funcs") {
        let mut more = Vec::new();
        for relocation in image.sections[table].data.chunks_exact(ENTRY) {
            let offset = fields::get(relocation, 0, relocation::OFFSET);
            if (entry as u64..(entry + size) as u64).contains(&offset) {
                more.extend(relocation);
                let at = more.len() - ENTRY;
                fields::put(&mut more, at, relocation::OFFSET, offset - entry as u64 + len as u64);
            }
        }
        image.sections[table].data.extend(more);
    }
    Some(format!("function {} twice", entry / size))
}

/// Drops or doubles a relocation, or moves it to the beginning.
fn relocations(image: &mut Image, runs: bool, random: &mut Random) -> Option<String> {
    let index = random.below(image.sections.len());
    let section = &image.sections[index];
    if !section.is_relocations() || section.data.len() < ENTRY || !(Exclusions { image, runs }).allows_moving(index) {
        return None;
    }
    let section = &mut image.sections[index];
    let entry = random.below(section.data.len() / ENTRY);
    let at = entry * ENTRY;
    let what = match random.below(3) {
        0 => {
            section.data.drain(at..at + ENTRY);
            "dropped"
        }
        1 => {
            let copy = section.data[at..at + ENTRY].to_vec();
            section.data.extend(copy);
            "doubled"
        }
        _ => {
            let first: Vec<u8> = section.data.drain(at..at + ENTRY).collect();
            section.data.splice(0..0, first);
            "first"
        }
    };
    Some(format!("{} {entry} {what}", section.name))
}
