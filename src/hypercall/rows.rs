//! The rows of the list: the arrays that Xen fills, and what they say.

use super::Hypervisor;
use super::abi::Layout;
use super::memory::{AllocationError, HypercallBuffer};
use super::pool::Piece;
use crate::name::PayloadName;
use crate::status::{LoadedPayload, Metadata, State, Status};
use crate::sys;

/// Bytes that a name may take, with its NUL; the stride of names before 4.14.
const NAME_SIZE: usize = 128;
const _: () = assert!(sys::XEN_LIVEPATCH_NAME_SIZE == 128);

/// The most rows that Xen returns at once.
pub(crate) const MAX_ROWS: usize = 1024;
const _: () = assert!(sys::XEN_LIVEPATCH_LIST_MAX == 1024);

/// Bytes a row in the three arrays: `status` (two words), `len`, `metadata_len`.
const ROW: usize = 16;
const LEN_COLUMN: usize = 8;
const METADATA_LEN_COLUMN: usize = 12;

/// Memory for a number of rows. Names and metadata end at a guard page each: 4.14 to 4.20 aren't told their sizes.
#[derive(Debug)]
pub(crate) struct ListRoom {
    capacity: usize,
    arrays: HypercallBuffer,
    names: HypercallBuffer,
    metadata: HypercallBuffer,
}

/// Guest handles to the parts of a [`ListRoom`]; null without one.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Handles {
    pub(crate) status: sys::xen_guest_handle,
    pub(crate) len: sys::xen_guest_handle,
    pub(crate) metadata_len: sys::xen_guest_handle,
    pub(crate) name: sys::xen_guest_handle,
    pub(crate) metadata: sys::xen_guest_handle,
}

impl ListRoom {
    /// Room for `capacity` rows (at most [`MAX_ROWS`]) with this much metadata in all. Names always fit.
    pub(crate) fn allocate(xen: &dyn Hypervisor, capacity: usize, metadata: usize) -> Result<Self, AllocationError> {
        Ok(Self {
            capacity,
            arrays: xen.allocate(capacity.saturating_mul(ROW))?,
            names: xen.allocate(capacity.saturating_mul(NAME_SIZE))?,
            metadata: xen.allocate(metadata)?,
        })
    }

    pub(crate) fn capacity(&self) -> u32 {
        u32::try_from(self.capacity).unwrap_or(u32::MAX)
    }

    /// Whether this many rows and this much metadata fit.
    pub(crate) fn has(&self, rows: usize, metadata: usize) -> bool {
        self.capacity >= rows && self.metadata.len() >= metadata
    }

    /// Whether Xen would return more rows at once.
    pub(crate) fn can_grow(&self) -> bool {
        self.capacity < MAX_ROWS
    }

    /// The bytes of metadata that fit.
    pub(crate) fn metadata_capacity(&self) -> usize {
        self.metadata.len()
    }

    pub(crate) fn handles(&self) -> Handles {
        Handles {
            status: self.arrays.handle(0),
            len: self.arrays.handle(self.capacity * LEN_COLUMN),
            metadata_len: self.arrays.handle(self.capacity * METADATA_LEN_COLUMN),
            name: self.names.handle(0),
            metadata: self.metadata.handle(0),
        }
    }

    /// The bytes for names and for metadata, as Xen wants to know from 4.21 on.
    pub(crate) fn sizes(&self) -> (u32, u32) {
        let size = |buffer: &HypercallBuffer| u32::try_from(buffer.len()).unwrap_or(u32::MAX);
        (size(&self.names), size(&self.metadata))
    }

    pub(crate) fn memory(&mut self) -> Vec<&mut HypercallBuffer> {
        vec![&mut self.arrays, &mut self.names, &mut self.metadata]
    }

    /// The first `count` rows.
    ///
    /// # Errors
    /// What is wrong with them, if Xen wrote something that can't be.
    pub(crate) fn rows(&self, layout: Layout, count: u32) -> Result<Vec<LoadedPayload>, &'static str> {
        if count > self.capacity() {
            return Err("more rows than were asked for");
        }
        let (status, lengths) = self.arrays.as_slice().split_at(self.capacity * LEN_COLUMN);
        let (len, metadata_len) = lengths.split_at(self.capacity * (METADATA_LEN_COLUMN - LEN_COLUMN));
        let columns =
            Columns { status, len, metadata_len, names: self.names.as_slice(), metadata: self.metadata.as_slice() };
        columns.rows(layout, count)
    }
}

impl Piece for ListRoom {
    fn bytes(&self) -> usize {
        [&self.arrays, &self.names, &self.metadata].into_iter().map(HypercallBuffer::len).fold(0, usize::saturating_add)
    }

    fn is_here(&self) -> bool {
        self.arrays.is_here()
    }
}

/// What Xen wrote, as bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Columns<'a> {
    pub(crate) status: &'a [u8],
    pub(crate) len: &'a [u8],
    pub(crate) metadata_len: &'a [u8],
    pub(crate) names: &'a [u8],
    pub(crate) metadata: &'a [u8],
}

impl Columns<'_> {
    /// Takes the columns apart into `count` rows. Whatever the bytes, no part of a row comes from another's.
    pub(crate) fn rows(mut self, layout: Layout, count: u32) -> Result<Vec<LoadedPayload>, &'static str> {
        (0..count).map(|_| self.row(layout)).collect()
    }

    fn row(&mut self, layout: Layout) -> Result<LoadedPayload, &'static str> {
        let short = "fewer bytes than its rows need";
        let state = State::from_raw(u32::from_ne_bytes(take_word(&mut self.status).ok_or(short)?));
        let rc = i32::from_ne_bytes(take_word(&mut self.status).ok_or(short)?);
        let len = length(&mut self.len).ok_or(short)?;
        if !(1..=NAME_SIZE).contains(&len) {
            return Err("a name's length out of range");
        }
        let stride = if layout == Layout::Strided { NAME_SIZE } else { len };
        let name = take(&mut self.names, stride).ok_or("names that end past their buffer")?;
        let name = name.get(..len).ok_or(short)?;
        let name = PayloadName::from_xen(name).ok_or("a name that doesn't end with its only NUL")?;
        let metadata = if layout == Layout::Strided {
            Metadata::default()
        } else {
            let len = length(&mut self.metadata_len).ok_or(short)?;
            Metadata::new(take(&mut self.metadata, len).ok_or("metadata that ends past its buffer")?)
        };
        Ok(LoadedPayload { name, status: Status { state, rc }, metadata })
    }
}

fn take<'a>(from: &mut &'a [u8], len: usize) -> Option<&'a [u8]> {
    let (taken, rest) = from.split_at_checked(len)?;
    *from = rest;
    Some(taken)
}

fn length(from: &mut &[u8]) -> Option<usize> {
    usize::try_from(u32::from_ne_bytes(take_word(from)?)).ok()
}

fn take_word(from: &mut &[u8]) -> Option<[u8; 4]> {
    let (word, rest) = from.split_first_chunk()?;
    *from = rest;
    Some(*word)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[u32]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_ne_bytes()).collect()
    }

    fn strided(names: &[&[u8]]) -> Vec<u8> {
        names.iter().flat_map(|name| name.iter().copied().chain([0xaa; 128]).take(128)).collect()
    }

    #[test]
    fn packed_and_strided_rows_say_the_same() {
        let (status, len) = (words(&[1, 0, 2, 0xffff_fff5]), words(&[3, 2]));
        let columns = Columns {
            status: &status,
            len: &len,
            metadata_len: &words(&[0, 4]),
            names: b"ab\0c\0zzz",
            metadata: b"k=v\0zz",
        };
        let packed = columns.rows(Layout::Packed, 2).unwrap();
        assert_eq!(packed[0].name.as_bytes(), b"ab");
        assert_eq!((packed[1].status.state, packed[1].status.rc), (State::Applied, -11));
        assert_eq!(packed[1].metadata.as_bytes(), b"k=v\0");
        assert!(packed[0].metadata.is_empty());
        let names = strided(&[b"ab\0", b"c\0"]);
        let strided =
            Columns { names: &names, metadata_len: &[], metadata: &[], ..columns }.rows(Layout::Strided, 2).unwrap();
        assert!(strided.iter().zip(&packed).all(|(a, b)| (&a.name, a.status) == (&b.name, b.status)));
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let (status, one) = (words(&[1, 0, 1, 0]), words(&[2, 2]));
        let good =
            Columns { status: &status, len: &one, metadata_len: &words(&[1, 0]), names: b"a\0b\0", metadata: b"m" };
        assert!(good.rows(Layout::Sized, 2).is_ok());
        for (columns, problem) in [
            (Columns { status: &status[..15], ..good }, "fewer bytes than its rows need"),
            (Columns { len: &words(&[0, 2]), ..good }, "a name's length out of range"),
            (Columns { len: &words(&[2, 129]), ..good }, "a name's length out of range"),
            (Columns { names: b"a\0b", ..good }, "names that end past their buffer"),
            (Columns { names: b"a\0\0\0", ..good }, "a name that doesn't end with its only NUL"),
            (Columns { names: b"abc\0", ..good }, "a name that doesn't end with its only NUL"),
            (Columns { metadata_len: &words(&[1, u32::MAX]), ..good }, "metadata that ends past its buffer"),
        ] {
            assert_eq!(columns.rows(Layout::Packed, 2), Err(problem), "{columns:?}");
        }
    }

    #[test]
    fn the_empty_name_that_the_c_tool_allows_is_a_row() {
        let columns = Columns {
            status: &words(&[1, 0]),
            len: &words(&[1]),
            metadata_len: &words(&[0]),
            names: b"\0",
            metadata: b"",
        };
        assert_eq!(columns.rows(Layout::Packed, 1).unwrap()[0].name.as_bytes(), b"");
    }
}
