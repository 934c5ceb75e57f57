//! x86-64.

use object::elf::{R_X86_64_64, R_X86_64_PC32};

use super::{Does, Machine};
use crate::loader::ENDBR64;
use crate::types::to_usize;

pub(super) const MACHINE: Machine = Machine {
    plain: &[0x90],
    jump,
    nops,
    returning_string,
    number_returned,
    does,
    // int3
    filler: 0xcc,
    pointer: R_X86_64_64,
    // lea text(%rip),%rax; ret
    returning_address: b"\x48\x8d\x05\0\0\0\0\xc3",
    // The distance counts from the end of its four bytes.
    address: &[(3, R_X86_64_PC32, -4)],
    returning_number,
};

/// The longest single no-operation in a run of `nops`.
const LONGEST_NOP: usize = 9;

/// `jmp to`.
fn jump(at: u64, to: u64) -> Vec<u8> {
    let [a, b, c, d, ..] = to.wrapping_sub(at.wrapping_add(5)).to_le_bytes();
    vec![0xe9, a, b, c, d]
}

/// As few as possible, each of parts of up to four bytes, of prefixes and a `nop`: for the processor that QEMU emulates.
fn nops(len: u32) -> Vec<u8> {
    let mut nops = Vec::new();
    let mut left = to_usize(len);
    while left > 0 {
        let len = left.min(LONGEST_NOP);
        let parts = len.div_ceil(4);
        for part in 1..=parts {
            // As equal as possible, the longer ones first.
            let size = (len + parts - part) / parts;
            nops.extend((1..size).map(|_| 0x66).chain([0x90]));
        }
        left -= len;
    }
    nops
}

/// `lea string(%rip),%rax; ret`.
fn returning_string(at: u64, string: u64) -> Vec<u8> {
    let [a, b, c, d, ..] = string.wrapping_sub(at.wrapping_add(7)).to_le_bytes();
    vec![0x48, 0x8d, 0x05, a, b, c, d, 0xc3]
}

/// `endbr64; mov $number,%eax; ret`.
fn returning_number(number: i32) -> Vec<u8> {
    [&ENDBR64[..], &[0xb8], &number.to_le_bytes(), &[0xc3]].concat()
}

/// `mov $imm32,%eax; ret` or `xor %eax,%eax; ret`.
fn number_returned(code: &[u8]) -> Option<i32> {
    match past_endbr(code, 0).0 {
        [0xb8, a, b, c, d, 0xc3, ..] => Some(i32::from_le_bytes([*a, *b, *c, *d])),
        [0x31, 0xc0, 0xc3, ..] => Some(0),
        _ => None,
    }
}

fn does(code: &[u8], at: u64) -> Option<Does> {
    let (code, at) = past_endbr(code, at);
    match code {
        [0xe9, a, b, c, d, ..] => Some(Does::Jump(relative(at, 5, [*a, *b, *c, *d]))),
        [0x48, 0x8d, 0x05, a, b, c, d, 0xc3, ..] => Some(Does::Return(relative(at, 7, [*a, *b, *c, *d]))),
        _ => None,
    }
}

fn past_endbr(code: &[u8], at: u64) -> (&[u8], u64) {
    code.strip_prefix(&ENDBR64).map_or((code, at), |rest| (rest, at.wrapping_add(4)))
}

/// The address that an instruction of this length refers to.
fn relative(address: u64, len: u64, displacement: [u8; 4]) -> u64 {
    address.wrapping_add(len).wrapping_add_signed(i32::from_le_bytes(displacement).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_operations_are_as_few_as_possible() {
        assert!(nops(0).is_empty());
        assert_eq!(nops(3), [0x66, 0x66, 0x90]);
        assert_eq!(nops(5), [0x66, 0x66, 0x90, 0x66, 0x90]);
        assert_eq!(nops(10), [0x66, 0x66, 0x90, 0x66, 0x66, 0x90, 0x66, 0x66, 0x90, 0x90]);
        assert!((0..32_u32).all(|len| nops(len).len() == usize::try_from(len).unwrap()));
    }

    #[test]
    fn constant_functions_are_recognised() {
        assert_eq!(number_returned(&[0xb8, 0xfb, 0xff, 0xff, 0xff, 0xc3]), Some(-5));
        assert_eq!(number_returned(&[0xf3, 0x0f, 0x1e, 0xfa, 0x31, 0xc0, 0xc3]), Some(0));
        assert_eq!(number_returned(&[0xb8, 1, 0, 0, 0]), None);
        assert_eq!(number_returned(&[0x90, 0xc3]), None);
    }

    #[test]
    fn code_is_read_as_it_is_written() {
        for (at, to) in [(0x1000, 0x1234), (0x8000_0000, 0x10)] {
            assert_eq!(does(&jump(at, to), at), Some(Does::Jump(to)));
            assert_eq!(does(&returning_string(at, to), at), Some(Does::Return(to)));
            let code = [&ENDBR64[..], &jump(at + 4, to)].concat();
            assert_eq!(does(&code, at), Some(Does::Jump(to)));
        }
        assert_eq!(does(&nops(8), 0), None);
    }
}
