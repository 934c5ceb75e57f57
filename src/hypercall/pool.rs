//! Memory that was used for a hypercall is kept for the next one, so that only the first costs system calls.

use std::sync::{Mutex, MutexGuard, PoisonError};

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

/// Idle memory: at most as many pieces as were ever in use at once, and never more than a fixed number of bytes.
#[derive(Debug)]
pub(crate) struct Pool<T> {
    limit: usize,
    idle: Mutex<Vec<T>>,
}

impl<T: Piece> Pool<T> {
    /// One that keeps at most `limit` bytes.
    pub(crate) const fn new(limit: usize) -> Self {
        Self { limit, idle: Mutex::new(Vec::new()) }
    }

    /// Runs `with` on the largest idle piece if that `fits`, or on a new one that takes the place of one that does not.
    pub(crate) fn lend<R, E>(
        &self,
        fits: impl Fn(&T) -> bool,
        make: impl FnOnce() -> Result<T, E>,
        with: impl FnOnce(&mut T) -> Result<R, E>,
    ) -> Result<R, E> {
        let mut piece = match self.take().filter(fits) {
            Some(piece) => piece,
            None => make()?,
        };
        let result = with(&mut piece);
        self.keep(piece);
        result
    }

    /// The bytes kept now.
    #[cfg(test)]
    pub(crate) fn idle_bytes(&self) -> usize {
        total(&self.idle())
    }

    /// The largest piece, which is what fits most often.
    fn take(&self) -> Option<T> {
        let mut idle = self.idle();
        idle.retain(Piece::is_here);
        let (largest, _) = idle.iter().enumerate().max_by_key(|(_, piece)| piece.bytes())?;
        Some(idle.swap_remove(largest))
    }

    fn keep(&self, piece: T) {
        // A piece that is one too many goes at the end, after the lock.
        let mut idle = self.idle();
        if total(&idle).saturating_add(piece.bytes()) <= self.limit {
            idle.push(piece);
        }
    }

    fn idle(&self) -> MutexGuard<'_, Vec<T>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn total<T: Piece>(pieces: &[T]) -> usize {
    pieces.iter().map(Piece::bytes).fold(0, usize::saturating_add)
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

    fn lend(pool: &Pool<Thing>, len: usize) -> usize {
        let made = || Ok::<_, ()>(Thing(vec![0; len], true));
        pool.lend(|piece| piece.bytes() >= len, made, |piece| Ok(piece.0.as_ptr() as usize)).unwrap()
    }

    #[test]
    fn a_piece_comes_back_and_a_larger_one_takes_its_place() {
        let pool = Pool::new(100);
        let first = lend(&pool, 10);
        assert_eq!(lend(&pool, 5), first);
        lend(&pool, 20);
        assert_eq!(pool.idle().len(), 1);
        assert_eq!(pool.idle_bytes(), 20);
    }

    #[test]
    fn nested_use_gets_a_piece_of_its_own() {
        let pool = Pool::new(100);
        let made = |len| move || Ok::<_, ()>(Thing(vec![0; len], true));
        let any = |_: &Thing| true;
        let sum = pool.lend(any, made(1), |a| pool.lend(any, made(2), |b| Ok(a.bytes() + b.bytes())));
        assert_eq!(sum, Ok(3));
        assert_eq!(pool.idle().len(), 2);
    }

    /// Uses so many pieces at once.
    fn nest(pool: &Pool<Thing>, depth: usize) -> Result<(), ()> {
        let made = || Ok(Thing(vec![0; 30], true));
        if depth == 0 { Ok(()) } else { pool.lend(|_| true, made, |_| nest(pool, depth - 1)) }
    }

    #[test]
    fn no_more_is_kept_than_the_limit() {
        let pool = Pool::new(100);
        for len in [101, usize::from(u16::MAX), 100, 99, 3, 1000, 1] {
            lend(&pool, len);
            assert!(pool.idle_bytes() <= 100, "{len}");
        }
        let pool = Pool::new(100);
        nest(&pool, 50).unwrap();
        assert_eq!(pool.idle_bytes(), 90);
    }

    #[test]
    fn what_is_not_here_is_forgotten() {
        let pool = Pool::new(100);
        let first = lend(&pool, 10);
        pool.idle().iter_mut().for_each(|piece| piece.1 = false);
        // Held, so that the same address can't come again.
        let lost = core::mem::take(&mut pool.idle()[0].0);
        assert_ne!(lend(&pool, 10), first);
        assert_eq!((pool.idle().len(), lost.len()), (1, 10));
    }
}
