//! Tables that Xen applies while it loads a payload: alternatives and indirect calls.
//!
//! They change `.altinstr_replacement`, which is code of the payload that nothing runs.

use super::fields::function;
use super::image::{ALLOC, EXECUTE, Image, PROGBITS, Section};
use super::random::Random;
use super::recipe::Ingredients;
use crate::prelude::*;

const ALTERNATIVES: &str = ".altinstructions";
const REPLACEMENTS: &str = ".altinstr_replacement";
const CALLS: &str = ".alt_call_sites";
const POINTER: &str = ".data";

/// An entry of a table.
#[derive(Clone, Copy, Debug)]
pub enum Entry {
    /// An alternative: where the original and its replacement are in the code, the feature, and the lengths of the
    /// original, of its replacement, and of the padding.
    Alternative(i32, i32, u16, [u8; 3]),
    /// An indirect call at a place in the code, which begins with these bytes.
    Call(i32, [u8; 2]),
}

use Entry::{Alternative, Call};

const ON_X86: [Entry; 18] = [
    // With a feature that each processor has, with one that it may have, with none to replace.
    Alternative(0, 8, 0, [5, 5, 0]),
    Alternative(0, 8, 0x1f, [4, 2, 1]),
    Alternative(8, 8, 0, [8, 8, 0]),
    Alternative(0, 16, 0, [5, 0, 0]),
    Alternative(11, 0, 0, [5, 5, 0]),
    // Refused since Xen looks at the places.
    Alternative(-100_000, 8, 0, [5, 5, 0]),
    Alternative(4096, 8, 0, [5, 5, 0]),
    Alternative(0, 12, 0, [5, 5, 0]),
    Alternative(0, -1, 0, [5, 5, 0]),
    Alternative(12, 0, 0, [5, 5, 0]),
    // Refused since Xen no longer gives up over it; the last one is negated in newer releases.
    Alternative(0, 8, 0, [5, 6, 0]),
    Alternative(0, 8, 0x7fff, [5, 5, 0]),
    Alternative(0, 8, 32 * 22, [5, 5, 0]),
    Alternative(0, 8, 0x8000, [5, 5, 0]),
    Call(0, [0xff, 0x15]),
    Call(0, [0xff, 0x25]),
    Call(11, [0xff, 0x15]),
    Call(-1, [0xff, 0x15]),
];

const ON_ARM: [Entry; 9] = [
    // With a feature that there is once Xen live-patches, with one that there may be, with none to replace.
    Alternative(0, 8, 4, [4, 4, 0]),
    Alternative(8, 8, 4, [8, 8, 0]),
    Alternative(0, 8, 3, [8, 8, 0]),
    Alternative(0, 16, 4, [0, 0, 0]),
    Alternative(0, 8, 4, [6, 6, 0]),
    // Refused since Xen looks at the places.
    Alternative(-100_000, 8, 4, [4, 4, 0]),
    Alternative(4096, 8, 4, [4, 4, 0]),
    Alternative(0, 12, 4, [8, 8, 0]),
    Alternative(0, -4, 4, [4, 4, 0]),
];

impl Entry {
    pub fn random(random: &mut Random, arm: bool) -> Self {
        random.of(if arm { &ON_ARM } else { &ON_X86 })
    }

    pub fn build(self, builder: PayloadBuilder, of: &Ingredients) -> Vec<u8> {
        let file = builder.writable_data([0; 8]).build();
        let mut image = Image::read(&file, function::size((4, of.release.minor())));
        let code = image.add(Section::new(REPLACEMENTS, PROGBITS, ALLOC | EXECUTE, 4, [0x90; 16]));
        let distance = image.distance();
        match self {
            Alternative(original, replacement, feature, lengths) => {
                let padded = of.release >= Release::V4_11.at(0) && !of.is_arm();
                let lengths = if padded { &lengths[..] } else { &lengths[..2] };
                let mut entry = [&[0; 8][..], &feature.to_le_bytes(), lengths].concat();
                entry.resize(if padded { 14 } else { 12 }, 0);
                image.add(Section::new(ALTERNATIVES, PROGBITS, ALLOC, 4, entry));
                image.relocate(ALTERNATIVES, 0, distance, code, original.into());
                image.relocate(ALTERNATIVES, 4, distance, code, replacement.into());
            }
            Call(to, opcode) => {
                image.add(Section::new(CALLS, PROGBITS, ALLOC, 4, [0; 4]));
                image.relocate(CALLS, 0, distance, code, to.into());
                let index = image.index(REPLACEMENTS).unwrap();
                image.sections[index].data[..2].copy_from_slice(&opcode);
                let pointer = image.symbol_of(POINTER).unwrap();
                // Counted from the end of the instruction, which is the end of the distance.
                image.relocate(REPLACEMENTS, 2, distance, pointer, -4);
            }
        }
        image.write().file
    }
}
