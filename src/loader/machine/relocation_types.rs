//! The relocation types that Xen knows, and their effect on memory: a table for each architecture.

use object::elf as e;

/// A relocation type.
#[derive(Debug)]
pub(in crate::loader) struct RelocationType {
    /// Its number in a file.
    pub(super) number: u32,
    operand: Operand,
    form: Form,
    /// True if Xen refuses a value that does not fit.
    checked: bool,
}

/// The value that a relocation computes from its symbol and addend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operand {
    /// The address.
    Absolute,
    /// The distance from the place that is relocated.
    Distance,
    /// The distance in whole pages.
    Pages,
}

/// The form in which a relocation stores its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Nothing,
    /// A signed number of so many bytes.
    Signed(u32),
    /// A number of so many bytes, signed or unsigned.
    Either(u32),
    /// 16 bits, from this one on, in an instruction that moves them to a register.
    Move(u32),
    /// 16 bits, from this one on, in an instruction that moves them, inverted if the value is negative.
    MoveSigned(u32),
    /// So many bits, from this one on, in a field of an instruction.
    Bits(u32, u32, Bitfield),
}

/// The part of an instruction that contains a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bitfield {
    /// The first bit, and the number of bits.
    At(u32, u32),
    /// 21 bits, the lowest two of which are in a place of their own.
    Address,
}

use Form::{Bits, Either, Move, MoveSigned, Nothing, Signed};
use Operand::{Absolute, Distance, Pages};

const CHECKED: bool = true;
/// Xen stores the lowest bits of a value that does not fit.
const CUT: bool = false;

const OFFSET_12: Bitfield = Bitfield::At(10, 12);

pub(super) static X86: [RelocationType; 4] = [
    row(e::R_X86_64_NONE.0, Absolute, Nothing, CUT),
    row(e::R_X86_64_64.0, Absolute, Signed(8), CUT),
    row(e::R_X86_64_PC32.0, Distance, Signed(4), CHECKED),
    row(e::R_X86_64_PLT32.0, Distance, Signed(4), CHECKED),
];

/// The same in every release from 4.8 on. A branch on a bit (`TSTBR14`) counts as fitting where one on a condition would.
pub(super) static ARM: [RelocationType; 36] = [
    row(e::R_AARCH64_ABS64.0, Absolute, Either(8), CUT),
    row(e::R_AARCH64_ABS32.0, Absolute, Either(4), CHECKED),
    row(e::R_AARCH64_ABS16.0, Absolute, Either(2), CHECKED),
    row(e::R_AARCH64_PREL64.0, Distance, Either(8), CUT),
    row(e::R_AARCH64_PREL32.0, Distance, Either(4), CHECKED),
    row(e::R_AARCH64_PREL16.0, Distance, Either(2), CHECKED),
    row(e::R_AARCH64_MOVW_UABS_G0.0, Absolute, Move(0), CHECKED),
    row(e::R_AARCH64_MOVW_UABS_G0_NC.0, Absolute, Move(0), CUT),
    row(e::R_AARCH64_MOVW_UABS_G1.0, Absolute, Move(16), CHECKED),
    row(e::R_AARCH64_MOVW_UABS_G1_NC.0, Absolute, Move(16), CUT),
    row(e::R_AARCH64_MOVW_UABS_G2.0, Absolute, Move(32), CHECKED),
    row(e::R_AARCH64_MOVW_UABS_G2_NC.0, Absolute, Move(32), CUT),
    row(e::R_AARCH64_MOVW_UABS_G3.0, Absolute, Move(48), CUT),
    row(e::R_AARCH64_MOVW_SABS_G0.0, Absolute, MoveSigned(0), CHECKED),
    row(e::R_AARCH64_MOVW_SABS_G1.0, Absolute, MoveSigned(16), CHECKED),
    row(e::R_AARCH64_MOVW_SABS_G2.0, Absolute, MoveSigned(32), CHECKED),
    row(e::R_AARCH64_ADR_PREL_LO21.0, Distance, Bits(0, 21, Bitfield::Address), CHECKED),
    row(e::R_AARCH64_ADR_PREL_PG_HI21.0, Pages, Bits(12, 21, Bitfield::Address), CHECKED),
    row(e::R_AARCH64_ADR_PREL_PG_HI21_NC.0, Pages, Bits(12, 21, Bitfield::Address), CUT),
    row(e::R_AARCH64_ADD_ABS_LO12_NC.0, Absolute, Bits(0, 12, OFFSET_12), CUT),
    row(e::R_AARCH64_LDST8_ABS_LO12_NC.0, Absolute, Bits(0, 12, OFFSET_12), CUT),
    row(e::R_AARCH64_TSTBR14.0, Distance, Bits(2, 19, Bitfield::At(5, 14)), CHECKED),
    row(e::R_AARCH64_CONDBR19.0, Distance, Bits(2, 19, Bitfield::At(5, 19)), CHECKED),
    row(e::R_AARCH64_JUMP26.0, Distance, Bits(2, 26, Bitfield::At(0, 26)), CHECKED),
    row(e::R_AARCH64_CALL26.0, Distance, Bits(2, 26, Bitfield::At(0, 26)), CHECKED),
    row(e::R_AARCH64_LDST16_ABS_LO12_NC.0, Absolute, Bits(1, 11, OFFSET_12), CUT),
    row(e::R_AARCH64_LDST32_ABS_LO12_NC.0, Absolute, Bits(2, 10, OFFSET_12), CUT),
    row(e::R_AARCH64_LDST64_ABS_LO12_NC.0, Absolute, Bits(3, 9, OFFSET_12), CUT),
    row(e::R_AARCH64_LDST128_ABS_LO12_NC.0, Absolute, Bits(4, 8, OFFSET_12), CUT),
    row(e::R_AARCH64_MOVW_PREL_G0.0, Distance, MoveSigned(0), CHECKED),
    row(e::R_AARCH64_MOVW_PREL_G0_NC.0, Distance, Move(0), CUT),
    row(e::R_AARCH64_MOVW_PREL_G1.0, Distance, MoveSigned(16), CHECKED),
    row(e::R_AARCH64_MOVW_PREL_G1_NC.0, Distance, Move(16), CUT),
    row(e::R_AARCH64_MOVW_PREL_G2.0, Distance, MoveSigned(32), CHECKED),
    row(e::R_AARCH64_MOVW_PREL_G2_NC.0, Distance, Move(32), CUT),
    row(e::R_AARCH64_MOVW_PREL_G3.0, Distance, MoveSigned(48), CUT),
];

const fn row(number: u32, operand: Operand, form: Form, checked: bool) -> RelocationType {
    RelocationType { number, operand, form, checked }
}

impl RelocationType {
    /// The number of bytes that it changes.
    pub(in crate::loader) fn width(&self) -> u64 {
        match self.form {
            Nothing => 0,
            Signed(width) | Either(width) => width.into(),
            Move(_) | MoveSigned(_) | Bits(..) => 4,
        }
    }

    /// Returns true if it changes only a part of these bytes.
    pub(in crate::loader) fn is_partial(&self) -> bool {
        matches!(self.form, Move(_) | MoveSigned(_) | Bits(..))
    }

    /// Returns true if it stores a distance, which inside the payload does not depend on the address of the payload.
    pub(in crate::loader) fn is_relative(&self) -> bool {
        self.operand != Absolute
    }

    /// Returns the new value of the bytes at an address that were `old`, and true if Xen finds that it fits.
    pub(in crate::loader) fn apply(&self, target: u64, at: u64, old: u64) -> (u64, bool) {
        const PAGE: u64 = 4096;
        let number = match self.operand {
            Absolute => target,
            Distance => target.wrapping_sub(at),
            Pages => (target & !(PAGE - 1)).wrapping_sub(at & !(PAGE - 1)),
        };
        let signed = signed(number);
        let (new, fits) = match self.form {
            Nothing => (old, true),
            Signed(width) => (number, in_bits(signed, width * 8)),
            Either(width) => (number, in_bits(signed, width * 8) || number >> (width * 8 - 1) <= 1),
            Move(first) => put_move(old, unsigned(signed >> first)),
            MoveSigned(first) => {
                // Bits 29 and 30: 2 moves the number, 0 its inverse.
                let opcode = if signed >= 0 { 2 << 29 } else { 0 };
                let number = unsigned(signed >> first);
                put_move(old & !(3 << 29) | opcode, if signed >= 0 { number } else { !number })
            }
            Bits(first, len, field) => {
                let number = signed >> first;
                (field.put(old, unsigned(number) & lowest(len)), in_bits(number, len))
            }
        };
        (new, fits || !self.checked)
    }
}

fn signed(number: u64) -> i64 {
    i64::from_le_bytes(number.to_le_bytes())
}

fn unsigned(number: i64) -> u64 {
    u64::from_le_bytes(number.to_le_bytes())
}

/// A mask of the lowest bits.
fn lowest(bits: u32) -> u64 {
    (1 << bits) - 1
}

/// Returns true if a signed number fits into so many bits, at least one.
fn in_bits(number: i64, bits: u32) -> bool {
    matches!(number >> (bits - 1), 0 | -1)
}

fn put_move(old: u64, number: u64) -> (u64, bool) {
    (Bitfield::At(5, 16).put(old, number), number <= u16::MAX.into())
}

impl Bitfield {
    fn put(self, old: u64, number: u64) -> u64 {
        let put = |old: u64, first: u32, len: u32, number: u64| {
            let mask = lowest(len);
            old & !(mask << first) | (number & mask) << first
        };
        match self {
            Self::At(first, len) => put(old, first, len, number),
            Self::Address => put(put(old, 29, 2, number), 5, 19, number >> 2),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_architecture_has_its_types() {
        let numbers = |types: &[RelocationType]| {
            let mut numbers: Vec<u32> = types.iter().map(|known| known.number).collect();
            numbers.sort_unstable();
            numbers
        };
        assert_eq!(numbers(&X86), [0, 1, 2, 4]);
        let arm: Vec<u32> = (257..=272).chain(274..=280).chain(282..=293).chain([299]).collect();
        assert_eq!(numbers(&ARM), arm, "each once");
        let widths = |types: &[RelocationType]| types.iter().map(RelocationType::width).collect::<Vec<_>>();
        assert_eq!(widths(&X86), [0, 8, 4, 4]);
        assert_eq!(widths(&ARM)[..7], [8, 4, 2, 8, 4, 2, 4]);
        assert!(widths(&ARM)[6..].iter().all(|width| *width == 4));
    }

    fn of(types: &[RelocationType], number: u32) -> &RelocationType {
        types.iter().find(|known| known.number == number).unwrap()
    }

    fn fits(types: &[RelocationType], number: u32, value: u64) -> bool {
        of(types, number).apply(value, 0, 0).1
    }

    #[test]
    fn numbers_have_to_fit() {
        for number in [0, 0x7fff_ffff, 0xffff_ffff_8000_0000, u64::MAX] {
            assert!(fits(&X86, 2, number) && fits(&ARM, 258, number), "{number:#x}");
        }
        assert!(fits(&X86, 1, 1 << 63) && fits(&ARM, 257, 1 << 63));
        assert!(!fits(&X86, 2, 0x8000_0000) && fits(&ARM, 258, 0x8000_0000) && fits(&ARM, 258, 0xffff_ffff));
        assert!(!fits(&ARM, 258, 1 << 32) && !fits(&ARM, 258, 0xffff_ffff_7fff_ffff));
        assert!(fits(&ARM, 259, 0xffff) && !fits(&ARM, 259, 0x1_0000) && fits(&ARM, 259, u64::MAX));
    }

    /// The last value that fits each type with a limit, and the first that does not, upwards and downwards.
    #[test]
    fn instructions_have_their_reach() {
        let rows: [(u32, i64, i64); 14] = [
            (263, 0, 0xffff),
            (265, 0, 0xffff_ffff),
            (267, 0, 0xffff_ffff_ffff),
            (270, -0x1_0000, 0xffff),
            (271, -0x1_0000_0000, 0xffff_ffff),
            (272, -0x1_0000_0000_0000, 0xffff_ffff_ffff),
            (274, -0x10_0000, 0xf_ffff),
            (275, -0x1_0000_0000, 0xffff_ffff),
            (279, -0x10_0000, 0xf_ffff),
            (280, -0x10_0000, 0xf_ffff),
            (282, -0x800_0000, 0x7ff_ffff),
            (283, -0x800_0000, 0x7ff_ffff),
            (287, -0x1_0000, 0xffff),
            (291, -0x1_0000_0000_0000, 0xffff_ffff_ffff),
        ];
        for (kind, least, most) in rows {
            let fits = |number: i64| fits(&ARM, kind, u64::from_le_bytes(number.to_le_bytes()));
            assert!(fits(least) && fits(most), "{kind}");
            assert!(!fits(least - 1) && !fits(most + 1), "{kind}");
        }
        for kind in [264, 266, 268, 269, 276, 277, 278, 284, 285, 286, 288, 290, 292, 293, 299] {
            assert!([1 << 63, u64::MAX, 0x1234_5678_9abc].iter().all(|number| fits(&ARM, kind, *number)), "{kind}");
        }
    }

    #[test]
    fn instructions_are_changed_in_their_field() {
        let new = |kind, target, at, old| of(&ARM, kind).apply(target, at, old).0;
        // adr x0; adrp x0; add x0, x0; ldr x0, [x0]; b; b.eq; tbz w0; movz x0.
        assert_eq!(new(274, 0x1007, 0x1000, 0x1000_0000), 0x7000_0020);
        assert_eq!(new(275, 0x7_2345, 0x1ffc, 0x9000_0000), 0xb000_0380);
        assert_eq!(new(277, 0x7_2345, 0, 0x9100_0000), 0x910d_1400);
        assert_eq!(new(286, 0x7_2348, 0, 0xf940_0000), 0xf941_a400);
        assert_eq!(new(282, 0x1000, 0x1004, 0x1400_0000), 0x17ff_ffff);
        assert_eq!(new(280, 0x1008, 0x1000, 0x5400_0000), 0x5400_0040);
        assert_eq!(new(279, 0x1008, 0x1000, 0x3600_0000), 0x3600_0040);
        assert_eq!(new(264, 0x1_2345, 0, 0xd280_0000), 0xd284_68a0);
        // Negative: movn.
        assert_eq!(new(287, 0x1000, 0x1002, 0xd280_0000), 0x9280_0020);
    }
}
