//! Waiting for hooks that an action would disturb.
//!
//! Xen reports an action as finished before it calls the hook after it. Before 4.17.4, 4.18.1 and 4.19, UNLOAD frees the
//! hook's code all the same. If another action is sent before Xen has chosen the hook, Xen runs the wrong one; if it is sent
//! later, it times out as long as the hook runs.

use std::time::Duration;

use super::LivepatchClient;
use super::action_lock::ActionGuard;
use super::console::LogWatch;
use super::deadline::{Deadline, Pauses};
use super::hooks::{PostHooks, Running};
use super::query::{no_status, retry_faults};
use super::target::Doubt;
use crate::diagnosis::Look;
use crate::error::{Error, ErrorKind, Result};
use crate::types::{Action, PayloadName};
use crate::xen::rules;

/// The longest pause between two looks at Xen's log.
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

/// The wait before one action.
pub(super) struct HookWait<'a> {
    pub(super) client: &'a LivepatchClient,
    pub(super) action: Action,
    pub(super) name: &'a PayloadName,
    pub(super) deadline: Deadline,
    pub(super) guard: &'a ActionGuard<'a>,
    pub(super) log: &'a LogWatch<'a>,
}

/// The time for which a hook may still run.
#[derive(Clone, Copy, Debug)]
enum Need {
    Nothing,
    AtMost(Duration),
    /// It is seen to run, and its end will be seen.
    UntilSeen,
}

impl Need {
    fn at_most(time: Duration) -> Self {
        if time.is_zero() { Self::Nothing } else { Self::AtMost(time) }
    }
}

impl HookWait<'_> {
    /// Waits until no hook runs that the action would disturb. Returns true if it had to wait.
    pub(super) fn let_return(&self, before: &Look) -> Result<bool> {
        let Self { client, name, deadline, .. } = *self;
        if !client.xen().has(&rules::ACTION_HOOKS) {
            return Ok(false);
        }
        let mut pauses = Pauses::up_to(LONGEST_PAUSE);
        let mut waited = false;
        loop {
            let (least, hopeless) = match self.need() {
                Need::Nothing => return Ok(waited),
                Need::AtMost(time) => (time, time > deadline.remaining() && !client.console.is_readable()),
                Need::UntilSeen => (LONGEST_PAUSE, false),
            };
            if hopeless || !deadline.sleep(pauses.next().min(least)) {
                return Err(Error::new(ErrorKind::HookMayBeRunning));
            }
            waited = true;
            if client.get(name).map_err(no_status)? != before.status {
                // Another tool acts on the payload.
                client.action_lock.finished();
                return Ok(true);
            }
        }
    }

    fn need(&self) -> Need {
        if self.action != Action::Unload {
            return self.to_act();
        }
        // A hook that has Xen do its pending work meanwhile, as long ones have to, lets an UNLOAD that waits go on as well.
        let hooked = || self.client.identities.hooks(self.name).is_some_and(|(hooks, _)| hooks != PostHooks::NONE);
        if hooked() || !self.client.unload_waits() { self.to_free() } else { self.until_unused() }
    }

    /// For memory that Xen frees without a look at its users: a hook that is not known to have returned is waited for.
    fn to_free(&self) -> Need {
        let Self { client, name, guard, log, .. } = *self;
        if client.identities.hooks(name) == Some((PostHooks::NONE, true)) || guard.is_outside(name) {
            return Need::Nothing;
        }
        log.catch_up();
        match (log.hook_running(), guard.hook_time_left()) {
            (Running::No, _) => Need::Nothing,
            (Running::Perhaps, left) => Need::at_most(left),
            (Running::Yes, _) => Need::UntilSeen,
        }
    }

    /// For an UNLOAD that waits itself for all processors, and misses hooks that have Xen do its pending work.
    fn until_unused(&self) -> Need {
        let running = || self.log.hook_running() == Running::Yes;
        if running() {
            self.log.catch_up();
        }
        if running() { Need::at_most(self.guard.hook_time_left()) } else { Need::Nothing }
    }

    /// For another action: hooks that are known to run are waited for.
    fn to_act(&self) -> Need {
        let hooks = || self.client.console.hooks();
        if let Some((name, left)) = self.guard.in_hook() {
            self.log.catch_up();
            if left.is_zero() || hooks().of(&name) == Running::No {
                self.guard.hook_returned();
                return Need::Nothing;
            }
            return Need::AtMost(left);
        }
        if !hooks().of_any() {
            return Need::Nothing;
        }
        self.log.catch_up();
        if hooks().of_any() { Need::at_most(self.guard.hook_time_left()) } else { Need::Nothing }
    }
}

impl LivepatchClient {
    /// Reads the version of the list, under the lock on actions, if that lets this client recognise the payload that it is
    /// about to upload.
    pub(super) fn note_version(&self) -> Result<()> {
        let matters = !self.unload_waits();
        if !matters && self.identities.has_version() {
            return Ok(());
        }
        match retry_faults(|| self.channel.list_extent()) {
            Ok(extent) => self.identities.at_version(&self.channel, extent.version),
            Err(error) if matters => return Err(error.into()),
            // Then a later inventory presses the key once more.
            Err(_) => {}
        }
        Ok(())
    }

    /// Returns true if UNLOAD is known to wait for a hook that is still running, or there are no such hooks.
    fn unload_waits(&self) -> bool {
        let xen = self.xen();
        !xen.has(&rules::ACTION_HOOKS)
            || xen.has(&rules::UNLOAD_WAITS)
            || self.target.of(self, Doubt::Heed).is_ok_and(|target| rules::UNLOAD_WAITS.holds(&target).surely())
    }
}
