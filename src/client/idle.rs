//! Waiting until Xen is through with an action, whoever asked for it.

use std::time::Duration;

use super::LivepatchClient;
use super::action::Attempt;
use super::action_lock::ActionGuard;
use super::console::LogWatch;
use super::deadline::{Deadline, Pauses};
use super::hooks::{PostHooks, Running};
use super::listing::{self, Listing};
use super::query::{ask, not_got};
use super::target::Doubt;
use crate::diagnosis::{Look, in_progress};
use crate::error::{Action, Error, ErrorKind, Result};
use crate::hypercall::channel::CallError;
use crate::types::errno::Errno;
use crate::types::name::PayloadName;
use crate::types::status::Status;
use crate::xen::rules;

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
            if !listing.rows.iter().any(|row| row.status.in_progress()) {
                self.turn.idle();
                return Ok((listing, ever_waited));
            }
            let marked = |listing: &Listing| -> Vec<PayloadName> {
                let marked = listing.rows.iter().filter(|row| row.status.in_progress());
                marked.map(|row| row.name.clone()).collect()
            };
            let marks = marked(&listing);
            let stale = before.as_ref().is_some_and(|before| marked(before) == marks);
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
    pub(super) fn turn_to_upload(&self, taken: Option<&ActionGuard<'_>>) -> Result<Option<ActionGuard<'_>>> {
        let deadline = Deadline::after(self.defaults.time());
        let turn = if taken.is_some() { None } else { Some(self.turn.acquire(deadline)?) };
        self.let_actions_end(deadline)?;
        Ok(turn)
    }

    /// The same for what only looks: the turn of this thread will do.
    pub(super) fn turn_to_look(&self, taken: Option<&ActionGuard<'_>>) -> Result<Option<ActionGuard<'_>>> {
        let deadline = Deadline::after(self.defaults.time());
        let turn = if taken.is_some() { None } else { self.turn.acquire_to_look(deadline)? };
        self.let_actions_end(deadline)?;
        Ok(turn)
    }

    fn let_actions_end(&self, deadline: Deadline) -> Result<()> {
        if self.turn.left_running() {
            self.free_host(deadline)?;
        }
        Ok(())
    }

    /// Reads the version of the list, in the caller's turn, where that lets this client recognise what it is about to
    /// upload.
    pub(super) fn note_version(&self) -> Result<()> {
        let matters = !self.unload_is_safe();
        if !matters && self.identities.has_version() {
            return Ok(());
        }
        match ask(|| self.channel.list_extent()) {
            Ok(extent) => self.identities.at_version(&self.channel, extent.version),
            Err(error) if matters => return Err(error.general()),
            // Then a later inventory presses the key once more.
            Err(_) => {}
        }
        Ok(())
    }

    /// Returns true if UNLOAD is known to wait for a hook that is still running, or there are no such hooks.
    fn unload_is_safe(&self) -> bool {
        let xen = self.xen();
        !xen.has(&rules::ACTION_HOOKS)
            || xen.has(&rules::UNLOAD_WAITS)
            || self.target.of(self, Doubt::Heed).is_ok_and(|target| rules::UNLOAD_WAITS.holds(&target).surely())
    }
}

/// The wait for a hook that may be running.
#[derive(Clone, Copy, Debug)]
enum Wait {
    No,
    /// At most so long: by then it has returned.
    For(Duration),
    /// It is seen to run.
    UntilSeen,
}

impl Wait {
    fn at_most(time: Duration) -> Self {
        if time.is_zero() { Self::No } else { Self::For(time) }
    }
}

/// Between two looks at Xen's log.
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

impl Attempt<'_> {
    /// Waits until no hook runs that this action would disturb, and returns whether that took time.
    ///
    /// Xen reports an action as finished before it calls the hook after it. UNLOAD frees the hook's code all the same,
    /// until 4.17.4, 4.18.1 and 4.19. A next action makes Xen run the wrong hook if it is sent before the right one was
    /// chosen, and then runs out of time until it has returned.
    pub(super) fn let_hooks_return(&self, before: &Look, watch: &LogWatch<'_>, turn: &ActionGuard<'_>) -> Result<bool> {
        let client = self.client;
        if !client.xen().has(&rules::ACTION_HOOKS) {
            return Ok(false);
        }
        // A hook that has Xen do its pending work meanwhile, as long ones have to, lets an UNLOAD that waits go on as well.
        let hooked = || client.identities.hooks(self.name).is_some_and(|(hooks, _)| hooks != PostHooks::NONE);
        let mut pauses = Pauses::up_to(LONGEST_PAUSE);
        let mut waited = false;
        loop {
            let wait = match self.action {
                Action::Unload if hooked() || !client.unload_is_safe() => self.wait_to_free(watch, turn),
                Action::Unload => Self::wait_until_unused(watch, turn),
                _ => self.wait_to_act(watch, turn),
            };
            let (least, hopeless) = match wait {
                Wait::No => return Ok(waited),
                Wait::For(time) => (time, time > self.deadline.remaining() && !client.console.is_readable()),
                Wait::UntilSeen => (LONGEST_PAUSE, false),
            };
            if hopeless || !self.deadline.sleep(pauses.next().min(least)) {
                return Err(Error::new(ErrorKind::HookMayBeRunning));
            }
            waited = true;
            if client.get(self.name).map_err(not_got)? != before.status {
                // Another tool acts on the payload.
                client.turn.finished();
                return Ok(true);
            }
        }
    }

    /// For memory that Xen frees without a look at who uses it: what is not known to be unused is waited for.
    fn wait_to_free(&self, watch: &LogWatch<'_>, turn: &ActionGuard<'_>) -> Wait {
        if self.client.identities.hooks(self.name) == Some((PostHooks::NONE, true)) || turn.is_outside(self.name) {
            return Wait::No;
        }
        watch.catch_up();
        match (watch.hook_running(), turn.hook_time_left()) {
            (Running::No, _) => Wait::No,
            (Running::Perhaps, left) => Wait::at_most(left),
            (Running::Yes, _) => Wait::UntilSeen,
        }
    }

    /// For an UNLOAD that waits itself for all processors, and misses hooks that have Xen do its pending work.
    fn wait_until_unused(watch: &LogWatch<'_>, turn: &ActionGuard<'_>) -> Wait {
        let running = || watch.hook_running() == Running::Yes;
        if running() {
            watch.catch_up();
        }
        if running() { Wait::at_most(turn.hook_time_left()) } else { Wait::No }
    }

    /// For another action: hooks that are known to run are waited for.
    fn wait_to_act(&self, watch: &LogWatch<'_>, turn: &ActionGuard<'_>) -> Wait {
        let hooks = || self.client.console.hooks();
        if let Some((name, left)) = turn.in_hook() {
            watch.catch_up();
            if left.is_zero() || hooks().of(&name) == Running::No {
                turn.hook_returned();
                return Wait::No;
            }
            return Wait::For(left);
        }
        if hooks().of_any() {
            watch.catch_up();
        }
        if hooks().of_any() { Wait::at_most(turn.hook_time_left()) } else { Wait::No }
    }
}
