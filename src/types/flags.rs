//! The flags of an action.

use core::fmt;

bitflags::bitflags! {
    /// Flags of an action: the 32-bit mask that Xen 4.14 added to it (`xen_sysctl_livepatch_action.flags`).
    ///
    /// Xen ignores bits that it doesn't know and bits that mean nothing for an action, so a caller who sets one gets
    /// something other than asked for. The client refuses those instead, by name and before any hypercall
    /// ([`UnsupportedFlag`](crate::ErrorKind::UnsupportedFlag)). Unknown bits are kept here, never dropped.
    ///
    /// ```
    /// use xen_livepatch::Flags;
    ///
    /// assert_eq!(Flags::NODEPS.bits(), 1);
    /// assert_eq!(Flags::from_bits_retain(1 | 1 << 7).to_string(), "NODEPS | 0x80");
    /// ```
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
    pub struct Flags: u32 {
        /// Apply without comparing the payload's `.livepatch.depends` with the build-id on top of the stack.
        /// The Xen that it was built for was checked at upload. For debug patches, which go in at any time.
        ///
        /// Of apply alone, from Xen 4.14 on (`LIVEPATCH_ACTION_APPLY_NODEPS`, commit b274989b61).
        const NODEPS = 1;

        // Bits of a later Xen stay as they came.
        const _ = !0;
    }
}

impl fmt::Display for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("none");
        }
        bitflags::parser::to_writer(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_bits_survive_every_operation() {
        let flags = Flags::from_bits_retain(0xffff_fffe) | Flags::NODEPS;
        assert_eq!(flags.bits(), u32::MAX);
        assert_eq!(Flags::from_bits(0x8000_0000).map(|f| f.bits()), Some(0x8000_0000));
        assert_eq!(Flags::from_bits_truncate(0xf0).bits(), 0xf0);
        assert_eq!((flags - Flags::NODEPS).to_string(), "0xfffffffe");
        assert_eq!(Flags::empty().to_string(), "none");
    }
}
