//! The lock that lets a client run one action at a time, and Xen settle between two.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use super::deadline::Deadline;
use super::lock;
use crate::diagnosis::{Look, in_progress};
use crate::error::{Error, ErrorKind, Result};
use crate::types::{Action, Errno, PayloadName};

#[derive(Debug)]
pub(super) struct ActionLock {
    settle_time: Duration,
    /// The longest time that a hook may run after its action, if nothing shows its end.
    hook_time: Duration,
    /// The number of operations of the holder that must not be disturbed. Only its own thread uses it.
    busy: AtomicU32,
    state: Mutex<State>,
    freed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    taken: bool,
    holder: Option<ThreadId>,
    /// The number of waiting threads. Waking is a system call, which is saved if there are none.
    waiting: u32,
    /// An action was left while Xen was working on it, and its end has not been seen.
    left_running: bool,
    /// That action. It is kept when its end is seen, until another one is sent.
    unfinished: Option<UnfinishedAction>,
    /// The moment at which Xen has surely settled after the last action; `None` once that has passed.
    settled: Option<Deadline>,
    /// The last moment at which an action may have ended, from the observations of the holder; `None` until that first matters.
    quiet_since: Option<Instant>,
    /// True once an action of the holder has succeeded, which required every processor to be outside all hooks.
    proven: bool,
    /// The payloads whose hooks may run since.
    suspects: Vec<PayloadName>,
    /// The payload, uploaded by this client, whose hook Xen called after the last action, and the time of the call.
    in_hook: Option<(PayloadName, Instant)>,
    /// The guest that kept Xen from the last apply, and the time of that apply.
    waiting_guest: Option<(Option<u16>, Instant)>,
}

/// The time that a waiting guest is assumed to wait.
const GUEST_WAITS: Duration = Duration::from_secs(10);

/// An action that was sent, without a result by the deadline.
#[derive(Clone, Debug)]
pub(super) struct UnfinishedAction {
    pub(super) name: PayloadName,
    pub(super) action: Action,
    pub(super) before: Look,
    /// The error of the call. Xen may have carried it out nevertheless.
    pub(super) refused: Option<Errno>,
    /// The end of Xen's log before it; `None` if that was not readable.
    pub(super) log_start: Option<u32>,
}

/// The right to act, until dropped.
#[derive(Debug)]
pub(super) struct ActionGuard<'a>(&'a ActionLock);

impl ActionLock {
    pub(super) fn new(settle_time: Duration, hook_time: Duration) -> Self {
        Self { settle_time, hook_time, busy: AtomicU32::new(0), state: Mutex::default(), freed: Condvar::new() }
    }

    /// Waits for the lock.
    ///
    /// # Errors
    /// `InsideOperation`, at once, if this thread holds it, and `OperationInProgress` if it is not free before the deadline.
    pub(super) fn acquire(&self, deadline: Deadline) -> Result<ActionGuard<'_>> {
        let mut state = self.lock();
        if state.taken {
            if state.holder == Some(thread::current().id()) {
                return Err(Error::new(ErrorKind::InsideOperation));
            }
            state.waiting += 1;
            let waiting = self.freed.wait_timeout_while(state, deadline.remaining(), |state| state.taken);
            (state, _) = waiting.unwrap_or_else(PoisonError::into_inner);
            state.waiting -= 1;
            if state.taken {
                return Err(in_progress());
            }
        }
        state.taken = true;
        state.holder = Some(thread::current().id());
        state.forget_hooks();
        Ok(ActionGuard(self))
    }

    /// Waits for the lock to look at what an action would change. Returns `None` if this thread holds it and no operation is
    /// under way.
    ///
    /// # Errors
    /// As [`acquire`](Self::acquire).
    pub(super) fn acquire_to_look(&self, deadline: Deadline) -> Result<Option<ActionGuard<'_>>> {
        let is_holder = self.lock().holder == Some(thread::current().id());
        if is_holder && self.busy.load(Ordering::Relaxed) == 0 {
            return Ok(None);
        }
        self.acquire(deadline).map(Some)
    }

    /// Notes that Xen has just finished an action, whoever requested it, so that the next one lets Xen settle.
    pub(super) fn finished(&self) {
        let mut state = self.lock();
        if std::mem::take(&mut state.left_running) {
            // The hook may have been called just now.
            if let Some((_, since)) = &mut state.in_hook {
                *since = Instant::now();
            }
        }
        state.settled = Some(Deadline::after(self.settle_time));
        state.forget_hooks();
    }

    pub(super) fn hook_time(&self) -> Duration {
        self.hook_time
    }

    /// Notes that nothing is pending: an action that was left running has ended by now.
    pub(super) fn idle(&self) {
        if self.left_running() {
            self.finished();
        }
    }

    /// Notes that nothing is pending on this payload.
    pub(super) fn ended_unseen(&self, name: &PayloadName) {
        let is_it = |state: &State| state.unfinished.as_ref().is_some_and(|unfinished| unfinished.name == *name);
        if is_it(&self.lock()) {
            self.idle();
        }
    }

    /// The action that was sent last, if it is this one and was left without a result.
    pub(super) fn unfinished(&self, name: &PayloadName, action: Action) -> Option<UnfinishedAction> {
        self.lock().unfinished.clone().filter(|it| it.name == *name && it.action == action)
    }

    /// Notes that Xen has applied a payload.
    pub(super) fn no_guest_waits(&self) {
        self.lock().waiting_guest = None;
    }

    /// Returns true if an action that was left running may still be.
    pub(super) fn left_running(&self) -> bool {
        self.lock().left_running
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl State {
    /// Forgets the hooks: nothing is known of those of other tools' payloads.
    fn forget_hooks(&mut self) {
        self.quiet_since = None;
        self.proven = false;
        self.suspects.clear();
    }
}

/// An operation of the holder, until dropped.
#[derive(Debug)]
pub(super) struct Busy<'a>(&'a ActionLock);

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.busy.fetch_sub(1, Ordering::Relaxed);
    }
}

impl<'a> ActionGuard<'a> {
    /// Notes that the holder begins an operation, which observers that it calls must not disturb.
    pub(super) fn busy(&self) -> Busy<'a> {
        self.0.busy.fetch_add(1, Ordering::Relaxed);
        Busy(self.0)
    }

    /// Notes an unload, which runs no hooks.
    pub(super) fn unloaded(&self) {
        let mut state = self.0.lock();
        state.unfinished = None;
        state.settled = Some(Deadline::after(self.0.settle_time));
    }

    /// Notes that Xen has just finished an action. `hook` has two answers, if they are known: Xen runs a hook of the payload
    /// now, and no other payload can have taken its name.
    pub(super) fn ended(&self, name: &PayloadName, succeeded: bool, hook: Option<(bool, bool)>) {
        let mut state = self.0.lock();
        let now = Instant::now();
        state.left_running = false;
        state.unfinished = None;
        state.settled = Some(Deadline::from(now, self.0.settle_time));
        state.quiet_since = Some(now);
        if succeeded {
            state.proven = true;
            state.suspects.clear();
            state.in_hook = None;
        }
        if hook != Some((false, true)) {
            state.suspects.push(name.clone());
        }
        if matches!(hook, Some((true, _))) {
            state.in_hook = Some((name.clone(), now));
        }
    }

    /// Notes that a virtual CPU of a guest has kept Xen from an apply.
    pub(super) fn met_waiting_guest(&self, domain: Option<u16>) {
        self.0.lock().waiting_guest = Some((domain, Instant::now()));
    }

    /// The error of another apply, if a guest kept Xen from one a moment ago and none has succeeded since.
    pub(super) fn waiting_guest(&self) -> Option<Error> {
        let (domain, since) = self.0.lock().waiting_guest?;
        (since.elapsed() < GUEST_WAITS).then(|| Error::new(ErrorKind::ActiveWaitqueue { domain }))
    }

    /// Returns true if no hook of the payload can be running, since an action of the holder has succeeded meanwhile.
    pub(super) fn is_outside(&self, name: &PayloadName) -> bool {
        let state = self.0.lock();
        state.proven && !state.suspects.contains(name)
    }

    /// The time that any hook may still run.
    pub(super) fn hook_time_left(&self) -> Duration {
        let since = *self.0.lock().quiet_since.get_or_insert_with(Instant::now);
        self.left_since(since)
    }

    /// The payload whose hook Xen called after the last action, and the time that it may still run.
    pub(super) fn in_hook(&self) -> Option<(PayloadName, Duration)> {
        let in_hook = self.0.lock().in_hook.clone();
        in_hook.map(|(name, since)| (name, self.left_since(since)))
    }

    /// Notes that the hook after the last action has returned.
    pub(super) fn hook_returned(&self) {
        self.0.lock().in_hook = None;
    }

    fn left_since(&self, since: Instant) -> Duration {
        self.0.hook_time.saturating_sub(since.elapsed())
    }

    /// Notes that Xen may still be working on an action for which nobody waits any longer. `hooked`: a hook of the payload
    /// will be called after it.
    pub(super) fn leave_running(&self, unfinished: UnfinishedAction, hooked: bool) {
        let mut state = self.0.lock();
        state.left_running = true;
        if hooked {
            state.in_hook = Some((unfinished.name.clone(), Instant::now()));
        }
        state.unfinished = Some(unfinished);
    }

    /// Returns true if Xen has settled after the last action.
    pub(super) fn is_settled(&self) -> bool {
        self.0.lock().settled.is_none_or(Deadline::has_passed)
    }

    /// Waits until Xen has settled after the last action. It is an error if the deadline comes first.
    pub(super) fn settle(&self, deadline: Deadline) -> Result<()> {
        let mut state = self.0.lock();
        let Some(settled) = state.settled else { return Ok(()) };
        if !settled.had_passed_before(deadline) {
            drop(state);
            let now = Instant::now();
            let (wait, remaining) = (settled.remaining_at(now), deadline.remaining_at(now));
            if remaining.is_zero() || wait > remaining {
                return Err(Error::new(ErrorKind::DeadlinePassed));
            }
            thread::sleep(wait);
            state = self.0.lock();
        }
        if state.settled == Some(settled) {
            // Saves the next call a look at the clock.
            state.settled = None;
        }
        Ok(())
    }
}

impl Drop for ActionGuard<'_> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.taken = false;
        state.holder = None;
        if state.waiting > 0 {
            self.0.freed.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn soon() -> Deadline {
        Deadline::after(Duration::from_millis(20))
    }

    #[test]
    fn a_settle_time_beyond_the_clock_never_ends() {
        let lock = ActionLock::new(Duration::MAX, Duration::ZERO);
        let name = PayloadName::new("a").unwrap();
        let ends: [&dyn Fn(&ActionGuard<'_>); 3] =
            [&|guard| guard.unloaded(), &|guard| guard.ended(&name, true, None), &|_| lock.finished()];
        for end in ends {
            end(&lock.acquire(soon()).unwrap());
            let next = lock.acquire(soon()).unwrap();
            assert!(!next.is_settled() && next.settle(Deadline::after(Duration::from_secs(60))).is_err());
            lock.lock().settled = None;
        }
    }

    #[test]
    fn an_action_that_was_left_running_ends_when_its_end_is_seen() {
        let lock = ActionLock::new(Duration::from_millis(50), Duration::ZERO);
        let (name, before) = (PayloadName::new("a").unwrap(), Look::needed(Action::Apply));
        let left = UnfinishedAction { name, action: Action::Apply, before, refused: None, log_start: None };
        lock.acquire(soon()).unwrap().leave_running(left.clone(), false);
        std::thread::sleep(Duration::from_millis(60));
        let taken = lock.acquire(soon()).unwrap();
        assert!(taken.is_settled(), "nothing is known yet");
        lock.idle();
        assert!(!taken.is_settled() && !lock.left_running());
        assert!(
            lock.unfinished(&left.name, Action::Apply).is_some()
                && lock.unfinished(&left.name, Action::Revert).is_none()
        );
        lock.idle();
        assert!(taken.settle(Deadline::after(Duration::from_secs(60))).is_ok() && taken.is_settled(), "seen once");
    }
}
