//! Hypercalls, to a real Xen or to a simulated one: [`Hypervisor`] is the only way to either.

pub(crate) mod channel;
mod device;
mod event;
pub(crate) mod interface;
pub(crate) mod list;
pub(crate) mod memory;
mod operation;
pub(crate) mod pool;
mod privcmd;
mod request;

pub use event::{Hypercall, HypercallEvent};
pub(crate) use memory::{AllocationError, End, HypercallBuffer};
pub use privcmd::Privcmd;
pub(crate) use request::Sysctl;

/// The bytes of a sysctl in every release (`struct xen_sysctl`).
pub(crate) const SYSCTL_SIZE: usize = 136;

/// The operations of a hypervisor that a client needs. Sealed: public only as far as the public trait requires it.
pub(crate) mod sealed {
    use core::fmt;
    use std::os::fd::BorrowedFd;

    use super::{AllocationError, End, HypercallBuffer, Sysctl};
    use crate::error::Error;
    use crate::types::Errno;
    use crate::xen::Architecture;

    pub trait Sealed: fmt::Debug + Send + Sync {
        /// Issues the sysctl and returns its result, which is not negative.
        ///
        /// # Errors
        /// The error number of Xen or the kernel. The memory of the call contains the output of Xen in both cases.
        fn sysctl(&self, call: &mut Sysctl<'_>) -> Result<u32, Errno>;

        /// Issues an `xen_version` hypercall with an argument, or with a null pointer.
        ///
        /// # Errors
        /// The error number of Xen or the kernel.
        fn xen_version(&self, command: u32, argument: Option<&mut HypercallBuffer>) -> Result<u32, Errno>;

        /// Returns the architecture of the hypervisor.
        ///
        /// # Errors
        /// If it is not supported.
        fn architecture(&self) -> Result<Architecture, Error>;

        /// Allocates at least `len` zeroed bytes that this hypervisor can read and write.
        ///
        /// # Errors
        /// If the kernel refuses the memory.
        fn allocate(&self, len: usize, end: End) -> Result<HypercallBuffer, AllocationError>;

        /// Returns the device of hypercalls, if there is one.
        fn device(&self) -> Option<BorrowedFd<'_>> {
            None
        }
    }
}

/// A hypervisor: [`Privcmd`], or with feature `sim` a `sim::SimulatedXen`.
///
/// The trait is sealed: it can't be implemented by other crates.
pub trait Hypervisor: sealed::Sealed {}
