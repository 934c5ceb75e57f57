//! The rows of the list: the arrays that Xen fills, and what they say.

use std::sync::Arc;

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
const STATUS: usize = 8;
const LEN_COLUMN: usize = 8;
const METADATA_LEN_COLUMN: usize = 12;

/// Memory for a number of rows: the arrays, the names, and metadata up to the end, where a guard page is. 4.14 to 4.20
/// aren't told how much room there is. Names can't take more than they have.
#[derive(Debug)]
pub(crate) struct ListRoom {
    capacity: usize,
    memory: HypercallBuffer,
    last: Texts,
}

/// The names and the metadata of the last list, which the next one shares where they are the same, as they mostly are.
#[derive(Debug, Default)]
pub(crate) struct Texts {
    names: Arc<[u8]>,
    metadata: Arc<[u8]>,
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
    /// The bytes that room for `capacity` rows (at most [`MAX_ROWS`]) with this much metadata takes.
    pub(crate) const fn size(capacity: usize, metadata: usize) -> usize {
        capacity.saturating_mul(ROW + NAME_SIZE).saturating_add(metadata)
    }

    /// Room for `capacity` rows (at most [`MAX_ROWS`]) with this much metadata in all. Names always fit.
    pub(crate) fn allocate(xen: &dyn Hypervisor, capacity: usize, metadata: usize) -> Result<Self, AllocationError> {
        Ok(Self { capacity, memory: xen.allocate(Self::size(capacity, metadata))?, last: Texts::default() })
    }

    /// Room for `capacity` rows in memory that there is already; `None` where it is too small.
    pub(crate) fn of(capacity: usize, memory: HypercallBuffer) -> Option<Self> {
        (memory.len() >= Self::size(capacity, 0)).then(|| Self { capacity, memory, last: Texts::default() })
    }

    pub(crate) fn capacity(&self) -> u32 {
        u32::try_from(self.capacity).unwrap_or(u32::MAX)
    }

    /// Whether this many rows and this much metadata fit.
    pub(crate) fn has(&self, rows: usize, metadata: usize) -> bool {
        self.capacity >= rows && self.metadata_capacity() >= metadata
    }

    /// Whether Xen would return more rows at once.
    pub(crate) fn can_grow(&self) -> bool {
        self.capacity < MAX_ROWS
    }

    /// The bytes of metadata that fit.
    pub(crate) fn metadata_capacity(&self) -> usize {
        self.memory.len().saturating_sub(self.metadata_start())
    }

    fn metadata_start(&self) -> usize {
        Self::size(self.capacity, 0)
    }

    pub(crate) fn handles(&self) -> Handles {
        Handles {
            status: self.memory.handle(0),
            len: self.memory.handle(self.capacity * LEN_COLUMN),
            metadata_len: self.memory.handle(self.capacity * METADATA_LEN_COLUMN),
            name: self.memory.handle(self.capacity * ROW),
            metadata: self.memory.handle(self.metadata_start()),
        }
    }

    /// The bytes for names and for metadata, as Xen wants to know from 4.21 on.
    pub(crate) fn sizes(&self) -> (u32, u32) {
        let size = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX);
        (size(self.capacity * NAME_SIZE), size(self.metadata_capacity()))
    }

    pub(crate) fn memory(&mut self) -> &mut HypercallBuffer {
        &mut self.memory
    }

    /// The first `count` rows.
    ///
    /// # Errors
    /// What is wrong with them, if Xen wrote something that can't be.
    pub(crate) fn rows(&mut self, layout: Layout, count: u32) -> Result<Vec<LoadedPayload>, &'static str> {
        if count > self.capacity() {
            return Err("more rows than were asked for");
        }
        let mut rest = self.memory.as_slice();
        let mut column = |width: usize| {
            let (column, after) = rest.split_at(self.capacity * width);
            rest = after;
            column
        };
        let columns = Columns {
            status: column(STATUS),
            len: column(METADATA_LEN_COLUMN - LEN_COLUMN),
            metadata_len: column(ROW - METADATA_LEN_COLUMN),
            names: column(NAME_SIZE),
            metadata: rest,
        };
        columns.rows(layout, count, &mut self.last)
    }
}

impl Piece for ListRoom {
    fn bytes(&self) -> usize {
        self.memory.len()
    }

    fn is_here(&self) -> bool {
        self.memory.is_here()
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
    pub(crate) fn rows(self, layout: Layout, count: u32, last: &mut Texts) -> Result<Vec<LoadedPayload>, &'static str> {
        let short = "fewer bytes than its rows need";
        let count = usize::try_from(count).map_err(|_| short)?;
        if count == 0 {
            return Ok(Vec::new());
        }
        let strided = layout == Layout::Strided;
        let status = beginning(self.status, count, STATUS).ok_or(short)?;
        let lens = beginning(self.len, count, 4).ok_or(short)?;
        if lengths(lens).any(|len| !(1..=NAME_SIZE).contains(&len)) {
            return Err("a name's length out of range");
        }
        // Before 4.14 there are no metadata, and each name has room for the longest.
        let metadata_lens = if strided { &[] } else { beginning(self.metadata_len, count, 4).ok_or(short)? };
        let name_sizes = lengths(lens).map(|len| if strided { NAME_SIZE } else { len });
        let names = kept(self.names, name_sizes.clone(), &mut last.names).ok_or("names that end past their buffer")?;
        let metadata = kept(self.metadata, lengths(metadata_lens), &mut last.metadata);
        let metadata = metadata.ok_or("metadata that ends past its buffer")?;

        let mut rows = Vec::with_capacity(count);
        let (mut name_at, mut metadata_at) = (0_usize, 0_usize);
        let columns = status.chunks_exact(STATUS).zip(lengths(lens)).zip(name_sizes);
        let metadata_lens = lengths(metadata_lens).chain(core::iter::repeat(0));
        for (((status, len), stride), metadata_len) in columns.zip(metadata_lens) {
            let (state, rc) = status.split_at(size_of::<u32>());
            let status =
                Status { state: State::from_raw(u32::from_ne_bytes(word(state))), rc: i32::from_ne_bytes(word(rc)) };
            let name = PayloadName::from_xen(names, name_at..name_at.saturating_add(len));
            let name = name.ok_or("a name that doesn't end with its only NUL")?;
            let metadata_end = metadata_at.saturating_add(metadata_len);
            let metadata = Metadata::among(metadata, metadata_at..metadata_end).ok_or(short)?;
            rows.push(LoadedPayload { name, status, metadata });
            (name_at, metadata_at) = (name_at.saturating_add(stride), metadata_end);
        }
        Ok(rows)
    }
}

/// The first `count` fields of a column.
fn beginning(column: &[u8], count: usize, width: usize) -> Option<&[u8]> {
    column.get(..count.checked_mul(width)?)
}

fn lengths(column: &[u8]) -> impl Iterator<Item = usize> + Clone {
    column
        .chunks_exact(size_of::<u32>())
        .map(|bytes| usize::try_from(u32::from_ne_bytes(word(bytes))).unwrap_or(usize::MAX))
}

fn word(bytes: &[u8]) -> [u8; 4] {
    bytes.first_chunk().copied().unwrap_or_default()
}

/// What Xen wrote of pieces of these lengths, one after the other, in one allocation: the last one, where that has the
/// same.
fn kept<'k>(from: &[u8], mut lengths: impl Iterator<Item = usize>, last: &'k mut Arc<[u8]>) -> Option<&'k Arc<[u8]>> {
    let len = lengths.try_fold(0_usize, usize::checked_add)?;
    let bytes = from.get(..len)?;
    if **last != *bytes {
        *last = bytes.into();
    }
    Some(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(columns: Columns<'_>, layout: Layout, count: u32) -> Result<Vec<LoadedPayload>, &'static str> {
        columns.rows(layout, count, &mut Texts::default())
    }

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
        let packed = rows(columns, Layout::Packed, 2).unwrap();
        assert_eq!(packed[0].name.as_bytes(), b"ab");
        assert_eq!((packed[1].status.state, packed[1].status.rc), (State::Applied, -11));
        assert_eq!(packed[1].metadata.as_bytes(), b"k=v\0");
        assert!(packed[0].metadata.is_empty());
        let names = strided(&[b"ab\0", b"c\0"]);
        let strided =
            rows(Columns { names: &names, metadata_len: &[], metadata: &[], ..columns }, Layout::Strided, 2).unwrap();
        assert!(strided.iter().zip(&packed).all(|(a, b)| (&a.name, a.status) == (&b.name, b.status)));
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let (status, one) = (words(&[1, 0, 1, 0]), words(&[2, 2]));
        let good =
            Columns { status: &status, len: &one, metadata_len: &words(&[1, 0]), names: b"a\0b\0", metadata: b"m" };
        assert!(rows(good, Layout::Sized, 2).is_ok());
        for (columns, problem) in [
            (Columns { status: &status[..15], ..good }, "fewer bytes than its rows need"),
            (Columns { len: &words(&[0, 2]), ..good }, "a name's length out of range"),
            (Columns { len: &words(&[2, 129]), ..good }, "a name's length out of range"),
            (Columns { names: b"a\0b", ..good }, "names that end past their buffer"),
            (Columns { names: b"a\0\0\0", ..good }, "a name that doesn't end with its only NUL"),
            (Columns { names: b"abc\0", ..good }, "a name that doesn't end with its only NUL"),
            (Columns { metadata_len: &words(&[1, u32::MAX]), ..good }, "metadata that ends past its buffer"),
        ] {
            assert_eq!(rows(columns, Layout::Packed, 2), Err(problem), "{columns:?}");
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
        assert_eq!(rows(columns, Layout::Packed, 1).unwrap()[0].name.as_bytes(), b"");
    }

    #[test]
    fn a_list_shares_what_the_last_one_had_and_nothing_else() {
        let (status, len, metadata_len) = (words(&[1, 0]), words(&[2]), words(&[1]));
        let columns =
            Columns { status: &status, len: &len, metadata_len: &metadata_len, names: b"a\0", metadata: b"m" };
        let mut last = Texts::default();
        let mut only_row = |columns: Columns<'_>| {
            let rows = columns.rows(Layout::Packed, 1, &mut last).unwrap();
            (rows[0].name.to_string(), rows[0].metadata.as_bytes().to_vec(), rows[0].name.as_bytes().as_ptr())
        };
        let first = only_row(columns);
        assert_eq!(first.0, "a");
        assert_eq!(only_row(columns), first, "in the same place");
        let others = Columns { names: b"b\0", metadata: b"n", ..columns };
        let (name, metadata, _) = only_row(others);
        assert_eq!((&*name, &*metadata), ("b", &b"n"[..]));
    }
}
