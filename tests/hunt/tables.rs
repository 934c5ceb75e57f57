//! The tables that a compiler leaves in a payload: alternatives, exceptions, bugs.

use super::fields::{self, alternative};
use super::image::{ALLOC, EXECUTE, Image, PROGBITS, R_PC32, Section};
use super::random::Random;

/// Code for tables to point at, which nothing runs: eight places of sixteen NOPs.
const PLACES: usize = 8;
const PLACE: usize = 16;

/// The section that has it, and its symbol.
fn code(image: &mut Image) -> u64 {
    const NAME: &str = ".text.hunted";
    if let Some(symbol) = image.symbol_of(NAME) {
        return symbol;
    }
    image.add(Section::new(NAME, PROGBITS, ALLOC | EXECUTE, 16, vec![0x90; PLACES * PLACE]))
}

/// The first byte of a place.
fn place(random: &mut Random) -> i64 {
    i64::try_from(random.below(PLACES) * PLACE).unwrap()
}

/// Alternatives that are done and that are not, as long as the original, shorter, padded, and empty; for the lack of a
/// feature too, where Xen knows that (`turned`).
pub fn alternatives(image: &mut Image, random: &mut Random, turned: bool) {
    const NAME: &str = ".altinstructions";
    let code = code(image);
    let count = 1 + random.below(4);
    let replacement =
        image.add(Section::new(".altinstr_replacement", PROGBITS, ALLOC | EXECUTE, 1, vec![0x90; 8 * count]));
    let mut table = vec![0; alternative::SIZE * count];
    for index in 0..count {
        let base = index * alternative::SIZE;
        let (original, padding) = (random.of(&[1, 3, 5, 8]), random.of(&[0, 0, 1, 4]));
        // Features that all have, that none has under emulation, and either of them turned around.
        let features = [0, 29 + 32, 9 * 32 + 16, 0x8000, 0x8000 | (9 * 32 + 16)];
        let feature = random.of(if turned { &features } else { &features[..3] });
        let len = random.of(&[0, 1, original, original + padding]).min(8);
        for (value, (_, field)) in [feature, original, len, padding].into_iter().zip(&alternative::ALL[2..]) {
            fields::put(&mut table, base, *field, value);
        }
    }
    image.add(Section::new(NAME, PROGBITS, ALLOC, 8, table));
    for index in 0..count {
        let base = index * alternative::SIZE;
        image.relocate(NAME, base, R_PC32, code, place(random));
        image.relocate(NAME, base + 4, R_PC32, replacement, i64::try_from(8 * index).unwrap());
    }
}

/// Pairs of distances: to what may fault, and to where it goes on then.
pub fn exceptions(image: &mut Image, random: &mut Random) {
    const NAME: &str = ".ex_table";
    let code = code(image);
    let count = 1 + random.below(5);
    image.add(Section::new(NAME, PROGBITS, ALLOC, 4, vec![0; 8 * count]));
    for index in 0..2 * count {
        image.relocate(NAME, 4 * index, R_PC32, code, place(random));
    }
}

/// Pairs of distances, with bits of a line's number: to the instruction, and to the name of its file.
pub fn bugs(image: &mut Image, random: &mut Random) {
    let code = code(image);
    for kind in 0..4 {
        if !random.percent(50) {
            continue;
        }
        let name = format!(".bug_frames.{kind}");
        let count = 1 + random.below(3);
        image.add(Section::new(&name, PROGBITS, ALLOC, 4, vec![0; 8 * count]));
        for index in 0..2 * count {
            image.relocate(&name, 4 * index, R_PC32, code, place(random));
        }
    }
}

/// Strings that a linker may merge.
pub fn strings(image: &mut Image) {
    const MERGED_STRINGS: u64 = 0x30;
    image.add(Section::new(".rodata.str1.1", PROGBITS, ALLOC | MERGED_STRINGS, 1, *b"hunted\0strings\0"));
}
