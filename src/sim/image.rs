//! Xen's memory and symbols: its own code as far as it is modelled, and the loaded payloads.
//!
//! Patching writes real jumps into real bytes here. So expectations, stacked patches and what a patched
//! `xen_extra_version` returns need no rules of their own.

use core::ops::Range;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::bytes::until_nul;
use crate::loader::ENDBR64;

/// Payloads come after Xen's image, up to here: less than 2 GiB away.
const PAYLOADS: u64 = 1 << 30;
const PAGE: u64 = 4096;

/// The longest no-operation of which `nops` makes a run.
const LONGEST_NOP: usize = 9;

/// Longest string that is looked at.
const LONGEST_STRING: u64 = 4096;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Image {
    /// Where payloads may be.
    payloads: Range<u64>,
    /// Shared with forks of the host until they are written to.
    regions: BTreeMap<u64, Arc<Vec<u8>>>,
    symbols: BTreeMap<Vec<u8>, u64>,
    end_of_xen: u64,
}

impl Image {
    /// An empty one, for Xen at these addresses.
    pub(super) fn new(xen: Range<u64>) -> Self {
        let payloads = xen.end..xen.end.saturating_add(PAYLOADS / 2);
        Self { payloads, regions: BTreeMap::new(), symbols: BTreeMap::new(), end_of_xen: xen.start }
    }

    /// Adds a function or variable of Xen with these bytes, aligned as compilers align functions.
    pub(super) fn add_symbol(&mut self, name: &[u8], bytes: &[u8]) -> u64 {
        let address = self.add_bytes(bytes);
        self.symbols.insert(name.into(), address);
        address
    }

    /// Adds bytes to Xen without a name.
    pub(super) fn add_bytes(&mut self, bytes: &[u8]) -> u64 {
        let address = self.end_of_xen;
        self.end_of_xen = round_up(address.saturating_add(super::bytes::length(bytes).max(1)), 16);
        self.regions.insert(address, Arc::new(bytes.into()));
        address
    }

    /// The address of a symbol of Xen itself.
    pub(super) fn symbol(&self, name: &[u8]) -> Option<u64> {
        self.symbols.get(name).copied()
    }

    /// Finds room for a payload. Nothing is there until [`load`](Self::load).
    pub(super) fn room(&self, len: u64) -> Option<u64> {
        let wanted = round_up(len.max(1), PAGE);
        let mut start = self.payloads.start;
        for (address, bytes) in self.regions.range(start..) {
            if address.checked_sub(start)? >= wanted {
                break;
            }
            start = round_up(address.saturating_add(super::bytes::length(bytes).max(1)), PAGE);
        }
        (start.checked_add(wanted)? <= self.payloads.end).then_some(start)
    }

    pub(super) fn load(&mut self, address: u64, bytes: Vec<u8>) {
        self.regions.insert(address, Arc::new(bytes));
    }

    pub(super) fn unload(&mut self, address: u64) {
        self.regions.remove(&address);
    }

    /// The bytes from an address to the end of what is there.
    fn from(&self, address: u64) -> Option<&[u8]> {
        let (start, bytes) = self.regions.range(..=address).next_back()?;
        bytes.get(usize::try_from(address.checked_sub(*start)?).ok()?..)
    }

    pub(super) fn read(&self, address: u64, len: u64) -> Option<&[u8]> {
        self.from(address)?.get(..usize::try_from(len).ok()?)
    }

    /// The string at an address, without its NUL.
    pub(super) fn string(&self, address: u64) -> Option<&[u8]> {
        let bytes = self.from(address)?;
        let bytes = bytes.get(..usize::try_from(LONGEST_STRING).ok()?).unwrap_or(bytes);
        let text = until_nul(bytes);
        (text.len() < bytes.len()).then_some(text)
    }

    /// Overwrites bytes and returns what was there. Nothing happens where the whole isn't there.
    pub(super) fn write(&mut self, address: u64, new: &[u8]) -> Option<Vec<u8>> {
        let (start, bytes) = self.regions.range_mut(..=address).next_back()?;
        let offset = usize::try_from(address.checked_sub(*start)?).ok()?;
        let target = Arc::make_mut(bytes).get_mut(offset..offset.checked_add(new.len())?)?;
        let old = target.to_vec();
        target.copy_from_slice(new);
        Some(old)
    }

    pub(super) fn has_endbr(&self, address: u64) -> bool {
        self.read(address, 4) == Some(&ENDBR64)
    }

    /// What a function returns that does nothing but return a number: `mov $imm32,%eax; ret` or `xor %eax,%eax; ret`.
    pub(super) fn constant_returned(&self, address: u64) -> Option<i32> {
        match self.from(self.past_endbr(address))? {
            [0xb8, a, b, c, d, 0xc3, ..] => Some(i32::from_le_bytes([*a, *b, *c, *d])),
            [0x31, 0xc0, 0xc3, ..] => Some(0),
            _ => None,
        }
    }

    /// The string returned by a function that does nothing but return one: `lea string(%rip),%rax; ret`, after
    /// any number of patches.
    pub(super) fn string_returned(&self, address: u64) -> Option<&[u8]> {
        let mut at = address;
        // More jumps than patches can be stacked would be a circle.
        for _ in 0..=self.regions.len() {
            at = self.past_endbr(at);
            match self.from(at)? {
                [0xe9, a, b, c, d, ..] => at = relative(at, 5, [*a, *b, *c, *d]),
                [0x48, 0x8d, 0x05, a, b, c, d, 0xc3, ..] => return self.string(relative(at, 7, [*a, *b, *c, *d])),
                _ => return None,
            }
        }
        None
    }

    fn past_endbr(&self, address: u64) -> u64 {
        if self.has_endbr(address) { address.wrapping_add(4) } else { address }
    }
}

/// What an instruction of this length at an address refers to.
fn relative(address: u64, len: u64, displacement: [u8; 4]) -> u64 {
    address.wrapping_add(len).wrapping_add_signed(i32::from_le_bytes(displacement).into())
}

/// `lea string(%rip),%rax; ret` at one address for a string at another.
pub(super) fn returning_string(at: u64, string: u64) -> [u8; 8] {
    let [a, b, c, d, ..] = string.wrapping_sub(at.wrapping_add(7)).to_le_bytes();
    [0x48, 0x8d, 0x05, a, b, c, d, 0xc3]
}

/// `jmp to` at an address.
pub(super) fn jump(at: u64, to: u64) -> [u8; 5] {
    let [a, b, c, d, ..] = to.wrapping_sub(at.wrapping_add(5)).to_le_bytes();
    [0xe9, a, b, c, d]
}

/// So many bytes of no-operations, as Xen fills them in for the processor that QEMU emulates: as few as possible, each a
/// run of prefixes and a `nop`, or several such.
pub(super) fn nops(len: u32) -> Vec<u8> {
    let mut nops = Vec::new();
    let mut left = usize::try_from(len).unwrap_or_default();
    while left > 0 {
        let len = left.min(LONGEST_NOP);
        nops.extend(nop(len));
        left = left.saturating_sub(len);
    }
    nops
}

/// One no-operation of up to nine bytes, of parts of up to four.
fn nop(len: usize) -> Vec<u8> {
    let parts: &[usize] = match len {
        0..=4 => &[len],
        5 => &[3, 2],
        6 => &[3, 3],
        7 => &[4, 3],
        8 => &[4, 4],
        _ => &[3, 3, 3],
    };
    let part = |len: &usize| [vec![0x66; len.saturating_sub(1)], vec![0x90]].concat();
    parts.iter().filter(|len| **len > 0).flat_map(part).collect()
}

/// Rounds up to a power of two.
pub(super) fn round_up(value: u64, to: u64) -> u64 {
    value.wrapping_add(to.wrapping_sub(1)) & !to.wrapping_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const XEN: Range<u64> = 0x1000_0000..0x1100_0000;

    #[test]
    fn no_operations_are_as_few_as_possible() {
        assert_eq!(nops(0), []);
        assert_eq!(nops(3), [0x66, 0x66, 0x90]);
        assert_eq!(nops(5), [0x66, 0x66, 0x90, 0x66, 0x90]);
        assert_eq!(nops(10), [0x66, 0x66, 0x90, 0x66, 0x66, 0x90, 0x66, 0x66, 0x90, 0x90]);
        assert!((0..32_u32).all(|len| nops(len).len() == usize::try_from(len).unwrap()));
    }

    #[test]
    fn payloads_fill_the_first_gap() {
        let mut image = Image::new(XEN);
        for (address, len) in [(0, 1), (1, 4097), (3, 1)].map(|(page, len)| (XEN.end + page * PAGE, len)) {
            assert_eq!(image.room(len), Some(address));
            image.load(address, vec![0; usize::try_from(len).unwrap()]);
        }
        image.unload(XEN.end + PAGE);
        assert_eq!(image.room(PAGE), Some(XEN.end + PAGE));
        assert_eq!(image.room(3 * PAGE), Some(XEN.end + 4 * PAGE));
        assert_eq!(image.room(1 << 30), None);
    }

    #[test]
    fn patched_functions_are_followed_to_their_string() {
        let mut image = Image::new(XEN);
        let strings = [b"old\0".as_slice(), b"new\0"].map(|text| image.add_bytes(text));
        let [old, new] = strings.map(|string| {
            let code = image.add_symbol(b"f", &[0; 12]);
            image.write(code, &ENDBR64).unwrap();
            image.write(code + 4, &returning_string(code + 4, string)).unwrap();
            code
        });
        assert_eq!(image.string_returned(old), Some(b"old".as_slice()));
        let saved = image.write(old + 4, &jump(old + 4, new)).unwrap();
        assert_eq!(image.string_returned(old), Some(b"new".as_slice()));
        image.write(new, &jump(new, old)).unwrap();
        assert_eq!(image.string_returned(old), None, "a circle ends");
        image.write(old + 4, &saved).unwrap();
        assert_eq!(image.string_returned(old), Some(b"old".as_slice()));
        assert_eq!(image.write(old, &[0; 13]), None);
    }

    #[test]
    fn constant_functions_are_recognised() {
        let mut image = Image::new(XEN);
        let mut returned = |code: &[u8]| {
            let address = image.add_bytes(code);
            image.constant_returned(address)
        };
        assert_eq!(returned(&[0xb8, 0xfb, 0xff, 0xff, 0xff, 0xc3]), Some(-5));
        assert_eq!(returned(&[0xf3, 0x0f, 0x1e, 0xfa, 0x31, 0xc0, 0xc3]), Some(0));
        assert_eq!(returned(&[0xb8, 1, 0, 0, 0]), None);
        assert_eq!(returned(&[0x90, 0xc3]), None);
    }
}
