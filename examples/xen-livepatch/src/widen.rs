//! A conversion that loses nothing on any processor.

pub(crate) fn to_u64(number: usize) -> u64 {
    u64::try_from(number).expect("a usize has at most 64 bits")
}
