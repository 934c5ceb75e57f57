//! Consistent lists, from hypercalls that may each return only a part.

use std::thread;
use std::time::Duration;

use super::LivepatchClient;
use super::query::{FAULT_RETRIES, retry_faults};
use crate::error::{Error, ErrorKind, Operation, Result};
use crate::hypercall::channel::{CallError, Channel};
use crate::hypercall::list::{Extent, ListRoom, Listed, MAX_ROWS, as_count};
use crate::types::{Errno, LoadedPayload, to_usize};

/// The most attempts at a list.
const ATTEMPTS: u32 = 32;

/// The list at one moment.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Listing {
    pub(super) rows: Vec<LoadedPayload>,
    /// Counts uploads and unloads, by anyone.
    pub(super) version: u32,
}

/// The result of an attempt at the whole list.
enum Attempt<R> {
    /// It came in one hypercall, which no action can interrupt.
    Whole(R),
    /// It came in several. Nothing was uploaded or unloaded meanwhile, but states may have changed.
    InParts(Listing),
    /// Something was uploaded or unloaded meanwhile.
    Changed,
    /// With more room it would have come in one hypercall.
    Longer,
    /// The metadata did not fit.
    Overflow { capacity: Extent },
}

impl LivepatchClient {
    /// Returns the loaded payloads in the order of upload. The list, including the states, is that of one moment: no row is
    /// missing, duplicated or mixed from two. If Xen returns a list in parts, it is read until two readings agree.
    ///
    /// # Errors
    /// [`ListKeptChanging`](ErrorKind::ListKeptChanging), and those of any call:
    /// [`NotPermitted`](ErrorKind::NotPermitted), [`Fault`](ErrorKind::Fault), [`BufferMemory`](ErrorKind::BufferMemory),
    /// [`UnexpectedAnswer`](ErrorKind::UnexpectedAnswer).
    ///
    /// # Xen
    /// There is no metadata before 4.14. No release reports the order in which payloads were applied.
    ///
    /// ```
    /// # use xen_livepatch::*;
    /// # let (_, client, fix, payload) = doctest::fix()?;
    /// # client.upload(&fix, &payload)?;
    /// for payload in client.list()? {
    ///     assert_eq!(format!("{} {} {}", payload.name, payload.status.state, payload.metadata), "fix CHECKED author=we");
    /// }
    /// # Ok::<(), Error>(())
    /// ```
    #[doc(alias = "xc_livepatch_list")]
    #[doc(alias = "xc_livepatch_list_get_sizes")]
    pub fn list(&self) -> Result<Vec<LoadedPayload>> {
        Ok(self.listing()?.rows)
    }

    pub(super) fn listing(&self) -> Result<Listing> {
        list(&self.channel).map_err(|error| error.during(Operation::List))
    }
}

pub(super) fn list(channel: &Channel) -> Result<Listing> {
    view(channel, |rows, version| Listing { rows: rows.to_vec(), version })
}

/// Calls `of` with the list at one moment and its version, and returns the result. A caller that needs a part of the list saves
/// copying the rest.
pub(super) fn view<R>(channel: &Channel, of: impl Fn(&[LoadedPayload], u32) -> R) -> Result<R> {
    if channel.last_extent().rows == 0 {
        // No memory for rows is allocated until there are some.
        let now = extent(channel)?;
        if now.remaining == 0 {
            return Ok(of(&[], now.version));
        }
    }
    let mut wanted = Extent::default();
    let mut window = u32::MAX;
    let mut tried_again = false;
    let mut before = None;
    for attempt in 0..ATTEMPTS {
        if attempt > FAULT_RETRIES {
            // Another tool is busy uploading: leave it a gap.
            thread::sleep(Duration::from_millis((attempt - FAULT_RETRIES).into()));
        }
        let outcome = channel.with_room(wanted, |room| read(channel, room, window, &of));
        match outcome? {
            Attempt::Whole(found) => return Ok(found),
            Attempt::InParts(listing) => {
                // Changes of state do not change the version of the list. Two equal readings were true in between.
                if before.as_ref() == Some(&listing) {
                    return Ok(of(&listing.rows, listing.version));
                }
                before = Some(listing);
            }
            Attempt::Changed => {}
            Attempt::Longer => wanted = total(&extent(channel)?),
            Attempt::Overflow { capacity } => {
                let now = total(&extent(channel)?);
                if capacity.metadata < now.within_limits().metadata {
                    wanted.metadata = now.metadata;
                } else if now.metadata <= capacity.metadata && !tried_again {
                    // The room sufficed: perhaps Xen could not reach our memory for a moment.
                    tried_again = true;
                } else if window == 1 {
                    return Err(CallError::Refused(Errno::EFAULT).into());
                } else {
                    window = (window.min(as_count(capacity.rows)) / 2).max(1);
                }
            }
        }
    }
    Err(Error::new(ErrorKind::ListKeptChanging { attempts: ATTEMPTS }))
}

/// Reads the list from its beginning, at most `window` rows a call.
#[inline]
fn read<R>(
    channel: &Channel,
    room: &mut ListRoom,
    window: u32,
    of: impl Fn(&[LoadedPayload], u32) -> R,
) -> core::result::Result<Attempt<R>, CallError> {
    let mut rows: Vec<LoadedPayload> = Vec::new();
    let mut version = None;
    loop {
        let Ok(start) = u32::try_from(rows.len()) else {
            return Err(CallError::Malformed("more rows than can be counted"));
        };
        let part = channel.list_into(room, start, window);
        let Listed { version: now, rows: count, remaining, .. } = match part {
            Ok(part) => part,
            // The list has become shorter than this.
            Err(Errno::EINVAL) if start > 0 => return Ok(Attempt::Changed),
            Err(Errno::EFAULT | Errno::ENOBUFS) => {
                return Ok(Attempt::Overflow { capacity: room.capacity });
            }
            Err(error) => return Err(error.into()),
        };
        if *version.get_or_insert(now) != now {
            return Ok(Attempt::Changed);
        }
        let layout = channel.interface.layout;
        if start == 0 && remaining == 0 {
            let rows = room.whole(layout, count, now).map_err(CallError::Malformed)?;
            return Ok(Attempt::Whole(of(rows, now)));
        }
        if start == 0 && to_usize(count) == room.capacity.rows && room.capacity.rows < MAX_ROWS {
            return Ok(Attempt::Longer);
        }
        rows.extend(room.part(layout, start, count, now).map_err(CallError::Malformed)?);
        if remaining == 0 {
            return Ok(Attempt::InParts(Listing { rows, version: now }));
        }
        if count == 0 {
            return Err(CallError::Malformed("no row, and yet rows remaining"));
        }
    }
}

/// The extent of the list now.
fn extent(channel: &Channel) -> Result<Listed> {
    Ok(retry_faults(|| channel.list_extent())?)
}

fn total(listed: &Listed) -> Extent {
    Extent::of(listed.remaining, listed.metadata_total)
}
