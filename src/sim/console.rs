//! The console ring.

use super::bytes::word;
use crate::types::to_usize;

/// The beginning of a line that continues the one before. Real Xens indent with no-break spaces, too.
pub(super) const CONTINUES: &str = "\u{a0}";

/// Xen's log: the last bytes written. Positions count all bytes ever written, modulo 2^32.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub(super) struct Console {
    /// The last bytes, oldest first.
    kept: std::collections::VecDeque<u8>,
    size: usize,
    /// The position after the last byte.
    end: u32,
}

impl Console {
    pub(super) fn new(size: usize) -> Self {
        Self { kept: std::collections::VecDeque::new(), size: size.max(1), end: 0 }
    }

    /// Writes a line with the prefix of Xen's lines.
    pub(super) fn line(&mut self, text: impl AsRef<[u8]>) {
        self.write(&[b"(XEN) ", text.as_ref(), b"\n"].concat());
    }

    pub(super) fn write(&mut self, bytes: &[u8]) {
        self.end = self.end.wrapping_add(word(bytes.len()));
        self.kept.extend(bytes);
        // Nothing while there is room.
        self.kept.drain(..self.kept.len().saturating_sub(self.size));
    }

    /// Returns at most `count` bytes from `index` on, or from the oldest if that position is no longer kept, and the position
    /// after the last of them.
    pub(super) fn read(&self, index: Option<u32>, count: u32) -> (Vec<u8>, u32) {
        let oldest = self.end.wrapping_sub(word(self.kept.len()));
        let wanted = to_usize(index.map_or(0, |index| index.wrapping_sub(oldest)));
        let skip = if wanted <= self.kept.len() { wanted } else { 0 };
        let bytes: Vec<u8> = self.kept.iter().skip(skip).take(to_usize(count)).copied().collect();
        let next = oldest.wrapping_add(word(skip + bytes.len()));
        (bytes, next)
    }

    /// Removes the bytes before a position that [`read`](Self::read) returned.
    pub(super) fn clear(&mut self, up_to: u32) {
        let rest = to_usize(self.end.wrapping_sub(up_to)).min(self.kept.len());
        self.kept.drain(..self.kept.len() - rest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ring_keeps_the_newest_and_positions_go_on() {
        let mut console = Console::new(8);
        console.write(b"abcdef");
        assert_eq!(console.read(None, 99), (b"abcdef".to_vec(), 6));
        assert_eq!(console.read(Some(4), 1), (b"e".to_vec(), 5));
        assert_eq!(console.read(Some(6), 99), (Vec::new(), 6));
        console.write(b"ghij");
        assert_eq!(console.read(Some(6), 99), (b"ghij".to_vec(), 10));
        assert_eq!(console.read(Some(1), 99), (b"cdefghij".to_vec(), 10), "a position that is gone");
        assert_eq!(console.read(Some(11), 99), (b"cdefghij".to_vec(), 10), "a position that never was");
        console.clear(9);
        assert_eq!(console.read(None, 99), (b"j".to_vec(), 10));
    }

    #[test]
    fn positions_wrap() {
        let mut console = Console { end: u32::MAX - 1, ..Console::new(8) };
        console.write(b"abcd");
        assert_eq!(console.read(None, 99), (b"abcd".to_vec(), 2));
        assert_eq!(console.read(Some(u32::MAX), 99), (b"bcd".to_vec(), 2));
        assert_eq!(console.read(Some(1), 99), (b"d".to_vec(), 2));
    }
}
