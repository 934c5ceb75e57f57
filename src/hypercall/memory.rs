//! Memory that Xen may read and write.
//!
//! Xen copies with the page tables as they are: a page that is absent, moving or copy-on-write is an `EFAULT` or worse.
//! So these pages come from `/dev/xen/hypercall` (the kernel's own, resident and immovable), or are locked, touched and
//! kept out of forked children.
#![allow(unsafe_code, reason = "this is where pages are mapped and where wire structures become bytes")]

use core::ffi::c_void;
use core::fmt;
use core::mem::MaybeUninit;
use core::num::NonZeroUsize;
use core::ptr::NonNull;
use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::mman::{MapFlags, MmapAdvise, ProtFlags, madvise, mlock, mmap, mmap_anonymous, munmap};

use crate::errno::Errno;
use crate::sys;

/// Why memory for a hypercall can't be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AllocationError {
    /// How much was asked for.
    pub(crate) bytes: usize,
    /// What the kernel said.
    pub(crate) errno: Errno,
}

/// Whole pages that Xen may read and write during a hypercall, with a guard page (`PROT_NONE`) behind them, so that
/// Xen fails with `EFAULT` instead of writing past the end.
pub struct HypercallBuffer {
    start: NonNull<u8>,
    /// Bytes before the guard page.
    len: usize,
    /// The guard page too.
    mapped: usize,
    backing: Backing,
}

/// Where the pages come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Backing {
    /// `/dev/xen/hypercall`.
    Device,
    /// Anonymous, locked, touched, not inherited by a forked child.
    Locked,
    /// Anonymous, for a hypervisor in this process.
    #[cfg(feature = "sim")]
    Plain,
}

// SAFETY: the pages belong to this value alone, as a Vec's do; nothing about them is bound to a thread.
unsafe impl Send for HypercallBuffer {}

// SAFETY: a shared reference only reads. Xen writes only during a hypercall, which holds the buffer `&mut`.
unsafe impl Sync for HypercallBuffer {}

impl HypercallBuffer {
    /// Pages of `/dev/xen/hypercall` for at least `len` bytes. Its first driver gives at most 64 pages an open file.
    pub(crate) fn from_device(device: BorrowedFd<'_>, len: usize) -> Result<Self, AllocationError> {
        Self::reserve(len, Backing::Device, |start, len| {
            let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
            let flags = MapFlags::MAP_SHARED | MapFlags::MAP_FIXED;
            // SAFETY: MAP_FIXED replaces pages of the reservation just made, which nothing else knows of yet.
            unsafe { mmap(Some(start), len, protection, flags, device.as_fd(), 0) }.map(drop)
        })
    }

    /// Locked anonymous pages for at least `len` bytes.
    pub(crate) fn locked(len: usize) -> Result<Self, AllocationError> {
        let buffer = Self::anonymous(len, Backing::Locked)?;
        let failed = |errno: nix::errno::Errno| AllocationError { bytes: len, errno: errno.into() };
        let start = buffer.start.cast::<c_void>();
        // SAFETY: the range is the buffer's own mapping; a forked child loses it, where it would turn copy-on-write.
        unsafe { madvise(start, buffer.len, MmapAdvise::MADV_DONTFORK) }.map_err(failed)?;
        // SAFETY: the range is the buffer's own mapping. Locking also makes every page present.
        unsafe { mlock(start, buffer.len) }.map_err(failed)?;
        for offset in (0..buffer.len).step_by(page_size()) {
            // SAFETY: `offset` is below the mapping's length, so the result stays inside it.
            let page = unsafe { buffer.start.add(offset) };
            // SAFETY: `page` points into the buffer's writable pages, which nothing else refers to yet. The write
            // undoes a copy-on-write that a fork before the madvise may have left.
            unsafe { page.write_volatile(0) };
        }
        Ok(buffer)
    }

    /// Ordinary pages, for a hypervisor in this process.
    #[cfg(feature = "sim")]
    pub(crate) fn plain(len: usize) -> Result<Self, AllocationError> {
        Self::anonymous(len, Backing::Plain)
    }

    fn anonymous(len: usize, backing: Backing) -> Result<Self, AllocationError> {
        Self::reserve(len, backing, |start, len| {
            let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
            let flags = MapFlags::MAP_PRIVATE | MapFlags::MAP_FIXED;
            // SAFETY: MAP_FIXED replaces pages of the reservation just made, which nothing else knows of yet.
            unsafe { mmap_anonymous(Some(start), len, protection, flags) }.map(drop)
        })
    }

    /// Reserves the pages and the guard page as `PROT_NONE`, then has `fill` map the pages over the front.
    fn reserve(
        bytes: usize,
        backing: Backing,
        fill: impl FnOnce(NonZeroUsize, NonZeroUsize) -> nix::Result<()>,
    ) -> Result<Self, AllocationError> {
        let too_large = AllocationError { bytes, errno: Errno::ENOMEM };
        let failed = |errno: nix::errno::Errno| AllocationError { bytes, errno: errno.into() };
        let len = bytes.max(1).checked_next_multiple_of(page_size()).ok_or(too_large)?;
        let mapped = len.checked_add(page_size()).ok_or(too_large)?;
        let (pages, all) = NonZeroUsize::new(len).zip(NonZeroUsize::new(mapped)).ok_or(too_large)?;
        let flags = MapFlags::MAP_PRIVATE | MapFlags::MAP_NORESERVE;
        // SAFETY: a new mapping at an address of the kernel's choice changes no memory that anyone has.
        let start = unsafe { mmap_anonymous(None, all, ProtFlags::PROT_NONE, flags) }.map_err(failed)?;
        let buffer = Self { start: start.cast(), len, mapped, backing };
        // On failure `buffer` is dropped, and the reservation with it.
        fill(start.addr(), pages).map_err(failed)?;
        Ok(buffer)
    }

    /// Where the pages come from.
    #[cfg(test)]
    pub(crate) fn backing(&self) -> Backing {
        self.backing
    }

    /// Bytes up to the guard page: whole pages.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The address that Xen finds it at, as a hypercall argument.
    pub(crate) fn address(&self) -> u64 {
        as_address(self.start.addr().get())
    }

    /// A guest handle to the byte at `offset`.
    pub(crate) fn handle(&self, offset: usize) -> sys::xen_guest_handle {
        sys::xen_guest_handle { address: as_address(self.start.addr().get().wrapping_add(offset)) }
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        // SAFETY: the mapping has `len` readable, initialised bytes (new pages are zero) for as long as `self` lives,
        // and Xen writes to them only while a hypercall holds `self` mutably.
        unsafe { core::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }

    pub(crate) fn as_mut_slice(&mut self) -> &mut [u8] {
        // SAFETY: as for `as_slice`; `&mut self` makes this the only reference.
        unsafe { core::slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }

    /// Writes a wire structure at `OFFSET`, which the compiler checks against the smallest buffer there is.
    pub(crate) fn write<const OFFSET: usize, T: Plain>(&mut self, value: &T) {
        const { assert!(OFFSET + size_of::<T>() <= SMALLEST) };
        // SAFETY: `Plain` has no padding, so all `size_of::<T>()` bytes of `value` are initialised.
        let bytes = unsafe { core::slice::from_raw_parts(core::ptr::from_ref(value).cast::<u8>(), size_of::<T>()) };
        let (_, tail) = self.as_mut_slice().split_at_mut(OFFSET);
        let (target, _) = tail.split_at_mut(size_of::<T>());
        target.copy_from_slice(bytes);
    }

    /// Reads a wire structure at `OFFSET`, which the compiler checks against the smallest buffer there is.
    pub(crate) fn read<const OFFSET: usize, T: Plain>(&self) -> T {
        const { assert!(OFFSET + size_of::<T>() <= SMALLEST) };
        let (_, tail) = self.as_slice().split_at(OFFSET);
        let (source, _) = tail.split_at(size_of::<T>());
        let mut value = MaybeUninit::<T>::uninit();
        // SAFETY: `source` has `size_of::<T>()` bytes, and `value` has room for as many and overlaps nothing.
        unsafe { core::ptr::copy_nonoverlapping(source.as_ptr(), value.as_mut_ptr().cast::<u8>(), source.len()) };
        // SAFETY: every byte was just written, and `Plain` allows any bytes.
        unsafe { value.assume_init() }
    }
}

impl Drop for HypercallBuffer {
    fn drop(&mut self) {
        // SAFETY: `start` and `mapped` are the whole mapping made by `reserve`, and nothing refers to it any more.
        // A failure leaks address space, which is all that can be done about it here.
        let _: nix::Result<()> = unsafe { munmap(self.start.cast(), self.mapped) };
    }
}

impl fmt::Debug for HypercallBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HypercallBuffer")
            .field("len", &self.len)
            .field("backing", &self.backing)
            .finish_non_exhaustive()
    }
}

/// An address as Xen takes it, into which a pointer of every machine that Xen runs on fits.
fn as_address(address: usize) -> u64 {
    u64::try_from(address).unwrap_or_default()
}

/// Every buffer is one page at least, and no page is smaller than this.
const SMALLEST: usize = 4096;

pub(crate) fn page_size() -> usize {
    // SAFETY: sysconf reads a constant of this system and touches no memory of ours.
    let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(size).unwrap_or(SMALLEST).max(SMALLEST)
}

/// A wire structure that is its bytes: any bytes make one, and no padding hides in it.
///
/// # Safety
/// The implementor promises both. The layout table in `sys` pins every size and offset that this rests on.
pub(crate) unsafe trait Plain: Copy {}

macro_rules! plain {
    ($($name:ty),* $(,)?) => {$(
        // SAFETY: integers in C layout, padding spelled out as fields (xen-headers/), as the layout table tests.
        unsafe impl Plain for $name {}
    )*};
}

plain! {
    u32,
    sys::xen_livepatch_status,
    sys::xen_sysctl_livepatch_upload,
    sys::xen_sysctl_livepatch_get,
    sys::xen_sysctl_livepatch_list_v1,
    sys::xen_sysctl_livepatch_list_v2,
    sys::xen_sysctl_livepatch_action_v1,
    sys::xen_sysctl_livepatch_action_v2,
    sys::xen_sysctl_readconsole,
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;

    fn readable(address: u64) -> bool {
        // The kernel looks the address up as Xen would, and says so instead of killing us.
        let mut byte = [0_u8];
        let local = &mut [std::io::IoSliceMut::new(&mut byte)];
        let remote = libc::iovec { iov_base: address as *mut c_void, iov_len: 1 };
        // SAFETY: getpid touches no memory.
        let this = unsafe { libc::getpid() };
        // SAFETY: one byte is read into `byte` through descriptors that live through the call; a bad address is an error.
        let read = unsafe { libc::process_vm_readv(this, local.as_mut_ptr().cast(), 1, &raw const remote, 1, 0) };
        read == 1
    }

    #[test]
    fn pages_are_whole_zeroed_and_end_at_a_guard() {
        for buffer in [HypercallBuffer::plain(1).unwrap(), HypercallBuffer::locked(page_size() + 1).unwrap()] {
            assert_eq!(buffer.len() % page_size(), 0);
            assert!(buffer.as_slice().iter().all(|byte| *byte == 0));
            let end = buffer.address() + buffer.len() as u64;
            assert!(readable(end - 1), "{buffer:?}");
            assert!(!readable(end), "{buffer:?}");
        }
    }

    #[test]
    fn pages_are_given_back() {
        // A process may have 65530 mappings unless someone raised that; each buffer is two.
        let limit = std::fs::read_to_string("/proc/sys/vm/max_map_count").unwrap().trim().parse().unwrap_or(65_530);
        for _ in 0..limit {
            HypercallBuffer::plain(1).unwrap();
        }
    }

    #[test]
    fn more_than_there_is_gets_a_named_error() {
        for bytes in [usize::MAX, usize::MAX - page_size(), isize::MAX as usize] {
            let error = HypercallBuffer::locked(bytes).unwrap_err();
            assert_eq!(error, AllocationError { bytes, errno: Errno::ENOMEM });
        }
    }

    #[test]
    fn a_device_that_cannot_be_mapped_is_refused() {
        let file = File::options().read(true).write(true).open("/dev/null").unwrap();
        assert_eq!(HypercallBuffer::from_device(file.as_fd(), 1).unwrap_err().errno, Errno::ENODEV);
    }

    #[test]
    fn structures_are_written_and_read_where_they_belong() {
        let mut buffer = HypercallBuffer::plain(1).unwrap();
        let status = sys::xen_livepatch_status { state: 0x0102_0304, rc: -5 };
        buffer.write::<24, _>(&status);
        assert_eq!(buffer.as_slice().get(24..28), Some(&0x0102_0304_u32.to_ne_bytes()[..]));
        let read: sys::xen_livepatch_status = buffer.read::<24, _>();
        assert_eq!((read.state, read.rc), (status.state, status.rc));
        assert!(buffer.as_slice()[..24].iter().chain(&buffer.as_slice()[32..]).all(|byte| *byte == 0));
    }
}
