//! Deadlines, and pauses between attempts.

use std::thread;
use std::time::{Duration, Instant};

use crate::error::{Error, ErrorKind, Result};

/// The moment at which waiting ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Deadline {
    /// The moment at which it was set.
    began: Instant,
    /// `None` if the clock can't represent it.
    end: Option<Instant>,
}

impl Deadline {
    /// This long from now; never, if the clock can't represent that moment.
    pub(super) fn after(time: Duration) -> Self {
        Self::from(Instant::now(), time)
    }

    /// The same at a moment that the caller has read from the clock.
    pub(super) fn from(began: Instant, time: Duration) -> Self {
        Self { began, end: began.checked_add(time) }
    }

    /// The time that is left; zero once the deadline has passed.
    pub(super) fn remaining(self) -> Duration {
        self.remaining_at(Instant::now())
    }

    /// The same at a moment that the caller has read from the clock.
    pub(super) fn remaining_at(self, now: Instant) -> Duration {
        self.end.map_or(Duration::MAX, |end| end.saturating_duration_since(now))
    }

    pub(super) fn has_passed(self) -> bool {
        self.end.is_some_and(|end| end <= Instant::now())
    }

    /// Returns true if it had passed when the other one was set. That takes no look at the clock.
    pub(super) fn had_passed_before(self, other: Self) -> bool {
        self.end.is_some_and(|end| end <= other.began)
    }

    /// Returns an error once the deadline has passed: nothing may be sent to Xen any more.
    pub(super) fn check(self) -> Result<()> {
        if self.has_passed() { Err(Error::new(ErrorKind::DeadlinePassed)) } else { Ok(()) }
    }

    /// Looks until something is found, with pauses in between. Returns `None` if the deadline passes first.
    pub(super) fn poll<T>(self, mut look: impl FnMut() -> Result<Option<T>>) -> Result<Option<T>> {
        let mut pauses = Pauses::new();
        loop {
            let found = look()?;
            if found.is_some() || !self.sleep(pauses.next()) {
                return Ok(found);
            }
        }
    }

    /// Sleeps, but not past the deadline. Returns false if that has passed already.
    pub(super) fn sleep(self, time: Duration) -> bool {
        let remaining = self.remaining();
        if remaining.is_zero() {
            return false;
        }
        thread::sleep(time.min(remaining));
        true
    }
}

/// Pauses that double from 100 µs to 10 ms or another limit. They are never zero: Xen 4.7 to 4.13.0 patches when this CPU
/// goes idle.
#[derive(Debug)]
pub(super) struct Pauses {
    next: Duration,
    longest: Duration,
}

impl Pauses {
    const LONGEST: Duration = Duration::from_millis(10);

    pub(super) fn new() -> Self {
        Self::up_to(Self::LONGEST)
    }

    pub(super) fn up_to(longest: Duration) -> Self {
        Self { next: Duration::from_micros(100), longest }
    }

    pub(super) fn next(&mut self) -> Duration {
        let pause = self.next;
        self.next = pause.saturating_mul(2).min(self.longest);
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_is_not_slept_past() {
        let start = Instant::now();
        let deadline = Deadline::after(Duration::from_millis(20));
        assert!(deadline.sleep(Duration::from_secs(100)));
        assert!(!deadline.sleep(Duration::from_secs(100)));
        assert!((20..2000).contains(&start.elapsed().as_millis()), "{:?}", start.elapsed());
        assert_eq!(Deadline::after(Duration::MAX).remaining(), Duration::MAX);
    }

    #[test]
    fn pauses_grow_to_a_limit_and_are_never_zero() {
        let mut pauses = Pauses::new();
        let all: Vec<_> = (0..12).map(|_| pauses.next()).collect();
        assert_eq!(
            (all[0], all[1], all[11]),
            (Duration::from_micros(100), Duration::from_micros(200), Pauses::LONGEST)
        );
    }
}
