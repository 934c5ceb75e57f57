//! Waiting until nothing is pending, on a payload or on the host, whoever requested it.

use super::LivepatchClient;
use super::action_lock::ActionGuard;
use super::deadline::Deadline;
use super::listing;
use crate::diagnosis::{After, Look, in_progress};
use crate::error::Result;
use crate::hypercall::channel::CallError;
use crate::types::{Errno, LoadedPayload, PayloadName};

/// The number of looks that show an action in progress before a probe determines if there really is one.
pub(super) const LOOKS_PER_PROBE: u32 = 8;

impl LivepatchClient {
    /// Waits until nothing is pending on a payload, and returns what is found then.
    pub(super) fn end_of(
        &self,
        name: &PayloadName,
        whole_list: bool,
        looks_per_probe: u32,
        deadline: Deadline,
    ) -> After {
        let mut looks: u32 = 0;
        let ended = deadline.poll(|| {
            let after = self.look(name, whole_list);
            if !matches!(&after, After::Seen(look) if look.status.in_progress()) {
                return Ok(Some(after));
            }
            looks = looks.wrapping_add(1);
            if looks % looks_per_probe != 0 || self.is_pending(name)? {
                return Ok(None);
            }
            // It has just finished, or the mark is stale.
            Ok(Some(self.look(name, whole_list)))
        });
        match ended {
            Ok(after) => after.unwrap_or(After::Running),
            Err(error) => After::Unreadable(error),
        }
    }

    /// Looks at a payload's status, and at the whole list if that is needed and readable.
    pub(super) fn look(&self, name: &PayloadName, whole_list: bool) -> After {
        let listed = || listing::view(&self.channel, |rows, version| Look::of(name, rows, version));
        if let Some(Ok(look)) = whole_list.then(listed) {
            return look.map_or(After::Gone, After::Seen);
        }
        match self.get(name) {
            Ok(status) => After::Seen(Look { status, applied: None, version: None }),
            Err(CallError::Refused(Errno::ENOENT)) => After::Gone,
            Err(error) => After::Unreadable(error.into()),
        }
    }

    /// Calls `of` with each list that is read until nothing is pending on the host, and with its version. Returns the result for
    /// the last one, and true if there was anything to wait for.
    pub(super) fn free_host<R>(
        &self,
        deadline: Deadline,
        of: impl Fn(&[LoadedPayload], u32) -> R,
    ) -> Result<(R, bool)> {
        let mut ever_waited = false;
        let mut marks_before: Option<Vec<PayloadName>> = None;
        loop {
            let (marks, found) = listing::view(&self.channel, |rows, version| {
                let marked = rows.iter().filter(|row| row.status.in_progress());
                (marked.map(|row| row.name.clone()).collect::<Vec<_>>(), of(rows, version))
            })?;
            // Marks under which nothing was pending are stale if they are still there.
            if marks.is_empty() || marks_before.as_ref() == Some(&marks) {
                self.action_lock.idle();
                return Ok((found, ever_waited));
            }
            let mut waited = false;
            for name in &marks {
                let idle = deadline.poll(|| {
                    let pending = self.is_pending(name)?;
                    waited |= pending;
                    Ok((!pending).then_some(()))
                });
                idle?.ok_or_else(in_progress)?;
            }
            if waited {
                ever_waited = true;
                self.action_lock.finished();
            }
            if deadline.has_passed() {
                return Err(in_progress());
            }
            // Nothing is pending now, but what the list shows may have been, so it is read again.
            marks_before = (!waited).then_some(marks);
        }
    }

    /// Takes the lock on actions, unless the caller has it, for an operation that would disturb an action of this client, or
    /// be disturbed by one.
    ///
    /// A processor that is inside UPLOAD can't be stopped: on real Xens 4.17 and 4.20 uploads of 1.9 MiB made actions
    /// take two to forty times as long, and made some time out that never did alone.
    pub(super) fn lock_to_upload(&self, guard: Option<&ActionGuard<'_>>) -> Result<Option<ActionGuard<'_>>> {
        self.lock_unless(guard, |deadline| self.action_lock.acquire(deadline).map(Some))
    }

    /// The same for a dump of the payloads, which may be made between two operations of this thread.
    pub(super) fn lock_to_look(&self, guard: Option<&ActionGuard<'_>>) -> Result<Option<ActionGuard<'_>>> {
        self.lock_unless(guard, |deadline| self.action_lock.acquire_to_look(deadline))
    }

    fn lock_unless<'s>(
        &'s self,
        guard: Option<&ActionGuard<'_>>,
        acquire: impl FnOnce(Deadline) -> Result<Option<ActionGuard<'s>>>,
    ) -> Result<Option<ActionGuard<'s>>> {
        let deadline = Deadline::after(self.defaults.deadline_or_default());
        let own = if guard.is_some() { None } else { acquire(deadline)? };
        if self.action_lock.left_running() {
            self.free_host(deadline, |_, _| ())?;
        }
        Ok(own)
    }
}
