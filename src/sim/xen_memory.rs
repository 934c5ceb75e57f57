//! Xen's memory and symbols: its code as far as it is modelled, and the loaded payloads.
//!
//! Patching writes real jumps into real bytes, so expectations, stacked patches and a patched `xen_extra_version` need no
//! rules of their own.

use core::ops::Range;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::bytes::until_nul;
use super::machine::{Does, Machine};
use crate::types::to_u64;

const PAGE: u64 = 4096;

/// The longest string that is read.
const LONGEST_STRING: usize = 4096;

#[derive(Clone, Debug, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub(super) struct Image {
    /// The addresses of payloads.
    payloads: Range<u64>,
    /// Shared with forks of the host until they are written to.
    regions: BTreeMap<u64, Arc<Vec<u8>>>,
    symbols: Vec<(Vec<u8>, u64)>,
    end_of_xen: u64,
}

impl Image {
    /// Empty memory for Xen and payloads at these addresses.
    pub(super) fn new(xen: &Range<u64>, payloads: Range<u64>) -> Self {
        Self { payloads, regions: BTreeMap::new(), symbols: Vec::new(), end_of_xen: xen.start }
    }

    /// Adds a function or variable of Xen with these bytes, aligned as compilers align functions.
    pub(super) fn add_symbol(&mut self, name: &[u8], bytes: &[u8]) -> u64 {
        let address = self.add_bytes(bytes);
        self.symbols.retain(|(known, _)| known != name);
        self.symbols.push((name.into(), address));
        address
    }

    /// Adds bytes without a name.
    pub(super) fn add_bytes(&mut self, bytes: &[u8]) -> u64 {
        let address = self.end_of_xen;
        self.end_of_xen = round_up(address.wrapping_add(to_u64(bytes.len()).max(1)), 16);
        self.regions.insert(address, Arc::new(bytes.into()));
        address
    }

    /// The address of a symbol of Xen itself.
    pub(super) fn symbol(&self, name: &[u8]) -> Option<u64> {
        symbol(&self.symbols, name)
    }

    /// Returns the first free address range for a payload. It stays free until [`load`](Self::load).
    pub(super) fn room(&self, len: u64) -> Option<u64> {
        let wanted = round_up(len.max(1), PAGE);
        let mut start = self.payloads.start;
        for (address, bytes) in self.regions.range(start..) {
            if address.checked_sub(start)? >= wanted {
                break;
            }
            start = round_up(address.wrapping_add(to_u64(bytes.len()).max(1)), PAGE);
        }
        (start.checked_add(wanted)? <= self.payloads.end).then_some(start)
    }

    pub(super) fn load(&mut self, address: u64, bytes: Vec<u8>) {
        self.regions.insert(address, Arc::new(bytes));
    }

    pub(super) fn unload(&mut self, address: u64) {
        self.regions.remove(&address);
    }

    /// The bytes from an address to the end of its region.
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
        let bytes = bytes.get(..LONGEST_STRING).unwrap_or(bytes);
        let text = until_nul(bytes);
        (text.len() < bytes.len()).then_some(text)
    }

    /// Overwrites bytes and returns the old ones; `None`, without a change, unless all of them are in one region.
    pub(super) fn write(&mut self, address: u64, new: &[u8]) -> Option<Vec<u8>> {
        let (start, bytes) = self.regions.range_mut(..=address).next_back()?;
        let offset = usize::try_from(address.checked_sub(*start)?).ok()?;
        let target = Arc::make_mut(bytes).get_mut(offset..offset.checked_add(new.len())?)?;
        let old = target.to_vec();
        target.copy_from_slice(new);
        Some(old)
    }

    pub(super) fn number_returned(&self, machine: &Machine, address: u64) -> Option<i32> {
        (machine.number_returned)(self.from(address)?)
    }

    /// The string that a function returns, after any number of patches.
    pub(super) fn string_returned(&self, machine: &Machine, address: u64) -> Option<&[u8]> {
        let mut at = address;
        // More jumps than regions would be a loop.
        for _ in 0..=self.regions.len() {
            match (machine.does)(self.from(at)?, at)? {
                Does::Jump(to) => at = to,
                Does::Return(string) => return self.string(string),
            }
        }
        None
    }
}

pub(super) fn symbol(symbols: &[(Vec<u8>, u64)], name: &[u8]) -> Option<u64> {
    symbols.iter().find(|(known, _)| known == name).map(|(_, address)| *address)
}

/// Rounds up to a power of two.
pub(super) fn round_up(value: u64, to: u64) -> u64 {
    value.wrapping_add(to.wrapping_sub(1)) & !to.wrapping_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xen::Architecture;

    const XEN: Range<u64> = 0x1000_0000..0x1100_0000;

    fn empty() -> Image {
        Image::new(&XEN, XEN.end..XEN.end + (512 << 20))
    }

    #[test]
    fn payloads_fill_the_first_gap() {
        let mut image = empty();
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
        for architecture in [Architecture::X86_64, Architecture::AArch64] {
            let machine = Machine::of(architecture);
            let mut image = empty();
            let strings = [b"old\0".as_slice(), b"new\0"].map(|text| image.add_bytes(text));
            let [old, new] = strings.map(|string| {
                let code = image.add_symbol(b"f", &[0; 12]);
                image.write(code, &(machine.returning_string)(code, string)).unwrap();
                code
            });
            assert_eq!(image.string_returned(machine, old), Some(b"old".as_slice()));
            let saved = image.write(old, &(machine.jump)(old, new)).unwrap();
            assert_eq!(image.string_returned(machine, old), Some(b"new".as_slice()));
            image.write(new, &(machine.jump)(new, old)).unwrap();
            assert_eq!(image.string_returned(machine, old), None, "a circle ends");
            image.write(old, &saved).unwrap();
            assert_eq!(image.string_returned(machine, old), Some(b"old".as_slice()));
            assert_eq!(image.write(old, &[0; 13]), None);
        }
    }
}
