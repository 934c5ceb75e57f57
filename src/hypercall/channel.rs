//! A hypervisor whose interface version is known, and the one function that asks it anything.

use core::mem::offset_of;
use core::sync::atomic::{AtomicU32, Ordering};
use std::os::fd::BorrowedFd;
use std::sync::OnceLock;

use super::door::{Door, Observer};
use super::interface::{Force, Interface};
use super::list::{Extent, ListRoom};
use super::memory::{AllocationError, End, HypercallBuffer, whole_pages};
use super::operation::{Command, List, Listed, Operation};
use super::pool::Pool;
use super::{Hypervisor, SYSCTL_SIZE};
use crate::error::{Error, ErrorKind};
use crate::sys;
use crate::types::build_id::BuildId;
use crate::types::errno::Errno;
use crate::types::name::escaped;
use crate::types::version::XenVersion;
use crate::xen::architecture::Architecture;
use crate::xen::format::MAX_SIZE;

/// What buffers are made of at least, so that one does for most payloads and for reading Xen's log.
pub(crate) const SMALLEST_BUFFER: usize = 64 * 1024;

/// The bytes of a hypercall's own structure, or of a short answer: the longest of both.
const BLOCK_SIZE: usize = size_of::<sys::xen_compile_info>();
const _: () = assert!(BLOCK_SIZE >= SYSCTL_SIZE);

/// The bytes of the texts that follow the version, `XEN_EXTRAVERSION_LEN` and `XEN_CHANGESET_INFO_LEN`.
const EXTRAVERSION_SIZE: usize = 16;
const CHANGESET_SIZE: usize = 64;

/// How many threads can ask something at once without mapping memory.
const BLOCKS: usize = 8;

/// The most that is kept for lists: room for the longest, and three times the usual.
const ROOMS: [Extent; 4] = {
    let usual = Extent { rows: 64, metadata: 32 * 1024 };
    [Extent::KEPT, usual, usual, usual]
};

/// Why a hypercall brought no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CallError {
    /// Xen or the kernel refused.
    Refused(Errno),
    /// It was never made.
    Memory(AllocationError),
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
    /// The error that this is in any operation; operations look at those first that mean more to them.
    pub(crate) fn general(self) -> Error {
        let errno = match self {
            Self::Refused(errno) => errno,
            Self::Memory(AllocationError { bytes, errno }) => {
                return Error::new(ErrorKind::BufferMemory { bytes }).errno(errno);
            }
        };
        Error::new(ErrorKind::of_number(errno)).errno(errno)
    }
}

/// The way to a Xen: which version it speaks, and the memory that hypercalls use again and again.
#[derive(Debug)]
pub(crate) struct Channel {
    door: Door,
    architecture: Architecture,
    interface: Interface,
    release: (u16, u16),
    force: OnceLock<bool>,
    /// The rows of the list and the bytes of its metadata when it was last seen whole.
    listed: (AtomicU32, AtomicU32),
    blocks: Pool<HypercallBuffer>,
    buffers: Pool<HypercallBuffer>,
    rooms: Pool<ListRoom>,
}

impl Channel {
    /// Finds the interface version that this Xen speaks.
    ///
    /// The caller may name the version of a Xen that is newer than this crate knows; then no other is tried.
    pub(crate) fn open(
        hypervisor: Box<dyn Hypervisor>,
        observer: Option<Observer>,
        pinned: Option<u32>,
    ) -> Result<Self, Error> {
        let door = Door::new(hypervisor, observer);
        let architecture = door.hypervisor().architecture()?;
        let version = door.xen_version(sys::XENVER_version, None);
        let version = version.map_err(|errno| CallError::from(errno).general())?;
        let low = |word: u32| u16::try_from(word & 0xffff).unwrap_or_default();
        let release = (low(version >> 16), low(version));
        // Not known yet; every candidate is put in its place in turn.
        let interface = Interface::newest();
        let mut channel = Self {
            door,
            architecture,
            interface,
            release,
            force: OnceLock::new(),
            listed: (AtomicU32::new(0), AtomicU32::new(0)),
            blocks: Pool::new([whole_pages(BLOCK_SIZE); BLOCKS]),
            // For a payload, with a byte to find the end of its file; and for the log meanwhile.
            buffers: Pool::new([MAX_SIZE + 1, SMALLEST_BUFFER].map(whole_pages)),
            rooms: Pool::new(ROOMS.map(|extent| whole_pages(extent.bytes()))),
        };
        let candidates: Vec<Interface> = match pinned {
            Some(version) => Interface::pinned(version).into_iter().collect(),
            None => Interface::candidates(release),
        };
        for candidate in candidates {
            channel.interface = candidate;
            match channel.list_extent() {
                Ok(_) => return Ok(channel),
                // Another version, or a FLASK denial: the others will tell.
                Err(CallError::Refused(Errno::EACCES)) => {}
                Err(error) => return Err(error.general()),
            }
        }
        let kind = ErrorKind::InterfaceNotSupported { xen: format!("{}.{}", release.0, release.1), pinned };
        Err(Error::new(kind).errno(Errno::EACCES))
    }

    /// Encodes an operation, issues it and decodes what comes back.
    #[inline]
    pub(crate) fn call<O: Operation>(&self, operation: O) -> Result<O::Answer, CallError> {
        self.with_block(|block| Ok(self.call_in(block, operation)?))
    }

    /// Asks for rows of the list, at most `window` of them, into this room.
    #[inline]
    pub(crate) fn list_into(&self, room: &mut ListRoom, start: u32, window: u32) -> Result<Listed, Errno> {
        let rows = room.capacity().min(window);
        let list = List { start, rows, places: room.places(), probe_force: false };
        let listed = self.call_in(room.memory(), list)?;
        if start == 0 && listed.remaining == 0 {
            self.note_extent(listed.rows, listed.metadata_total);
        }
        Ok(listed)
    }

    /// The same in this block, whatever is there: every sysctl passes here.
    #[inline]
    fn call_in<O: Operation>(&self, block: &mut HypercallBuffer, mut operation: O) -> Result<O::Answer, Errno> {
        let layout = self.interface.layout;
        block.clear::<SYSCTL_SIZE>();
        let sysctl = match O::COMMAND {
            Command::Livepatch(command) => {
                block.write::<{ offset_of!(sys::xen_sysctl, u.livepatch.cmd) }, _>(&command);
                block.write::<{ offset_of!(sys::xen_sysctl, u.livepatch.flags) }, _>(&operation.flags());
                sys::XEN_SYSCTL_livepatch_op
            }
            Command::ReadConsole => sys::XEN_SYSCTL_readconsole,
            Command::DebugKeys => sys::XEN_SYSCTL_debug_keys,
        };
        block.write::<{ offset_of!(sys::xen_sysctl, cmd) }, _>(&sysctl);
        block.write::<{ offset_of!(sys::xen_sysctl, interface_version) }, _>(&self.interface.version);
        operation.encode(layout, block);
        let result = self.door.sysctl(block, &mut operation)?;
        Ok(operation.decode(layout, result, block))
    }

    /// The version and what follows it.
    pub(crate) fn xen_version(&self) -> Result<XenVersion, CallError> {
        let extra = self.version_text(sys::XENVER_extraversion, 0..EXTRAVERSION_SIZE)?;
        Ok(XenVersion { major: self.release.0, minor: self.release.1, extra })
    }

    /// The time at which this Xen was compiled, as `date` printed it.
    pub(crate) fn compile_date(&self) -> Result<String, CallError> {
        let start = offset_of!(sys::xen_compile_info, compile_date);
        self.version_text(sys::XENVER_compile_info, start..size_of::<sys::xen_compile_info>())
    }

    /// The last commit of the source of this Xen: its date and hash, or whatever a vendor has put there.
    pub(crate) fn changeset(&self) -> Result<String, CallError> {
        self.version_text(sys::XENVER_changeset, 0..CHANGESET_SIZE)
    }

    /// The text up to a NUL in these bytes of an answer, escaped where it is not text.
    fn version_text(&self, command: u32, bytes: core::ops::Range<usize>) -> Result<String, CallError> {
        self.with_block(|block| {
            block.clear::<BLOCK_SIZE>();
            self.door.xen_version(command, Some(block))?;
            let text = block.as_slice().get(bytes).unwrap_or_default();
            Ok(escaped(text.split(|byte| *byte == 0).next().unwrap_or_default()))
        })
    }

    /// Xen's own build-id.
    pub(crate) fn build_id(&self) -> Result<BuildId, CallError> {
        self.with_block(|block| {
            // struct xen_build_id: the length of what follows, as a word.
            let header = size_of::<u32>();
            let room = u32::try_from(block.len().saturating_sub(header)).unwrap_or_default();
            block.write::<0, _>(&room);
            let len = self.door.xen_version(sys::XENVER_build_id, Some(block))?;
            let bytes =
                usize::try_from(len).ok().and_then(|len| block.as_slice().get(header..header.checked_add(len)?));
            bytes.map(BuildId::new).ok_or(CallError::Refused(Errno::ENOBUFS))
        })
    }

    /// What Xen runs on.
    pub(crate) fn architecture(&self) -> Architecture {
        self.architecture
    }

    /// The device that hypercalls go through, where there is one.
    pub(crate) fn device(&self) -> Option<BorrowedFd<'_>> {
        self.door.hypervisor().device()
    }

    /// The `(major, minor)` of the running Xen.
    pub(crate) fn release(&self) -> (u16, u16) {
        self.release
    }

    pub(crate) fn interface(&self) -> Interface {
        self.interface
    }

    /// Whether UPLOAD may carry FORCE. Interface version 0x15 doesn't tell, so there Xen is asked, once.
    pub(crate) fn understands_force(&self) -> Result<bool, CallError> {
        match self.interface.force {
            Force::Understood => return Ok(true),
            Force::Rejected => return Ok(false),
            Force::Ask => {}
        }
        if let Some(known) = self.force.get() {
            return Ok(*known);
        }
        let understood = match self.call(List { probe_force: true, ..List::default() }) {
            Ok(_) => true,
            Err(CallError::Refused(Errno::EINVAL)) => false,
            Err(error) => return Err(error),
        };
        Ok(*self.force.get_or_init(|| understood))
    }

    /// Lends a buffer of at least `len` bytes, for a payload or what is read. It holds what was there before.
    pub(crate) fn with_buffer<R, E: From<AllocationError>>(
        &self,
        len: usize,
        with: impl FnOnce(&mut HypercallBuffer) -> Result<R, E>,
    ) -> Result<R, E> {
        let make = || Ok(self.door.hypervisor().allocate(len.max(SMALLEST_BUFFER), End::Guarded)?);
        self.buffers.lend(|buffer| buffer.len() >= len, make, with)
    }

    /// The version of the list, and how long it is: no row of it.
    pub(crate) fn list_extent(&self) -> Result<Listed, CallError> {
        let listed = self.call(List::default())?;
        self.note_extent(listed.remaining, listed.metadata_total);
        Ok(listed)
    }

    fn note_extent(&self, rows: u32, metadata: u32) {
        self.listed.0.store(rows, Ordering::Relaxed);
        self.listed.1.store(metadata, Ordering::Relaxed);
    }

    /// The extent of the list when it was last seen whole: a guess of how long it is now.
    pub(crate) fn last_extent(&self) -> Extent {
        Extent::of(self.listed.0.load(Ordering::Relaxed), self.listed.1.load(Ordering::Relaxed))
    }

    /// Lends room for a list of this extent at least. Where none is kept, it is made for one as long as the last, too.
    #[inline]
    pub(crate) fn with_room<R, E: From<AllocationError>>(
        &self,
        extent: Extent,
        with: impl FnOnce(&mut ListRoom) -> Result<R, E>,
    ) -> Result<R, E> {
        let make = || Ok(ListRoom::allocate(self.door.hypervisor(), extent.or(self.last_extent()))?);
        self.rooms.lend(|room| room.has(extent), make, with)
    }

    /// Lends the page that a hypercall's own structure goes into. It holds what was there before.
    #[inline]
    fn with_block<R>(&self, with: impl FnOnce(&mut HypercallBuffer) -> Result<R, CallError>) -> Result<R, CallError> {
        self.blocks.lend(
            |_| true,
            // The sizes of what goes into a block are the same in every answer.
            || Ok(self.door.hypervisor().allocate(BLOCK_SIZE, End::Open)?),
            with,
        )
    }
}

#[cfg(all(test, feature = "sim"))]
mod tests {
    use super::*;
    use crate::sim::SimulatedXen;
    use crate::xen::release::Release;

    /// What is kept besides the buffer for the largest payload, as the client documents (with pages of 4 KiB).
    const IDLE: usize = 1 << 20;

    fn idle_bytes(channel: &Channel) -> usize {
        channel.blocks.idle_bytes() + channel.buffers.idle_bytes() + channel.rooms.idle_bytes()
    }

    /// All at once: uploads and lists of the largest size, and smaller ones in other threads.
    fn use_everything(channel: &Channel, depth: usize) -> Result<(), CallError> {
        let Some(depth) = depth.checked_sub(1) else { return channel.xen_version().map(drop) };
        let (payload, metadata) = if depth % 2 == 0 { (2 << 20, 4 << 20) } else { (1, 0) };
        channel.with_buffer(payload, |buffer| {
            assert!(buffer.len() >= payload.max(SMALLEST_BUFFER));
            channel.with_room(Extent { rows: 0, metadata }, |room| {
                assert!(room.metadata_capacity() >= metadata);
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
        // And enough that usual calls need no more.
        assert!(channel.blocks.idle_bytes() > 0 && channel.buffers.idle_bytes() > 0 && channel.rooms.idle_bytes() > 0);
    }
}
