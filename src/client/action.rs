//! Drives an action: looks, waits until it can succeed, sends it, waits for its end, and collects evidence.
//!
//! What the evidence means is for [`diagnosis`](crate::diagnosis) to say.

use std::time::Duration;

use super::LivepatchClient;
use super::action_lock::{ActionGuard, Ended};
use super::console::LogWatch;
use super::deadline::{Deadline, Pauses};
use super::idle::Waited;
use super::listing::{self, Listing};
use super::options::ActionOptions;
use crate::diagnosis::{self, After, Again, Evidence, Look, Verdict, in_progress};
use crate::error::{Action, Error, ErrorKind, Result};
use crate::hypercall::channel::CallError;
use crate::hypercall::operation::Act;
use crate::types::errno::Errno;
use crate::types::flags::Flags;
use crate::types::name::PayloadName;
use crate::xen::log::messages::LogMessage;

/// Between attempts that a busy host refused although nothing was pending: each may run a hook.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Refuses what Xen would ignore: bits without a meaning, and `NODEPS` where it has none.
pub(super) fn check_flags(client: &LivepatchClient, action: Action, flags: Flags) -> Result<()> {
    let refuse = |flags, by| Err(Error::new(ErrorKind::UnsupportedFlag { flags, by }));
    let unknown = flags.difference(Flags::of_action(action));
    if !unknown.is_empty() {
        return refuse(unknown, format!("{action}, which would go on without it"));
    }
    let newer = flags.difference(Flags::understood_by(client.xen().release, action));
    let Some(known) = Flags::KNOWN.iter().find(|known| newer.intersects(known.flag)) else { return Ok(()) };
    let ((major, minor), (first_major, first_minor)) = (client.channel.release(), known.since);
    refuse(newer, format!("Xen {major}.{minor} ({first_major}.{first_minor} introduced it)"))
}

/// One call of an action method.
#[derive(Debug)]
pub(super) struct Attempt<'a> {
    pub(super) client: &'a LivepatchClient,
    pub(super) action: Action,
    pub(super) name: &'a PayloadName,
    pub(super) flags: Flags,
    pub(super) options: ActionOptions,
    pub(super) deadline: Deadline,
}

impl Attempt<'_> {
    /// In the caller's turn, or in one of its own.
    pub(super) fn run(&self, turn: Option<&ActionGuard<'_>>, watch: &LogWatch<'_>) -> Result<()> {
        check_flags(self.client, self.action, self.flags)?;
        if self.options.time().is_zero() {
            return Err(Error::new(ErrorKind::DeadlinePassed));
        }
        let own;
        let turn = if let Some(turn) = turn {
            turn
        } else {
            own = self.client.turn.acquire(self.deadline)?;
            &own
        };
        let _busy = turn.busy();
        self.settle(turn)?;
        if matches!(self.action, Action::Apply | Action::Replace) {
            self.client.target.note(self.client);
        }
        watch.begin();
        let mut retries = self.options.retries();
        let mut after_timeout = Pauses::new();
        let mut after_busy = Pauses::up_to(LONGEST_PAUSE);
        let mut last: Option<Error> = None;
        let mut refused_as_busy = false;
        loop {
            let (before, waited) = match self.look_at_a_free_host(turn) {
                Err(error) if *error.kind() == ErrorKind::DeadlinePassed => return Err(last.unwrap_or(error)),
                before => before?,
            };
            if refused_as_busy && waited {
                // Another tool was faster, which says nothing about the next time.
                after_busy = Pauses::up_to(LONGEST_PAUSE);
            } else if refused_as_busy {
                // Nothing is pending: its CPUs come and go, or what was pending has just ended.
                if !self.deadline.sleep(after_busy.next()) {
                    return Err(last.unwrap_or_else(in_progress));
                }
                refused_as_busy = false;
                continue;
            }
            diagnosis::ready(self.action, &before)?;
            if let Err(error) = self.deadline.check() {
                return Err(last.unwrap_or(error));
            }
            match self.let_hooks_return(&before, watch, turn) {
                Ok(false) => {}
                // Meanwhile others may have acted.
                Ok(true) => continue,
                Err(error) if *error.kind() == ErrorKind::HookMayBeRunning => return Err(last.unwrap_or(error)),
                Err(error) => return Err(error),
            }
            let (again, error) = match self.attempt(&before, watch, turn)? {
                Verdict::Done => return Ok(()),
                Verdict::Failed(error) => return Err(error),
                Verdict::Again(again, error) => (again, error),
            };
            refused_as_busy = again == Again::Busy;
            if again == Again::Quiesce {
                if retries == 0 || !turn.settle(self.deadline) || !self.deadline.sleep(after_timeout.next()) {
                    return Err(error);
                }
                retries = retries.saturating_sub(1);
            }
            last = Some(error);
        }
    }

    /// The list at a moment at which nothing was pending on the host and Xen had settled; whether that was waited for.
    fn look_at_a_free_host(&self, turn: &ActionGuard<'_>) -> Result<(Look, bool)> {
        let mut ever_waited = false;
        loop {
            let (listing, waited) = self.client.free_host(self.deadline)?;
            ever_waited |= waited;
            if turn.is_settled() {
                self.client.identities.keep(&self.client.channel, &listing.rows, listing.version);
                let Listing { rows, version } = listing;
                let missing = || Error::new(ErrorKind::NoSuchPayload).errno(Errno::ENOENT);
                return Look::of(self.name, &rows, version).map(|look| (look, ever_waited)).ok_or_else(missing);
            }
            self.settle(turn)?;
        }
    }

    fn settle(&self, turn: &ActionGuard<'_>) -> Result<()> {
        if turn.settle(self.deadline) { Ok(()) } else { Err(Error::new(ErrorKind::DeadlinePassed)) }
    }

    /// Sends it, once, and sees what comes of it.
    fn attempt(&self, before: &Look, watch: &LogWatch<'_>, turn: &ActionGuard<'_>) -> Result<Verdict> {
        let timeout = self.options.quiesce_nanoseconds();
        let act = Act { name: self.name, action: Some(self.action), timeout, flags: self.flags.bits() };
        if self.action != Action::Unload {
            watch.begin_action();
        }
        let refused = match self.client.channel.call(act) {
            Ok(()) => None,
            Err(CallError::Refused(errno)) => Some(errno),
            Err(error) => return Err(error.general()),
        };
        let after = self.after(refused);
        let (action, flags, xen) = (self.action, self.flags, self.client.xen());
        let nothing = diagnosis::Known::default();
        let evidence = Evidence { action, flags, xen, before, refused, after: &after, messages: &[], known: &nothing };
        let done = diagnosis::is_done(&evidence);
        if refused.is_none_or(|errno| errno == Errno::EFAULT) {
            self.ended(before, &after, done, turn);
        }
        if done {
            if self.action != Action::Revert {
                turn.no_guest_waits();
            }
            return Ok(Verdict::Done);
        }
        let messages = watch.messages();
        if let Some(LogMessage::ActiveWaitqueue(domain)) =
            messages.iter().find(|message| matches!(message, LogMessage::ActiveWaitqueue(_)))
        {
            turn.met_waiting_guest(*domain);
        }
        // Build-ids matter for this number only.
        let known = if refused == Some(Errno::EINVAL) { self.client.known(self.name) } else { nothing.clone() };
        Ok(diagnosis::judge(&Evidence { messages: &messages, known: &known, ..evidence }))
    }

    /// What is there once Xen is through with it.
    fn after(&self, refused: Option<Errno>) -> After {
        match refused {
            // Synchronous.
            None if self.action == Action::Unload => After::Gone,
            None => self.wait(self.action == Action::Replace),
            // Carried out or not, it may be pending.
            Some(Errno::EFAULT) => self.wait(true),
            Some(_) => self.look(true).unwrap_or_else(|after| after),
        }
    }

    /// Notes what may run from now on: Xen calls hooks after it has published a result.
    fn ended(&self, before: &Look, after: &After, done: bool, turn: &ActionGuard<'_>) {
        let (client, name) = (self.client, self.name);
        let hook = || client.identities.hooks(name).map(|(hooks, same)| (hooks.after(self.action), same));
        match after {
            // Where Xen did not say, it may be working still.
            After::Running | After::Unreadable(_) => {
                turn.leave_running(hook().filter(|(called, _)| *called).map(|_| name));
            }
            After::Gone | After::Seen(_) if self.action == Action::Unload => turn.unloaded(),
            After::Gone | After::Seen(_) => {
                if done && self.action == Action::Replace {
                    client.identities.without_hooks(before.applied.iter().flatten().chain([name]));
                }
                let hook = hook();
                let surely = hook.and_then(|(called, same)| same.then_some(called));
                turn.ended(&Ended { name, succeeded: done, hook: hook.map(|(called, _)| called), surely });
            }
        }
    }

    /// Waits until nothing is pending on the payload.
    fn wait(&self, whole_list: bool) -> After {
        let mut pauses = Pauses::new();
        let mut waited = Waited::default();
        loop {
            let after = match self.look(whole_list) {
                Ok(after) | Err(after) => after,
            };
            let After::Seen(look) = &after else { return after };
            if !look.status.in_progress() {
                return after;
            }
            match waited.ask(self.client, self.name) {
                Ok(Some(false)) => {
                    // It has just finished, or the mark is stale.
                    return self.look(whole_list).unwrap_or_else(|after| after);
                }
                Ok(_) => {}
                Err(error) => return After::Unreadable(error.general()),
            }
            if !self.deadline.sleep(pauses.next()) {
                return After::Running;
            }
        }
    }

    /// The payload's status now, with the whole list or without.
    fn look(&self, whole_list: bool) -> core::result::Result<After, After> {
        // Without the list, at least the payload's own status.
        if let Some(Ok(listing)) = whole_list.then(|| listing::list(&self.client.channel)) {
            return Ok(Look::of(self.name, &listing.rows, listing.version).map_or(After::Gone, After::Seen));
        }
        match self.client.get(self.name) {
            Ok(status) => Ok(After::Seen(Look { status, applied: None, version: None })),
            Err(CallError::Refused(Errno::ENOENT)) => Ok(After::Gone),
            Err(error) => Err(After::Unreadable(error.general())),
        }
    }
}
