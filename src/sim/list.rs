//! LIST: the rows, and their buffers.

use super::guest_memory::Caller;
use super::host::{Host, status};
use super::payload::{Payload, Stop};
use crate::sim::bytes::{low_word, put, word};
use crate::types::errno::Errno;
use crate::types::widen::{to_u64, to_usize};
use crate::xen::architecture::Architecture;
use crate::xen::rules;

const MAX_ROWS: u32 = 1024;
/// Bytes from one name to the next before 4.14.
const STRIDE: u64 = 128;

/// A request, with the addresses of its buffers.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Request {
    pub(super) start: u32,
    pub(super) rows: u32,
    pub(super) pad: u32,
    /// Room for names and metadata; Xen checks it from 4.21 on.
    pub(super) room: [u32; 2],
    pub(super) status: u64,
    pub(super) name: u64,
    pub(super) len: u64,
    pub(super) metadata: u64,
    pub(super) metadata_len: u64,
}

/// The fields that Xen writes back into the request.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Answer {
    pub(super) version: u32,
    pub(super) remaining: u32,
    /// Bytes of names and metadata.
    pub(super) totals: [u32; 2],
}

/// Bytes that rows have taken so far.
#[derive(Clone, Copy, Debug, Default)]
struct Taken {
    names: u64,
    metadata: u64,
}

impl Host {
    /// Returns the result, and the fields to write back: none if the request is refused as a whole.
    pub(super) fn list(&self, request: &Request, caller: &mut impl Caller) -> (Result<u32, Stop>, Option<Answer>) {
        if let Err(errno) = self.check_list(request) {
            return (Err(errno.into()), None);
        }
        let mut answer = Answer { version: self.list_version, ..Answer::default() };
        let count = word(self.payloads.len());
        if request.rows == 0 {
            answer.remaining = count;
            answer.totals = self.payloads.iter().fold([0, 0], |[names, metadata]: [u32; 2], payload| {
                [names.wrapping_add(word(payload.name.len() + 1)), metadata.wrapping_add(word(payload.metadata.len()))]
            });
            return (Ok(0), Some(answer));
        }
        let most = self.faults.rows().map_or(request.rows, |rows| rows.clamp(1, request.rows));
        let (result, seen, taken) = self.rows(request, most, caller);
        answer.remaining = count.saturating_sub(request.start.saturating_add(seen)).min(count);
        answer.totals = [taken.names, taken.metadata].map(low_word);
        (result.map_err(Stop::from), Some(answer))
    }

    fn check_list(&self, request: &Request) -> Result<(), Errno> {
        if request.rows > MAX_ROWS {
            return Err(Errno::E2BIG);
        }
        let other = if self.has(&rules::PACKED_LAYOUT) { request.metadata_len } else { request.name };
        let outside = [request.status, request.len, other].iter().any(|handle| !self.is_in_guest(*handle));
        let past_the_end = request.start >= word(self.payloads.len()) && !self.payloads.is_empty();
        if request.pad != 0 || (request.rows != 0 && outside) || past_the_end {
            return Err(Errno::EINVAL);
        }
        Ok(())
    }

    /// Writes rows. Returns the result, the number of payloads seen, and the bytes of their names and metadata.
    fn rows(&self, request: &Request, most: u32, caller: &mut impl Caller) -> (Result<u32, Errno>, u32, Taken) {
        let bounded = self.has(&rules::LIST_BUFFER_SIZES);
        let (mut row, mut taken) = (0, Taken::default());
        let start = to_usize(request.start);
        for payload in self.payloads.iter().skip(start) {
            let name = [&payload.name, &[0][..]].concat();
            let after = Taken {
                names: taken.names + to_u64(name.len()),
                metadata: taken.metadata + to_u64(payload.metadata.len()),
            };
            let [names, metadata] = request.room.map(u64::from);
            let written = if bounded && (after.names > names || after.metadata > metadata) {
                Err(Errno::ENOBUFS)
            } else if self.has(&rules::PACKED_LAYOUT) {
                self.packed(request, row, taken, payload, &name, caller)
            } else {
                strided(request, row, &name, status(payload), caller)
            };
            if let Err(errno) = written {
                // The row counts as seen, and before 4.21 its bytes as delivered.
                return (Err(errno), row + 1, if bounded { taken } else { after });
            }
            taken = after;
            row += 1;
            if row >= most {
                break;
            }
        }
        (Ok(row), row, taken)
    }

    /// Returns true if an address can be a guest's: on x86 neither Xen's nor non-canonical. On Arm Xen does not check.
    pub(super) fn is_in_guest(&self, address: u64) -> bool {
        self.architecture == Architecture::AArch64 || !(1 << 47..0xffff_8800_0000_0000).contains(&address)
    }

    fn packed(
        &self,
        request: &Request,
        row: u32,
        taken: Taken,
        payload: &Payload,
        name: &[u8],
        caller: &mut impl Caller,
    ) -> Result<(), Errno> {
        let at = u64::from(row);
        let name_at = request.name.wrapping_add(taken.names);
        let metadata_at = request.metadata.wrapping_add(taken.metadata);
        if !self.is_in_guest(name_at) || !self.is_in_guest(metadata_at) {
            return Err(Errno::EINVAL);
        }
        caller.write(name_at, name)?;
        caller.write(request.len.wrapping_add(at * 4), &word(name.len()).to_le_bytes())?;
        caller.write(request.status.wrapping_add(at * 8), &status_bytes(status(payload)))?;
        caller.write(metadata_at, &payload.metadata)?;
        caller.write(request.metadata_len.wrapping_add(at * 4), &word(payload.metadata.len()).to_le_bytes())
    }
}

fn strided(
    request: &Request,
    row: u32,
    name: &[u8],
    status: (u32, i32),
    caller: &mut impl Caller,
) -> Result<(), Errno> {
    let at = u64::from(row);
    caller.write(request.name.wrapping_add(at * STRIDE), name)?;
    caller.write(request.len.wrapping_add(at * 4), &word(name.len()).to_le_bytes())?;
    caller.write(request.status.wrapping_add(at * 8), &status_bytes(status))
}

fn status_bytes((state, rc): (u32, i32)) -> [u8; 8] {
    let mut bytes = [0; 8];
    put(&mut bytes, 0, &state.to_le_bytes());
    put(&mut bytes, 4, &rc.to_le_bytes());
    bytes
}
