//! A hypervisor whose interface version is known, and the one function that asks it anything.

use core::mem::offset_of;
use std::os::fd::BorrowedFd;
use std::sync::OnceLock;

use super::abi::{Force, Interface};
use super::door::{Door, Observer};
use super::memory::{AllocationError, HypercallBuffer, whole_pages};
use super::operation::{Command, List, Operation};
use super::pool::Pool;
use super::rows::{ListRoom, MAX_ROWS};
use super::{Hypervisor, SYSCTL_SIZE};
use crate::architecture::Architecture;
use crate::build_id::BuildId;
use crate::errno::Errno;
use crate::error::{Error, ErrorKind};
use crate::format::MAX_SIZE;
use crate::name::escaped;
use crate::sys;
use crate::version::XenVersion;

/// Rows and bytes of metadata that a list has room for from the start.
const ROOM: (usize, usize) = (64, 32 * 1024);

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

/// What is kept for lists: the first may have grown for one of 1024 payloads with 100 bytes of metadata each.
const ROOMS: [(usize, usize); 4] = [(MAX_ROWS, MAX_ROWS * 100), ROOM, ROOM, ROOM];

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
        let [interface, ..] = super::abi::INTERFACES;
        let mut channel = Self {
            door,
            architecture,
            interface,
            release,
            force: OnceLock::new(),
            blocks: Pool::new([whole_pages(BLOCK_SIZE); BLOCKS]),
            // For a payload, with a byte to find the end of its file; and for the log meanwhile.
            buffers: Pool::new([MAX_SIZE + 1, SMALLEST_BUFFER].map(whole_pages)),
            rooms: Pool::new(ROOMS.map(|(rows, metadata)| whole_pages(ListRoom::size(rows, metadata)))),
        };
        channel.furnish();
        let candidates: Vec<Interface> = match pinned {
            Some(version) => Interface::pinned(version).into_iter().collect(),
            None => Interface::candidates(release).collect(),
        };
        for candidate in candidates {
            channel.interface = candidate;
            match channel.call(List { start: 0, room: None, window: 0, probe_force: false }) {
                Ok(_) => return Ok(channel),
                // Another version, or a FLASK denial: the others will tell.
                Err(CallError::Refused(Errno::EACCES)) => {}
                Err(error) => return Err(error.general()),
            }
        }
        let kind = ErrorKind::InterfaceNotSupported { xen: format!("{}.{}", release.0, release.1), pinned };
        Err(Error::new(kind).errno(Errno::EACCES))
    }

    /// Makes the memory of most calls, all of it in one mapping. Where that fails, each makes its own when it is needed.
    fn furnish(&self) {
        let (rows, metadata) = ROOM;
        let size = whole_pages(BLOCK_SIZE).saturating_add(ListRoom::size(rows, metadata));
        let memory = self.door.hypervisor().allocate(size).ok();
        let Some((block, room)) = memory.and_then(|memory| memory.split(BLOCK_SIZE)) else { return };
        self.blocks.keep(block);
        if let Some(room) = ListRoom::of(rows, room) {
            self.rooms.keep(room);
        }
    }

    /// Encodes an operation, issues it and decodes what comes back: every livepatch hypercall passes here.
    pub(crate) fn call<O: Operation>(&self, mut operation: O) -> Result<O::Answer, CallError> {
        let layout = self.interface.layout;
        self.with_block(|block| {
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
        })
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
        let understood = match self.call(List { start: 0, room: None, window: 0, probe_force: true }) {
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
        let make = || Ok(self.door.hypervisor().allocate(len.max(SMALLEST_BUFFER))?);
        self.buffers.lend(|buffer| buffer.len() >= len, make, with)
    }

    /// Lends room for a list, with at least this many rows and this much metadata, where more than usual is wanted.
    pub(crate) fn with_room<R, E: From<AllocationError>>(
        &self,
        rows: usize,
        metadata: usize,
        with: impl FnOnce(&mut ListRoom) -> Result<R, E>,
    ) -> Result<R, E> {
        let make = || Ok(ListRoom::allocate(self.door.hypervisor(), rows.max(ROOM.0), metadata.max(ROOM.1))?);
        self.rooms.lend(|room| room.has(rows, metadata), make, with)
    }

    /// Lends the page that a hypercall's own structure goes into. Its beginning is zero.
    fn with_block<R>(&self, with: impl FnOnce(&mut HypercallBuffer) -> Result<R, CallError>) -> Result<R, CallError> {
        self.blocks.lend(
            |_| true,
            || Ok(self.door.hypervisor().allocate(BLOCK_SIZE)?),
            |block| {
                block.as_mut_slice().get_mut(..SYSCTL_SIZE).unwrap_or_default().fill(0);
                with(block)
            },
        )
    }
}

#[cfg(all(test, feature = "sim"))]
mod tests {
    use super::*;
    use crate::sim::{Release, SimulatedXen};

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
            channel.with_room(0, metadata, |room| {
                assert!(room.metadata_capacity() >= metadata.max(ROOM.1));
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
