//! The memory of a payload as Xen fills it: the bytes of its sections, changed by relocations.
//!
//! Nothing is copied: reads return the bytes of the file, with the relocations of these bytes applied.

use std::borrow::Cow;

use super::writes::{Origin, Write, Writes, put};
use crate::types::widen::to_u64;

/// A pointer in the memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pointer {
    Null,
    /// Relocated against a section of the payload; it may lead outside.
    Own {
        section: usize,
        address: u64,
    },
    Foreign {
        symbol: usize,
        offset: i64,
    },
    Number(u64),
    /// Assembled from relocations that each change a part of it.
    Mangled,
}

/// A section in the memory.
#[derive(Debug)]
struct PlacedSection<'d> {
    address: u64,
    /// The bytes in the file. Zeros follow them.
    data: &'d [u8],
}

/// Memory that begins at an address.
#[derive(Debug, Default)]
pub(crate) struct Memory<'d> {
    pub(super) base: u64,
    /// The bytes in whole pages.
    len: u64,
    /// The bytes of code, which is first.
    pub(super) text_size: u64,
    /// The address of each section, by number; `None` for those that are not loaded.
    addresses: Vec<Option<u64>>,
    /// The sections with bytes in the file, by address.
    places: Vec<PlacedSection<'d>>,
    writes: Writes,
}

/// The bytes in which the end of a text is first searched.
const SHORT: u64 = 128;

impl<'d> Memory<'d> {
    /// Memory in which some of a file's sections have a place: the number, the address, and the bytes in the file.
    pub(super) fn new(
        base: u64,
        len: u64,
        text_size: u64,
        sections: usize,
        from_file: impl Iterator<Item = (usize, u64, &'d [u8])>,
    ) -> Self {
        // `vec!` would call `calloc`, which in glibc takes nothing from the thread's cache, and costs 400 instructions more.
        let (mut addresses, mut places) = (Vec::with_capacity(sections), Vec::with_capacity(sections));
        addresses.resize(sections, None);
        for (section, address, data) in from_file {
            if let Some(known) = addresses.get_mut(section) {
                *known = Some(address);
            }
            // A section without bytes in an empty region has the address of the next region's first, which it would hide.
            if !data.is_empty() {
                places.push(PlacedSection { address, data });
            }
        }
        places.sort_by_key(|place| place.address);
        Self { base, len, text_size, addresses, places, writes: Writes::default() }
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

    /// The bytes at an address in the file, if all are of one section.
    fn in_file(&self, address: u64, len: u64) -> Option<&'d [u8]> {
        let index = self.places.partition_point(|place| place.address <= address).checked_sub(1)?;
        let PlacedSection { address: start, data, .. } = self.places.get(index)?;
        let start = usize::try_from(address.checked_sub(*start)?).ok()?;
        data.get(start..start.checked_add(usize::try_from(len).ok()?)?)
    }

    /// The bytes at an address before any relocation: the parts of all sections that are there, and zeros.
    #[cold]
    fn gathered(&self, address: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        let end = address.saturating_add(to_u64(len));
        let first = self.places.partition_point(|place| place.address <= address).saturating_sub(1);
        for place in self.places.iter().skip(first).take_while(|place| place.address < end) {
            let skipped = usize::try_from(address.saturating_sub(place.address)).unwrap_or(usize::MAX);
            let offset = usize::try_from(place.address.saturating_sub(address)).unwrap_or(usize::MAX);
            // A section that ends before the address has no bytes there.
            let (Some(data), Some(room)) = (place.data.get(skipped..), bytes.get_mut(offset..)) else { continue };
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
        self.at(self.base, self.len).expect("the memory contains itself, and fits into a Vec").into_owned()
    }

    /// Returns true if these bytes are there, and none depends on an unknown address.
    pub(super) fn is_known(&self, address: u64, len: u64) -> bool {
        self.contains(address, len) && self.writes.touching(address, len).iter().all(|write| write.known)
    }

    /// The bytes at an address, if all are there and none depends on an unknown address.
    pub(super) fn known<const N: usize>(&self, address: u64) -> Option<[u8; N]> {
        if self.is_known(address, to_u64(N)) { self.read(address) } else { None }
    }

    /// The bytes at an address, if all are there.
    pub(super) fn read<const N: usize>(&self, address: u64) -> Option<[u8; N]> {
        let len = to_u64(N);
        if !self.contains(address, len) {
            return None;
        }
        let mut bytes = match self.in_file(address, len) {
            Some(bytes) => *bytes.first_chunk()?,
            None => *self.gathered(address, N).first_chunk()?,
        };
        put(&self.writes.touching(address, len), &mut bytes, address);
        Some(bytes)
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

    /// The eight bytes at an address as a number; 0, as of a NULL pointer, if not all are there.
    pub(super) fn address_at(&self, address: u64) -> u64 {
        self.read(address).map_or(0, u64::from_le_bytes)
    }

    /// The instruction of four bytes at an address; 0, which is undefined, if not all are there.
    pub(super) fn instruction(&self, address: u64) -> u64 {
        self.read(address).map_or(0, u32::from_le_bytes).into()
    }

    pub(super) fn pointer(&self, address: u64) -> Pointer {
        self.pointer_or(address, || self.address_at(address))
    }

    /// The pointer at an address; without a relocation, this number.
    pub(super) fn pointer_or(&self, address: u64, number: impl FnOnce() -> u64) -> Pointer {
        let touching = self.writes.touching(address, 8);
        let last = touching.last();
        let number = match last {
            Some(last) if (last.address, last.width) != (address, 8) => return Pointer::Mangled,
            Some(last) => last.value,
            None => number(),
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

    /// The section of the payload against which a distance of four bytes is relocated.
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

    /// Applies a relocation: writes the low bytes of a value, which may be unknown. Nothing is changed unless all of the place is
    /// there.
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
        with(32, &[(1, 0x1000, &ZEROS)])
    }

    /// Memory from 0x1000 on, with sections: the number, the address, and the bytes.
    fn with<'d>(len: u64, sections: &[(usize, u64, &'d [u8])]) -> Memory<'d> {
        Memory::new(0x1000, len, 16, 5, sections.iter().copied())
    }

    #[test]
    fn pointers_have_an_origin() {
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
        assert_eq!(memory.address_at(0x1008), 0x5_0000_1004);
        memory.relocate(0x1008, 7, 8, Origin::Foreign { symbol: 3, offset: -1 }, false);
        assert_eq!(memory.pointer(0x1008), Pointer::Foreign { symbol: 3, offset: -1 });
        assert_eq!(memory.address_at(0x1008), 7);
        memory.relocate(0x1008, 0, 8, Origin::Number, true);
        assert_eq!(memory.pointer(0x1008), Pointer::Null);
        memory.relocate(0x1008, 9, 8, Origin::Number, true);
        assert_eq!(memory.pointer(0x1008), Pointer::Number(9));
        assert_eq!((memory.address_at(0x1008), memory.instruction(0x1008)), (9, 9));
    }

    #[test]
    fn sections_are_where_they_were_placed() {
        let memory = with(32, &[(2, 0x1010, b"ab"), (3, 0x1008, b""), (4, 0x1004, b"cd")]);
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
        let memory = with(0x1000, &[(1, 0x1000, b"notes"), (2, 0x1000, &[]), (3, 0x1000, &[])]);
        assert_eq!(memory.at(0x1000, 5).as_deref(), Some(&b"notes"[..]));
        assert_eq!((memory.read(0x1000), memory.read(0x1004)), (Some(*b"no"), Some(*b"s\0")));
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
        assert_eq!((memory.read::<1>(0xfff), memory.address_at(0x1019), memory.instruction(0x101d)), (None, 0, 0));
        assert_eq!(memory.at(u64::MAX, u64::MAX), None);
        memory.relocate(0x1000, 0x6968, 4, Origin::Own { section: 1 }, true);
        assert_eq!(memory.text(0x1000, 0x1008).as_deref(), Some(&b"hi"[..]));
        assert_eq!(memory.text(0x1000, 0x1002), None, "it does not end");
        assert_eq!(memory.text(0x1008, 0x1000), None);
    }

    #[test]
    fn long_texts_are_read_to_their_end() {
        let text = [&[b'x'; 1000][..], b"\0"].concat();
        let memory = with(4096, &[(1, 0x1000, &text)]);
        assert_eq!(memory.text(0x1001, 0x2000).map(|text| text.len()), Some(999));
        assert_eq!(memory.text(0x1000, 0x1000 + 1000), None);
    }
}
