//! Conversions that lose nothing on the machines that Xen runs on.

const _: () = assert!(usize::BITS >= u32::BITS && usize::BITS <= u64::BITS, "Xen is a 64-bit hypervisor");

/// Widens a length or an index.
#[expect(clippy::as_conversions, reason = "usize has at most 64 bits, which is checked above")]
pub(crate) const fn to_u64(number: usize) -> u64 {
    number as u64
}

/// Widens a number that is to be an index or a length.
#[expect(clippy::as_conversions, reason = "usize has at least 32 bits, which is checked above")]
pub(crate) const fn to_usize(number: u32) -> usize {
    number as usize
}
