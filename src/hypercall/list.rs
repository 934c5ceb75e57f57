//! The list of payloads: the arrays that Xen fills, and the rows in them.

use std::sync::Arc;

use super::interface::Layout;
use super::memory::{AllocationError, End, HypercallBuffer};
use super::pool::Piece;
use super::{Hypervisor, SYSCTL_SIZE};
use crate::sys;
use crate::types::{LoadedPayload, Metadata, PayloadName, State, Status, to_usize};

/// The size of the longest name with its NUL, which is also the stride of names before 4.14.
const NAME_SIZE: usize = 128;
const _: () = assert!(sys::XEN_LIVEPATCH_NAME_SIZE == 128);

/// The most rows that Xen returns at once.
pub(crate) const MAX_ROWS: usize = 1024;
const _: () = assert!(sys::XEN_LIVEPATCH_LIST_MAX == 1024);

/// The most metadata for which room is made. A payload can't have more than 2 MiB, so one row always fits.
const METADATA_LIMIT: usize = 4 << 20;

/// The bytes of a row in the three arrays: `status` (two words), `len`, `metadata_len`.
const ROW: usize = 16;
const STATUS: usize = 8;

/// The bytes at the beginning of a buffer for the block of the hypercall that fills the rest.
pub(super) const BLOCK: usize = SYSCTL_SIZE.next_multiple_of(16);
const LEN_COLUMN: usize = 8;
const METADATA_LEN_COLUMN: usize = 12;

/// The answer to LIST, without the rows themselves.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Listed {
    /// The number of uploads and unloads so far; apply, revert and replace don't change it.
    pub(crate) version: u32,
    /// The number of rows delivered.
    pub(crate) rows: u32,
    /// The number of rows after those delivered.
    pub(crate) remaining: u32,
    /// The bytes of all metadata, if there were no places (0 before 4.14).
    pub(crate) metadata_total: u32,
}

/// The length of a list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Extent {
    pub(crate) rows: usize,
    /// The bytes of all metadata.
    pub(crate) metadata: usize,
}

impl Extent {
    pub(crate) fn of(rows: u32, metadata: u32) -> Self {
        Self { rows: to_usize(rows), metadata: to_usize(metadata) }
    }

    /// Returns an extent that has room for both.
    pub(crate) fn or(self, other: Self) -> Self {
        Self { rows: self.rows.max(other.rows), metadata: self.metadata.max(other.metadata) }
    }

    /// The largest extent whose room is kept between two lists.
    pub(crate) const KEPT: Self = Self { rows: MAX_ROWS, metadata: MAX_ROWS * 256 };

    /// Returns an extent with room for a list that grows by a quarter, and by four payloads with 64 bytes of metadata each,
    /// within the limits. The extra room is left out if it would keep the memory from being kept.
    fn with_slack(self) -> Self {
        let more = |size: usize, least: usize| size.saturating_add(size / 4).saturating_add(least);
        let more = Self { rows: more(self.rows, 4), metadata: more(self.metadata, 4 * 64) }.within_limits();
        let kept = Self::KEPT.bytes();
        if more.bytes() <= kept || self.bytes() > kept { more } else { self.within_limits() }
    }

    /// Returns the part of it for which room is made.
    pub(crate) fn within_limits(self) -> Self {
        Self { rows: self.rows.min(MAX_ROWS), metadata: self.metadata.min(METADATA_LIMIT) }
    }

    /// Returns the bytes of a room for it.
    pub(crate) const fn bytes(self) -> usize {
        BLOCK.saturating_add(self.rows.saturating_mul(ROW + NAME_SIZE)).saturating_add(self.metadata)
    }
}

/// Memory for a number of rows, in one buffer: the block of the hypercall, the arrays, the names, and the metadata up to a
/// guard page, since 4.14 to 4.20 don't get the size of the room. Names can't take more than theirs.
#[derive(Debug)]
pub(crate) struct ListRoom {
    /// The rows and the bytes of metadata that fit.
    pub(crate) capacity: Extent,
    memory: HypercallBuffer,
    last: Option<Whole>,
}

/// A list that was read whole.
///
/// Its version counts uploads and unloads by anyone. A list of the same version has the same names and metadata in the same
/// order, and differs only in the statuses.
#[derive(Debug)]
struct Whole {
    version: u32,
    rows: Vec<LoadedPayload>,
}

/// The addresses of the parts of a list in a [`ListRoom`]; null without a room.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Places {
    pub(crate) status: sys::xen_guest_handle,
    pub(crate) len: sys::xen_guest_handle,
    pub(crate) metadata_len: sys::xen_guest_handle,
    pub(crate) name: sys::xen_guest_handle,
    pub(crate) metadata: sys::xen_guest_handle,
    /// The bytes for names and for metadata, which Xen takes from 4.21 on.
    pub(crate) sizes: (u32, u32),
}

impl ListRoom {
    /// Allocates room for a list of this extent (within [`MAX_ROWS`] and [`METADATA_LIMIT`]) that may have grown a little since.
    /// Names always fit.
    pub(crate) fn allocate(xen: &dyn Hypervisor, extent: Extent) -> Result<Self, AllocationError> {
        let mut capacity = extent.with_slack();
        let memory = xen.allocate(capacity.bytes(), End::Guarded)?;
        // The rest of the last page is for metadata too.
        capacity.metadata = memory.len().saturating_sub(Extent { metadata: 0, ..capacity }.bytes());
        Ok(Self { capacity, memory, last: None })
    }

    /// Returns true if a list of this extent fits.
    pub(crate) fn has(&self, extent: Extent) -> bool {
        let Extent { rows, metadata } = extent.within_limits();
        self.capacity.rows >= rows && self.capacity.metadata >= metadata
    }

    #[inline]
    pub(crate) fn places(&self) -> Places {
        let Extent { rows, metadata } = self.capacity;
        let column = |offset: usize| self.memory.handle(BLOCK + rows * offset);
        Places {
            status: column(0),
            len: column(LEN_COLUMN),
            metadata_len: column(METADATA_LEN_COLUMN),
            name: column(ROW),
            metadata: column(ROW + NAME_SIZE),
            sizes: (as_count(rows * NAME_SIZE), as_count(metadata)),
        }
    }

    /// Returns the whole buffer, which begins with the block of a hypercall.
    pub(crate) fn memory(&mut self) -> &mut HypercallBuffer {
        &mut self.memory
    }

    /// Returns all rows of a list of this version, which are the first `count`.
    ///
    /// # Errors
    /// A description of the mistake, if Xen wrote something impossible.
    #[inline]
    pub(crate) fn whole(&mut self, layout: Layout, count: u32, version: u32) -> Result<&[LoadedPayload], &'static str> {
        let is_it = |last: &mut Whole| last.version == version && last.rows.len() == to_usize(count);
        let rows = match self.last.take_if(is_it) {
            Some(Whole { mut rows, .. }) => {
                set_statuses(&mut rows, arrays(&self.memory));
                rows
            }
            None => Columns::of(&self.memory, self.capacity, count)?.rows(layout, count)?,
        };
        Ok(&self.last.insert(Whole { version, rows }).rows)
    }

    /// Returns the first `count` rows, which are a part of a list of this version that begins after `start` others.
    ///
    /// # Errors
    /// As [`whole`](Self::whole).
    pub(crate) fn part(
        &self,
        layout: Layout,
        start: u32,
        count: u32,
        version: u32,
    ) -> Result<Vec<LoadedPayload>, &'static str> {
        let columns = Columns::of(&self.memory, self.capacity, count)?;
        self.known(version, start, count).map_or_else(|| columns.rows(layout, count), Ok)
    }

    /// Returns these rows, if the last whole list was of this version.
    fn known(&self, version: u32, start: u32, count: u32) -> Option<Vec<LoadedPayload>> {
        let last = self.last.as_ref().filter(|last| last.version == version)?;
        let (start, count) = (to_usize(start), to_usize(count));
        let mut rows = last.rows.get(start..start.checked_add(count)?)?.to_vec();
        set_statuses(&mut rows, arrays(&self.memory));
        Some(rows)
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

/// The arrays as Xen wrote them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Columns<'a> {
    pub(crate) status: &'a [u8],
    pub(crate) len: &'a [u8],
    pub(crate) metadata_len: &'a [u8],
    pub(crate) names: &'a [u8],
    pub(crate) metadata: &'a [u8],
}

/// The arrays in a room, of which the statuses are the first.
fn arrays(memory: &HypercallBuffer) -> &[u8] {
    memory.as_slice().split_at(BLOCK).1
}

impl<'a> Columns<'a> {
    /// Those of a room with this capacity in which Xen wrote so many rows.
    fn of(memory: &'a HypercallBuffer, capacity: Extent, count: u32) -> Result<Self, &'static str> {
        if to_usize(count) > capacity.rows {
            return Err("more rows than were asked for");
        }
        let mut rest = arrays(memory);
        let mut column = |width: usize| {
            let (column, after) = rest.split_at(capacity.rows * width);
            rest = after;
            column
        };
        Ok(Self {
            status: column(STATUS),
            len: column(METADATA_LEN_COLUMN - LEN_COLUMN),
            metadata_len: column(ROW - METADATA_LEN_COLUMN),
            names: column(NAME_SIZE),
            metadata: rest,
        })
    }

    /// Splits the columns into `count` rows. No part of a row comes from another row, whatever the bytes.
    pub(crate) fn rows(self, layout: Layout, count: u32) -> Result<Vec<LoadedPayload>, &'static str> {
        let short = "fewer bytes than its rows need";
        let count = to_usize(count);
        if count == 0 {
            return Ok(Vec::new());
        }
        let strided = layout == Layout::Strided;
        let statuses = beginning(self.status, count, STATUS).ok_or(short)?;
        let lens = beginning(self.len, count, 4).ok_or(short)?;
        if lengths(lens).any(|len| !(1..=NAME_SIZE).contains(&len)) {
            return Err("a name's length out of range");
        }
        // Before 4.14 there are no metadata, and each name has room for the longest.
        let metadata_lens = if strided { &[] } else { beginning(self.metadata_len, count, 4).ok_or(short)? };
        let name_sizes = lengths(lens).map(|len| if strided { NAME_SIZE } else { len });
        let names = copied(self.names, name_sizes.clone()).ok_or("names that end past their buffer")?;
        let metadata = copied(self.metadata, lengths(metadata_lens)).ok_or("metadata that ends past its buffer")?;

        let mut rows = Vec::with_capacity(count);
        let (mut name_at, mut metadata_at) = (0_usize, 0_usize);
        let columns = statuses.chunks_exact(STATUS).zip(lengths(lens)).zip(name_sizes);
        let metadata_lens = lengths(metadata_lens).chain(core::iter::repeat(0));
        for (((now, len), stride), metadata_len) in columns.zip(metadata_lens) {
            let name = PayloadName::from_xen(&names, name_at..name_at.saturating_add(len));
            let name = name.ok_or("a name that doesn't end with its only NUL")?;
            let metadata_end = metadata_at.saturating_add(metadata_len);
            let metadata = Metadata::among(&metadata, metadata_at..metadata_end).ok_or(short)?;
            rows.push(LoadedPayload { name, status: status(now), metadata });
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
    column.chunks_exact(size_of::<u32>()).map(|bytes| to_usize(u32::from_ne_bytes(word(bytes))))
}

fn word(bytes: &[u8]) -> [u8; 4] {
    bytes.try_into().expect("a chunk of four bytes")
}

/// Sets the statuses of these rows to those that Xen wrote.
fn set_statuses(rows: &mut [LoadedPayload], statuses: &[u8]) {
    for (row, now) in rows.iter_mut().zip(statuses.chunks_exact(STATUS)) {
        row.status = status(now);
    }
}

/// Reads a status from its eight bytes.
fn status(bytes: &[u8]) -> Status {
    let (state, rc) = bytes.split_at(STATUS / 2);
    Status::new(State::from_raw(u32::from_ne_bytes(word(state))), i32::from_ne_bytes(word(rc)))
}

pub(crate) fn as_count(size: usize) -> u32 {
    u32::try_from(size).expect("room is made for less than 4 GiB")
}

/// Copies the adjacent pieces of these lengths into one allocation; `None` if there are fewer bytes.
fn copied(from: &[u8], mut lengths: impl Iterator<Item = usize>) -> Option<Arc<[u8]>> {
    let len = lengths.try_fold(0_usize, usize::checked_add)?;
    from.get(..len).map(Arc::from)
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
        let empty = Columns { len: &words(&[1, 2]), names: b"\0b\0", ..good }.rows(Layout::Packed, 2).unwrap();
        assert_eq!(empty[0].name.as_bytes(), b"", "the C tool allows it");
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
    fn a_list_of_the_same_version_has_the_same_texts_and_new_statuses() {
        let columns = Columns {
            status: &words(&[1, 0, 1, 0]),
            len: &words(&[2, 2]),
            metadata_len: &words(&[1, 0]),
            names: b"a\0b\0",
            metadata: b"m",
        };
        let first = columns.rows(Layout::Packed, 2).unwrap();
        let mut second = first.clone();
        set_statuses(&mut second, &words(&[2, 0, 1, 0xffff_fff5]));
        let statuses = |row: &LoadedPayload| (row.status.state, row.status.rc);
        assert_eq!(second.iter().map(statuses).collect::<Vec<_>>(), [(State::Applied, 0), (State::Checked, -11)]);
        for (one, other) in first.iter().zip(&second) {
            assert_eq!(one.name.as_bytes().as_ptr(), other.name.as_bytes().as_ptr(), "in the same place");
            assert_eq!(one.metadata, other.metadata);
        }
    }
}
