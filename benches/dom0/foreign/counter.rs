//! The processor's time stamp counter, which in a machine whose clock counts instructions is their number.

/// How many instructions the machine has run.
#[cfg(target_arch = "x86_64")]
pub fn instructions() -> u64 {
    // SAFETY: the instruction reads a counter into registers and touches no memory. Linux lets processes read it unless
    // one asks it not to, which this one doesn't.
    unsafe { core::arch::x86_64::_rdtsc() }
}

/// No other machine has a clock that counts instructions here.
#[cfg(not(target_arch = "x86_64"))]
pub fn instructions() -> u64 {
    0
}
