//! One client runs one action at a time, and lets Xen settle between two.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::deadline::Deadline;

#[derive(Debug)]
pub(super) struct Turn {
    settle_time: Duration,
    state: Mutex<State>,
    freed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    taken: bool,
    /// How many wait for it. Where nobody does, nobody is woken, which would be a system call.
    waiting: u32,
    /// An action was left while Xen was working on it, so that its end has not been seen.
    left_running: bool,
    /// When the tail code of the action that ended last is surely over.
    settled: Option<Instant>,
}

/// The right to act, until dropped.
#[derive(Debug)]
pub(super) struct Taken<'a>(&'a Turn);

impl Turn {
    pub(super) fn new(settle_time: Duration) -> Self {
        Self { settle_time, state: Mutex::default(), freed: Condvar::new() }
    }

    /// Waits for the turn; `None` if it is not free before the deadline.
    pub(super) fn take(&self, deadline: Deadline) -> Option<Taken<'_>> {
        let mut state = self.lock();
        if state.taken {
            state.waiting = state.waiting.saturating_add(1);
            let waiting = self.freed.wait_timeout_while(state, deadline.remaining(), |state| state.taken);
            (state, _) = waiting.unwrap_or_else(PoisonError::into_inner);
            state.waiting = state.waiting.saturating_sub(1);
            if state.taken {
                return None;
            }
        }
        state.taken = true;
        Some(Taken(self))
    }

    /// Xen was seen to have finished an action, whoever asked for it: whatever comes next waits a moment.
    pub(super) fn finished(&self) {
        let mut state = self.lock();
        state.left_running = false;
        state.settled = Instant::now().checked_add(self.settle_time);
    }

    /// Nothing is pending. What was left running has ended since, who knows when: now at the latest.
    pub(super) fn idle(&self) {
        if self.left_running() {
            self.finished();
        }
    }

    /// Whether an action that was left running may still be.
    pub(super) fn left_running(&self) -> bool {
        self.lock().left_running
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Taken<'_> {
    /// Xen has just finished an action.
    pub(super) fn finished(&self) {
        self.0.finished();
    }

    /// Nothing is waited for any longer, and Xen may still be working.
    pub(super) fn leave_running(&self) {
        self.0.lock().left_running = true;
    }

    /// Whether Xen has settled after the last action.
    pub(super) fn is_settled(&self) -> bool {
        self.0.lock().settled.is_none_or(|at| at <= Instant::now())
    }

    /// Waits until Xen has settled after the last action; `false` if that is not before the deadline.
    pub(super) fn settle(&self, deadline: Deadline) -> bool {
        let settled = self.0.lock().settled;
        settled.is_none_or(|at| {
            let wait = at.saturating_duration_since(Instant::now());
            let in_time = wait <= deadline.remaining();
            if in_time {
                std::thread::sleep(wait);
            }
            in_time
        })
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.taken = false;
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
    fn only_one_has_the_turn() {
        let turn = Turn::new(Duration::ZERO);
        let first = turn.take(soon()).unwrap();
        assert!(turn.take(soon()).is_none());
        std::thread::scope(|scope| {
            let second = scope.spawn(|| turn.take(Deadline::after(Duration::from_secs(60))).is_some());
            drop(first);
            assert!(second.join().unwrap());
        });
        assert!(turn.take(soon()).is_some());
    }

    #[test]
    fn what_comes_after_a_finished_action_waits_for_xen_to_settle() {
        let turn = Turn::new(Duration::from_millis(50));
        let start = Instant::now();
        turn.take(soon()).unwrap().finished();
        assert!(start.elapsed() < Duration::from_millis(50), "the call that finished doesn't wait");
        let next = turn.take(soon()).unwrap();
        assert!(!next.is_settled() && !next.settle(soon()), "not before the deadline");
        assert!(next.settle(Deadline::after(Duration::from_secs(60))));
        assert!(start.elapsed() >= Duration::from_millis(50));
    }

    #[test]
    fn what_was_left_running_ends_when_it_is_seen_to() {
        let turn = Turn::new(Duration::from_millis(50));
        turn.take(soon()).unwrap().leave_running();
        std::thread::sleep(Duration::from_millis(60));
        let taken = turn.take(soon()).unwrap();
        assert!(taken.is_settled(), "nothing is known yet");
        turn.idle();
        assert!(!taken.is_settled() && !turn.left_running());
        turn.idle();
        assert!(taken.settle(Deadline::after(Duration::from_secs(60))) && taken.is_settled(), "seen once");
    }
}
