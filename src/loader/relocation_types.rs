//! What each type of relocation that Xen knows does to memory: a table for each architecture.

use object::elf as e;

/// What of a symbol goes into memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Value {
    /// Its address.
    Absolute,
    /// How far it is from the place that is relocated.
    Distance,
    /// The same, in whole pages.
    Pages,
}

/// How it goes there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Nothing,
    /// As a number of so many bytes, with a sign.
    Signed(u64),
    /// As a number of so many bytes, with a sign or without.
    Either(u64),
    /// 16 bits, from this one on, in an instruction that moves them to a register.
    Move(u32),
    /// The same, in one that inverts them where the value is negative.
    MoveSigned(u32),
    /// So many bits, from this one on, in a field of an instruction.
    Bits(u32, u32, Field),
}

/// The part of an instruction that has a number: the first bit, and how many there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    At(u32, u32),
    /// 21 bits, the lowest two of which are in a place of their own.
    Address,
}

/// What a type of relocation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Effect {
    value: Value,
    form: Form,
    /// Whether Xen refuses what does not fit.
    checked: bool,
}

type Row = (u32, Value, Form, bool);

use Form::{Bits, Either, Move, MoveSigned, Nothing, Signed};
use Value::{Absolute, Distance, Pages};

/// Whether Xen looks at what does not fit.
const CHECKED: bool = true;
const CUT: bool = false;

const OFFSET_12: Field = Field::At(10, 12);

const X86: [Row; 4] = [
    (e::R_X86_64_NONE.0, Absolute, Nothing, CUT),
    (e::R_X86_64_64.0, Absolute, Signed(8), CUT),
    (e::R_X86_64_PC32.0, Distance, Signed(4), CHECKED),
    (e::R_X86_64_PLT32.0, Distance, Signed(4), CHECKED),
];

/// The same in every release from 4.8 on. A branch on a bit (`TSTBR14`) counts as fitting where one on a condition would.
const ARM: [Row; 36] = [
    (e::R_AARCH64_ABS64.0, Absolute, Either(8), CUT),
    (e::R_AARCH64_ABS32.0, Absolute, Either(4), CHECKED),
    (e::R_AARCH64_ABS16.0, Absolute, Either(2), CHECKED),
    (e::R_AARCH64_PREL64.0, Distance, Either(8), CUT),
    (e::R_AARCH64_PREL32.0, Distance, Either(4), CHECKED),
    (e::R_AARCH64_PREL16.0, Distance, Either(2), CHECKED),
    (e::R_AARCH64_MOVW_UABS_G0.0, Absolute, Move(0), CHECKED),
    (e::R_AARCH64_MOVW_UABS_G0_NC.0, Absolute, Move(0), CUT),
    (e::R_AARCH64_MOVW_UABS_G1.0, Absolute, Move(16), CHECKED),
    (e::R_AARCH64_MOVW_UABS_G1_NC.0, Absolute, Move(16), CUT),
    (e::R_AARCH64_MOVW_UABS_G2.0, Absolute, Move(32), CHECKED),
    (e::R_AARCH64_MOVW_UABS_G2_NC.0, Absolute, Move(32), CUT),
    (e::R_AARCH64_MOVW_UABS_G3.0, Absolute, Move(48), CUT),
    (e::R_AARCH64_MOVW_SABS_G0.0, Absolute, MoveSigned(0), CHECKED),
    (e::R_AARCH64_MOVW_SABS_G1.0, Absolute, MoveSigned(16), CHECKED),
    (e::R_AARCH64_MOVW_SABS_G2.0, Absolute, MoveSigned(32), CHECKED),
    (e::R_AARCH64_ADR_PREL_LO21.0, Distance, Bits(0, 21, Field::Address), CHECKED),
    (e::R_AARCH64_ADR_PREL_PG_HI21.0, Pages, Bits(12, 21, Field::Address), CHECKED),
    (e::R_AARCH64_ADR_PREL_PG_HI21_NC.0, Pages, Bits(12, 21, Field::Address), CUT),
    (e::R_AARCH64_ADD_ABS_LO12_NC.0, Absolute, Bits(0, 12, OFFSET_12), CUT),
    (e::R_AARCH64_LDST8_ABS_LO12_NC.0, Absolute, Bits(0, 12, OFFSET_12), CUT),
    (e::R_AARCH64_TSTBR14.0, Distance, Bits(2, 19, Field::At(5, 14)), CHECKED),
    (e::R_AARCH64_CONDBR19.0, Distance, Bits(2, 19, Field::At(5, 19)), CHECKED),
    (e::R_AARCH64_JUMP26.0, Distance, Bits(2, 26, Field::At(0, 26)), CHECKED),
    (e::R_AARCH64_CALL26.0, Distance, Bits(2, 26, Field::At(0, 26)), CHECKED),
    (e::R_AARCH64_LDST16_ABS_LO12_NC.0, Absolute, Bits(1, 11, OFFSET_12), CUT),
    (e::R_AARCH64_LDST32_ABS_LO12_NC.0, Absolute, Bits(2, 10, OFFSET_12), CUT),
    (e::R_AARCH64_LDST64_ABS_LO12_NC.0, Absolute, Bits(3, 9, OFFSET_12), CUT),
    (e::R_AARCH64_LDST128_ABS_LO12_NC.0, Absolute, Bits(4, 8, OFFSET_12), CUT),
    (e::R_AARCH64_MOVW_PREL_G0.0, Distance, MoveSigned(0), CHECKED),
    (e::R_AARCH64_MOVW_PREL_G0_NC.0, Distance, Move(0), CUT),
    (e::R_AARCH64_MOVW_PREL_G1.0, Distance, MoveSigned(16), CHECKED),
    (e::R_AARCH64_MOVW_PREL_G1_NC.0, Distance, Move(16), CUT),
    (e::R_AARCH64_MOVW_PREL_G2.0, Distance, MoveSigned(32), CHECKED),
    (e::R_AARCH64_MOVW_PREL_G2_NC.0, Distance, Move(32), CUT),
    (e::R_AARCH64_MOVW_PREL_G3.0, Distance, MoveSigned(48), CUT),
];

/// What a type does on x86, or on Arm; `None` where Xen does not know it.
pub(super) fn effect(x86: bool, kind: u32) -> Option<Effect> {
    let table: &[Row] = if x86 { &X86 } else { &ARM };
    let row = table.iter().find(|(known, ..)| *known == kind);
    row.map(|(_, value, form, checked)| Effect { value: *value, form: *form, checked: *checked })
}

impl Effect {
    /// How many bytes it changes.
    pub(super) fn width(self) -> u64 {
        match self.form {
            Nothing => 0,
            Signed(width) | Either(width) => width,
            Move(_) | MoveSigned(_) | Bits(..) => 4,
        }
    }

    /// Whether it changes a part of what is there.
    pub(super) fn is_partial(self) -> bool {
        matches!(self.form, Move(_) | MoveSigned(_) | Bits(..))
    }

    /// Whether it is about a distance, which inside the payload is the same wherever that is loaded.
    pub(super) fn is_relative(self) -> bool {
        self.value != Absolute
    }

    /// What comes to an address where there was `old`, and whether Xen finds that it fits.
    pub(super) fn apply(self, target: u64, at: u64, old: u64) -> (u64, bool) {
        const PAGE: u64 = 4096;
        let number = match self.value {
            Absolute => target,
            Distance => target.wrapping_sub(at),
            Pages => (target & !(PAGE - 1)).wrapping_sub(at & !(PAGE - 1)),
        };
        let signed = i64::from_le_bytes(number.to_le_bytes());
        let (new, fits) = match self.form {
            Nothing => (old, true),
            Signed(width) => (number, in_bits(signed, width.saturating_mul(8))),
            Either(width) => {
                let bits = width.saturating_mul(8);
                (number, in_bits(signed, bits) || number.checked_shr(narrow(bits)).unwrap_or_default() == 0)
            }
            Move(first) => put_move(old, shifted(signed, first)),
            MoveSigned(first) => {
                // Bits 29 and 30: 2 moves the number, 0 its inverse.
                let opcode = if signed >= 0 { 2 << 29 } else { 0 };
                let number = shifted(signed, first);
                put_move(old & !(3 << 29) | opcode, if signed >= 0 { number } else { !number })
            }
            Bits(first, len, field) => {
                let number = shifted(signed, first);
                (field.put(old, number & lowest(len)), in_bits(signed_of(number), len.into()))
            }
        };
        (new, fits || !self.checked)
    }
}

fn shifted(number: i64, by: u32) -> u64 {
    u64::from_le_bytes(number.checked_shr(by).unwrap_or_default().to_le_bytes())
}

fn signed_of(number: u64) -> i64 {
    i64::from_le_bytes(number.to_le_bytes())
}

fn narrow(bits: u64) -> u32 {
    u32::try_from(bits).unwrap_or(u32::MAX)
}

/// So many bits, from the lowest on.
fn lowest(bits: u32) -> u64 {
    1_u64.checked_shl(bits).unwrap_or_default().wrapping_sub(1)
}

/// Whether a number with a sign fits into so many bits.
fn in_bits(number: i64, bits: u64) -> bool {
    let rest = number.checked_shr(narrow(bits.saturating_sub(1))).unwrap_or_default();
    rest == 0 || rest == -1
}

fn put_move(old: u64, number: u64) -> (u64, bool) {
    (Field::At(5, 16).put(old, number), number <= u16::MAX.into())
}

impl Field {
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
        let known = |x86| (0..400).filter(|kind| effect(x86, *kind).is_some()).collect::<Vec<_>>();
        assert_eq!(known(true), [0, 1, 2, 4]);
        let arm: Vec<u32> = (257..=272).chain(274..=280).chain(282..=293).chain([299]).collect();
        assert_eq!(known(false), arm);
        assert_eq!(ARM.len(), arm.len(), "each once");
        let widths =
            |x86, kinds: &[u32]| kinds.iter().map(|kind| effect(x86, *kind).unwrap().width()).collect::<Vec<_>>();
        assert_eq!(widths(true, &known(true)), [0, 8, 4, 4]);
        assert_eq!(widths(false, &arm)[..7], [8, 4, 2, 8, 4, 2, 4]);
        assert!(widths(false, &arm)[6..].iter().all(|width| *width == 4));
    }

    fn fits(x86: bool, kind: u32, number: u64) -> bool {
        effect(x86, kind).unwrap().apply(number, 0, 0).1
    }

    #[test]
    fn numbers_have_to_fit() {
        for number in [0, 0x7fff_ffff, 0xffff_ffff_8000_0000, u64::MAX] {
            assert!(fits(true, 2, number) && fits(false, 258, number), "{number:#x}");
        }
        assert!(fits(true, 1, 1 << 63) && fits(false, 257, 1 << 63));
        assert!(!fits(true, 2, 0x8000_0000) && fits(false, 258, 0x8000_0000) && fits(false, 258, 0xffff_ffff));
        assert!(!fits(false, 258, 1 << 32) && !fits(false, 258, 0xffff_ffff_7fff_ffff));
        assert!(fits(false, 259, 0xffff) && !fits(false, 259, 0x1_0000) && fits(false, 259, u64::MAX));
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
            let fits = |number: i64| fits(false, kind, u64::from_le_bytes(number.to_le_bytes()));
            assert!(fits(least) && fits(most), "{kind}");
            assert!(!fits(least - 1) && !fits(most + 1), "{kind}");
        }
        for kind in [264, 266, 268, 269, 276, 277, 278, 284, 285, 286, 288, 290, 292, 293, 299] {
            assert!([1 << 63, u64::MAX, 0x1234_5678_9abc].iter().all(|number| fits(false, kind, *number)), "{kind}");
        }
    }

    #[test]
    fn instructions_are_changed_in_their_field() {
        let new = |kind, target, at, old| effect(false, kind).unwrap().apply(target, at, old).0;
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
