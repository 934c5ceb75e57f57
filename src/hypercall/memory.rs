//! Memory that Xen may read and write.
//!
//! Xen uses the page tables as they are: a page that is absent, moving or copy-on-write means `EFAULT` or worse. So the pages
//! come from `/dev/xen/hypercall` (kernel memory, resident and immovable), or are locked. Forked children don't get them,
//! since a child would make them copy-on-write, and could overwrite what Xen is reading.
#![allow(unsafe_code, reason = "this is where pages are mapped and where wire structures become bytes")]

use core::ffi::c_void;
use core::mem::{ManuallyDrop, MaybeUninit};
use core::num::NonZeroUsize;
use core::ops::Range;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU64, Ordering};
use std::os::fd::BorrowedFd;
use std::sync::OnceLock;

use nix::sys::mman::{MapFlags, MmapAdvise, ProtFlags, madvise, mlock, mmap, mmap_anonymous, mprotect, munmap};

use crate::sys;
use crate::types::{Errno, to_u64};

/// The protection of a buffer's pages.
const ACCESS: ProtFlags = ProtFlags::PROT_READ.union(ProtFlags::PROT_WRITE);

/// The failure to allocate memory for a hypercall.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AllocationError {
    /// The size that was asked for.
    pub(crate) bytes: usize,
    pub(crate) errno: Errno,
}

/// Whole pages that Xen may read and write during a hypercall.
#[derive(Debug)]
pub struct HypercallBuffer {
    /// The pages, and the guard if there is one.
    mapping: Mapping,
    /// The bytes of the pages.
    len: NonZeroUsize,
    backing: Backing,
}

/// The end of a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// A guard page (`PROT_NONE`), at which Xen fails with `EFAULT` instead of writing past the end.
    Guarded,
    /// Anything: for answers of a fixed size, where a guard would double the cost of a buffer.
    Open,
}

/// The source of the pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Backing {
    /// `/dev/xen/hypercall`.
    Device,
    /// Anonymous and locked.
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
    /// Maps pages of `/dev/xen/hypercall` for at least `bytes` bytes. Its first driver has at most 64 pages per open file.
    pub(crate) fn from_device(device: BorrowedFd<'_>, bytes: usize, end: End) -> Result<Self, AllocationError> {
        Self::map(bytes, end, Backing::Device, |pages, mapped| {
            let mut mapping = Mapping::of_device(mapped, device)?;
            mapping.keep_from_children()?;
            // One of its own pages becomes the guard, since the range after a mapping is not ours.
            if mapped > pages {
                mapping.protect(pages.get()..mapped.get(), ProtFlags::PROT_NONE)?;
            }
            Ok(mapping)
        })
    }

    /// Maps and locks anonymous pages for at least `bytes` bytes.
    pub(crate) fn locked(bytes: usize, end: End) -> Result<Self, AllocationError> {
        Self::map(bytes, end, Backing::Locked, |pages, mapped| {
            let mut mapping = Mapping::anonymous(mapped, ProtFlags::PROT_NONE)?;
            // Before there is any page that a fork could make copy-on-write.
            mapping.keep_from_children()?;
            mapping.protect(0..pages.get(), ACCESS)?;
            // The kernel may still merge locked pages with equal ones, or move them to make a huge one. Not all kernels have
            // either, so a failure does not matter.
            for advice in [MmapAdvise::MADV_UNMERGEABLE, MmapAdvise::MADV_NOHUGEPAGE] {
                let _: nix::Result<()> = mapping.advise(advice);
            }
            mapping.lock(pages)?;
            Ok(mapping)
        })
    }

    /// Maps ordinary pages, for a hypervisor in this process. A forked child gets a copy.
    #[cfg(feature = "sim")]
    pub(crate) fn plain(bytes: usize, end: End) -> Result<Self, AllocationError> {
        Self::map(bytes, end, Backing::Plain, |pages, mapped| {
            let mapping = Mapping::anonymous(mapped, ProtFlags::PROT_NONE)?;
            mapping.protect(0..pages.get(), ACCESS)?;
            Ok(mapping)
        })
    }

    /// Makes a buffer from a function of the size of its pages and that of the mapping, which has the guard as well if there is
    /// one. Writes to every page once.
    #[expect(clippy::as_conversions, reason = "the number of a C-like enum")]
    fn map(
        bytes: usize,
        end: End,
        backing: Backing,
        map: impl FnOnce(NonZeroUsize, NonZeroUsize) -> nix::Result<Mapping>,
    ) -> Result<Self, AllocationError> {
        let failed = |errno| AllocationError { bytes, errno };
        let guard = if end == End::Guarded { page_size() } else { 0 };
        let pages = NonZeroUsize::new(whole_pages(bytes)).ok_or(failed(Errno::ENOMEM))?;
        let mapped = pages.checked_add(guard).ok_or(failed(Errno::ENOMEM))?;
        let mapping = map(pages, mapped).map_err(|errno| failed(Errno::new(errno as i32)))?;
        let mut buffer = Self { mapping, len: pages, backing };
        buffer.touch();
        Ok(buffer)
    }

    /// Makes every page accessible for Xen. Locked pages can become inaccessible until their next use, when the kernel moves
    /// them or balances NUMA nodes; those of the device can't.
    pub(crate) fn make_present(&mut self) {
        if self.backing == Backing::Locked {
            self.touch();
        }
    }

    /// Writes to every page without changing its contents, so that it is present and writable. On 64-bit Arm a page is
    /// read-only until its first write, whatever its mapping allows.
    fn touch(&mut self) {
        for byte in self.as_mut_slice().iter_mut().step_by(page_size()) {
            let byte = core::ptr::from_mut(byte);
            // SAFETY: the pointer was just made from a reference to a byte of this buffer, which is borrowed mutably.
            let value = unsafe { byte.read_volatile() };
            // SAFETY: as for the read.
            unsafe { byte.write_volatile(value) };
        }
    }

    /// Returns true if this process has the pages. A forked child of the process that made them does not.
    pub(crate) fn is_here(&self) -> bool {
        self.mapping.is_here()
    }

    #[cfg(test)]
    pub(crate) fn backing(&self) -> Backing {
        self.backing
    }

    /// Returns the size in bytes, which is a number of whole pages.
    pub(crate) fn len(&self) -> usize {
        self.len.get()
    }

    /// Returns its address, as an argument of a hypercall.
    pub(crate) fn address(&self) -> u64 {
        to_u64(self.mapping.start.addr().get())
    }

    /// Returns a guest handle of the byte at `offset`.
    pub(crate) fn handle(&self, offset: usize) -> sys::xen_guest_handle {
        sys::xen_guest_handle { address: to_u64(self.mapping.start.addr().get().wrapping_add(offset)) }
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        // SAFETY: the mapping has `len` readable, initialised bytes (new pages are zero) for as long as `self` lives in
        // the process that made it, to which `Pool` keeps it. Xen writes only while a hypercall holds `self` mutably.
        unsafe { core::slice::from_raw_parts(self.mapping.start.cast::<u8>().as_ptr(), self.len()) }
    }

    pub(crate) fn as_mut_slice(&mut self) -> &mut [u8] {
        // SAFETY: as for `as_slice`; `&mut self` makes this the only reference.
        unsafe { core::slice::from_raw_parts_mut(self.mapping.start.cast::<u8>().as_ptr(), self.len()) }
    }

    /// Sets the first `LEN` bytes to zero.
    pub(crate) fn clear<const LEN: usize>(&mut self) {
        const { assert!(LEN <= SMALLEST) };
        // An array instead of a slice: the compiler needs no call to memset.
        *self.as_mut_slice().first_chunk_mut::<LEN>().expect("a buffer has a page at least") = [0; LEN];
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

/// A mapping of this process, which is unmapped when this is dropped.
///
/// Every value is the whole result of one `mmap`, so that no other code has a mapping inside of its range.
#[derive(Debug)]
struct Mapping {
    start: NonNull<c_void>,
    len: NonZeroUsize,
    /// The only process that has it, if its children don't get it.
    only_in: Option<Process>,
}

impl Mapping {
    fn anonymous(len: NonZeroUsize, protection: ProtFlags) -> nix::Result<Self> {
        // SAFETY: a new mapping at an address of the kernel's choice changes no memory that anyone has.
        let start = unsafe { mmap_anonymous(None, len, protection, MapFlags::MAP_PRIVATE) }?;
        Ok(Self { start, len, only_in: None })
    }

    fn of_device(len: NonZeroUsize, device: BorrowedFd<'_>) -> nix::Result<Self> {
        // SAFETY: a new mapping at an address of the kernel's choice changes no memory that anyone has.
        let start = unsafe { mmap(None, len, ACCESS, MapFlags::MAP_SHARED, device, 0) }?;
        Ok(Self { start, len, only_in: None })
    }

    /// Changes the protection of a part of it that consists of whole pages.
    fn protect(&self, part: Range<usize>, protection: ProtFlags) -> nix::Result<()> {
        if part.end > self.len.get() {
            return Err(nix::errno::Errno::EINVAL);
        }
        // SAFETY: the part lies inside this mapping, as was just seen.
        let start = unsafe { self.start.byte_add(part.start) };
        // SAFETY: the range is this mapping's own, of which nobody has a reference yet.
        unsafe { mprotect(start, part.len(), protection) }
    }

    /// Locks its first `len` bytes.
    fn lock(&self, len: NonZeroUsize) -> nix::Result<()> {
        // SAFETY: the range begins with this mapping. Locking makes pages present and changes no contents.
        unsafe { mlock(self.start, len.get()) }
    }

    fn advise(&self, advice: MmapAdvise) -> nix::Result<()> {
        // SAFETY: the range is this mapping's own, and no advice given here changes its contents.
        unsafe { madvise(self.start, self.len.get(), advice) }
    }

    fn keep_from_children(&mut self) -> nix::Result<()> {
        self.advise(MmapAdvise::MADV_DONTFORK)?;
        self.only_in = Some(Process::current());
        Ok(())
    }

    fn is_here(&self) -> bool {
        self.only_in.is_none_or(|process| process == Process::current())
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // In a forked child the range may be another mapping by now.
        if self.is_here() {
            // SAFETY: this process has mapped the range, as the type promises, and whoever drops this leaves nothing
            // that refers to it.
            // A failure leaks address space.
            let _: nix::Result<()> = unsafe { munmap(self.start, self.len.get()) };
        }
    }
}

/// The identity of a process, which differs from those of its ancestors and its forked children.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Process(u64);

impl Process {
    /// Returns the identity of the calling process.
    ///
    /// A process id is not enough: in a new PID namespace the child of process 1 is process 1.
    fn current() -> Self {
        /// A word that the kernel zeroes in every forked child.
        static MARK: OnceLock<Option<&'static AtomicU64>> = OnceLock::new();
        /// The last number in this process or its ancestors.
        static LAST: AtomicU64 = AtomicU64::new(0);
        let Some(mark) = MARK.get_or_init(wiped_on_fork) else { return Self(std::process::id().into()) };
        let known = mark.load(Ordering::Relaxed);
        if known != 0 {
            return Self(known);
        }
        let next = LAST.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        let raced = mark.compare_exchange(0, next, Ordering::Relaxed, Ordering::Relaxed);
        Self(raced.err().unwrap_or(next))
    }
}

/// Makes a word that the kernel zeroes in forked children; `None` before Linux 4.14.
fn wiped_on_fork() -> Option<&'static AtomicU64> {
    let page = Mapping::anonymous(NonZeroUsize::new(page_size())?, ACCESS).ok()?;
    page.advise(MmapAdvise::MADV_WIPEONFORK).ok()?;
    let word = ManuallyDrop::new(page).start.cast::<AtomicU64>();
    // SAFETY: the page is aligned, holds zeros, is never unmapped, and is known to nobody else.
    Some(unsafe { word.as_ref() })
}

/// The size of the smallest page, and so of the smallest buffer.
const SMALLEST: usize = 4096;

/// Rounds a number of bytes up to whole pages.
pub(crate) fn whole_pages(bytes: usize) -> usize {
    bytes.max(1).checked_next_multiple_of(page_size()).unwrap_or(usize::MAX)
}

fn page_size() -> usize {
    // SAFETY: sysconf reads a constant of this system and touches no memory of ours.
    let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(size).expect("the size of a page is always known").max(SMALLEST)
}

/// A wire structure without padding, for which all bytes are valid.
///
/// # Safety
/// The type must have both properties. The layout table in `sys` pins every size and offset that they depend on.
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
    sys::xen_sysctl_debug_keys,
}

#[cfg(test)]
pub(super) mod tests;
