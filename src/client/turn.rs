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
    /// When Xen's tail code of the last action is surely over.
    settled: Option<Instant>,
}

/// The right to act, until dropped.
#[derive(Debug)]
pub(super) struct Taken<'a>(&'a Turn);

impl Turn {
    pub(super) fn new(settle_time: Duration) -> Self {
        Self { settle_time, state: Mutex::default(), freed: Condvar::new() }
    }

    /// Waits for the turn and then for Xen to settle; `None` if either is not before the deadline.
    pub(super) fn take(&self, deadline: Deadline) -> Option<Taken<'_>> {
        let waiting = self.freed.wait_timeout_while(self.lock(), deadline.remaining(), |state| state.taken);
        let (mut state, _) = waiting.unwrap_or_else(PoisonError::into_inner);
        if state.taken {
            return None;
        }
        state.taken = true;
        drop(state);
        let taken = Taken(self);
        taken.settle(deadline).then_some(taken)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Taken<'_> {
    /// Xen has just finished an action: whatever comes next waits a moment.
    pub(super) fn finished(&self) {
        self.0.lock().settled = Instant::now().checked_add(self.0.settle_time);
    }

    /// Waits until Xen has settled after the last action; `false` if that is not before the deadline.
    pub(super) fn settle(&self, deadline: Deadline) -> bool {
        let settled = self.0.lock().settled.take();
        settled.is_none_or(|at| {
            let wait = at.saturating_duration_since(Instant::now());
            let in_time = wait <= deadline.remaining();
            if in_time {
                std::thread::sleep(wait);
            } else {
                self.0.lock().settled = Some(at);
            }
            in_time
        })
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        self.0.lock().taken = false;
        self.0.freed.notify_one();
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
        assert!(turn.take(soon()).is_none(), "not settled before the deadline");
        assert!(turn.take(Deadline::after(Duration::from_secs(60))).is_some());
        assert!(start.elapsed() >= Duration::from_millis(50));
    }
}
