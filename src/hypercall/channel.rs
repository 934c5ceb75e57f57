//! A hypervisor with a known interface version, and the one function through which every sysctl passes.

use core::cell::Cell;
use core::fmt;

use core::mem::offset_of;
use core::sync::atomic::{AtomicU32, Ordering};
use std::os::fd::BorrowedFd;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use super::event::{Hypercall, HypercallEvent};
use super::interface::Interface;
use super::list::{Extent, ListRoom, Listed, Places, as_count};
use super::memory::{AllocationError, End, HypercallBuffer, whole_pages};
use super::pool::Pool;
use super::{Hypervisor, SYSCTL_SIZE, Sysctl};
use crate::error::{Error, ErrorKind};
use crate::sys;
use crate::types::{BuildId, Errno, XenVersion, escaped, to_usize};
use crate::xen::Architecture;
use crate::xen::format::MAX_SIZE;

/// The size of the smallest buffer, which suffices for most payloads and for reading Xen's log.
pub(crate) const SMALLEST_BUFFER: usize = 64 * 1024;

/// The bytes of a sysctl or of a short answer, whichever is longer.
const BLOCK_SIZE: usize = size_of::<sys::xen_compile_info>();
const _: () = assert!(BLOCK_SIZE >= SYSCTL_SIZE);

/// `XEN_EXTRAVERSION_LEN`.
const EXTRAVERSION_SIZE: usize = 16;
/// `XEN_CHANGESET_INFO_LEN`.
const CHANGESET_SIZE: usize = 64;

/// The number of threads that can make a hypercall at once without mapping memory.
const BLOCKS: usize = 8;

/// The memory that is kept for lists: for the longest, and for three usual ones.
const ROOMS: [Extent; 4] = {
    let usual = Extent { rows: 64, metadata: 32 * 1024 };
    [Extent::KEPT, usual, usual, usual]
};

/// The failure of a hypercall.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CallError {
    /// Xen or the kernel refused it.
    Refused(Errno),
    /// It was not made, for lack of memory.
    Memory(AllocationError),
    /// Xen returned a list that has this.
    Malformed(&'static str),
}

impl From<Errno> for CallError {
    fn from(errno: Errno) -> Self {
        Self::Refused(errno)
    }
}

impl From<AllocationError> for CallError {
    fn from(error: AllocationError) -> Self {
        Self::Memory(error)
    }
}

impl CallError {
    /// Returns the error number, for a caller to whom lack of memory is one like any other.
    pub(crate) fn errno(self) -> Errno {
        if let Self::Refused(errno) = self { errno } else { Errno::ENOMEM }
    }
}

/// The error that it is in any operation. Operations handle the numbers first that have a meaning of their own there.
impl From<CallError> for Error {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Refused(errno) => Self::new(ErrorKind::of_number(errno)).errno(errno),
            CallError::Memory(AllocationError { bytes, errno }) => {
                Self::new(ErrorKind::BufferMemory { bytes }).errno(errno)
            }
            CallError::Malformed(part) => {
                Self::new(ErrorKind::UnexpectedAnswer { what: format!("the list has {part}") })
            }
        }
    }
}

thread_local! {
    /// True while an observer runs in this thread. Hypercalls that it causes itself are not observed: that would never end.
    static OBSERVING: Cell<bool> = const { Cell::new(false) };
}

/// A function that is called after every hypercall.
#[derive(Clone)]
pub(crate) struct Observer(Arc<dyn Fn(&HypercallEvent<'_>) + Send + Sync>);

impl Observer {
    pub(crate) fn new(observer: impl Fn(&HypercallEvent<'_>) + Send + Sync + 'static) -> Self {
        Self(Arc::new(observer))
    }

    /// Calls it with this event.
    fn observe(&self, event: &HypercallEvent<'_>) {
        /// Ends the observation also if the observer panics.
        struct Observing;

        impl Drop for Observing {
            fn drop(&mut self) {
                OBSERVING.set(false);
            }
        }

        OBSERVING.set(true);
        let _observing = Observing;
        (self.0)(event);
    }
}

impl fmt::Debug for Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Observer")
    }
}

/// A hypervisor with its interface version, and the memory that hypercalls use again and again.
#[derive(Debug)]
pub(crate) struct Channel {
    hypervisor: Box<dyn Hypervisor>,
    observer: Option<Observer>,
    pub(crate) architecture: Architecture,
    pub(crate) interface: Interface,
    /// The major and the minor number of the running Xen, as it reports them.
    pub(crate) release: (u16, u16),
    force: OnceLock<bool>,
    /// The rows of the list and the bytes of its metadata when it was last read whole.
    listed: (AtomicU32, AtomicU32),
    blocks: Pool<HypercallBuffer>,
    buffers: Pool<HypercallBuffer>,
    rooms: Pool<ListRoom>,
}

impl Channel {
    /// Finds the interface version of this Xen, unless the caller names one.
    pub(crate) fn open(
        hypervisor: Box<dyn Hypervisor>,
        observer: Option<Observer>,
        pinned: Option<u32>,
    ) -> Result<Self, Error> {
        let architecture = hypervisor.architecture()?;
        let mut channel = Self {
            hypervisor,
            observer,
            architecture,
            // Each candidate takes this place in turn.
            interface: Interface::newest(),
            release: (0, 0),
            force: OnceLock::new(),
            listed: (AtomicU32::new(0), AtomicU32::new(0)),
            blocks: Pool::new([whole_pages(BLOCK_SIZE); BLOCKS]),
            // For a payload, with a byte to find the end of its file; and for the log meanwhile.
            buffers: Pool::new([MAX_SIZE + 1, SMALLEST_BUFFER].map(whole_pages)),
            rooms: Pool::new(ROOMS.map(|extent| whole_pages(extent.bytes()))),
        };
        let version = channel.issue_xen_version(sys::XENVER_version, None);
        let [major_high, major_low, minor_high, minor_low] = version.map_err(CallError::Refused)?.to_be_bytes();
        let release = (u16::from_be_bytes([major_high, major_low]), u16::from_be_bytes([minor_high, minor_low]));
        channel.release = release;
        let candidates: &mut dyn Iterator<Item = Interface> = match pinned {
            Some(version) => &mut Interface::pinned(version).into_iter(),
            None => &mut Interface::candidates(release),
        };
        for candidate in candidates {
            channel.interface = candidate;
            match channel.list_extent() {
                Ok(_) => return Ok(channel),
                // Another version, or a FLASK denial, which the others get as well.
                Err(CallError::Refused(Errno::EACCES)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let kind = ErrorKind::InterfaceNotSupported { xen: format!("{}.{}", release.0, release.1), pinned };
        Err(Error::new(kind).errno(Errno::EACCES))
    }

    /// Reads rows of the list into this room, at most `window` of them.
    #[inline]
    pub(crate) fn list_into(&self, room: &mut ListRoom, start: u32, window: u32) -> Result<Listed, Errno> {
        let (rows, places) = (as_count(room.capacity.rows).min(window), room.places());
        let listed = self.list_in(room.memory(), start, rows, places, false)?;
        if start == 0 && listed.remaining == 0 {
            self.note_extent(listed.rows, listed.metadata_total);
        }
        Ok(listed)
    }

    /// Begins a request in this block, whatever it contains.
    #[inline]
    pub(super) fn begin(&self, block: &mut HypercallBuffer, sysctl: u32) {
        block.clear::<SYSCTL_SIZE>();
        block.write::<{ offset_of!(sys::xen_sysctl, cmd) }, _>(&sysctl);
        block.write::<{ offset_of!(sys::xen_sysctl, interface_version) }, _>(&self.interface.version);
    }

    #[inline]
    pub(super) fn begin_livepatch(&self, block: &mut HypercallBuffer, command: u32, flags: u32) {
        self.begin(block, sys::XEN_SYSCTL_livepatch_op);
        block.write::<{ offset_of!(sys::xen_sysctl, u.livepatch.cmd) }, _>(&command);
        block.write::<{ offset_of!(sys::xen_sysctl, u.livepatch.flags) }, _>(&flags);
    }

    /// Issues a request, whose guest handles point into its block or this memory.
    #[inline]
    pub(super) fn issue_sysctl<'m, 'a>(
        &self,
        block: &'m mut HypercallBuffer,
        memory: &'m mut [&'m mut HypercallBuffer],
        call: impl FnOnce() -> Hypercall<'a>,
    ) -> Result<u32, Errno> {
        let started = self.started();
        let result = self.hypervisor.sysctl(&mut Sysctl::new(block, memory));
        self.observe(started, result, call);
        result
    }

    fn issue_xen_version(&self, command: u32, argument: Option<&mut HypercallBuffer>) -> Result<u32, Errno> {
        let started = self.started();
        let result = self.hypervisor.xen_version(command, argument);
        self.observe(started, result, || Hypercall::XenVersion { command });
        result
    }

    /// Returns the time at which a hypercall begins; `None`, without a look at the clock, if nobody observes it.
    #[inline]
    fn started(&self) -> Option<Instant> {
        self.observer.as_ref().filter(|_| !OBSERVING.get()).map(|_| Instant::now())
    }

    #[inline]
    fn observe<'a>(&self, started: Option<Instant>, result: Result<u32, Errno>, call: impl FnOnce() -> Hypercall<'a>) {
        if let (Some(observer), Some(started)) = (&self.observer, started) {
            observer.observe(&HypercallEvent { result, took: started.elapsed(), call: call() });
        }
    }

    /// Returns the version with its text.
    pub(crate) fn xen_version(&self) -> Result<XenVersion, CallError> {
        let extra = self.version_text(sys::XENVER_extraversion, 0..EXTRAVERSION_SIZE)?;
        Ok(XenVersion { major: self.release.0, minor: self.release.1, extra })
    }

    /// Returns the time at which this Xen was compiled, as `date` printed it.
    pub(crate) fn compile_date(&self) -> Result<String, CallError> {
        let start = offset_of!(sys::xen_compile_info, compile_date);
        self.version_text(sys::XENVER_compile_info, start..size_of::<sys::xen_compile_info>())
    }

    /// Returns the date and hash of the last commit of this Xen's source, or a vendor's text.
    pub(crate) fn changeset(&self) -> Result<String, CallError> {
        self.version_text(sys::XENVER_changeset, 0..CHANGESET_SIZE)
    }

    /// Returns the text up to a NUL in these bytes of an answer, escaped.
    fn version_text(&self, command: u32, bytes: core::ops::Range<usize>) -> Result<String, CallError> {
        self.with_block(|block| {
            block.clear::<BLOCK_SIZE>();
            self.issue_xen_version(command, Some(block))?;
            let text = block.as_slice().get(bytes).expect("an answer is inside of the block");
            Ok(escaped(text.split(|byte| *byte == 0).next().expect("split yields one part at least")))
        })
    }

    /// Returns Xen's own build-id.
    pub(crate) fn build_id(&self) -> Result<BuildId, CallError> {
        self.with_block(|block| {
            // struct xen_build_id: a word with the length of the bytes after it.
            let header = size_of::<u32>();
            let room = u32::try_from(block.len() - header).expect("a block is a few pages");
            block.write::<0, _>(&room);
            let len = self.issue_xen_version(sys::XENVER_build_id, Some(block))?;
            let bytes = block.as_slice().get(header..).and_then(|bytes| bytes.get(..to_usize(len)));
            bytes.map(BuildId::new).ok_or(CallError::Refused(Errno::ENOBUFS))
        })
    }

    pub(crate) fn device(&self) -> Option<BorrowedFd<'_>> {
        self.hypervisor.device()
    }

    /// Returns true if UPLOAD may carry FORCE. At interface version 0x15 this takes one probe.
    pub(crate) fn understands_force(&self) -> Result<bool, CallError> {
        if let Some(known) = self.interface.force.or_else(|| self.force.get().copied()) {
            return Ok(known);
        }
        let understood = match self.extent(true) {
            Ok(_) => true,
            Err(CallError::Refused(Errno::EINVAL)) => false,
            Err(error) => return Err(error),
        };
        Ok(*self.force.get_or_init(|| understood))
    }

    /// Lends a buffer of at least `len` bytes, with the contents of its last use.
    pub(crate) fn with_buffer<R, E: From<CallError>>(
        &self,
        len: usize,
        with: impl FnOnce(&mut HypercallBuffer) -> Result<R, E>,
    ) -> Result<R, E> {
        let make =
            || Ok(self.hypervisor.allocate(len.max(SMALLEST_BUFFER), End::Guarded).map_err(CallError::Memory)?);
        self.buffers.lend(|buffer| buffer.len() >= len, make, with)
    }

    /// Reads the version and the length of the list, without rows.
    pub(crate) fn list_extent(&self) -> Result<Listed, CallError> {
        let listed = self.extent(false)?;
        self.note_extent(listed.remaining, listed.metadata_total);
        Ok(listed)
    }

    fn extent(&self, force: bool) -> Result<Listed, CallError> {
        self.with_block(|block| Ok(self.list_in(block, 0, 0, Places::default(), force)?))
    }

    fn note_extent(&self, rows: u32, metadata: u32) {
        self.listed.0.store(rows, Ordering::Relaxed);
        self.listed.1.store(metadata, Ordering::Relaxed);
    }

    /// Returns the extent of the list when it was last read whole.
    pub(crate) fn last_extent(&self) -> Extent {
        Extent::of(self.listed.0.load(Ordering::Relaxed), self.listed.1.load(Ordering::Relaxed))
    }

    /// Lends room for a list of at least this extent. New room is large enough for the last list as well.
    #[inline]
    pub(crate) fn with_room<R>(
        &self,
        extent: Extent,
        with: impl FnOnce(&mut ListRoom) -> Result<R, CallError>,
    ) -> Result<R, CallError> {
        let make = || Ok(ListRoom::allocate(&*self.hypervisor, extent.or(self.last_extent()))?);
        self.rooms.lend(|room| room.has(extent), make, with)
    }

    /// Lends a page for the structure of a hypercall, with the contents of its last use.
    #[inline]
    pub(super) fn with_block<R>(
        &self,
        with: impl FnOnce(&mut HypercallBuffer) -> Result<R, CallError>,
    ) -> Result<R, CallError> {
        self.blocks.lend(
            |_| true,
            // All answers that go into a block have a fixed size.
            || Ok(self.hypervisor.allocate(BLOCK_SIZE, End::Open)?),
            with,
        )
    }
}

#[cfg(all(test, feature = "sim"))]
mod tests {
    use super::*;
    use crate::sim::SimulatedXen;
    use crate::xen::Release;

    /// The limit that the client documents, besides the buffer for the largest payload (with pages of 4 KiB).
    const IDLE: usize = 1 << 20;

    fn idle_bytes(channel: &Channel) -> usize {
        channel.blocks.idle_bytes() + channel.buffers.idle_bytes() + channel.rooms.idle_bytes()
    }

    /// Nests uploads and lists, of the largest size and small ones, as many threads would at once.
    fn use_everything(channel: &Channel, depth: usize) -> Result<(), CallError> {
        let Some(depth) = depth.checked_sub(1) else { return channel.xen_version().map(drop) };
        let (payload, metadata) = if depth % 2 == 0 { (2 << 20, 4 << 20) } else { (1, 0) };
        channel.with_buffer(payload, |buffer| {
            assert!(buffer.len() >= payload.max(SMALLEST_BUFFER));
            channel.with_room(Extent { rows: 0, metadata }, |room| {
                assert!(room.capacity.metadata >= metadata);
                channel.with_block(|_| use_everything(channel, depth))
            })
        })
    }

    #[test]
    fn little_is_kept_after_much_was_used() {
        let channel = Channel::open(Box::new(SimulatedXen::new(Release::V4_20)), None, None).unwrap();
        for depth in [1, 2, 40, 1, 2] {
            use_everything(&channel, depth).unwrap();
            let idle = idle_bytes(&channel);
            assert!(idle <= IDLE + MAX_SIZE, "{depth}: {idle}");
        }
        // Enough for usual calls.
        assert!(channel.blocks.idle_bytes() > 0 && channel.buffers.idle_bytes() > 0 && channel.rooms.idle_bytes() > 0);
    }
}
