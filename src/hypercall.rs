//! The one door to a hypervisor: what a client asks goes through [`Hypervisor`], to the real device or a simulated Xen.

use core::fmt;

use crate::errno::Errno;
use crate::payload::Architecture;

pub(crate) mod abi;
pub(crate) mod channel;
pub(crate) mod memory;
pub(crate) mod operation;
pub(crate) mod pool;
mod privcmd;
pub(crate) mod rows;

pub use memory::{AllocationError, HypercallBuffer};
pub use privcmd::Privcmd;

/// The bytes of a sysctl in every release (`struct xen_sysctl`).
pub(crate) const SYSCTL_SIZE: usize = 136;

pub(crate) mod sealed {
    pub trait Sealed {}
}

/// A Xen that takes hypercalls: [`Privcmd`], or with feature `sim` a simulated one.
///
/// Sealed: callers choose an implementation, they do not write one.
pub trait Hypervisor: sealed::Sealed + fmt::Debug + Send + Sync {
    /// Issues the sysctl: what is not negative comes back as it is, and −1 … −4095 as the error.
    ///
    /// # Errors
    /// Xen's or the kernel's error number. What Xen wrote is in the call's memory in either case.
    #[doc(hidden)]
    fn sysctl(&self, call: &mut Sysctl<'_>) -> Result<u32, Errno>;

    /// Issues an `xen_version` hypercall with an argument, or without (a null pointer to Xen).
    ///
    /// # Errors
    /// Xen's or the kernel's error number.
    #[doc(hidden)]
    fn xen_version(&self, command: u32, argument: Option<&mut HypercallBuffer>) -> Result<u32, Errno>;

    /// What it runs on.
    #[doc(hidden)]
    fn architecture(&self) -> Architecture;

    /// Memory that this hypervisor can read and write, of at least so many bytes, zeroed, a guard page behind it.
    ///
    /// # Errors
    /// When the kernel won't give it.
    #[doc(hidden)]
    fn allocate(&self, len: usize) -> Result<HypercallBuffer, AllocationError>;
}

/// A sysctl ready to be issued: its 136 bytes, and all memory that guest handles in it point into.
///
/// Holding that memory borrowed is what makes issuing it safe: nobody else looks at it while Xen writes there.
pub struct Sysctl<'a> {
    /// The first 136 bytes are the sysctl; what handles point to may follow in the same buffer.
    block: &'a mut HypercallBuffer,
    memory: Vec<&'a mut HypercallBuffer>,
}

impl<'a> Sysctl<'a> {
    pub(crate) fn new(block: &'a mut HypercallBuffer, memory: Vec<&'a mut HypercallBuffer>) -> Self {
        Self { block, memory }
    }

    /// Where Xen finds the 136 bytes.
    pub(crate) fn address(&self) -> u64 {
        self.block.address()
    }

    /// The `len` bytes at a guest address, where they lie whole in memory of this call: what a hypervisor may touch.
    #[cfg(feature = "sim")]
    pub(crate) fn memory(&mut self, address: u64, len: usize) -> Option<&mut [u8]> {
        let buffers = core::iter::once(&mut *self.block).chain(self.memory.iter_mut().map(|buffer| &mut **buffer));
        for buffer in buffers {
            let offset = address.checked_sub(buffer.address()).and_then(|offset| usize::try_from(offset).ok());
            let range = offset.and_then(|start| Some(start..start.checked_add(len)?));
            if range.as_ref().is_some_and(|range| range.end <= buffer.len()) {
                return range.and_then(|range| buffer.as_mut_slice().get_mut(range));
            }
        }
        None
    }
}

impl fmt::Debug for Sysctl<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sysctl").field("block", &self.block).field("memory", &self.memory).finish()
    }
}
