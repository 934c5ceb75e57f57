//! LIST: the request, the rows, and their buffers.

use super::bytes::{low_word, put, word};
use super::guest_memory::Caller;
use super::host::{Host, status};
use super::payload::Payload;
use super::request::{Block, long_at, word_at};
use crate::types::{Errno, to_u64, to_usize};
use crate::xen::{Architecture, rules};

/// Offsets in the request.
const VERSION: usize = 16;
const START: usize = 20;
/// Of rows; in the answer, of payloads that remain.
const COUNT: usize = 24;
const PAD: usize = 28;
/// From 4.14 on: bytes of names and metadata. Xen checks the room for them from 4.21 on.
const TOTALS: [usize; 2] = [32, 36];
/// Before 4.14: status, name, len.
const STRIDED_HANDLES: [usize; 3] = [32, 40, 48];
/// From 4.14 on: status, name, len, metadata, length of metadata.
const PACKED_HANDLES: [usize; 5] = [40, 48, 56, 64, 72];

const MAX_ROWS: u32 = 1024;
/// Bytes from one name to the next before 4.14.
const STRIDE: u64 = 128;

/// The addresses of the buffers. There are none for metadata before 4.14.
struct Buffers {
    status: u64,
    name: u64,
    len: u64,
    metadata: Option<[u64; 2]>,
}

impl Host {
    /// Writes fields of the answer back, unless the request is refused as a whole.
    pub(super) fn list(&self, block: &mut Block, caller: &mut impl Caller) -> Result<u32, Errno> {
        let packed = self.has(&rules::PACKED_LAYOUT);
        let buffers = if packed {
            let [status, name, len, metadata, metadata_len] = PACKED_HANDLES.map(|offset| long_at(block, offset));
            Buffers { status, name, len, metadata: Some([metadata, metadata_len]) }
        } else {
            let [status, name, len] = STRIDED_HANDLES.map(|offset| long_at(block, offset));
            Buffers { status, name, len, metadata: None }
        };
        let (start, rows) = (word_at(block, START), word_at(block, COUNT));
        if rows > MAX_ROWS {
            return Err(Errno::E2BIG);
        }
        let last = buffers.metadata.map_or(buffers.name, |[_, len]| len);
        let outside = [buffers.status, buffers.len, last].iter().any(|handle| !self.is_in_guest(*handle));
        let count = word(self.payloads.len());
        let past_the_end = start >= count && count > 0;
        if word_at(block, PAD) != 0 || (rows != 0 && outside) || past_the_end {
            return Err(Errno::EINVAL);
        }
        let (result, remaining, totals) = if rows == 0 {
            (Ok(0), count, self.payloads.iter().fold([0, 0], with))
        } else {
            let room = TOTALS.map(|offset| word_at(block, offset).into());
            let most = self.faults.rows().map_or(rows, |most| most.clamp(1, rows));
            let chosen = self.payloads.iter().skip(to_usize(start)).take(to_usize(most));
            let (result, seen, totals) = self.write_rows(chosen, room, &buffers, caller);
            (result, count.saturating_sub(start.saturating_add(seen)), totals)
        };
        put(block, VERSION, &self.list_version.to_le_bytes());
        put(block, COUNT, &remaining.to_le_bytes());
        for (offset, total) in TOTALS.into_iter().zip(totals).filter(|_| packed) {
            put(block, offset, &low_word(total).to_le_bytes());
        }
        result
    }

    /// Returns the result, the number of payloads seen, and the bytes of their names and metadata.
    fn write_rows<'a>(
        &self,
        payloads: impl Iterator<Item = &'a Payload>,
        room: [u64; 2],
        buffers: &Buffers,
        caller: &mut impl Caller,
    ) -> (Result<u32, Errno>, u32, [u64; 2]) {
        let bounded = self.has(&rules::LIST_BUFFER_SIZES);
        let (mut row, mut taken) = (0, [0, 0]);
        for payload in payloads {
            let after = with(taken, payload);
            let fits = !bounded || after.iter().zip(room).all(|(bytes, room)| *bytes <= room);
            let written = if fits { self.write_row(buffers, row, taken, payload, caller) } else { Err(Errno::ENOBUFS) };
            row += 1;
            if let Err(errno) = written {
                // The row counts as seen, and before 4.21 its bytes as delivered.
                return (Err(errno), row, if bounded { taken } else { after });
            }
            taken = after;
        }
        (Ok(row), row, taken)
    }

    fn write_row(
        &self,
        buffers: &Buffers,
        row: u32,
        [names, metadata]: [u64; 2],
        payload: &Payload,
        caller: &mut impl Caller,
    ) -> Result<(), Errno> {
        let at = u64::from(row);
        let name = [&payload.name, &[0][..]].concat();
        let name_offset = if buffers.metadata.is_some() { names } else { at * STRIDE };
        let name_at = buffers.name.wrapping_add(name_offset);
        let metadata_at = buffers.metadata.map(|[start, len]| (start.wrapping_add(metadata), len));
        if metadata_at.is_some_and(|(metadata_at, _)| !self.is_in_guest(name_at) || !self.is_in_guest(metadata_at)) {
            return Err(Errno::EINVAL);
        }
        let (state, rc) = status(payload);
        caller.write(name_at, &name)?;
        caller.write(buffers.len.wrapping_add(at * 4), &word(name.len()).to_le_bytes())?;
        caller.write(buffers.status.wrapping_add(at * 8), &[state.to_le_bytes(), rc.to_le_bytes()].concat())?;
        if let Some((metadata_at, len)) = metadata_at {
            caller.write(metadata_at, &payload.metadata)?;
            caller.write(len.wrapping_add(at * 4), &word(payload.metadata.len()).to_le_bytes())?;
        }
        Ok(())
    }

    /// Returns true if an address can be a guest's: on x86 neither Xen's nor non-canonical. On Arm Xen does not check.
    pub(super) fn is_in_guest(&self, address: u64) -> bool {
        self.architecture == Architecture::AArch64 || !(1 << 47..0xffff_8800_0000_0000).contains(&address)
    }
}

/// The bytes of names and metadata with those of one more payload.
fn with([names, metadata]: [u64; 2], payload: &Payload) -> [u64; 2] {
    [names + to_u64(payload.name.len()) + 1, metadata + to_u64(payload.metadata.len())]
}
