//! The parts of a payload's memory that relocations have changed.

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
    fn end(&self) -> u64 {
        self.address.saturating_add(self.width)
    }
}

/// The writes by address and width; of several at one place, the last.
#[derive(Debug, Default)]
pub(super) struct Writes {
    by_place: BTreeMap<(u64, u64), Write>,
    count: usize,
}

impl Writes {
    /// Adds one, which gets its order here.
    pub(super) fn add(&mut self, write: Write) {
        self.by_place.insert((write.address, write.width), Write { order: self.count, ..write });
        self.count = self.count.saturating_add(1);
    }

    /// The write at exactly these bytes.
    pub(super) fn get(&self, address: u64, width: u64) -> Option<&Write> {
        self.by_place.get(&(address, width))
    }

    /// The writes that change some of these bytes, in Xen's order.
    pub(super) fn touching(&self, address: u64, len: u64) -> Vec<Write> {
        let end = address.saturating_add(len);
        // One that begins before these bytes may reach into them.
        let near = self.by_place.range((address.saturating_sub(WIDEST), 0)..(end, 0));
        let mut writes: Vec<Write> = near.map(|(_, write)| *write).filter(|write| write.end() > address).collect();
        writes.sort_unstable_by_key(|write| write.order);
        writes
    }
}

/// Copies writes into the part of the memory that begins at an address.
pub(super) fn put(writes: &[Write], target: &mut [u8], start: u64) {
    for write in writes {
        for (address, byte) in (write.address..write.end()).zip(write.value.to_le_bytes()) {
            let offset = address.checked_sub(start).and_then(|offset| usize::try_from(offset).ok());
            if let Some(target) = offset.and_then(|offset| target.get_mut(offset)) {
                *target = byte;
            }
        }
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
                assert!(writes.is_sorted_by_key(|write| write.order));
                let mut found: Vec<u64> = writes.iter().map(|write| write.address).collect();
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
        put(&[at(0x0fff, 4, 0x0403_0201)], &mut bytes, 0x1000);
        assert_eq!(bytes, [2, 3, 4, 0xff]);
        put(&[at(0x1003, 8, 0x0807_0605_0403_0201)], &mut bytes, 0x1000);
        assert_eq!(bytes, [2, 3, 4, 1]);
    }
}
