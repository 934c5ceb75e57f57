//! The one door to a hypervisor: what a client asks goes through [`Hypervisor`], to the real device or a simulated Xen.

pub(crate) mod channel;
mod device;
pub(crate) mod door;
mod event;
pub(crate) mod interface;
pub(crate) mod list;
pub(crate) mod memory;
pub(crate) mod operation;
pub(crate) mod pool;
mod privcmd;
mod request;

pub use event::{Hypercall, HypercallEvent};
pub(crate) use memory::{AllocationError, End, HypercallBuffer};
pub use privcmd::Privcmd;
pub(crate) use request::Sysctl;

/// The bytes of a sysctl in every release (`struct xen_sysctl`).
pub(crate) const SYSCTL_SIZE: usize = 136;

/// What a client needs of a hypervisor. Public only where the trait of that name demands it.
pub(crate) mod sealed {
    use core::fmt;
    use std::os::fd::BorrowedFd;

    use super::{AllocationError, End, HypercallBuffer, Sysctl};
    use crate::error::Error;
    use crate::types::errno::Errno;
    use crate::xen::architecture::Architecture;

    pub trait Sealed: fmt::Debug + Send + Sync {
        /// Issues the sysctl: what is not negative comes back as it is, and −1 … −4095 as the error.
        ///
        /// # Errors
        /// Xen's or the kernel's error number. What Xen wrote is in the call's memory in either case.
        fn sysctl(&self, call: &mut Sysctl<'_>) -> Result<u32, Errno>;

        /// Issues an `xen_version` hypercall with an argument, or without (a null pointer to Xen).
        ///
        /// # Errors
        /// Xen's or the kernel's error number.
        fn xen_version(&self, command: u32, argument: Option<&mut HypercallBuffer>) -> Result<u32, Errno>;

        /// What it runs on.
        ///
        /// # Errors
        /// When the architecture is not supported.
        fn architecture(&self) -> Result<Architecture, Error>;

        /// Memory that this hypervisor can read and write, of at least this many bytes, zeroed, with such an end.
        ///
        /// # Errors
        /// When the kernel won't give it.
        fn allocate(&self, len: usize, end: End) -> Result<HypercallBuffer, AllocationError>;

        /// The device, where there is one.
        fn device(&self) -> Option<BorrowedFd<'_>> {
            None
        }
    }
}

/// A Xen that takes hypercalls: [`Privcmd`], or with feature `sim` a simulated one.
///
/// Sealed: callers choose an implementation, they do not write one.
pub trait Hypervisor: sealed::Sealed {}

/// What only implementations need is not for callers.
///
/// ```compile_fail
/// use xen_livepatch::hypercall::AllocationError;
/// ```
///
/// ```compile_fail
/// use xen_livepatch::hypercall::HypercallBuffer;
/// ```
///
/// ```compile_fail
/// use xen_livepatch::hypercall::Sysctl;
/// ```
#[cfg(doctest)]
struct Private;
