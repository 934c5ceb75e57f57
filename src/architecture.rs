//! What a hypervisor and the code of a payload run on.

use core::fmt;

use object::elf::{EM_AARCH64, EM_X86_64};

/// What a payload's code runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Architecture {
    /// x86-64.
    X86_64,
    /// 64-bit Arm (from Xen 4.8).
    AArch64,
    /// Another one, by its ELF number. No Xen live-patches there.
    Other(u16),
}

impl Architecture {
    pub(crate) const fn from_raw(machine: u16) -> Self {
        if machine == EM_X86_64.0 {
            Self::X86_64
        } else if machine == EM_AARCH64.0 {
            Self::AArch64
        } else {
            Self::Other(machine)
        }
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::X86_64 => f.pad("x86-64"),
            Self::AArch64 => f.pad("AArch64"),
            Self::Other(machine) => f.pad(&format!("machine {machine}")),
        }
    }
}
