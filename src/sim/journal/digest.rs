//! A sum that is the same on every machine and with every compiler: FNV-1a with 64 bits.

/// Any change of one byte changes it; others do but for one time in 2^64.
#[derive(Clone, Copy, Debug)]
pub(in crate::sim) struct Digest(u64);

impl Digest {
    pub(in crate::sim) fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    fn raw(mut self, bytes: &[u8]) -> Self {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
        self
    }

    /// Adds bytes, and how many there are.
    pub(in crate::sim) fn bytes(self, bytes: &[u8]) -> Self {
        self.number(crate::sim::bytes::length(bytes)).raw(bytes)
    }

    pub(in crate::sim) fn number(self, number: u64) -> Self {
        self.raw(&number.to_le_bytes())
    }

    pub(in crate::sim) fn value(self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_is_the_known_one() {
        assert_eq!(Digest::new().raw(b"").value(), 0xcbf2_9ce4_8422_2325);
        assert_eq!(Digest::new().raw(b"foobar").value(), 0x8594_4171_f739_67e8);
        assert_ne!(Digest::new().bytes(b"a").bytes(b"bc").value(), Digest::new().bytes(b"ab").bytes(b"c").value());
    }
}
