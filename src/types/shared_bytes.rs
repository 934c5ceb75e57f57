//! Slices of shared allocations: all names of a list are in one, and all its metadata in another.

use core::cmp::Ordering;
use core::hash::{Hash, Hasher};
use core::ops::{Deref, Range};
use std::sync::Arc;

/// Bytes that compare and hash as a slice does. A clone shares the allocation.
#[derive(Clone, Default)]
pub(crate) struct SharedBytes {
    whole: Arc<[u8]>,
    /// Inside `whole`.
    range: Range<usize>,
}

impl SharedBytes {
    /// Copies these bytes into an allocation of their own.
    pub(crate) fn new(bytes: &[u8]) -> Self {
        Self { whole: bytes.into(), range: 0..bytes.len() }
    }

    /// Shares a range of an allocation; `None` if it does not lie inside.
    pub(crate) fn part(whole: &Arc<[u8]>, range: Range<usize>) -> Option<Self> {
        whole.get(range.clone())?;
        Some(Self { whole: Arc::clone(whole), range })
    }
}

impl Deref for SharedBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.whole.get(self.range.clone()).expect("both constructors make ranges inside of `whole`")
    }
}

impl PartialEq for SharedBytes {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for SharedBytes {}

impl PartialOrd for SharedBytes {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for SharedBytes {
    fn cmp(&self, other: &Self) -> Ordering {
        (**self).cmp(&**other)
    }
}

impl Hash for SharedBytes {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (**self).hash(state);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::hash::BuildHasher;

    use super::*;

    #[test]
    fn a_part_is_as_good_as_a_copy() {
        let whole: Arc<[u8]> = Arc::from(*b"one\0two");
        let (one, two) = (SharedBytes::part(&whole, 0..3).unwrap(), SharedBytes::part(&whole, 4..7).unwrap());
        let hasher = std::hash::RandomState::new();
        for (part, copy) in [(&one, SharedBytes::new(b"one")), (&two, SharedBytes::new(b"two"))] {
            assert_eq!((&**part, part.cmp(&copy), *part == copy), (&*copy, Ordering::Equal, true));
            assert_eq!(hasher.hash_one(part), hasher.hash_one(&*copy), "as the slice");
        }
        assert!(one < two && one != two && BTreeSet::from([one, two]).len() == 2);
    }

    #[test]
    fn a_part_lies_inside() {
        let whole: Arc<[u8]> = Arc::from(*b"abc");
        assert!(SharedBytes::part(&whole, 3..3).unwrap().is_empty() && SharedBytes::default().is_empty());
        for range in [0..4, 4..4, usize::MAX..usize::MAX, Range { start: 2, end: 1 }] {
            assert!(SharedBytes::part(&whole, range.clone()).is_none(), "{range:?}");
        }
    }
}
