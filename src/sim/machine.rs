//! What differs between the processors that a Xen runs on: the code that it writes when it patches, and what little of
//! code is understood here.

mod arm;
mod x86;

use crate::xen::architecture::Architecture;

/// The code of a processor.
#[derive(Debug)]
pub(super) struct Machine {
    /// What functions of Xen consist of whose code does not matter.
    plain: &'static [u8],
    /// A jump at one address to another.
    pub(super) jump: fn(u64, u64) -> Vec<u8>,
    /// So many bytes of no-operations, as Xen fills them in.
    pub(super) nops: fn(u32) -> Vec<u8>,
    /// A function at one address that returns the address of a string at another.
    pub(super) returning_string: fn(u64, u64) -> Vec<u8>,
    /// The number that a function returns which does nothing else.
    pub(super) number_returned: fn(&[u8]) -> Option<i32>,
    /// What code at an address does, if that is understood.
    pub(super) does: fn(&[u8], u64) -> Option<Does>,
}

/// What code does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Does {
    /// It goes on at this address.
    Jump(u64),
    /// It returns this address.
    Return(u64),
}

impl Machine {
    /// That of an architecture. One on which no Xen live-patches is taken for x86-64.
    pub(super) const fn of(architecture: Architecture) -> &'static Self {
        match architecture {
            Architecture::AArch64 => &arm::MACHINE,
            _ => &x86::MACHINE,
        }
    }

    /// A function of so many bytes, whatever it does.
    pub(super) fn plain(&self, len: usize) -> Vec<u8> {
        self.plain.iter().copied().cycle().take(len).collect()
    }
}
