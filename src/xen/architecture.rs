//! What a hypervisor and the code of a payload run on.

use core::fmt;

use object::elf::{EM_AARCH64, EM_ARM, EM_NONE, EM_X86_64};

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
    /// That of the Xen below this program, as far as its own code tells: for tests that make payloads for where they run.
    ///
    /// A program of 32 bits may well have a Xen of 64 bits below it, which is the one that live-patches.
    ///
    /// ```
    /// # use xen_livepatch::payload::Architecture;
    /// let expected = if cfg!(target_arch = "aarch64") { Architecture::AArch64 } else { Architecture::X86_64 };
    /// # if cfg!(any(target_arch = "aarch64", target_arch = "x86_64")) {
    /// assert_eq!(Architecture::of_this_program(), expected);
    /// # }
    /// ```
    #[must_use]
    pub const fn of_this_program() -> Self {
        if cfg!(any(target_arch = "x86_64", target_arch = "x86")) {
            Self::X86_64
        } else if cfg!(any(target_arch = "aarch64", target_arch = "arm")) {
            Self::AArch64
        } else {
            Self::Other(EM_NONE.0)
        }
    }

    pub(crate) const fn from_raw(machine: u16) -> Self {
        if machine == EM_X86_64.0 {
            Self::X86_64
        } else if machine == EM_AARCH64.0 {
            Self::AArch64
        } else {
            Self::Other(machine)
        }
    }

    #[cfg(feature = "sim")]
    pub(crate) const fn raw(self) -> u16 {
        match self {
            Self::X86_64 => EM_X86_64.0,
            Self::AArch64 => EM_AARCH64.0,
            Self::Other(machine) => machine,
        }
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::X86_64 => f.pad("x86-64"),
            Self::AArch64 => f.pad("AArch64"),
            Self::Other(machine) if *machine == EM_ARM.0 => f.pad("32-bit Arm"),
            Self::Other(machine) => f.pad(&format!("machine {machine}")),
        }
    }
}
