//! Hypercalls to a real Xen, through Linux's `/dev/xen/privcmd`.
#![allow(unsafe_code, reason = "this is where the ioctl is issued")]

use core::sync::atomic::{AtomicUsize, Ordering};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use super::device::{self, MiscDevices, XenDevice};
use super::memory::{AllocationError, End, HypercallBuffer};
use super::sealed::Sealed;
use super::{Hypervisor, Sysctl};
use crate::error::{Error, ErrorKind, Operation};
use crate::sys;
use crate::types::{Errno, escaped};
use crate::xen::Architecture;

/// The paths of the device. Old kernels have only the second.
const DEVICES: [&str; 2] = ["/dev/xen/privcmd", "/proc/xen/privcmd"];

/// The device of memory for hypercalls (Linux 4.18 and newer).
const BUFFER_DEVICE: &str = "/dev/xen/hypercall";

/// `IOCTL_PRIVCMD_HYPERCALL`: direction "none", and yet with the size of its argument.
const HYPERCALL: libc::Ioctl = nix::ioc!(nix::sys::ioctl::NONE, b'P', 0, size_of::<sys::privcmd_hypercall>());

nix::ioctl_readwrite_bad!(privcmd_hypercall, HYPERCALL, sys::privcmd_hypercall);

/// Linux's privileged command device, `/dev/xen/privcmd`.
#[derive(Debug)]
pub struct Privcmd {
    /// Verified, as the safety of every hypercall requires.
    device: File,
    buffers: Option<BufferDevice>,
}

impl Privcmd {
    /// Opens `/dev/xen/privcmd`, or `/proc/xen/privcmd` if that is missing, and `/dev/xen/hypercall` if possible.
    ///
    /// # Errors
    /// [`ErrorKind::DeviceMissing`], [`ErrorKind::NotPermitted`], [`ErrorKind::Device`], [`ErrorKind::NotPrivcmd`].
    pub fn open() -> Result<Self, Error> {
        Self::open_first(DEVICES)
    }

    /// Opens the device at another path, and `/dev/xen/hypercall` if possible.
    ///
    /// # Errors
    /// As [`open`](Self::open), and [`ErrorKind::DeviceUnverified`] as [`from_fd`](Self::from_fd).
    pub fn open_at(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        let opened = Self::open_trusted(path)?;
        MiscDevices::default().verify(&opened.device, XenDevice::Privcmd)?;
        Ok(opened)
    }

    /// Opens a device whose path is the kernel's own, below /dev or /proc, where only root and the kernel make files. Its number
    /// is not compared: that would cost as much as all the rest of opening.
    fn open_trusted(path: &Path) -> Result<Self, Error> {
        let device = open_device(path).map_err(|error| open_error(path, &error))?;
        device::require_kind(&device, XenDevice::Privcmd)?;
        // Without it, or the permission for it, locked memory does as well.
        let buffers = open_device(BUFFER_DEVICE.as_ref()).ok();
        let buffers = buffers.filter(|buffers| device::require_kind(buffers, XenDevice::Hypercall).is_ok());
        Ok(Self { device, buffers: buffers.map(BufferDevice::new) })
    }

    /// Takes over a descriptor of the device that the caller opened.
    ///
    /// No other device is opened: hypercalls use locked memory, which `RLIMIT_MEMLOCK` limits. Prefer
    /// [`from_fds`](Self::from_fds) where the caller can open `/dev/xen/hypercall`.
    ///
    /// The descriptor is verified by its device number, which takes `/proc/misc` or `/sys/class/misc`. A program that
    /// changes its root directory calls this beforehand.
    ///
    /// # Errors
    /// [`ErrorKind::NotPrivcmd`] for any other device or file, and [`ErrorKind::DeviceUnverified`] if the number of the
    /// device is not available.
    pub fn from_fd(privcmd: OwnedFd) -> Result<Self, Error> {
        let device = File::from(privcmd);
        MiscDevices::default().verify(&device, XenDevice::Privcmd)?;
        Ok(Self { device, buffers: None })
    }

    /// Takes over descriptors of `/dev/xen/privcmd` and `/dev/xen/hypercall`.
    ///
    /// For programs that open both and then give up the right to do so, by changing their user. Both are verified as by
    /// [`from_fd`](Self::from_fd).
    ///
    /// # Errors
    /// As [`from_fd`](Self::from_fd), and [`ErrorKind::NotHypercallDevice`].
    pub fn from_fds(privcmd: OwnedFd, hypercall: OwnedFd) -> Result<Self, Error> {
        let (device, buffers) = (File::from(privcmd), File::from(hypercall));
        let misc = MiscDevices::default();
        misc.verify(&buffers, XenDevice::Hypercall)?;
        misc.verify(&device, XenDevice::Privcmd)?;
        Ok(Self { device, buffers: Some(BufferDevice::new(buffers)) })
    }

    /// Opens the usual device, or the other one if that is missing.
    fn open_first([usual, other]: [&str; 2]) -> Result<Self, Error> {
        let missing = |error: &Error| matches!(error.kind(), ErrorKind::DeviceMissing { .. });
        match Self::open_trusted(usual.as_ref()) {
            Err(error) if missing(&error) => match Self::open_trusted(other.as_ref()) {
                Err(also) if missing(&also) => Err(error),
                opened => opened,
            },
            opened => opened,
        }
    }

    fn hypercall(&self, op: u32, arg: [u64; 5]) -> Result<u32, Errno> {
        let mut call = sys::privcmd_hypercall { op: op.into(), arg };
        // SAFETY: `device` was verified to be the one that has this ioctl, which reads `call` alone, and `call` lives
        // through it. The addresses in `arg`, and the handles in
        // what they point to, lie in HypercallBuffers that this function's callers hold borrowed until it returns.
        let result = unsafe { privcmd_hypercall(self.device.as_raw_fd(), &raw mut call) };
        // The raw number, since a payload's hook may return any, and nix keeps only those with a name.
        let result = result.map_err(|_| Errno::new(nix::errno::Errno::last_raw()));
        result.and_then(|value| u32::try_from(value).map_err(|_| Errno::new(value.wrapping_neg())))
    }
}

impl Sealed for Privcmd {
    fn sysctl(&self, call: &mut Sysctl<'_>) -> Result<u32, Errno> {
        self.hypercall(sys::__HYPERVISOR_sysctl, [call.address(), 0, 0, 0, 0])
    }

    fn xen_version(&self, command: u32, argument: Option<&mut HypercallBuffer>) -> Result<u32, Errno> {
        let address = argument.map_or(0, |buffer| {
            buffer.make_present();
            buffer.address()
        });
        self.hypercall(sys::__HYPERVISOR_xen_version, [command.into(), address, 0, 0, 0])
    }

    fn architecture(&self) -> Result<Architecture, Error> {
        architecture_below(std::env::consts::ARCH, || {
            let unknown = |_| Error::new(unsupported("unknown")).errno(Errno::new(nix::errno::Errno::last_raw()));
            let kernel = nix::sys::utsname::uname().map_err(unknown)?;
            Ok(kernel.machine().to_string_lossy().into_owned())
        })
    }

    fn allocate(&self, len: usize, end: End) -> Result<HypercallBuffer, AllocationError> {
        let (promising, refusing) = match &self.buffers {
            Some(device) if device.has_refused(len) => (None, Some(device)),
            device => (device.as_ref(), None),
        };
        let locked = || HypercallBuffer::locked(len, end);
        let buffer = promising.and_then(|device| device.allocate(len, end)).map_or_else(locked, Ok);
        // Without locked memory either, try what was refused before.
        buffer.or_else(|error| refusing.and_then(|device| device.allocate(len, end)).ok_or(error))
    }

    fn device(&self) -> Option<BorrowedFd<'_>> {
        Some(self.as_fd())
    }
}

impl Hypervisor for Privcmd {}

impl AsFd for Privcmd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.device.as_fd()
    }
}

/// `/dev/xen/hypercall`, and the sizes that it refuses.
#[derive(Debug)]
struct BufferDevice {
    device: File,
    /// The smallest length that it has refused. It is not tried again for that or more.
    refused: AtomicUsize,
}

impl BufferDevice {
    fn new(device: File) -> Self {
        Self { device, refused: AtomicUsize::new(usize::MAX) }
    }

    fn has_refused(&self, len: usize) -> bool {
        len >= self.refused.load(Ordering::Relaxed)
    }

    fn allocate(&self, len: usize, end: End) -> Option<HypercallBuffer> {
        HypercallBuffer::from_device(self.device.as_fd(), len, end).map_err(|error| self.refuse(error)).ok()
    }

    fn refuse(&self, error: AllocationError) {
        if !is_passing(error.errno) {
            self.refused.fetch_min(error.bytes, Ordering::Relaxed);
        }
    }
}

/// Returns true if the same call may succeed a moment later: memory was short, or a signal came.
fn is_passing(errno: Errno) -> bool {
    [Errno::ENOMEM, Errno::EAGAIN, Errno::EINTR].contains(&errno)
}

/// Returns the architecture of the Xen below this kernel, from the target of this program and, where that is ambiguous, from
/// the machine of `uname -m`.
fn architecture_below(built_for: &str, machine: impl FnOnce() -> Result<String, Error>) -> Result<Architecture, Error> {
    match built_for {
        // A control domain of 32 bits has a Xen of 64 bits below it on x86, but not on Arm.
        "x86_64" | "x86" => Ok(Architecture::X86_64),
        // A program of 64 bits has a kernel of 64 bits, even if `setarch` makes `uname` report another one.
        "aarch64" => Ok(Architecture::AArch64),
        _ => match machine()? {
            machine if built_for == "arm" && machine == "aarch64" => Ok(Architecture::AArch64),
            machine => Err(Error::new(unsupported(&machine))),
        },
    }
}

fn unsupported(machine: &str) -> ErrorKind {
    ErrorKind::UnsupportedMachine { machine: machine.into() }
}

fn open_device(path: &Path) -> io::Result<File> {
    // The standard library sets O_CLOEXEC.
    OpenOptions::new().read(true).write(true).open(path)
}

fn open_error(path: &Path, error: &io::Error) -> Error {
    let shown = escaped(path.as_os_str().as_bytes());
    let errno = Errno::new(error.raw_os_error().unwrap_or(libc::EIO));
    let kind = match errno {
        Errno::ENOENT | Errno::ENXIO | Errno::ENODEV => ErrorKind::DeviceMissing { path: shown },
        Errno::EACCES | Errno::EPERM => ErrorKind::NotPermitted { path: Some(shown) },
        _ => ErrorKind::Device { path: shown },
    };
    Error::new(kind).errno(errno).during(Operation::Open)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::OpenOptionsExt;

    use super::*;
    use crate::hypercall::memory::Backing;
    use crate::hypercall::memory::tests::{in_child, limit_locked_memory};

    #[test]
    fn the_ioctl_number_is_the_kernels() {
        assert_eq!(HYPERCALL, 0x30_5000);
    }

    #[test]
    fn what_is_not_the_device_answers_with_its_errno() {
        for (file, expected) in [("/dev/null", Errno::ENOTTY), ("/etc/hostname", Errno::ENOTTY)] {
            let privcmd = stand_in(File::open(file).unwrap(), None);
            assert_eq!(privcmd.xen_version(sys::XENVER_version, None), Err(expected), "{file}");
        }
        let path_only = File::options().read(true).custom_flags(libc::O_PATH).open("/dev/null").unwrap();
        let privcmd = stand_in(path_only, None);
        assert_eq!(privcmd.xen_version(sys::XENVER_version, None), Err(Errno::EBADF));
    }

    /// A way to a hypervisor through devices that were not verified: none of those used here has this ioctl.
    fn stand_in(device: File, buffers: Option<File>) -> Privcmd {
        Privcmd { device, buffers: buffers.map(BufferDevice::new) }
    }

    fn device(path: &str) -> File {
        open_device(path.as_ref()).unwrap()
    }

    /// Returns the source of a buffer's memory.
    fn backing(privcmd: &Privcmd, len: usize) -> Backing {
        privcmd.allocate(len, End::Guarded).unwrap().backing()
    }

    #[test]
    fn without_the_buffer_device_memory_is_locked() {
        let mut privcmd = stand_in(device("/dev/null"), None);
        assert_eq!(backing(&privcmd, 1), Backing::Locked);
        // One that can be mapped, and one that refuses.
        privcmd.buffers = Some(BufferDevice::new(device("/dev/zero")));
        assert_eq!(backing(&privcmd, 1), Backing::Device);
        privcmd.buffers = Some(BufferDevice::new(File::open("/proc/self/status").unwrap()));
        assert_eq!(backing(&privcmd, 1), Backing::Locked);
    }

    #[test]
    fn a_device_is_not_asked_for_what_it_has_refused() {
        let mut privcmd = stand_in(device("/dev/null"), Some(device("/dev/full")));
        for (len, refusing, expected) in [
            (8192, true, Backing::Locked),
            // It would accept this now, but is not tried with as much or more.
            (8192, false, Backing::Locked),
            (1 << 20, false, Backing::Locked),
            (8191, false, Backing::Device),
            (1, true, Backing::Locked),
            (4096, false, Backing::Locked),
            (1, false, Backing::Locked),
        ] {
            let buffers = privcmd.buffers.as_mut().unwrap();
            buffers.device = device(if refusing { "/dev/null" } else { "/dev/zero" });
            assert_eq!(backing(&privcmd, len), expected, "{len} {refusing}");
        }
    }

    #[test]
    fn a_passing_shortage_is_not_a_refusal() {
        let buffers = BufferDevice::new(device("/dev/zero"));
        for errno in [Errno::ENOMEM, Errno::EAGAIN, Errno::EINTR] {
            buffers.refuse(AllocationError { bytes: 1, errno });
        }
        assert!(buffers.allocate(usize::MAX / 4, End::Open).is_none());
        assert!(!buffers.has_refused(usize::MAX / 2));
        assert!(buffers.allocate(1, End::Open).is_some());
        for errno in [Errno::EINVAL, Errno::EACCES, Errno::ENODEV, Errno::EPERM, Errno::new(123)] {
            let buffers = BufferDevice::new(device("/dev/zero"));
            buffers.refuse(AllocationError { bytes: 2, errno });
            assert_eq!([1, 2, 3].map(|len| buffers.has_refused(len)), [false, true, true], "{errno}");
        }
    }

    #[test]
    fn a_device_that_refused_is_asked_again_where_no_memory_can_be_locked() {
        let privcmd = stand_in(device("/dev/null"), Some(device("/dev/zero")));
        privcmd.buffers.as_ref().unwrap().refuse(AllocationError { bytes: 1, errno: Errno::EINVAL });
        assert_eq!(backing(&privcmd, 1), Backing::Locked);
        assert!(in_child(|| limit_locked_memory(0) && backing(&privcmd, 1) == Backing::Device));
        let without = stand_in(device("/dev/null"), None);
        let error = AllocationError { bytes: 1, errno: Errno::EPERM };
        assert!(in_child(
            || limit_locked_memory(0) && without.allocate(1, End::Open).is_err_and(|found| found == error)
        ));
    }

    #[test]
    fn the_first_device_that_is_there_is_opened() {
        let (missing, directory) = ("/dev/xen/no-such-device", "/");
        let open = |paths| Privcmd::open_first(paths).map(drop).map_err(|error| error.kind().clone());
        let is_missing = Err(ErrorKind::DeviceMissing { path: missing.into() });
        let cannot = Err(ErrorKind::Device { path: directory.into() });
        let other = Err(ErrorKind::NotPrivcmd);
        assert_eq!(open(["/dev/null", missing]), other);
        assert_eq!(open([missing, "/dev/null"]), other);
        assert_eq!(open([missing, "/dev/xen/nor-this"]), is_missing);
        // The error of the one that exists, in either place.
        assert_eq!(open([directory, "/dev/null"]), cannot);
        assert_eq!(open([missing, directory]), cannot);
    }

    #[test]
    fn what_is_below_a_kernel() {
        use Architecture::{AArch64, X86_64};
        for (built_for, machine, expected) in [
            ("x86_64", "x86_64", Some(X86_64)),
            ("x86_64", "i686", Some(X86_64)),
            ("x86", "i686", Some(X86_64)),
            ("x86", "x86_64", Some(X86_64)),
            ("aarch64", "aarch64", Some(AArch64)),
            ("aarch64", "armv8l", Some(AArch64)),
            ("arm", "aarch64", Some(AArch64)),
            ("arm", "armv7l", None),
            ("arm", "armv8l", None),
            ("arm", "", None),
            ("riscv64", "riscv64", None),
            ("powerpc64", "ppc64le", None),
        ] {
            let found = architecture_below(built_for, || Ok(machine.into())).map_err(|error| error.kind().clone());
            assert_eq!(found, expected.ok_or_else(|| unsupported(machine)), "{built_for} on {machine}");
        }
        let privcmd = stand_in(device("/dev/null"), None);
        let expected = if cfg!(target_arch = "aarch64") { AArch64 } else { X86_64 };
        assert_eq!(privcmd.architecture().unwrap(), expected);
    }
}
