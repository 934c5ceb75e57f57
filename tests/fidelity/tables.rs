//! Tables that Xen applies while it loads a payload: alternatives and indirect calls.
//!
//! They change `.altinstr_replacement`, which is code of the payload that nothing runs. Distances in tables are
//! between addresses in Xen's memory, and so computed from the layout of the loaded sections.

use std::collections::BTreeMap;

use xen_livepatch::Release;
use xen_livepatch::sim::{Defect, PayloadBuilder};

use super::random::Random;
use super::recipe::Ingredients;
use super::since::{checks_alternatives, negates_alternatives, refuses_alternatives};

const ALTERNATIVES: &str = ".altinstructions";
const REPLACEMENTS: &str = ".altinstr_replacement";
const CALLS: &str = ".alt_call_sites";
const POINTER: &str = ".data";

/// Loaded, and code.
const CODE: u64 = 6;
const PAGE: usize = 4096;

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

/// In all releases: with a feature that each processor has, with one that it may have, with none to replace.
const FINE: [Entry; 5] = [
    Alternative(0, 8, 0, [5, 5, 0]),
    Alternative(0, 8, 0x1f, [4, 2, 1]),
    Alternative(8, 8, 0, [8, 8, 0]),
    Alternative(0, 16, 0, [5, 0, 0]),
    Alternative(11, 0, 0, [5, 5, 0]),
];

/// Refused since Xen looks at the places.
const OUTSIDE: [Entry; 5] = [
    Alternative(-100_000, 8, 0, [5, 5, 0]),
    Alternative(4096, 8, 0, [5, 5, 0]),
    Alternative(0, 12, 0, [5, 5, 0]),
    Alternative(0, -1, 0, [5, 5, 0]),
    Alternative(12, 0, 0, [5, 5, 0]),
];

/// Refused since Xen no longer gives up over it.
const ODD: [Entry; 3] =
    [Alternative(0, 8, 0, [5, 6, 0]), Alternative(0, 8, 0x7fff, [5, 5, 0]), Alternative(0, 8, 32 * 22, [5, 5, 0])];

/// On Arm: with a feature that there is once Xen live-patches, with one that there may be, with none to replace.
const FINE_ON_ARM: [Entry; 5] = [
    Alternative(0, 8, 4, [4, 4, 0]),
    Alternative(8, 8, 4, [8, 8, 0]),
    Alternative(0, 8, 3, [8, 8, 0]),
    Alternative(0, 16, 4, [0, 0, 0]),
    Alternative(0, 8, 4, [6, 6, 0]),
];

const OUTSIDE_ON_ARM: [Entry; 4] = [
    Alternative(-100_000, 8, 4, [4, 4, 0]),
    Alternative(4096, 8, 4, [4, 4, 0]),
    Alternative(0, 12, 4, [8, 8, 0]),
    Alternative(0, -4, 4, [4, 4, 0]),
];

const NEGATED: Entry = Alternative(0, 8, 0x8000, [5, 5, 0]);

const CALL_SITES: [Entry; 4] =
    [Call(0, [0xff, 0x15]), Call(0, [0xff, 0x25]), Call(11, [0xff, 0x15]), Call(-1, [0xff, 0x15])];

impl Entry {
    /// One that does no harm in this release.
    pub fn random(random: &mut Random, release: Release, arm: bool) -> Self {
        let mut entries = if arm { FINE_ON_ARM.to_vec() } else { FINE.to_vec() };
        if arm {
            if checks_alternatives(release) {
                entries.extend(OUTSIDE_ON_ARM);
            }
            if release >= Release::V4_21.at(0) {
                entries.extend(CALL_SITES);
            }
            return random.of(&entries);
        }
        if checks_alternatives(release) {
            entries.extend(OUTSIDE);
        }
        if refuses_alternatives(release) || negates_alternatives(release) {
            entries.push(NEGATED);
        }
        if refuses_alternatives(release) {
            entries.extend(ODD);
        }
        if release >= Release::V4_21.at(0) {
            entries.extend(CALL_SITES);
        }
        random.of(&entries)
    }

    pub fn build(self, builder: PayloadBuilder, of: &Ingredients) -> Vec<u8> {
        let (table, size) = match self {
            Alternative(..) if of.release >= Release::V4_11.at(0) && !of.is_arm() => (ALTERNATIVES, 14),
            Alternative(..) => (ALTERNATIVES, 12),
            Call(..) => (CALLS, 4),
        };
        let file = builder
            .section(REPLACEMENTS, vec![0x90; 16])
            .defect(REPLACEMENTS, Defect::Flags(CODE))
            .writable_data([0; 8])
            .section(table, vec![0; size])
            .build();
        File(file).with(table, self, size == 14)
    }
}

/// A payload's file, whose sections are in order.
struct File(Vec<u8>);

struct Header {
    flags: usize,
    offset: usize,
    size: usize,
    alignment: usize,
}

impl File {
    fn number(&self, offset: usize, len: usize) -> usize {
        self.0[offset..offset + len].iter().rev().fold(0, |number, byte| number << 8 | usize::from(*byte))
    }

    fn header(&self, index: usize) -> Header {
        let at = self.number(40, 8) + 64 * index;
        let field = |offset| self.number(at + offset, 8);
        Header { flags: field(8), offset: field(24), size: field(32), alignment: field(48) }
    }

    fn name(&self, index: usize) -> String {
        let names = self.header(self.number(62, 2)).offset;
        let start = names + self.number(self.number(40, 8) + 64 * index, 4);
        let bytes: Vec<u8> = self.0[start..].iter().copied().take_while(|byte| *byte != 0).collect();
        String::from_utf8(bytes).unwrap()
    }

    /// By name: where Xen puts a section, counted from the beginning, and where it is in the file.
    fn places(&self) -> BTreeMap<String, (usize, usize)> {
        let mut sizes = [0_usize; 3];
        let mut placed = Vec::new();
        for index in 1..self.number(60, 2) {
            let Header { flags, offset, size, alignment } = self.header(index);
            if flags & 2 == 0 {
                continue;
            }
            let region = if flags & 4 != 0 { 0 } else { 2 - (flags & 1) };
            let at = sizes[region].next_multiple_of(alignment.max(1));
            sizes[region] = at + size;
            placed.push((self.name(index), region, at, offset));
        }
        let [code, writable, _] = sizes.map(|size| size.next_multiple_of(PAGE));
        let starts = [0, code, code + writable];
        placed.into_iter().map(|(name, region, at, offset)| (name, (starts[region] + at, offset))).collect()
    }

    fn put(&mut self, offset: usize, bytes: &[u8]) {
        self.0[offset..offset + bytes.len()].copy_from_slice(bytes);
    }

    fn with(mut self, table: &str, entry: Entry, padded: bool) -> Vec<u8> {
        let places = self.places();
        let (at, in_file) = places[table];
        let (code, code_in_file) = places[REPLACEMENTS];
        let distance = |from: usize, to: i32| {
            let code = i32::try_from(code).unwrap();
            (code + to - i32::try_from(from).unwrap()).to_le_bytes()
        };
        match entry {
            Alternative(original, replacement, feature, lengths) => {
                self.put(in_file, &distance(at, original));
                self.put(in_file + 4, &distance(at + 4, replacement));
                self.put(in_file + 8, &feature.to_le_bytes());
                let lengths = if padded { &lengths[..] } else { &lengths[..2] };
                self.put(in_file + 10, lengths);
            }
            Call(to, opcode) => {
                self.put(in_file, &distance(at, to));
                self.put(code_in_file, &opcode);
                let (pointer, _) = places[POINTER];
                let pointer = u32::try_from(pointer - code - 6).unwrap();
                self.put(code_in_file + 2, &pointer.to_le_bytes());
            }
        }
        self.0
    }
}
