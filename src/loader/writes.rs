//! The parts of a payload's memory that relocations have changed.

use std::borrow::Cow;
use std::collections::BTreeMap;

/// The source of a relocated value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// A section of the payload, by its number.
    Own { section: usize },
    /// A symbol outside it, by its number, and the distance from it.
    Foreign { symbol: usize, offset: i64 },
    /// An absolute symbol, which is a number.
    Number,
}

/// A value that a relocation has written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Write {
    pub(super) address: u64,
    /// The number of bytes, at most [`WIDEST`].
    pub(super) width: u64,
    pub(super) value: u64,
    pub(super) origin: Origin,
    /// True if the value is the one that Xen would write.
    pub(super) known: bool,
    /// The number of writes before it.
    pub(super) order: usize,
}

/// The most bytes that one relocation changes.
const WIDEST: u64 = 8;

impl Write {
    fn place(&self) -> (u64, u64) {
        (self.address, self.width)
    }

    fn end(&self) -> u64 {
        self.address.saturating_add(self.width)
    }

    /// Copies it into the part of the memory that begins at an address.
    pub(super) fn put(&self, target: &mut [u8], start: u64) {
        let bytes = self.value.to_le_bytes();
        let bytes = usize::try_from(self.width).ok().and_then(|width| bytes.get(..width)).unwrap_or(&bytes);
        let offset = self.address.checked_sub(start).and_then(|offset| usize::try_from(offset).ok());
        let inside = offset.and_then(|offset| target.get_mut(offset..)?.get_mut(..bytes.len()));
        match inside {
            Some(inside) => inside.copy_from_slice(bytes),
            None => self.put_in_part(bytes, target, start),
        }
    }

    #[cold]
    fn put_in_part(&self, bytes: &[u8], target: &mut [u8], start: u64) {
        for (address, byte) in (self.address..).zip(bytes) {
            let offset = address.checked_sub(start).and_then(|offset| usize::try_from(offset).ok());
            if let Some(target) = offset.and_then(|offset| target.get_mut(offset)) {
                *target = *byte;
            }
        }
    }
}

/// The writes by place; of several at one place, the last.
///
/// Linkers emit the relocations of a section by ascending offset. Others are kept separately until all are there.
#[derive(Debug, Default)]
pub(super) struct Writes {
    ascending: Vec<Write>,
    others: BTreeMap<(u64, u64), Write>,
    count: usize,
    /// The end of the last changed byte.
    end: u64,
    /// True if some bytes may be changed twice, so that the order matters.
    overlap: bool,
}

impl Writes {
    /// Adds one, which gets its order here.
    pub(super) fn add(&mut self, mut write: Write) {
        write.order = self.count;
        self.count = self.count.saturating_add(1);
        let follows = self.ascending.last().is_none_or(|last| last.place() < write.place());
        self.overlap |= !follows || write.address < self.end;
        self.end = self.end.max(write.end());
        if follows {
            self.ascending.push(write);
            return;
        }
        let same = self.ascending.binary_search_by_key(&write.place(), Write::place);
        match same.ok().and_then(|index| self.ascending.get_mut(index)) {
            Some(before) => *before = write,
            None => drop(self.others.insert(write.place(), write)),
        }
    }

    /// Sorts all writes once they are there, so that reading is cheap.
    pub(super) fn settle(&mut self) {
        if self.others.is_empty() {
            return;
        }
        self.ascending.extend(std::mem::take(&mut self.others).into_values());
        self.ascending.sort_unstable_by_key(Write::place);
        let mut end = 0;
        self.overlap = self.ascending.iter().any(|write| write.address < std::mem::replace(&mut end, write.end()));
    }

    /// The write at exactly these bytes.
    pub(super) fn get(&self, address: u64, width: u64) -> Option<&Write> {
        let place = (address, width);
        let index = self.ascending.binary_search_by_key(&place, Write::place).ok();
        index.and_then(|index| self.ascending.get(index)).or_else(|| self.others.get(&place))
    }

    /// The writes that change some of these bytes, in an order that has the same effect as Xen's.
    pub(super) fn touching(&self, address: u64, len: u64) -> Cow<'_, [Write]> {
        let end = address.saturating_add(len);
        if self.end <= address || self.ascending.first().is_none_or(|first| end <= first.address && !self.overlap) {
            return Cow::Borrowed(&[]);
        }
        if self.overlap {
            return Cow::Owned(self.sorted(address, end));
        }
        let from = self.ascending.partition_point(|write| write.end() <= address);
        let (_, rest) = self.ascending.split_at(from);
        let (touching, _) = rest.split_at(rest.partition_point(|write| write.address < end));
        Cow::Borrowed(touching)
    }

    /// The writes that change some of these bytes if some overlap.
    #[cold]
    fn sorted(&self, address: u64, end: u64) -> Vec<Write> {
        let first = address.saturating_sub(WIDEST);
        let start = self.ascending.partition_point(|write| write.address < first);
        let ascending = self.ascending.iter().skip(start).take_while(|write| write.address < end);
        let others = (first < end).then(|| self.others.range((first, 0)..(end, 0)));
        let near = ascending.chain(others.into_iter().flatten().map(|(_, write)| write));
        let mut writes: Vec<Write> = near.filter(|write| write.end() > address).copied().collect();
        writes.sort_unstable_by_key(|write| write.order);
        writes
    }
}

/// Copies writes into the part of the memory that begins at an address.
pub(super) fn put(writes: &[Write], target: &mut [u8], start: u64) {
    for write in writes {
        write.put(target, start);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(address: u64, width: u64, value: u64) -> Write {
        Write { address, width, value, origin: Origin::Number, known: true, order: 0 }
    }

    /// The last of several at one place counts, in any order.
    #[test]
    fn writes_are_found_by_place() {
        let orders: [&[u64]; 5] =
            [&[8, 16, 24, 16], &[24, 16, 8, 16], &[16, 24, 8, 16], &[8, 24, 16, 16], &[8, 16, 24]];
        for addresses in orders {
            let twice = addresses.len() > 3;
            let mut writes = Writes::default();
            addresses.iter().zip(1..).for_each(|(address, value)| writes.add(at(*address, 8, value)));
            assert_eq!(
                writes.get(16, 8).map(|write| (write.value, write.order)),
                Some(if twice { (4, 3) } else { (2, 1) }),
                "{addresses:?}"
            );
            assert!(writes.get(16, 4).is_none() && writes.get(0, 8).is_none());
            let touching = |address, len| {
                let writes = writes.touching(address, len);
                assert!(writes.is_sorted_by_key(|write| write.order) || !twice);
                let mut found: Vec<u64> = writes.iter().map(|write| write.address).collect();
                found.sort_unstable();
                found
            };
            assert_eq!((touching(0, 8), touching(15, 1), touching(15, 2)), (vec![], vec![8], vec![8, 16]));
            assert_eq!((touching(0, 64), touching(32, 8)), (vec![8, 16, 24], vec![]));
        }
    }

    /// Also if a wide one reaches over narrow ones that begin after it.
    #[test]
    fn settled_writes_are_the_same() {
        for addresses in [[0, 8, 16], [16, 8, 0], [8, 0, 4], [4, 8, 6], [6, 4, 5]] {
            let mut writes = Writes::default();
            addresses.into_iter().zip(1..).for_each(|(address, value)| writes.add(at(address, 8, value)));
            let bytes = |writes: &Writes| {
                let mut bytes = [0; 24];
                put(&writes.touching(0, 24), &mut bytes, 0);
                let each: Vec<usize> = (0..24).map(|address| writes.touching(address, 1).len()).collect();
                (bytes, each)
            };
            let before = bytes(&writes);
            writes.settle();
            assert_eq!((bytes(&writes), writes.others.len()), (before, 0), "{addresses:?}");
        }
    }

    #[test]
    fn a_part_of_a_write_is_put_where_it_belongs() {
        let mut bytes = [0xff; 4];
        at(0x0fff, 4, 0x0403_0201).put(&mut bytes, 0x1000);
        assert_eq!(bytes, [2, 3, 4, 0xff]);
        at(0x1003, 8, 0x0807_0605_0403_0201).put(&mut bytes, 0x1000);
        assert_eq!(bytes, [2, 3, 4, 1]);
    }
}
