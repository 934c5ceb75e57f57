//! 64-bit Arm.

use object::elf::{R_AARCH64_ABS64, R_AARCH64_ADD_ABS_LO12_NC, R_AARCH64_ADR_PREL_PG_HI21};

use super::{Does, Machine};
use crate::sim::bytes::low_word;
use crate::types::to_usize;

pub(super) const MACHINE: Machine = Machine {
    plain: &NOP.to_le_bytes(),
    jump,
    nops,
    returning_string,
    number_returned,
    does,
    // udf #0
    filler: 0,
    pointer: R_AARCH64_ABS64,
    // adrp x0, text; add x0, x0, :lo12:text; ret. An `adr` alone reaches 1 MiB, and there may be more data in between.
    returning_address: b"\0\0\0\x90\0\0\0\x91\xc0\x03\x5f\xd6",
    address: &[(0, R_AARCH64_ADR_PREL_PG_HI21, 0), (4, R_AARCH64_ADD_ABS_LO12_NC, 0)],
    returning_number,
};

const NOP: u32 = 0xd503_201f;
const RET: u32 = 0xd65f_03c0;
/// The number, or the address, in its fields comes to register 0.
const ADR: u32 = 0x1000_0000;
const ADRP: u32 = 0x9000_0000;
const ADD: u32 = 0x9100_0000;
const MOVZ: u32 = 0x5280_0000;
const MOVN: u32 = 0x1280_0000;
const MOVK_HIGH: u32 = 0x72a0_0000;
/// `mov w0, wzr`.
const ZERO: u32 = 0x2a1f_03e0;
const BRANCH: u32 = 0x1400_0000;

const PAGE: u64 = 4096;

fn code(instructions: &[u32]) -> Vec<u8> {
    instructions.iter().flat_map(|instruction| instruction.to_le_bytes()).collect()
}

/// The first three instructions; 0, which is none, where there are fewer.
fn instructions(code: &[u8]) -> [u32; 3] {
    let mut words = code.chunks_exact(4).map(|word| word.first_chunk().copied().map_or(0, u32::from_le_bytes));
    [(); 3].map(|()| words.next().unwrap_or(0))
}

/// The lowest bits of a number, fewer than 32.
fn low(number: u64, bits: u32) -> u32 {
    low_word(number) & ((1 << bits) - 1)
}

/// The value of a signed field of 1 to 32 bits.
fn signed(number: u32, bits: u32) -> i64 {
    let above = 64 - bits;
    i64::from(number) << above >> above
}

/// `b to`.
fn jump(at: u64, to: u64) -> Vec<u8> {
    code(&[BRANCH | low(to.wrapping_sub(at) >> 2, 26)])
}

fn nops(len: u32) -> Vec<u8> {
    MACHINE.plain(to_usize(len))
}

/// `adrp x0, string; add x0, x0, :lo12:string; ret`.
fn returning_string(at: u64, string: u64) -> Vec<u8> {
    let pages = (string / PAGE).wrapping_sub(at / PAGE);
    let adrp = ADRP | low(pages, 2) << 29 | low(pages >> 2, 19) << 5;
    code(&[adrp, ADD | low(string, 12) << 10, RET])
}

/// `movz w0, #low; movk w0, #high, lsl #16; ret`.
fn returning_number(number: i32) -> Vec<u8> {
    let [a, b, c, d] = number.to_le_bytes();
    let [low, high] = [[a, b], [c, d]].map(|half| u32::from(u16::from_le_bytes(half)) << 5);
    code(&[MOVZ | low, MOVK_HIGH | high, RET])
}

/// `movz w0, #low; movk w0, #high, lsl #16; ret`, or one instruction and `ret`.
fn number_returned(code: &[u8]) -> Option<i32> {
    // Bits 5 to 20 are the number.
    let number = |instruction: u32| instruction >> 5 & 0xffff;
    let is = |instruction: u32, kind: u32| instruction & !(0xffff << 5) == kind;
    let found = match instructions(code) {
        [ZERO, RET, _] => 0,
        [low, RET, _] if is(low, MOVZ) => number(low),
        [low, RET, _] if is(low, MOVN) => !number(low),
        [low, high, RET] if is(low, MOVZ) && is(high, MOVK_HIGH) => number(low) | number(high) << 16,
        _ => return None,
    };
    Some(i32::from_le_bytes(found.to_le_bytes()))
}

fn does(code: &[u8], at: u64) -> Option<Does> {
    // The address in an `adr`: two bits at 29, the others from 5 on.
    let address = |instruction: u32| signed((instruction >> 5 & 0x7_ffff) << 2 | instruction >> 29 & 3, 21);
    let is_address = |instruction: u32, kind: u32| instruction & 0x9f00_001f == kind;
    match instructions(code) {
        [branch, ..] if branch & 0xfc00_0000 == BRANCH => {
            Some(Does::Jump(at.wrapping_add_signed(signed(branch & 0x3ff_ffff, 26) * 4)))
        }
        [adr, RET, _] if is_address(adr, ADR) => Some(Does::Return(at.wrapping_add_signed(address(adr)))),
        [adrp, add, RET] if is_address(adrp, ADRP) && add & 0xffc0_03ff == ADD => {
            let page = (at & !(PAGE - 1)).wrapping_add_signed(address(adrp) * 4096);
            Some(Does::Return(page.wrapping_add((add >> 10 & 0xfff).into())))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_is_read_as_it_is_written() {
        for (at, to) in [(0xa0_2010, 0x20_1234), (0x20_0004, 0xa0_2ffc), (0x200_0020_0000, 0x200_0100_2000)] {
            assert_eq!(does(&jump(at, to & !3), at), Some(Does::Jump(to & !3)));
            assert_eq!(does(&returning_string(at, to), at), Some(Does::Return(to)));
        }
        // adr x0, .+7 and .-4; ret.
        assert_eq!(does(&code(&[0x7000_0020, RET]), 0x1000), Some(Does::Return(0x1007)));
        assert_eq!(does(&code(&[0x10ff_ffe0, RET]), 0x1000), Some(Does::Return(0xffc)));
        for other in [&[NOP, RET][..], &[0x9000_0000, RET], &[0x9000_0001, ADD, RET], &[ADR], &[]] {
            assert_eq!(does(&code(other), 0x1000), None, "{other:x?}");
        }
    }

    #[test]
    fn constant_functions_are_recognised() {
        for (instructions, number) in [
            (&[0x5280_0000, RET][..], Some(0)),
            (&[0x529f_fe00, 0x72bf_ffe0, RET], Some(-16)),
            (&[0x528a_cf00, 0x72a2_4680, RET], Some(0x1234_5678)),
            (&[0x1280_01e0, RET], Some(-16)),
            (&[ZERO, RET], Some(0)),
            (&[0x5280_0001, RET], None),
            (&[0x5280_0000, NOP, RET], None),
            (&[0x5280_0000], None),
        ] {
            assert_eq!(number_returned(&code(instructions)), number, "{instructions:x?}");
        }
    }

    #[test]
    fn no_operations_are_whole_instructions() {
        assert_eq!(nops(8), code(&[NOP, NOP]));
        assert!(nops(0).is_empty());
    }
}
