//! The code and relocations of payloads for each architecture.

use object::elf::{
    R_AARCH64_ABS64, R_AARCH64_ADD_ABS_LO12_NC, R_AARCH64_ADR_PREL_PG_HI21, R_X86_64_64, R_X86_64_PC32, RelocationType,
};

use crate::xen::architecture::Architecture;

#[derive(Debug)]
pub(super) struct Machine {
    /// A relocation of eight bytes that hold an address.
    pub(super) pointer: RelocationType,
    /// The byte between two functions, which is never run.
    pub(super) filler: u8,
    /// A function that returns an address, to be filled in by relocations.
    pub(super) returning_address: &'static [u8],
    /// The offsets, kinds and additional addends of these relocations.
    pub(super) address: &'static [(u64, RelocationType, i64)],
    /// A function that returns a number.
    pub(super) returning_number: fn(i32) -> Vec<u8>,
}

const X86_64: Machine = Machine {
    pointer: R_X86_64_64,
    // int3
    filler: 0xcc,
    // lea text(%rip),%rax; ret
    returning_address: b"\x48\x8d\x05\0\0\0\0\xc3",
    // The distance counts from the end of its four bytes.
    address: &[(3, R_X86_64_PC32, -4)],
    returning_number: |number| {
        // endbr64; mov $number,%eax; ret
        let mut code = b"\xf3\x0f\x1e\xfa\xb8".to_vec();
        code.extend(number.to_le_bytes());
        code.push(0xc3);
        code
    },
};

const AARCH64: Machine = Machine {
    pointer: R_AARCH64_ABS64,
    // udf #0
    filler: 0,
    // adrp x0, text; add x0, x0, :lo12:text; ret. An `adr` alone reaches 1 MiB, and there may be more data in between.
    returning_address: b"\0\0\0\x90\0\0\0\x91\xc0\x03\x5f\xd6",
    address: &[(0, R_AARCH64_ADR_PREL_PG_HI21, 0), (4, R_AARCH64_ADD_ABS_LO12_NC, 0)],
    returning_number: |number| {
        let [a, b, c, d] = number.to_le_bytes();
        let [low, high] = [[a, b], [c, d]].map(|half| u32::from(u16::from_le_bytes(half)) << 5);
        // movz w0, #low; movk w0, #high, lsl #16; ret
        [0x5280_0000 | low, 0x72a0_0000 | high, 0xd65f_03c0].into_iter().flat_map(u32::to_le_bytes).collect()
    },
};

impl Machine {
    /// The machine of an architecture; that of x86-64 for architectures on which no Xen live-patches.
    pub(super) const fn of(architecture: Architecture) -> &'static Self {
        match architecture {
            Architecture::AArch64 => &AARCH64,
            _ => &X86_64,
        }
    }
}
