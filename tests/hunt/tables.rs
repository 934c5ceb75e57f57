//! The tables of a compiler in a payload: alternatives, exceptions, bugs.

use super::fields::{self, alternative};
use super::image::{ALLOC, EXECUTE, Image, PROGBITS, Section};
use super::random::Random;

/// The number and size of the runs of NOPs at which tables point, and which nothing runs.
const PLACES: usize = 8;
const PLACE: usize = 16;

/// Returns the symbol of the section with these NOPs.
fn code(image: &mut Image) -> u64 {
    const NAME: &str = ".text.hunted";
    if let Some(symbol) = image.symbol_of(NAME) {
        return symbol;
    }
    let nops = nops(image, PLACES * PLACE);
    image.add(Section::new(NAME, PROGBITS, ALLOC | EXECUTE, 16, nops))
}

fn nops(image: &Image, len: usize) -> Vec<u8> {
    let nop: &[u8] = if image.is_arm() { &[0x1f, 0x20, 0x03, 0xd5] } else { &[0x90] };
    nop.iter().copied().cycle().take(len).collect()
}

/// The offset of a random run.
fn place(random: &mut Random) -> i64 {
    i64::try_from(random.below(PLACES) * PLACE).unwrap()
}

/// Alternatives that are applied and that are not, as long as the original, shorter, padded, and empty; if Xen knows them
/// (`turned`), also those that require that a feature is absent.
pub fn alternatives(image: &mut Image, random: &mut Random, turned: bool) {
    const NAME: &str = ".altinstructions";
    let code = code(image);
    let (arm, distance) = (image.is_arm(), image.distance());
    let count = 1 + random.below(4);
    let nops = nops(image, 8 * count);
    let alignment = if arm { 4 } else { 1 };
    let replacement = image.add(Section::new(".altinstr_replacement", PROGBITS, ALLOC | EXECUTE, alignment, nops));
    let size = if arm { alternative::SIZE_ON_ARM } else { alternative::SIZE };
    let mut table = vec![0; size * count];
    for index in 0..count {
        let base = index * size;
        if arm {
            // The feature of live patching, one that no emulated processor has, and some that it may have.
            let (feature, len) = (random.of(&[4, 4, 16, 0, 3]), random.of(&[4, 8, 0]));
            for (value, (_, field)) in [feature, len, len].into_iter().zip(&alternative::ALL[2..]) {
                fields::put(&mut table, base, *field, value);
            }
            continue;
        }
        let (original, padding) = (random.of(&[1, 3, 5, 8]), random.of(&[0, 0, 1, 4]));
        // Features that all have, that none has under emulation, and both negated.
        let features = [0, 29 + 32, 9 * 32 + 16, 0x8000, 0x8000 | (9 * 32 + 16)];
        let feature = random.of(if turned { &features } else { &features[..3] });
        let len = random.of(&[0, 1, original, original + padding]).min(8);
        for (value, (_, field)) in [feature, original, len, padding].into_iter().zip(&alternative::ALL[2..]) {
            fields::put(&mut table, base, *field, value);
        }
    }
    image.add(Section::new(NAME, PROGBITS, ALLOC, 8, table));
    for index in 0..count {
        let base = index * size;
        image.relocate(NAME, base, distance, code, place(random));
        image.relocate(NAME, base + 4, distance, replacement, i64::try_from(8 * index).unwrap());
    }
}

/// Pairs of distances: to an instruction that may fault, and to the one after the fault.
pub fn exceptions(image: &mut Image, random: &mut Random) {
    const NAME: &str = ".ex_table";
    let code = code(image);
    let count = 1 + random.below(5);
    image.add(Section::new(NAME, PROGBITS, ALLOC, 4, vec![0; 8 * count]));
    for index in 0..2 * count {
        image.relocate(NAME, 4 * index, image.distance(), code, place(random));
    }
}

/// Pairs of distances, with bits of a line's number: to the instruction, and to the name of its file. On Arm another
/// distance and the line follow.
pub fn bugs(image: &mut Image, random: &mut Random) {
    let (code, distance) = (code(image), image.distance());
    let size = if image.is_arm() { 16 } else { 8 };
    for kind in 0..4 {
        if !random.percent(50) {
            continue;
        }
        let name = format!(".bug_frames.{kind}");
        let count = 1 + random.below(3);
        image.add(Section::new(&name, PROGBITS, ALLOC, 4, vec![0; size * count]));
        for at in (0..count).flat_map(|index| [size * index, size * index + 4]) {
            image.relocate(&name, at, distance, code, place(random));
        }
    }
}

/// Strings that a linker may merge.
pub fn strings(image: &mut Image) {
    const MERGED_STRINGS: u64 = 0x30;
    image.add(Section::new(".rodata.str1.1", PROGBITS, ALLOC | MERGED_STRINGS, 1, *b"hunted\0strings\0"));
}
