//! The machine code of each architecture: the code that Xen writes when it patches, the little that the simulator
//! understands, and the code of built payloads.

mod arm;
mod x86;

use object::elf::RelocationType;

use crate::xen::Architecture;

/// The code of a processor.
#[derive(Debug)]
pub(super) struct Machine {
    /// The bytes of functions whose code does not matter.
    plain: &'static [u8],
    /// A jump at one address to another.
    pub(super) jump: fn(u64, u64) -> Vec<u8>,
    /// No-operations of a total length, as Xen writes them.
    pub(super) nops: fn(u32) -> Vec<u8>,
    /// A function at one address that returns the address of a string at another.
    pub(super) returning_string: fn(u64, u64) -> Vec<u8>,
    /// The result of a function that only returns a number.
    pub(super) number_returned: fn(&[u8]) -> Option<i32>,
    /// The effect of code at an address, if it is understood.
    pub(super) does: fn(&[u8], u64) -> Option<Does>,
    /// The byte between two functions of a payload, which is never run.
    pub(super) filler: u8,
    /// A relocation of eight bytes that hold an address.
    pub(super) pointer: RelocationType,
    /// A function that returns an address, to be filled in by relocations.
    pub(super) returning_address: &'static [u8],
    /// The offsets, kinds and additional addends of these relocations.
    pub(super) address: &'static [(u64, RelocationType, i64)],
    /// A function that returns a number.
    pub(super) returning_number: fn(i32) -> Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Does {
    /// A jump to this address.
    Jump(u64),
    /// A return of this address.
    Return(u64),
}

impl Machine {
    /// The machine of an architecture; that of x86-64 for architectures on which no Xen live-patches.
    pub(super) const fn of(architecture: Architecture) -> &'static Self {
        match architecture {
            Architecture::AArch64 => &arm::MACHINE,
            _ => &x86::MACHINE,
        }
    }

    /// A function of this length, whatever its code.
    pub(super) fn plain(&self, len: usize) -> Vec<u8> {
        self.plain.iter().copied().cycle().take(len).collect()
    }
}
