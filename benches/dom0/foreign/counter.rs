//! The processor's time stamp counter, which is the number of instructions on a machine whose clock counts them, and loops of
//! a known number of instructions to verify that it is.

/// Returns the number of instructions that the machine has run.
#[cfg(target_arch = "x86_64")]
pub fn instructions() -> u64 {
    // SAFETY: the instruction reads a counter into registers and touches no memory. Linux lets processes read it unless
    // one asks it not to, and this one does not.
    unsafe { core::arch::x86_64::_rdtsc() }
}

/// Runs this many instructions, give or take three, at the best speed of a processor.
#[cfg(target_arch = "x86_64")]
pub fn count_down(instructions: u64) {
    // SAFETY: the loop changes one register, which is declared, and the flags. It ends because the register reaches zero
    // from at least one.
    unsafe {
        core::arch::asm!("2:", "dec {left}", "jnz 2b", left = inout(reg) (instructions / 2).max(1) => _, options(nomem, nostack));
    }
}

/// Runs this many instructions, give or take seven, each of which waits for the one before.
#[cfg(target_arch = "x86_64")]
pub fn multiply(instructions: u64) {
    // SAFETY: the loop changes two registers, which are declared, and the flags. It ends because one reaches zero from at
    // least one.
    unsafe {
        core::arch::asm!(
            "2:",
            "imul {product}, {product}",
            "imul {product}, {product}",
            "imul {product}, {product}",
            "imul {product}, {product}",
            "dec {left}",
            "jnz 2b",
            left = inout(reg) (instructions / 6).max(1) => _,
            product = inout(reg) 3_u64 => _,
            options(nomem, nostack)
        );
    }
}

// No other machine has a clock that counts instructions here. The verification fails on these.
#[cfg(not(target_arch = "x86_64"))]
pub fn instructions() -> u64 {
    0
}

#[cfg(not(target_arch = "x86_64"))]
pub fn count_down(_: u64) {}

#[cfg(not(target_arch = "x86_64"))]
pub fn multiply(_: u64) {}
