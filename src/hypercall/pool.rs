//! Memory that was used for a hypercall is kept for the next one, so that only the first costs system calls.

use std::sync::{Mutex, MutexGuard, TryLockError};

use super::memory::HypercallBuffer;

/// What a pool keeps.
pub(crate) trait Piece {
    /// The memory that it takes while idle.
    fn bytes(&self) -> usize;

    /// Whether this process has it: a forked child inherits the pool, but not the memory.
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

/// A place for each that may be in use at once. More than these are made for one use.
#[derive(Debug)]
pub(crate) struct Pool<T> {
    places: Vec<Place<T>>,
}

#[derive(Debug)]
struct Place<T> {
    /// The most that is left here, in bytes.
    limit: usize,
    /// Locked while it is in use, and waited for by nobody.
    piece: Mutex<Option<T>>,
}

impl<T: Piece> Pool<T> {
    /// One with places for pieces of at most so many bytes each.
    pub(crate) fn new(limits: impl IntoIterator<Item = usize>) -> Self {
        let place = |limit| Place { limit, piece: Mutex::new(None) };
        Self { places: limits.into_iter().map(place).collect() }
    }

    /// Runs `with` on the piece of the first place that is free if that `fits`, or on a new one that takes its place.
    #[inline]
    pub(crate) fn lend<R, E>(
        &self,
        fits: impl Fn(&T) -> bool,
        make: impl FnOnce() -> Result<T, E>,
        with: impl FnOnce(&mut T) -> Result<R, E>,
    ) -> Result<R, E> {
        let Some((limit, mut place)) = self.places.iter().find_map(Place::take) else { return with(&mut make()?) };
        // What does not fit goes before there is more.
        drop(place.take_if(|piece| !piece.is_here() || !fits(piece)));
        let result = match &mut *place {
            Some(piece) => with(piece),
            none => with(none.insert(make()?)),
        };
        place.take_if(|piece| piece.bytes() > limit);
        result
    }

    /// The bytes kept now.
    #[cfg(test)]
    pub(crate) fn idle_bytes(&self) -> usize {
        self.places.iter().filter_map(Place::take).filter_map(|(_, place)| place.as_ref().map(Piece::bytes)).sum()
    }
}

impl<T> Place<T> {
    /// What is here and how much may be left, unless somebody uses it.
    #[inline]
    fn take(&self) -> Option<(usize, MutexGuard<'_, Option<T>>)> {
        match self.piece.try_lock() {
            Ok(piece) => Some((self.limit, piece)),
            // Whoever watched a hypercall panicked: the memory is as good as before.
            Err(TryLockError::Poisoned(poisoned)) => Some((self.limit, poisoned.into_inner())),
            Err(TryLockError::WouldBlock) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// So many bytes, here or not.
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

    /// Uses so many pieces at once, and says what was kept while all were in use.
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
