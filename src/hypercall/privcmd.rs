//! The real thing: hypercalls through Linux's `/dev/xen/privcmd`.
#![allow(unsafe_code, reason = "this is where the ioctl is issued")]

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use super::memory::{AllocationError, HypercallBuffer};
use super::{Hypervisor, Sysctl, sealed};
use crate::errno::Errno;
use crate::error::{Error, ErrorKind, Operation};
use crate::payload::Architecture;
use crate::sys;

/// Where the device is; old kernels have the second alone.
const DEVICES: [&str; 2] = ["/dev/xen/privcmd", "/proc/xen/privcmd"];

/// The device whose pages are made for hypercalls (Linux 4.18 and later).
const BUFFER_DEVICE: &str = "/dev/xen/hypercall";

/// `IOCTL_PRIVCMD_HYPERCALL`: direction "none", and yet with the size of its argument.
const HYPERCALL: libc::Ioctl = nix::ioc!(nix::sys::ioctl::NONE, b'P', 0, size_of::<sys::privcmd_hypercall>());

nix::ioctl_readwrite_bad!(privcmd_hypercall, HYPERCALL, sys::privcmd_hypercall);

/// Linux's privileged command device, on the way to a real Xen.
#[derive(Debug)]
pub struct Privcmd {
    device: OwnedFd,
    buffers: Option<File>,
}

impl Privcmd {
    /// Opens `/dev/xen/privcmd`, or `/proc/xen/privcmd` where that is missing.
    ///
    /// # Errors
    /// [`ErrorKind::DeviceMissing`], [`ErrorKind::NotPermitted`], [`ErrorKind::Device`].
    pub fn open() -> Result<Self, Error> {
        let [device, fallback] = DEVICES;
        Self::open_at(device).or_else(|error| match error.kind() {
            // The error to report is the one about the usual place.
            ErrorKind::DeviceMissing { .. } => Self::open_at(fallback).map_err(|_| error),
            _ => Err(error),
        })
    }

    /// Opens the device at another path.
    ///
    /// # Errors
    /// As [`open`](Self::open). Whether it is the right device shows at the first hypercall.
    pub fn open_at(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        // The standard library sets O_CLOEXEC.
        let device = OpenOptions::new().read(true).write(true).open(path).map_err(|error| open_error(path, &error))?;
        Ok(Self::from_fd(device.into()))
    }

    /// Uses a descriptor of the device that the caller opened, and closes it at the end.
    #[must_use]
    pub fn from_fd(device: OwnedFd) -> Self {
        // Without it, or its permission, locked memory does as well.
        let buffers = OpenOptions::new().read(true).write(true).open(BUFFER_DEVICE).ok();
        Self { device, buffers }
    }

    fn hypercall(&self, op: u32, arg: [u64; 5]) -> Result<u32, Errno> {
        let mut call = sys::privcmd_hypercall { op: op.into(), arg };
        // SAFETY: `call` lives through the ioctl, which reads it alone. The addresses in `arg`, and the handles in
        // what they point to, lie in HypercallBuffers that this function's callers hold borrowed until it returns.
        let result = unsafe { privcmd_hypercall(self.device.as_raw_fd(), &raw mut call) };
        // The number itself: a payload's hook may return any, and nix keeps only those that Linux has names for.
        let result = result.map_err(|_| Errno::new(nix::errno::Errno::last_raw()));
        result.and_then(|value| u32::try_from(value).map_err(|_| Errno::new(value.wrapping_neg())))
    }
}

impl sealed::Sealed for Privcmd {}

impl Hypervisor for Privcmd {
    fn sysctl(&self, call: &mut Sysctl<'_>) -> Result<u32, Errno> {
        self.hypercall(sys::__HYPERVISOR_sysctl, [call.address(), 0, 0, 0, 0])
    }

    fn xen_version(&self, command: u32, argument: Option<&mut HypercallBuffer>) -> Result<u32, Errno> {
        let address = argument.map_or(0, |buffer| buffer.address());
        self.hypercall(sys::__HYPERVISOR_xen_version, [command.into(), address, 0, 0, 0])
    }

    fn architecture(&self) -> Architecture {
        // A control domain runs on what its Xen runs on; a 32-bit one on x86 too.
        if cfg!(any(target_arch = "aarch64", target_arch = "arm")) {
            Architecture::AArch64
        } else {
            Architecture::X86_64
        }
    }

    fn allocate(&self, len: usize) -> Result<HypercallBuffer, AllocationError> {
        let device = self.buffers.as_ref().and_then(|device| HypercallBuffer::from_device(device.as_fd(), len).ok());
        device.map_or_else(|| HypercallBuffer::locked(len), Ok)
    }
}

impl AsFd for Privcmd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.device.as_fd()
    }
}

fn open_error(path: &Path, error: &io::Error) -> Error {
    let shown = path.display().to_string();
    let errno = Errno::new(error.raw_os_error().unwrap_or_default());
    let kind = match errno {
        Errno::ENOENT | Errno::ENXIO | Errno::ENODEV => ErrorKind::DeviceMissing { path: shown },
        Errno::EACCES | Errno::EPERM => ErrorKind::NotPermitted,
        _ => ErrorKind::Device { path: shown },
    };
    Error::new(kind).errno(errno).during(Operation::Open)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::OpenOptionsExt;

    use super::*;
    use crate::hypercall::memory::Backing;

    #[test]
    fn the_ioctl_number_is_the_kernels() {
        assert_eq!(HYPERCALL, 0x30_5000);
    }

    #[test]
    fn what_is_not_the_device_answers_with_its_errno() {
        for (file, expected) in [("/dev/null", Errno::ENOTTY), ("/etc/hostname", Errno::ENOTTY)] {
            let privcmd = Privcmd::from_fd(File::open(file).unwrap().into());
            assert_eq!(privcmd.xen_version(sys::XENVER_version, None), Err(expected), "{file}");
        }
        let path_only = File::options().read(true).custom_flags(libc::O_PATH).open("/dev/null").unwrap();
        let privcmd = Privcmd::from_fd(path_only.into());
        assert_eq!(privcmd.xen_version(sys::XENVER_version, None), Err(Errno::EBADF));
    }

    #[test]
    fn without_the_buffer_device_memory_is_locked() {
        let mut privcmd = Privcmd::from_fd(File::open("/dev/null").unwrap().into());
        privcmd.buffers = None;
        assert_eq!(privcmd.allocate(1).unwrap().backing(), Backing::Locked);
        // A device that refuses to be mapped, as the first driver did beyond 64 pages.
        privcmd.buffers = Some(File::open("/proc/self/status").unwrap());
        assert_eq!(privcmd.allocate(1).unwrap().backing(), Backing::Locked);
    }
}
