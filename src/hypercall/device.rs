//! Verification of descriptors by the kernel's device numbers.
//!
//! A hypercall sent to another driver, or pages mapped from another device, could change any memory of this process. So a
//! descriptor from the caller is verified before it is used, and so is one that was opened at the caller's path: the name of
//! a file proves nothing. `/dev/xen/privcmd`, `/proc/xen/privcmd` and `/dev/xen/hypercall` are the kernel's own.

use std::cell::OnceCell;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};

use nix::sys::stat::{major, minor};
use nix::sys::statfs::{FsType, PROC_SUPER_MAGIC, SYSFS_MAGIC, XENFS_SUPER_MAGIC, fstatfs};

use crate::error::{Error, ErrorKind, Operation};
use crate::types::Errno;

const MISC_MAJOR: u64 = 10;

/// More than the kernel's list of miscellaneous devices takes.
const LONGEST_LIST: u64 = 1 << 20;

/// A device of the kernel's `xen-privcmd` module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum XenDevice {
    Privcmd,
    Hypercall,
}

impl XenDevice {
    /// The name that the module registers.
    const fn name(self) -> &'static str {
        match self {
            Self::Privcmd => "xen/privcmd",
            Self::Hypercall => "xen/hypercall",
        }
    }

    /// The error for a descriptor of anything else.
    fn refusal(self) -> Error {
        let (kind, errno) = match self {
            Self::Privcmd => (ErrorKind::NotPrivcmd, Errno::ENOTTY),
            Self::Hypercall => (ErrorKind::NotHypercallDevice, Errno::ENODEV),
        };
        Error::new(kind).errno(errno).during(Operation::Open)
    }
}

/// The minor numbers of the kernel's miscellaneous devices, read when they are first needed.
#[derive(Debug, Default)]
pub(super) struct MiscDevices(OnceCell<Option<String>>);

impl MiscDevices {
    /// Verifies that a descriptor is one of this device.
    ///
    /// The module can't be unloaded while the descriptor is open, so its number stays that of the device.
    pub(super) fn verify(&self, file: &File, device: XenDevice) -> Result<(), Error> {
        match require_kind(file, device)? {
            Some(number) if self.minor(device)? != Some(number) => Err(device.refusal()),
            _ => Ok(()),
        }
    }

    /// The minor number of a device; `None` if the kernel does not have it.
    fn minor(&self, device: XenDevice) -> Result<Option<u64>, Error> {
        let unverified = || {
            let path = format!("/dev/{}", device.name());
            Error::new(ErrorKind::DeviceUnverified { path }).errno(Errno::ENOENT).during(Operation::Open)
        };
        let list = self.0.get_or_init(listed).as_deref().ok_or_else(unverified)?;
        let named = list.lines().filter_map(|line| line.trim_start().split_once(' '));
        Ok(named.filter(|(_, name)| *name == device.name()).find_map(|(minor, _)| minor.parse().ok()))
    }
}

/// Refuses a descriptor that is not one of a miscellaneous device, and returns its minor number; `None` for a file of xenfs.
pub(super) fn require_kind(file: &File, device: XenDevice) -> Result<Option<u64>, Error> {
    let about = file
        .metadata()
        .map_err(|error| device.refusal().errno(Errno::new(error.raw_os_error().unwrap_or(libc::EIO))))?;
    if about.file_type().is_char_device() && major(about.rdev()) == MISC_MAJOR {
        return Ok(Some(minor(about.rdev())));
    }
    // Kernels before 3.3 have it in xenfs only, none of whose other files takes an ioctl.
    if device == XenDevice::Privcmd && is_in(file, XENFS_SUPER_MAGIC) { Ok(None) } else { Err(device.refusal()) }
}

/// The kernel's list: a line for each device, of its minor number and its name.
fn listed() -> Option<String> {
    kernel_file("/proc/misc", PROC_SUPER_MAGIC).or_else(|| {
        let lines = [XenDevice::Privcmd, XenDevice::Hypercall].into_iter().filter_map(|device| {
            // In sysfs the slash of a name is an exclamation mark.
            let path = format!("/sys/class/misc/{}/dev", device.name().replace('/', "!"));
            let number = kernel_file(&path, SYSFS_MAGIC)?;
            Some(format!("{} {}\n", number.trim().strip_prefix("10:")?, device.name()))
        });
        Some(lines.collect()).filter(|lines: &String| !lines.is_empty())
    })
}

/// The contents of a file of this file system; `None` if it is missing or something else lies there.
fn kernel_file(path: &str, system: FsType) -> Option<String> {
    let file = File::open(path).ok().filter(|file| is_in(file, system))?;
    let mut bytes = Vec::with_capacity(4096);
    file.take(LONGEST_LIST).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

fn is_in(file: &File, system: FsType) -> bool {
    fstatfs(file).is_ok_and(|found| found.filesystem_type() == system)
}

#[cfg(test)]
mod tests {
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;

    use super::*;

    fn devices(list: Option<&str>) -> MiscDevices {
        MiscDevices(OnceCell::from(list.map(str::to_owned)))
    }

    fn kind(devices: &MiscDevices, file: &File, device: XenDevice) -> Option<ErrorKind> {
        devices.verify(file, device).err().map(|error| error.kind().clone())
    }

    #[test]
    fn other_files_are_refused_whatever_the_list_says() {
        let path = std::env::temp_dir().join(format!("xen-livepatch-no-device-{}", std::process::id()));
        std::fs::write(&path, "no device").unwrap();
        let (reader, _writer) = nix::unistd::pipe().unwrap();
        let (socket, _other) = UnixStream::pair().unwrap();
        let mut files = vec![File::from(reader), File::from(OwnedFd::from(socket))];
        files.extend(["/dev/null", "/dev/zero", "/", "/proc/misc"].map(|path| File::open(path).unwrap()));
        files.push(File::open(&path).unwrap());
        std::fs::remove_file(path).unwrap();
        for devices in [MiscDevices::default(), devices(Some("3 xen/privcmd\n5 xen/hypercall\n")), devices(None)] {
            for file in &files {
                assert_eq!(kind(&devices, file, XenDevice::Privcmd), Some(ErrorKind::NotPrivcmd));
                assert_eq!(kind(&devices, file, XenDevice::Hypercall), Some(ErrorKind::NotHypercallDevice));
            }
        }
    }

    #[test]
    fn the_lines_of_the_list_give_minor_numbers() {
        let list = devices(Some(" 99 other\n  7 xen/privcmd\n 61 xen/privcmd2\n"));
        assert_eq!((list.minor(XenDevice::Privcmd), list.minor(XenDevice::Hypercall)), (Ok(Some(7)), Ok(None)));
        for (device, path) in [(XenDevice::Privcmd, "/dev/xen/privcmd"), (XenDevice::Hypercall, "/dev/xen/hypercall")] {
            let unverified = ErrorKind::DeviceUnverified { path: path.into() };
            assert_eq!(devices(None).minor(device).unwrap_err().kind(), &unverified, "without /proc and /sys");
        }
    }

    #[test]
    fn only_the_kernels_own_files_count() {
        assert!(kernel_file("/proc/misc", PROC_SUPER_MAGIC).is_some());
        assert_eq!(kernel_file("/proc/misc", SYSFS_MAGIC), None);
        assert_eq!(kernel_file("/etc/passwd", PROC_SUPER_MAGIC), None);
        assert_eq!(kernel_file("/proc/no-such-file", PROC_SUPER_MAGIC), None);
    }
}
