//! The places of a payload's memory that relocations have changed.

use std::collections::BTreeMap;

/// The source of a relocated value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// A section of the payload, by its number.
    Own { section: usize },
    /// A symbol outside it, by its number, and how far past that.
    Foreign { symbol: usize, offset: i64 },
    /// An absolute symbol, which is a number.
    Number,
}

/// A value that a relocation has put somewhere.
#[derive(Clone, Copy, Debug)]
pub(super) struct Write {
    pub(super) address: u64,
    /// The bytes that it takes, at most [`WIDEST`].
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

    /// Writes it into the part of the memory that begins at an address.
    pub(super) fn put(&self, target: &mut [u8], start: u64) {
        let bytes = (self.address..).zip(self.value.to_le_bytes());
        for (address, byte) in bytes.take(usize::try_from(self.width).unwrap_or_default()) {
            let offset = address.checked_sub(start).and_then(|offset| usize::try_from(offset).ok());
            if let Some(target) = offset.and_then(|offset| target.get_mut(offset)) {
                *target = byte;
            }
        }
    }
}

/// The writes by place; of several at one the last.
///
/// Linkers emit relocations by ascending offset. The few that come otherwise are kept apart, and so are the many of a
/// hostile file, which would take long to sort in.
#[derive(Debug, Default)]
pub(super) struct Writes {
    ascending: Vec<Write>,
    others: BTreeMap<(u64, u64), Write>,
    count: usize,
}

impl Writes {
    /// Adds one, which gets its order here.
    pub(super) fn add(&mut self, write: Write) {
        let write = Write { order: self.count, ..write };
        self.count = self.count.saturating_add(1);
        if self.ascending.last().is_none_or(|last| last.place() < write.place()) {
            self.ascending.push(write);
            return;
        }
        let same = self.ascending.binary_search_by_key(&write.place(), Write::place);
        match same.ok().and_then(|index| self.ascending.get_mut(index)) {
            Some(before) => *before = write,
            None => drop(self.others.insert(write.place(), write)),
        }
    }

    /// The write at exactly these bytes.
    pub(super) fn get(&self, address: u64, width: u64) -> Option<&Write> {
        let place = (address, width);
        let index = self.ascending.binary_search_by_key(&place, Write::place).ok();
        index.and_then(|index| self.ascending.get(index)).or_else(|| self.others.get(&place))
    }

    /// The writes that change some of these bytes, in no order.
    pub(super) fn touching(&self, address: u64, len: u64) -> impl Iterator<Item = &Write> {
        let (first, end) = ((address.saturating_sub(WIDEST), 0), (address.saturating_add(len), 0));
        let start = self.ascending.partition_point(|write| write.place() < first);
        let ascending = self.ascending.iter().skip(start).take_while(move |write| write.place() < end);
        // Of an empty map not even the range is looked for.
        let others = (!self.others.is_empty()).then(|| self.others.range(first..end));
        let others = others.into_iter().flatten().map(|(_, write)| write);
        ascending.chain(others).filter(move |write| write.address.saturating_add(write.width) > address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(address: u64, width: u64, value: u64) -> Write {
        Write { address, width, value, origin: Origin::Number, known: true, order: 0 }
    }

    /// In whatever order they come, of several at one place the last counts.
    #[test]
    fn writes_are_found_by_place() {
        for addresses in [[8, 16, 24, 16], [24, 16, 8, 16], [16, 24, 8, 16], [8, 24, 16, 16]] {
            let mut writes = Writes::default();
            addresses.into_iter().zip(1..).for_each(|(address, value)| writes.add(at(address, 8, value)));
            assert_eq!(writes.get(16, 8).map(|write| (write.value, write.order)), Some((4, 3)), "{addresses:?}");
            assert!(writes.get(16, 4).is_none() && writes.get(0, 8).is_none());
            let touching = |address, len| {
                let mut found: Vec<u64> = writes.touching(address, len).map(|write| write.address).collect();
                found.sort_unstable();
                found
            };
            assert_eq!((touching(0, 8), touching(15, 1), touching(15, 2)), (vec![], vec![8], vec![8, 16]));
            assert_eq!((touching(0, 64), touching(32, 8)), (vec![8, 16, 24], vec![]));
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
