//! Little-endian numbers at offsets.

use crate::types::to_u64;

pub(super) fn array<const N: usize>(bytes: &[u8], offset: usize) -> Option<[u8; N]> {
    bytes.get(offset..)?.first_chunk().copied()
}

pub(super) fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    array(bytes, offset).map(u32::from_le_bytes)
}

/// Overwrites bytes at an offset; does nothing where they don't fit.
pub(super) fn put(bytes: &mut [u8], offset: usize, value: &[u8]) {
    let target = offset.checked_add(value.len()).and_then(|end| bytes.get_mut(offset..end));
    if let Some(target) = target {
        target.copy_from_slice(value);
    }
}

/// The bytes before the first NUL.
pub(super) fn until_nul(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == 0).next().expect("`split` returns at least one part")
}

/// The low 32 bits of a count or a length, which is what a field of 32 bits holds.
pub(super) fn word(value: usize) -> u32 {
    low_word(to_u64(value))
}

pub(super) fn low_word(value: u64) -> u32 {
    let [a, b, c, d, ..] = value.to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}
