//! The memory of a payload as Xen fills it: the bytes of its sections, and what relocations make of them.

use std::collections::BTreeMap;

/// What a relocation refers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// A section of the payload, by its number.
    Own { section: usize },
    /// A symbol outside it, by its number, and how far past that.
    Foreign { symbol: usize, offset: i64 },
    /// An absolute symbol, which is a number.
    Number,
}

/// A pointer that Xen finds in the memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pointer {
    Null,
    /// Relocated against a section of the payload; it may lead out of that.
    Own {
        section: usize,
        address: u64,
    },
    Foreign {
        symbol: usize,
        offset: i64,
    },
    Number(u64),
    /// Made up by relocations that each change a part of it.
    Mangled,
}

#[derive(Clone, Copy, Debug)]
struct Write {
    order: usize,
    origin: Origin,
    known: bool,
}

/// Memory that begins at an address.
#[derive(Debug)]
pub(super) struct Memory {
    pub(super) base: u64,
    pub(super) bytes: Vec<u8>,
    /// Of the code, from the beginning.
    pub(super) text_size: u64,
    /// Where each section is, by its number; `None` for those that are not loaded.
    addresses: Vec<Option<u64>>,
    /// By address and width; of several at one place the last.
    writes: BTreeMap<(u64, u64), Write>,
    order: usize,
}

/// The most bytes that one relocation changes.
const WIDEST: u64 = 8;

impl Memory {
    pub(super) fn new(base: u64, bytes: Vec<u8>, text_size: u64, sections: usize) -> Self {
        let addresses = vec![None; sections];
        Self { base, bytes, text_size, addresses, writes: BTreeMap::new(), order: 0 }
    }

    /// Puts a section at an offset. What follows its data is zero.
    pub(super) fn place(&mut self, section: usize, offset: u64, data: &[u8]) {
        let start = self.base.saturating_add(offset);
        if let Some(address) = self.addresses.get_mut(section) {
            *address = Some(start);
        }
        let start = usize::try_from(offset).ok();
        if let Some(target) = start.and_then(|start| self.bytes.get_mut(start..start.checked_add(data.len())?)) {
            target.copy_from_slice(data);
        }
    }

    pub(super) fn address_of(&self, section: usize) -> Option<u64> {
        self.addresses.get(section).copied().flatten()
    }

    fn offset(&self, address: u64) -> Option<usize> {
        usize::try_from(address.checked_sub(self.base)?).ok()
    }

    /// The bytes at an address, if all are there.
    pub(super) fn at(&self, address: u64, len: u64) -> Option<&[u8]> {
        let start = self.offset(address)?;
        self.bytes.get(start..start.checked_add(usize::try_from(len).ok()?)?)
    }

    /// The bytes at an address, if all are there and none depends on what is not known.
    pub(super) fn known(&self, address: u64, len: u64) -> Option<&[u8]> {
        let unknown = self.touching(address, len).any(|(_, write)| !write.known);
        self.at(address, len).filter(|_| !unknown)
    }

    /// The text at an address, without its NUL, which has to come before `end`.
    pub(super) fn text(&self, address: u64, end: u64) -> Option<&[u8]> {
        let bytes = self.at(address, end.checked_sub(address)?)?;
        bytes.iter().position(|byte| *byte == 0).and_then(|len| bytes.get(..len))
    }

    pub(super) fn number(&self, address: u64) -> u64 {
        let bytes = self.at(address, 8).unwrap_or_default();
        bytes.iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte))
    }

    /// The four bytes at an address, as a number.
    pub(super) fn word(&self, address: u64) -> u64 {
        let bytes = self.at(address, 4).unwrap_or_default();
        bytes.iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte))
    }

    pub(super) fn pointer(&self, address: u64) -> Pointer {
        let number = self.number(address);
        let Some((place, last)) = self.touching(address, 8).max_by_key(|(_, write)| write.order) else {
            return if number == 0 { Pointer::Null } else { Pointer::Number(number) };
        };
        if place != (address, 8) {
            return Pointer::Mangled;
        }
        match last.origin {
            Origin::Own { section } => Pointer::Own { section, address: number },
            Origin::Foreign { symbol, offset } => Pointer::Foreign { symbol, offset },
            Origin::Number if number == 0 => Pointer::Null,
            Origin::Number => Pointer::Number(number),
        }
    }

    /// Whether four bytes are relocated against a symbol outside the payload.
    pub(super) fn is_foreign(&self, address: u64) -> bool {
        let write = self.writes.get(&(address, 4));
        write.is_some_and(|write| matches!(write.origin, Origin::Foreign { .. }))
    }

    /// The section of the payload that a distance of four bytes is relocated against.
    pub(super) fn distance_to(&self, address: u64) -> Option<usize> {
        match self.writes.get(&(address, 4))?.origin {
            Origin::Own { section } => Some(section),
            Origin::Foreign { .. } | Origin::Number => None,
        }
    }

    /// Does what a relocation says: overwrites the low bytes of a value, or leaves them open where it is not known.
    pub(super) fn relocate(&mut self, address: u64, value: u64, width: u64, origin: Origin, known: bool) {
        self.order = self.order.saturating_add(1);
        self.writes.insert((address, width), Write { order: self.order, origin, known });
        let target = self.offset(address).and_then(|start| {
            let len = usize::try_from(width).ok()?;
            self.bytes.get_mut(start..start.checked_add(len)?)
        });
        if let Some(target) = target {
            target.iter_mut().zip(value.to_le_bytes()).for_each(|(to, from)| *to = from);
        }
    }

    fn touching(&self, address: u64, len: u64) -> impl Iterator<Item = ((u64, u64), Write)> {
        let first = address.saturating_sub(WIDEST);
        let writes = self.writes.range((first, 0)..(address.saturating_add(len), 0));
        writes
            .map(|(place, write)| (*place, *write))
            .filter(move |((at, width), _)| at.saturating_add(*width) > address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory() -> Memory {
        Memory::new(0x1000, vec![0; 32], 16, 2)
    }

    #[test]
    fn pointers_tell_where_they_come_from() {
        let mut memory = memory();
        assert_eq!(memory.pointer(0x1008), Pointer::Null);
        memory.relocate(0x1008, 0x1004, 8, Origin::Own { section: 1 }, false);
        assert_eq!(memory.pointer(0x1008), Pointer::Own { section: 1, address: 0x1004 });
        assert_eq!(memory.known(0x1008, 1), None);
        assert_eq!(memory.known(0x1000, 8), Some(&[0; 8][..]));
        assert_eq!(memory.known(0x1010, 8), Some(&[0; 8][..]));
        memory.relocate(0x100c, 5, 4, Origin::Own { section: 1 }, true);
        assert_eq!(memory.pointer(0x1008), Pointer::Mangled);
        assert_eq!(memory.pointer(0x1001), Pointer::Mangled);
        memory.relocate(0x1008, 7, 8, Origin::Foreign { symbol: 3, offset: -1 }, false);
        assert_eq!(memory.pointer(0x1008), Pointer::Foreign { symbol: 3, offset: -1 });
        memory.relocate(0x1008, 0, 8, Origin::Number, true);
        assert_eq!(memory.pointer(0x1008), Pointer::Null);
        memory.relocate(0x1008, 9, 8, Origin::Number, true);
        assert_eq!(memory.pointer(0x1008), Pointer::Number(9));
        assert_eq!(memory.number(0x1008), 9);
    }

    #[test]
    fn sections_are_where_they_were_placed() {
        let mut memory = Memory::new(0x1000, vec![0; 32], 16, 4);
        memory.place(2, 16, b"ab");
        memory.place(3, 8, b"");
        assert_eq!(memory.address_of(2), Some(0x1010));
        assert_eq!((memory.address_of(0), memory.address_of(3)), (None, Some(0x1008)));
        assert_eq!(memory.at(0x1010, 3), Some(&b"ab\0"[..]));
    }

    #[test]
    fn the_widest_write_is_seen_from_its_last_byte() {
        let mut memory = memory();
        memory.relocate(0x1008, 1, 8, Origin::Number, false);
        assert_eq!(memory.known(0x100f, 1), None);
        assert_eq!(memory.known(0x1010, 1), Some(&[0][..]));
    }

    #[test]
    fn nothing_is_read_outside() {
        let mut memory = memory();
        memory.relocate(0x101c, u64::MAX, 8, Origin::Own { section: 1 }, true);
        assert_eq!(memory.at(0x101c, 4), Some(&[0; 4][..]), "not written by half");
        assert_eq!(memory.at(0x101c, 5), None);
        assert_eq!(memory.at(0xfff, 1), None);
        assert_eq!(memory.at(u64::MAX, u64::MAX), None);
        memory.relocate(0x1000, 0x6968, 4, Origin::Own { section: 1 }, true);
        assert_eq!(memory.text(0x1000, 0x1008), Some(&b"hi"[..]));
        assert_eq!(memory.text(0x1000, 0x1002), None, "it does not end");
        assert_eq!(memory.text(0x1008, 0x1000), None);
    }
}
