//! Memory that was used for a hypercall is kept for the next one, so that only the first costs system calls.

use std::sync::{Mutex, PoisonError};

/// Idle memory, at most as many pieces as were ever in use at once.
#[derive(Debug)]
pub(crate) struct Pool<T> {
    idle: Mutex<Vec<T>>,
}

impl<T> Default for Pool<T> {
    fn default() -> Self {
        Self { idle: Mutex::new(Vec::new()) }
    }
}

impl<T> Pool<T> {
    /// Runs `with` on an idle piece that `fits`, or on a new one that takes the place of one that does not.
    pub(crate) fn lend<R, E>(
        &self,
        fits: impl Fn(&T) -> bool,
        make: impl FnOnce() -> Result<T, E>,
        with: impl FnOnce(&mut T) -> Result<R, E>,
    ) -> Result<R, E> {
        let mut piece = match self.take(fits) {
            Some(piece) => piece,
            None => make()?,
        };
        let result = with(&mut piece);
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(piece);
        result
    }

    fn take(&self, fits: impl Fn(&T) -> bool) -> Option<T> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(index) = idle.iter().position(fits) {
            return Some(idle.swap_remove(index));
        }
        // None fits: the new piece replaces a smaller one.
        idle.pop();
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_comes_back_and_a_larger_one_takes_its_place() {
        let pool = Pool::<Vec<u8>>::default();
        let lend = |len: usize| {
            pool.lend::<_, ()>(|p| p.len() >= len, || Ok(vec![0; len]), |p| Ok(p.as_ptr() as usize)).unwrap()
        };
        let first = lend(10);
        assert_eq!(lend(5), first);
        lend(20);
        assert_eq!(pool.idle.lock().unwrap().len(), 1);
        assert_eq!(pool.idle.lock().unwrap()[0].len(), 20);
    }

    #[test]
    fn nested_use_gets_a_piece_of_its_own() {
        let pool = Pool::<u8>::default();
        let any = |_: &u8| true;
        let sum: Result<u8, ()> = pool.lend(any, || Ok(1), |a| pool.lend(any, || Ok(2), |b| Ok(*a + *b)));
        assert_eq!(sum, Ok(3));
        assert_eq!(pool.idle.lock().unwrap().len(), 2);
    }
}
