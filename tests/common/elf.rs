//! The places of fields in an ELF file and in the tables of a payload.
#![allow(dead_code, unreachable_pub, reason = "each suite needs some of it")]

/// The offset and size of a little-endian number.
pub type Field = (usize, usize);

pub mod header {
    use super::Field;
    pub const SIZE: usize = 64;
    pub const MACHINE: Field = (18, 2);
    pub const TABLE: Field = (40, 8);
    pub const COUNT: Field = (60, 2);
    pub const NAMES: Field = (62, 2);
    /// The fields that Xen may read.
    pub const ALL: [(&str, Field); 17] = [
        ("magic", (0, 4)),
        ("class", (4, 1)),
        ("endianness", (5, 1)),
        ("ident version", (6, 1)),
        ("OS ABI", (7, 1)),
        ("ABI version", (8, 1)),
        ("type", (16, 2)),
        ("machine", MACHINE),
        ("version", (20, 4)),
        ("entry", (24, 8)),
        ("program headers", (32, 8)),
        ("section table", TABLE),
        ("flags", (48, 4)),
        ("header size", (52, 2)),
        ("program header count", (56, 2)),
        ("section header size", (58, 2)),
        ("section names", NAMES),
    ];
}

pub mod section {
    use super::Field;
    pub const HEADER: usize = 64;
    pub const NAME: Field = (0, 4);
    pub const TYPE: Field = (4, 4);
    pub const FLAGS: Field = (8, 8);
    pub const ADDRESS: Field = (16, 8);
    pub const OFFSET: Field = (24, 8);
    pub const SIZE: Field = (32, 8);
    pub const LINK: Field = (40, 4);
    pub const INFO: Field = (44, 4);
    pub const ALIGNMENT: Field = (48, 8);
    pub const ENTRY_SIZE: Field = (56, 8);
    pub const ALL: [(&str, Field); 10] = [
        ("name", NAME),
        ("type", TYPE),
        ("flags", FLAGS),
        ("address", ADDRESS),
        ("offset", OFFSET),
        ("size", SIZE),
        ("link", LINK),
        ("info", INFO),
        ("alignment", ALIGNMENT),
        ("entry size", ENTRY_SIZE),
    ];
}

pub mod symbol {
    use super::Field;
    pub const NAME: Field = (0, 4);
    pub const INFO: Field = (4, 1);
    pub const SECTION: Field = (6, 2);
    pub const VALUE: Field = (8, 8);
    pub const SIZE: Field = (16, 8);
    pub const ALL: [(&str, Field); 6] =
        [("name", NAME), ("info", INFO), ("other", (5, 1)), ("section", SECTION), ("value", VALUE), ("size", SIZE)];
}

pub mod relocation {
    use super::Field;
    pub const OFFSET: Field = (0, 8);
    pub const TYPE: Field = (8, 4);
    pub const SYMBOL: Field = (12, 4);
    pub const ADDEND: Field = (16, 8);
    pub const ALL: [(&str, Field); 4] = [("offset", OFFSET), ("type", TYPE), ("symbol", SYMBOL), ("addend", ADDEND)];
}

pub mod function {
    use super::Field;
    /// The size of an entry.
    pub const fn size(release: (u16, u16)) -> usize {
        if release.0 == 4 && release.1 < 14 { 64 } else { 104 }
    }
    pub const OLD_ADDRESS: Field = (16, 8);
    pub const NEW_SIZE: Field = (24, 4);
    pub const OLD_SIZE: Field = (28, 4);
    pub const ALL: [(&str, Field); 13] = [
        ("name", (0, 8)),
        ("new address", (8, 8)),
        ("old address", OLD_ADDRESS),
        ("new size", NEW_SIZE),
        ("old size", OLD_SIZE),
        ("version", (32, 1)),
        ("opaque", (33, 1)),
        ("opaque 8", (40, 8)),
        ("applied", (64, 1)),
        ("patch offset", (65, 1)),
        ("padding", (66, 6)),
        ("expectation", (72, 1)),
        ("expected", (73, 4)),
    ];
}

pub mod alternative {
    use super::Field;
    pub const SIZE: usize = 14;
    /// On Arm there is no padding.
    pub const SIZE_ON_ARM: usize = 12;
    pub const ALL: [(&str, Field); 7] = [
        ("original", (0, 4)),
        ("replacement", (4, 4)),
        ("feature", (8, 2)),
        ("original length", (10, 1)),
        ("replacement length", (11, 1)),
        ("padding length", (12, 1)),
        ("private", (13, 1)),
    ];
}

pub mod note {
    use super::Field;
    pub const ALL: [(&str, Field); 4] =
        [("owner size", (0, 4)), ("description size", (4, 4)), ("type", (8, 4)), ("owner", (12, 4))];
}

/// Reads a field; 0 if the bytes end before it.
pub fn get(bytes: &[u8], base: usize, (offset, size): Field) -> u64 {
    let bytes = bytes.get(base + offset..base + offset + size).unwrap_or_default();
    bytes.iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}

/// Writes a field, unless the bytes end before it.
pub fn put(bytes: &mut [u8], base: usize, (offset, size): Field, value: u64) {
    if let Some(place) = bytes.get_mut(base + offset..base + offset + size) {
        place.copy_from_slice(&value.to_le_bytes()[..size]);
    }
}
