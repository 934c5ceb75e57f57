//! Waiting until Xen is through with an action, whoever asked for it.

use super::LivepatchClient;
use super::asking::not_got;
use super::deadline::{Deadline, Pauses};
use super::listing::{self, Listing};
use super::turn::Taken;
use crate::diagnosis::in_progress;
use crate::errno::Errno;
use crate::error::{Error, ErrorKind, Result};
use crate::hypercall::channel::CallError;
use crate::name::PayloadName;
use crate::status::Status;

/// How often a status shows work in progress before Xen is asked whether there really is any.
const LOOKS_BEFORE_DOUBT: u32 = 8;

/// How often a payload was seen to be marked as in progress.
#[derive(Debug, Default)]
pub(super) struct Waited(u32);

impl Waited {
    /// Asks, now and then, whether anything is pending on a payload that is marked; `None` when it did not ask.
    pub(super) fn ask(
        &mut self,
        client: &LivepatchClient,
        name: &PayloadName,
    ) -> core::result::Result<Option<bool>, CallError> {
        self.0 = self.0.wrapping_add(1);
        if self.0 % LOOKS_BEFORE_DOUBT == 0 { client.is_pending(name).map(Some) } else { Ok(None) }
    }
}

impl LivepatchClient {
    /// The list at a moment at which nothing was pending on the host, and whether that had to be waited for.
    pub(super) fn free_host(&self, deadline: Deadline) -> Result<(Listing, bool)> {
        let mut ever_waited = false;
        let mut before: Option<Listing> = None;
        loop {
            let listing = listing::list(&self.channel)?;
            let marked = |listing: &Listing| -> Vec<PayloadName> {
                let marked = listing.rows.iter().filter(|row| row.status.in_progress());
                marked.map(|row| row.name.clone()).collect()
            };
            let marks = marked(&listing);
            let stale = marks.is_empty() || before.as_ref().is_some_and(|before| marked(before) == marks);
            if stale {
                self.turn.idle();
                return Ok((listing, ever_waited));
            }
            let mut waited = false;
            for name in &marks {
                let mut pauses = Pauses::new();
                while self.is_pending(name).map_err(CallError::general)? {
                    waited = true;
                    if !deadline.sleep(pauses.next()) {
                        return Err(in_progress());
                    }
                }
            }
            if waited {
                ever_waited = true;
                self.turn.finished();
            }
            if deadline.has_passed() {
                return Err(in_progress());
            }
            // Nothing is pending now. What was there when the list was read may have just finished, so it is read again.
            before = (!waited).then_some(listing);
        }
    }

    /// Waits until nothing is pending on a payload.
    pub(super) fn wait_for(&self, name: &PayloadName, deadline: Deadline) -> Result<Status> {
        let mut pauses = Pauses::new();
        loop {
            let status = self.get(name).map_err(not_got)?;
            if !status.in_progress() {
                self.turn.idle();
                return Ok(status);
            }
            if !self.is_pending(name).map_err(CallError::general)? {
                self.turn.idle();
                // It may have just finished.
                let status = self.get(name).map_err(not_got)?;
                let stale = || Error::new(ErrorKind::StaleInProgress { state: status.state }).errno(Errno::EAGAIN);
                return if status.in_progress() { Err(stale()) } else { Ok(status) };
            }
            if !deadline.sleep(pauses.next()) {
                return Err(Error::new(ErrorKind::Unfinished).errno(Errno::EAGAIN));
            }
        }
    }

    /// Waits for the turn to do what would disturb an action of this client, or be disturbed by one, unless the caller
    /// has it.
    ///
    /// A processor that is inside UPLOAD can't be stopped: on real Xens 4.17 and 4.20 uploads of 1.9 MiB made actions
    /// take two to forty times as long, and some time out that never did alone.
    pub(super) fn turn_to_upload(&self, taken: Option<&Taken<'_>>) -> Result<Option<Taken<'_>>> {
        let deadline = Deadline::after(self.defaults.time());
        let turn = match taken {
            Some(_) => None,
            None => Some(self.turn.take(deadline).ok_or_else(in_progress)?),
        };
        if self.turn.left_running() {
            self.free_host(deadline)?;
        }
        Ok(turn)
    }
}
