//! The memory of a payload as Xen fills it: the bytes of its sections, and what relocations make of them.
//!
//! Nothing is copied: what is read comes from the file, with the relocations of those bytes put in.

use crate::types::widen::to_u64;
use std::borrow::Cow;

use super::writes::{Origin, Write, Writes, put};

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

/// A section in the memory.
#[derive(Debug)]
struct Place<'d> {
    section: usize,
    region: usize,
    /// Its address; the offset in its region before the memory is [settled](Memory::settle).
    address: u64,
    /// Its bytes in the file. What follows them is zero.
    data: &'d [u8],
}

/// Memory that begins at an address, in three regions.
#[derive(Debug)]
pub(crate) struct Memory<'d> {
    pub(super) base: u64,
    /// Its bytes in whole pages.
    len: u64,
    /// Of the code, from the beginning.
    pub(super) text_size: u64,
    /// The address of each section, by its number; `None` for those that are not loaded.
    addresses: Vec<Option<u64>>,
    /// The sections with bytes in the file, by their addresses.
    places: Vec<Place<'d>>,
    writes: Writes,
}

/// Bytes in which the end of a text is looked for first.
const SHORT: u64 = 128;

impl<'d> Memory<'d> {
    /// Memory for so many sections, of which none is placed.
    pub(super) fn new(sections: usize) -> Self {
        let (addresses, places) = (vec![None; sections], Vec::with_capacity(sections));
        Self { base: 0, len: 0, text_size: 0, addresses, places, writes: Writes::default() }
    }

    /// Puts a section at an offset in a region, after those that are there.
    pub(super) fn place(&mut self, section: usize, region: usize, offset: u64, data: &'d [u8]) {
        self.places.push(Place { section, region, address: offset, data });
    }

    /// The section that was placed last.
    pub(super) fn last_placed(&self) -> Option<usize> {
        self.places.last().map(|place| place.section)
    }

    /// Gives all sections their addresses, once it is known where the regions are.
    pub(super) fn settle(&mut self, base: u64, len: u64, regions: [u64; 3], text_size: u64) {
        (self.base, self.len, self.text_size) = (base, len, text_size);
        for Place { section, region, address, .. } in &mut self.places {
            let start = base.saturating_add(regions.get(*region).copied().unwrap_or_default());
            *address = start.saturating_add(*address);
            if let Some(known) = self.addresses.get_mut(*section) {
                *known = Some(*address);
            }
        }
        // One without any, in an empty region, has the address of the next region's first, whose bytes it would hide.
        self.places.retain(|place| !place.data.is_empty());
        self.places.sort_by_key(|place| place.address);
    }

    pub(super) fn address_of(&self, section: usize) -> Option<u64> {
        self.addresses.get(section).copied().flatten()
    }

    /// Returns true if all of these bytes are there.
    pub(super) fn contains(&self, address: u64, len: u64) -> bool {
        let end = address.checked_sub(self.base).and_then(|offset| offset.checked_add(len));
        end.is_some_and(|end| end <= self.len)
    }

    /// The bytes at an address, if all are there.
    pub(super) fn at(&self, address: u64, len: u64) -> Option<Cow<'d, [u8]>> {
        if !self.contains(address, len) {
            return None;
        }
        let touching = self.writes.touching(address, len);
        let in_file = self.in_file(address, len);
        if let (true, Some(bytes)) = (touching.is_empty(), in_file) {
            return Some(Cow::Borrowed(bytes));
        }
        let mut bytes = match in_file {
            Some(bytes) => bytes.to_vec(),
            None => self.gathered(address, usize::try_from(len).ok()?),
        };
        put(&touching, &mut bytes, address);
        Some(Cow::Owned(bytes))
    }

    /// The bytes at an address as the file has them, if they are all of one section.
    fn in_file(&self, address: u64, len: u64) -> Option<&'d [u8]> {
        let index = self.places.partition_point(|place| place.address <= address).checked_sub(1)?;
        let Place { address: start, data, .. } = self.places.get(index)?;
        let start = usize::try_from(address.checked_sub(*start)?).ok()?;
        data.get(start..start.checked_add(usize::try_from(len).ok()?)?)
    }

    /// The bytes at an address before any relocation: those of all sections that are there in part, and zeros.
    #[cold]
    fn gathered(&self, address: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        let end = address.saturating_add(to_u64(len));
        let first = self.places.partition_point(|place| place.address <= address).saturating_sub(1);
        for Place { address: start, data, .. } in self.places.iter().skip(first).take_while(|place| place.address < end)
        {
            let (skipped, offset) = (address.saturating_sub(*start), start.saturating_sub(address));
            let data = usize::try_from(skipped).ok().and_then(|skipped| data.get(skipped..)).unwrap_or_default();
            let room = usize::try_from(offset).ok().and_then(|offset| bytes.get_mut(offset..)).unwrap_or_default();
            room.iter_mut().zip(data).for_each(|(to, from)| *to = *from);
        }
        bytes
    }

    /// The address of its first byte.
    #[cfg(feature = "sim")]
    pub(crate) fn base(&self) -> u64 {
        self.base
    }

    /// All bytes.
    #[cfg(feature = "sim")]
    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.at(self.base, self.len).unwrap_or_default().into_owned()
    }

    /// Returns true if none of these bytes depends on what is not known.
    pub(super) fn is_known(&self, address: u64, len: u64) -> bool {
        self.contains(address, len) && self.writes.touching(address, len).iter().all(|write| write.known)
    }

    /// The bytes at an address, if all are there and none depends on what is not known.
    pub(super) fn known<const N: usize>(&self, address: u64) -> Option<[u8; N]> {
        self.is_known(address, to_u64(N)).then(|| self.read(address))
    }

    /// The bytes at an address; zeros where not all are there.
    pub(super) fn read<const N: usize>(&self, address: u64) -> [u8; N] {
        let len = to_u64(N);
        if !self.contains(address, len) {
            return [0; N];
        }
        let mut bytes = match self.in_file(address, len) {
            Some(bytes) => bytes.first_chunk().copied().unwrap_or([0; N]),
            None => self.gathered(address, N).first_chunk().copied().unwrap_or([0; N]),
        };
        put(&self.writes.touching(address, len), &mut bytes, address);
        bytes
    }

    /// The text at an address, without its NUL, which has to come before `end`.
    pub(super) fn text(&self, address: u64, end: u64) -> Option<Cow<'d, [u8]>> {
        let most = end.checked_sub(address)?;
        let mut len = SHORT.min(most);
        loop {
            let bytes = self.at(address, len)?;
            if let Some(len) = bytes.iter().position(|byte| *byte == 0) {
                return match bytes {
                    Cow::Borrowed(bytes) => bytes.get(..len).map(Cow::Borrowed),
                    Cow::Owned(mut bytes) => {
                        bytes.truncate(len);
                        Some(Cow::Owned(bytes))
                    }
                };
            }
            if len == most {
                return None;
            }
            len = len.saturating_mul(2).min(most);
        }
    }

    pub(super) fn number(&self, address: u64) -> u64 {
        u64::from_le_bytes(self.read(address))
    }

    /// The four bytes at an address, as a number.
    pub(super) fn word(&self, address: u64) -> u64 {
        u32::from_le_bytes(self.read(address)).into()
    }

    pub(super) fn pointer(&self, address: u64) -> Pointer {
        let touching = self.writes.touching(address, 8);
        let last = touching.last();
        let number = match last {
            Some(last) if (last.address, last.width) != (address, 8) => return Pointer::Mangled,
            Some(last) => last.value,
            None => self.number(address),
        };
        match last.map(|last| last.origin) {
            Some(Origin::Own { section }) => Pointer::Own { section, address: number },
            Some(Origin::Foreign { symbol, offset }) => Pointer::Foreign { symbol, offset },
            Some(Origin::Number) | None if number == 0 => Pointer::Null,
            Some(Origin::Number) | None => Pointer::Number(number),
        }
    }

    /// Returns true if four bytes are relocated against a symbol outside the payload.
    pub(super) fn is_foreign(&self, address: u64) -> bool {
        self.writes.get(address, 4).is_some_and(|write| matches!(write.origin, Origin::Foreign { .. }))
    }

    /// The section of the payload that a distance of four bytes is relocated against.
    pub(super) fn distance_to(&self, address: u64) -> Option<usize> {
        match self.writes.get(address, 4)?.origin {
            Origin::Own { section } => Some(section),
            Origin::Foreign { .. } | Origin::Number => None,
        }
    }

    /// To be called once all relocations are done.
    pub(super) fn relocated(&mut self) {
        self.writes.settle();
    }

    /// Does what a relocation says: overwrites the low bytes of a value, or leaves them open where it is not known.
    /// Nothing is changed unless all of it is there.
    pub(super) fn relocate(&mut self, address: u64, value: u64, width: u64, origin: Origin, known: bool) {
        if self.contains(address, width) {
            self.writes.add(Write { address, width, value, origin, known, order: 0 });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ZEROS: [u8; 32] = [0; 32];

    fn memory() -> Memory<'static> {
        let mut memory = Memory::new(2);
        memory.place(1, 0, 0, &ZEROS);
        memory.settle(0x1000, 32, [0; 3], 16);
        memory
    }

    #[test]
    fn pointers_tell_where_they_come_from() {
        let mut memory = memory();
        assert_eq!(memory.pointer(0x1008), Pointer::Null);
        memory.relocate(0x1008, 0x1004, 8, Origin::Own { section: 1 }, false);
        assert_eq!(memory.pointer(0x1008), Pointer::Own { section: 1, address: 0x1004 });
        assert_eq!(memory.known::<1>(0x1008), None);
        assert_eq!(memory.known(0x1000), Some([0; 8]));
        assert_eq!(memory.known(0x1010), Some([0; 8]));
        memory.relocate(0x100c, 5, 4, Origin::Own { section: 1 }, true);
        assert_eq!(memory.pointer(0x1008), Pointer::Mangled);
        assert_eq!(memory.pointer(0x1001), Pointer::Mangled);
        assert_eq!(memory.number(0x1008), 0x5_0000_1004);
        memory.relocate(0x1008, 7, 8, Origin::Foreign { symbol: 3, offset: -1 }, false);
        assert_eq!(memory.pointer(0x1008), Pointer::Foreign { symbol: 3, offset: -1 });
        assert_eq!(memory.number(0x1008), 7);
        memory.relocate(0x1008, 0, 8, Origin::Number, true);
        assert_eq!(memory.pointer(0x1008), Pointer::Null);
        memory.relocate(0x1008, 9, 8, Origin::Number, true);
        assert_eq!(memory.pointer(0x1008), Pointer::Number(9));
        assert_eq!((memory.number(0x1008), memory.word(0x1008)), (9, 9));
    }

    #[test]
    fn sections_are_where_they_were_placed() {
        let mut memory = Memory::new(5);
        memory.place(2, 2, 0, b"ab");
        memory.place(3, 1, 4, b"");
        memory.place(4, 1, 0, b"cd");
        memory.settle(0x1000, 32, [0, 4, 16], 16);
        assert_eq!(memory.address_of(2), Some(0x1010));
        assert_eq!((memory.address_of(0), memory.address_of(3)), (None, Some(0x1008)));
        assert!(matches!(memory.at(0x1011, 1), Some(Cow::Borrowed(b"b"))));
        assert_eq!(memory.at(0x1010, 3).as_deref(), Some(&b"ab\0"[..]));
        assert_eq!(memory.at(0x1005, 13).as_deref(), Some(&b"d\0\0\0\0\0\0\0\0\0\0ab"[..]));
        assert_eq!(memory.at(0x1000, 5).as_deref(), Some(&b"\0\0\0\0c"[..]));
        assert_eq!(memory.bytes(), b"\0\0\0\0cd\0\0\0\0\0\0\0\0\0\0ab\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
    }

    /// An empty region begins where the next one does, and a file may have its sections in any order.
    #[test]
    fn an_empty_section_hides_no_other_at_its_address() {
        let mut memory = Memory::new(4);
        memory.place(1, 2, 0, b"notes");
        memory.place(2, 1, 0, &[]);
        memory.place(3, 0, 0, &[]);
        memory.settle(0x1000, 0x1000, [0; 3], 0);
        assert_eq!(memory.at(0x1000, 5).as_deref(), Some(&b"notes"[..]));
        assert_eq!((memory.read(0x1000), memory.read(0x1004)), (*b"no", *b"s\0"));
        assert_eq!([1, 2, 3].map(|section| memory.address_of(section)), [Some(0x1000); 3]);
    }

    #[test]
    fn the_widest_write_is_seen_from_its_last_byte() {
        let mut memory = memory();
        memory.relocate(0x1008, 1, 8, Origin::Number, false);
        assert_eq!(memory.known::<1>(0x100f), None);
        assert_eq!(memory.known(0x1010), Some([0]));
    }

    #[test]
    fn nothing_is_read_outside() {
        let mut memory = memory();
        memory.relocate(0x101c, u64::MAX, 8, Origin::Own { section: 1 }, true);
        assert_eq!(memory.at(0x101c, 4).as_deref(), Some(&[0; 4][..]), "not written by half");
        assert_eq!(memory.at(0x101c, 5), None);
        assert_eq!(memory.at(0xfff, 1), None);
        assert_eq!(memory.at(u64::MAX, u64::MAX), None);
        memory.relocate(0x1000, 0x6968, 4, Origin::Own { section: 1 }, true);
        assert_eq!(memory.text(0x1000, 0x1008).as_deref(), Some(&b"hi"[..]));
        assert_eq!(memory.text(0x1000, 0x1002), None, "it does not end");
        assert_eq!(memory.text(0x1008, 0x1000), None);
    }

    #[test]
    fn long_texts_are_read_to_their_end() {
        let text = [&[b'x'; 1000][..], b"\0"].concat();
        let mut memory = Memory::new(2);
        memory.place(1, 0, 0, &text);
        memory.settle(0x1000, 4096, [0; 3], 0);
        assert_eq!(memory.text(0x1001, 0x2000).map(|text| text.len()), Some(999));
        assert_eq!(memory.text(0x1000, 0x1000 + 1000), None);
    }
}
