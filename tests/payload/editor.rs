//! An editor of payload files by place, which shares nothing with the code that reads them.

use crate::prelude::*;

/// The Xen that the payloads in `tests/gcc-payloads` were made for.
pub(crate) const XEN: &str = "101112131415161718191a1b1c1d1e1f20212223";

pub(crate) const EXTRA_VERSION: &[u8] = include_bytes!("../gcc-payloads/extra-version.livepatch");
pub(crate) const HOOKED: &[u8] = include_bytes!("../gcc-payloads/hooked.livepatch");
pub(crate) const STACKED: &[u8] = include_bytes!("../gcc-payloads/stacked.livepatch");

pub(crate) fn xen() -> BuildId {
    XEN.parse().unwrap()
}

pub(crate) use crate::elf::{Field, header, relocation, section, symbol};

#[derive(Clone)]
pub(crate) struct Editor {
    pub(crate) bytes: Vec<u8>,
}

impl Editor {
    pub(crate) fn new(bytes: &[u8]) -> Self {
        Self { bytes: bytes.to_vec() }
    }

    /// `extra-version` as it would be for Xen 4.13 and older.
    pub(crate) fn version_1() -> Self {
        Self::new(EXTRA_VERSION).patch(".livepatch.funcs", 32, &[1]).set(".livepatch.funcs", section::SIZE, 64)
    }

    /// `extra-version` with these bytes at an offset of its function.
    pub(crate) fn function(offset: usize, bytes: &[u8]) -> Self {
        Self::new(EXTRA_VERSION).patch(".livepatch.funcs", offset, bytes)
    }

    pub(crate) fn get(&self, base: usize, (offset, size): Field) -> usize {
        let bytes = &self.bytes[base + offset..base + offset + size];
        bytes.iter().rev().fold(0, |sum, byte| sum << 8 | usize::from(*byte))
    }

    pub(crate) fn put(mut self, base: usize, (offset, size): Field, value: u64) -> Self {
        self.bytes[base + offset..base + offset + size].copy_from_slice(&value.to_le_bytes()[..size]);
        self
    }

    pub(crate) fn header(self, field: Field, value: u64) -> Self {
        self.put(0, field, value)
    }

    fn section_header(&self, index: usize) -> usize {
        self.get(0, header::TABLE) + 64 * index
    }

    pub(crate) fn name_of(&self, index: usize) -> &[u8] {
        let names = self.get(self.section_header(self.get(0, header::NAMES)), section::OFFSET);
        let start = names + self.get(self.section_header(index), section::NAME);
        let len = self.bytes[start..].iter().position(|byte| *byte == 0).unwrap();
        &self.bytes[start..start + len]
    }

    pub(crate) fn index(&self, name: &str) -> usize {
        let count = self.get(0, header::COUNT);
        (1..count).find(|index| self.name_of(*index) == name.as_bytes()).unwrap_or_else(|| panic!("no {name}"))
    }

    pub(crate) fn field(&self, name: &str, field: Field) -> usize {
        self.get(self.section_header(self.index(name)), field)
    }

    /// Changes a field of a section's header.
    pub(crate) fn set(self, name: &str, field: Field, value: u64) -> Self {
        let base = self.section_header(self.index(name));
        self.put(base, field, value)
    }

    /// Changes the contents of a section.
    pub(crate) fn patch(mut self, name: &str, offset: usize, bytes: &[u8]) -> Self {
        let start = self.field(name, section::OFFSET) + offset;
        self.bytes[start..start + bytes.len()].copy_from_slice(bytes);
        self
    }

    /// Changes a field of an entry of a table of 24-byte entries: symbols or relocations.
    pub(crate) fn entry(self, table: &str, index: usize, field: Field, value: u64) -> Self {
        let base = self.field(table, section::OFFSET) + 24 * index;
        self.put(base, field, value)
    }

    /// Hides a section from Xen by changing the last letter of its name.
    pub(crate) fn hide(mut self, name: &str) -> Self {
        let names = self.get(self.section_header(self.get(0, header::NAMES)), section::OFFSET);
        let last = names + self.field(name, section::NAME) + name.len() - 1;
        self.bytes[last] = b'~';
        self
    }

    pub(crate) fn clear_flag(self, name: &str, flag: u64) -> Self {
        let flags = u64::try_from(self.field(name, section::FLAGS)).unwrap();
        self.set(name, section::FLAGS, flags & !flag)
    }

    /// Empties a section, and with it its relocations.
    pub(crate) fn empty(self, name: &str) -> Self {
        self.set(name, section::SIZE, 0)
    }
}
