//! The processor architectures of hypervisors and payloads.

use core::fmt;
use core::str::FromStr;

use crate::types::InvalidText;
use object::elf::{EM_AARCH64, EM_ARM, EM_NONE, EM_X86_64};

/// A processor architecture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Architecture {
    /// x86-64.
    X86_64,
    /// 64-bit Arm (from Xen 4.8).
    AArch64,
    /// Another architecture, by its ELF number. Xen does not live-patch on it.
    Other(u16),
}

impl Architecture {
    /// The architecture of the Xen below this program, by the program's own: for tests that make payloads for the host they run
    /// on.
    ///
    /// A 32-bit program counts as one on a 64-bit Xen, which is the one that live-patches.
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

impl FromStr for Architecture {
    type Err = InvalidText;

    /// Reads the text that `Display` writes, such as `x86-64` or `machine 243`.
    fn from_str(text: &str) -> Result<Self, InvalidText> {
        let other = || text.strip_prefix("machine ")?.parse().ok().map(Self::from_raw);
        match text {
            "x86-64" => Ok(Self::X86_64),
            "AArch64" => Ok(Self::AArch64),
            "32-bit Arm" => Ok(Self::Other(EM_ARM.0)),
            _ => other().ok_or_else(|| InvalidText::new(text, "an architecture such as x86-64 or AArch64")),
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
