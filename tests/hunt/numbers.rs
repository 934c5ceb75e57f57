//! Numbers at which arithmetic may fail.

use super::random::Random;

#[rustfmt::skip]
const EDGES: [u64; 54] = [
    0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 14, 15, 16, 17, 23, 24, 25, 31, 32, 33, 48, 63, 64, 65, 104,
    0x7f, 0x80, 0xff, 0x100, 0xfff, 0x1000, 0x1001, 0x7fff, 0x8000, 0xfff1, 0xfff2, 0xffff,
    0x1_0000, 0x1f_ffff, 0x20_0000, 0x20_0001, 0x4000_0000, 0x7fff_ffff, 0x8000_0000, 0x8000_0001,
    0xffff_ffff, 0x1_0000_0000, 0x1_0000_0001, 1 << 47, i64::MAX as u64, 1 << 63, (1 << 63) + 1,
    u64::MAX,
];

/// Another number for a place: an edge, one near the old number, one with another bit, or one from elsewhere in the file.
pub fn instead_of(random: &mut Random, old: u64, elsewhere: u64) -> u64 {
    match random.below(20) {
        0..8 => random.of(&EDGES),
        8 | 9 => random.of(&EDGES).wrapping_neg(),
        10..13 => old.wrapping_add(random.of(&[1, 2, 4, 7, 8, 16, 24, 104, 0x1000])),
        13 | 14 => old.wrapping_sub(random.of(&[1, 2, 4, 7, 8, 16, 24, 104, 0x1000])),
        15 => old ^ (1 << random.below(64)),
        16 => old ^ (1 << random.below(8)),
        17 => elsewhere,
        18 => elsewhere.wrapping_sub(old),
        _ => random.next() >> random.below(64),
    }
}

/// Another number for `sh_flags`: combinations of the flags that Xen reads, and others.
pub fn flags(random: &mut Random, old: u64) -> u64 {
    match random.below(4) {
        0 => old ^ random.of(&[1, 2, 4, 1, 2, 4, 3, 5, 6, 7]),
        1 => old ^ random.of(&[0x10, 0x20, 0x30, 0x40, 0x200, 0x400, 1 << 31, 1 << 63]),
        2 => random.below(8) as u64,
        _ => random.of(&[2, 3, 6, 0x12, 0x32, 7, u64::MAX, 0]),
    }
}

/// Another number for `sh_type`.
pub fn kind(random: &mut Random) -> u64 {
    random.of(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 8, 8, 9, 10, 11, 14, 18, 0x6fff_fff6, 0x7000_0001, 0xffff_ffff])
}

/// Another number for an alignment.
pub fn alignment(random: &mut Random, old: u64) -> u64 {
    if random.percent(70) { 1 << random.below(64) } else { instead_of(random, old, 3) }
}
