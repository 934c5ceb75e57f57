//! A pool of memory for hypercalls, so that only the first use takes system calls.

use std::sync::{Mutex, MutexGuard, TryLockError};

use super::memory::HypercallBuffer;

/// An item that a pool keeps.
pub(crate) trait Piece {
    /// Returns its memory in bytes.
    fn bytes(&self) -> usize;

    /// Returns true if this process has the memory: a forked child inherits the pool without it.
    fn is_here(&self) -> bool;
}

impl Piece for HypercallBuffer {
    fn bytes(&self) -> usize {
        self.len()
    }

    fn is_here(&self) -> bool {
        self.is_here()
    }
}

/// A fixed number of slots, one for each concurrent use. Items of further uses are not kept.
#[derive(Debug)]
pub(crate) struct Pool<T> {
    slots: Vec<Slot<T>>,
}

#[derive(Debug)]
struct Slot<T> {
    /// The size in bytes of the largest piece that is kept here.
    limit: usize,
    /// Locked while it is in use. Nobody waits for the lock.
    piece: Mutex<Option<T>>,
}

impl<T: Piece> Pool<T> {
    /// Makes a pool with a slot for each of these limits, in bytes.
    pub(crate) fn new(limits: impl IntoIterator<Item = usize>) -> Self {
        let slot = |limit| Slot { limit, piece: Mutex::new(None) };
        Self { slots: limits.into_iter().map(slot).collect() }
    }

    /// Runs `with` on the piece of the first free slot, if it `fits`, or on a new one that replaces it.
    #[inline]
    pub(crate) fn lend<R, E>(
        &self,
        fits: impl Fn(&T) -> bool,
        make: impl FnOnce() -> Result<T, E>,
        with: impl FnOnce(&mut T) -> Result<R, E>,
    ) -> Result<R, E> {
        let Some((limit, mut slot)) = self.slots.iter().find_map(Slot::take) else { return with(&mut make()?) };
        // Free the old piece before a new one is made.
        drop(slot.take_if(|piece| !piece.is_here() || !fits(piece)));
        if let Some(piece) = &mut *slot {
            return with(piece);
        }
        let result = with(slot.insert(make()?));
        slot.take_if(|piece| piece.bytes() > limit);
        result
    }

    /// Returns the bytes kept now.
    #[cfg(test)]
    pub(crate) fn idle_bytes(&self) -> usize {
        self.slots.iter().filter_map(Slot::take).filter_map(|(_, slot)| slot.as_ref().map(Piece::bytes)).sum()
    }
}

impl<T> Slot<T> {
    /// Locks the piece, and returns it with the limit; `None` if it is in use.
    #[inline]
    fn take(&self) -> Option<(usize, MutexGuard<'_, Option<T>>)> {
        match self.piece.try_lock() {
            Ok(piece) => Some((self.limit, piece)),
            // An observer panicked: the memory is as good as before.
            Err(TryLockError::Poisoned(poisoned)) => Some((self.limit, poisoned.into_inner())),
            Err(TryLockError::WouldBlock) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Memory, and whether this process has it.
    #[derive(Debug)]
    struct Thing(Vec<u8>, bool);

    impl Piece for Thing {
        fn bytes(&self) -> usize {
            self.0.len()
        }

        fn is_here(&self) -> bool {
            self.1
        }
    }

    fn thing(len: usize) -> Thing {
        Thing(vec![0; len], true)
    }

    fn lend(pool: &Pool<Thing>, len: usize) -> usize {
        pool.lend(|piece| piece.bytes() >= len, || Ok::<_, ()>(thing(len)), |piece| Ok(piece.0.as_ptr() as usize))
            .unwrap()
    }

    #[test]
    fn a_piece_comes_back_and_a_larger_one_takes_its_place() {
        let pool = Pool::new([100]);
        let first = lend(&pool, 10);
        assert_eq!(lend(&pool, 5), first);
        lend(&pool, 20);
        assert_eq!(pool.idle_bytes(), 20);
    }

    /// Uses this many pieces at once, and returns the memory that was kept while all were in use.
    fn nest(pool: &Pool<Thing>, depth: usize) -> Result<usize, ()> {
        if depth == 0 {
            return Ok(pool.idle_bytes());
        }
        pool.lend(|_| true, || Ok(thing(30)), |_| nest(pool, depth - 1))
    }

    #[test]
    fn each_use_has_a_piece_of_its_own_and_the_places_are_filled() {
        let pool = Pool::new([100; 3]);
        assert_eq!(nest(&pool, 2), Ok(0));
        assert_eq!(pool.idle_bytes(), 60);
        assert_eq!(nest(&pool, 50), Ok(0));
        assert_eq!(pool.idle_bytes(), 90, "no more than there are places");
        let sum = pool.lend(
            |_| true,
            || Ok::<_, ()>(thing(1)),
            |a| pool.lend(|_| true, || Ok(thing(2)), |b| Ok(a.bytes() + b.bytes())),
        );
        assert_eq!(sum, Ok(60));
    }

    #[test]
    fn no_more_is_kept_than_the_limit() {
        let pool = Pool::new([100]);
        for (len, kept) in [(101, 0), (usize::from(u16::MAX), 0), (100, 100), (99, 100), (101, 0), (1, 1)] {
            lend(&pool, len);
            assert_eq!(pool.idle_bytes(), kept, "{len}");
        }
    }

    #[test]
    fn what_is_not_here_is_forgotten_and_what_cannot_be_made_is_an_error() {
        let pool = Pool::new([100]);
        pool.lend(|_| true, || Ok::<_, ()>(Thing(vec![0; 10], false)), |_| Ok(())).unwrap();
        assert_eq!(pool.lend(|_| true, || Err(()), |_| Ok(())), Err(()));
        assert_eq!(pool.idle_bytes(), 0);
        assert_eq!(pool.lend(|_| true, || Ok::<_, ()>(thing(7)), |piece| Ok(piece.bytes())), Ok(7));
        assert_eq!(pool.lend(|_| true, || Ok(thing(7)), |_| Err::<(), _>(())), Err(()));
        assert_eq!(pool.idle_bytes(), 7, "also where what it was used for failed");
    }

    #[test]
    fn a_panic_costs_nothing() {
        let pool = Pool::new([100]);
        let first = lend(&pool, 10);
        let used =
            std::panic::AssertUnwindSafe(|| pool.lend(|_| true, || Ok(thing(10)), |_| -> Result<(), ()> { panic!() }));
        std::panic::catch_unwind(used).unwrap_err();
        assert_eq!(lend(&pool, 10), first);
    }
}
