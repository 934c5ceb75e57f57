//! The operations in the layout of each release: what goes into the 136 bytes, and what comes out.

use core::mem::offset_of;

use super::event::Hypercall;
use super::interface::Layout;
use super::list::Places;
use super::memory::HypercallBuffer;
use crate::error::Action;
use crate::sys;
use crate::types::name::PayloadName;
use crate::types::status::Status;

/// Something to ask by sysctl. [`Channel::call`](super::channel::Channel::call) is the one place that does.
pub(crate) trait Operation {
    /// What Xen answers when it doesn't refuse.
    type Answer;

    /// Which one it is.
    const COMMAND: Command;

    /// What it is to those who watch.
    fn about(&self) -> Hypercall<'_>;

    /// The second word of the livepatch operation.
    fn flags(&self) -> u32 {
        0
    }

    /// Fills the operation's part of `block`, which is zero.
    fn encode(&self, layout: Layout, block: &mut HypercallBuffer);

    /// The memory besides `block` that guest handles point into.
    fn memory(&mut self) -> Option<&mut HypercallBuffer> {
        None
    }

    /// The answer, from the hypercall's result and what Xen wrote into `block`.
    fn decode(&self, layout: Layout, result: u32, block: &HypercallBuffer) -> Self::Answer;
}

/// A sysctl.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    /// A livepatch operation.
    Livepatch(u32),
    ReadConsole,
    DebugKeys,
}

/// Where the name goes, or a key: after the sysctl, in the same page.
const NAME_OFFSET: usize = 256;

/// Puts the name into `block`, and says where it is.
fn place_name(block: &mut HypercallBuffer, name: &PayloadName) -> sys::xen_livepatch_name {
    let bytes = name.as_bytes();
    let room = block.as_mut_slice().get_mut(NAME_OFFSET..).unwrap_or_default();
    if let Some((name, [nul, ..])) = room.split_at_mut_checked(bytes.len()) {
        name.copy_from_slice(bytes);
        *nul = 0;
    }
    // The size counts the NUL.
    let size = u16::try_from(bytes.len()).unwrap_or(u16::MAX).saturating_add(1);
    sys::xen_livepatch_name { name: block.handle(NAME_OFFSET), size, pad: [0; 3] }
}

/// Uploads the first `len` bytes of a buffer.
#[derive(Debug)]
pub(crate) struct Upload<'a> {
    pub(crate) name: &'a PayloadName,
    pub(crate) payload: &'a mut HypercallBuffer,
    pub(crate) len: u64,
    pub(crate) force: bool,
}

impl Operation for Upload<'_> {
    type Answer = ();
    const COMMAND: Command = Command::Livepatch(sys::XEN_SYSCTL_LIVEPATCH_UPLOAD);

    fn about(&self) -> Hypercall<'_> {
        Hypercall::Upload { name: self.name, size: self.len }
    }

    fn flags(&self) -> u32 {
        if self.force { sys::LIVEPATCH_FLAG_FORCE } else { 0 }
    }

    #[inline]
    fn encode(&self, _: Layout, block: &mut HypercallBuffer) {
        let name = place_name(block, self.name);
        let upload = sys::xen_sysctl_livepatch_upload { name, size: self.len, payload: self.payload.handle(0) };
        block.write::<{ offset_of!(sys::xen_sysctl, u.livepatch.u.upload) }, _>(&upload);
    }

    fn memory(&mut self) -> Option<&mut HypercallBuffer> {
        Some(self.payload)
    }

    fn decode(&self, _: Layout, _: u32, _: &HypercallBuffer) {}
}

/// Asks for the status of a payload.
#[derive(Debug)]
pub(crate) struct Get<'a> {
    pub(crate) name: &'a PayloadName,
}

impl Operation for Get<'_> {
    type Answer = Status;
    const COMMAND: Command = Command::Livepatch(sys::XEN_SYSCTL_LIVEPATCH_GET);

    fn about(&self) -> Hypercall<'_> {
        Hypercall::Get { name: self.name }
    }

    #[inline]
    fn encode(&self, _: Layout, block: &mut HypercallBuffer) {
        let get = sys::xen_sysctl_livepatch_get { name: place_name(block, self.name), ..Default::default() };
        block.write::<{ offset_of!(sys::xen_sysctl, u.livepatch.u.get) }, _>(&get);
    }

    fn decode(&self, _: Layout, _: u32, block: &HypercallBuffer) -> Status {
        Status::from_raw(block.read::<{ offset_of!(sys::xen_sysctl, u.livepatch.u.get.status) }, _>())
    }
}

/// Asks for an action.
#[derive(Debug)]
pub(crate) struct Act<'a> {
    pub(crate) name: &'a PayloadName,
    /// `None` sends command 0, which no release has: Xen says `EBUSY` when work is pending on the payload and
    /// `EOPNOTSUPP` when none is, and does nothing.
    pub(crate) action: Option<Action>,
    /// In nanoseconds, whatever the headers of 4.7 and 4.8 say; 0 is Xen's own 30 ms.
    pub(crate) timeout: u32,
    pub(crate) flags: u32,
}

impl Operation for Act<'_> {
    type Answer = ();
    const COMMAND: Command = Command::Livepatch(sys::XEN_SYSCTL_LIVEPATCH_ACTION);

    fn about(&self) -> Hypercall<'_> {
        Hypercall::Action { action: self.action, name: self.name }
    }

    #[inline]
    fn encode(&self, layout: Layout, block: &mut HypercallBuffer) {
        let name = place_name(block, self.name);
        let cmd = match self.action {
            Some(Action::Unload) => sys::LIVEPATCH_ACTION_UNLOAD,
            Some(Action::Revert) => sys::LIVEPATCH_ACTION_REVERT,
            Some(Action::Apply) => sys::LIVEPATCH_ACTION_APPLY,
            Some(Action::Replace) => sys::LIVEPATCH_ACTION_REPLACE,
            None => 0,
        };
        let timeout = self.timeout;
        if layout == Layout::Strided {
            let action = sys::xen_sysctl_livepatch_action_v1 { name, cmd, timeout };
            block.write::<{ offset_of!(sys::xen_sysctl, u.livepatch.u.action_v1) }, _>(&action);
        } else {
            let action = sys::xen_sysctl_livepatch_action_v2 { name, cmd, timeout, flags: self.flags, pad: 0 };
            block.write::<{ offset_of!(sys::xen_sysctl, u.livepatch.u.action_v2) }, _>(&action);
        }
    }

    fn decode(&self, _: Layout, _: u32, _: &HypercallBuffer) {}
}

/// Asks for rows of the list, or without places for its extent alone.
#[derive(Debug, Default)]
pub(crate) struct List {
    /// The first row wanted.
    pub(crate) start: u32,
    /// The most rows wanted.
    pub(crate) rows: u32,
    pub(crate) places: Places,
    /// Sets the flag that 4.19 brought, to find out whether this Xen rejects it.
    pub(crate) probe_force: bool,
}

/// What Xen says besides the rows themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Listed {
    /// Counts uploads and unloads; apply, revert and replace leave it as it is.
    pub(crate) version: u32,
    /// How many rows were delivered.
    pub(crate) rows: u32,
    /// How many there are after those delivered.
    pub(crate) remaining: u32,
    /// Without places: the bytes of all metadata (0 before 4.14).
    pub(crate) metadata_total: u32,
}

impl Operation for List {
    type Answer = Listed;
    const COMMAND: Command = Command::Livepatch(sys::XEN_SYSCTL_LIVEPATCH_LIST);

    fn about(&self) -> Hypercall<'_> {
        Hypercall::List
    }

    fn flags(&self) -> u32 {
        if self.probe_force { sys::LIVEPATCH_FLAG_FORCE } else { 0 }
    }

    #[inline]
    fn encode(&self, layout: Layout, block: &mut HypercallBuffer) {
        let Self { start: idx, rows: nr, places, .. } = *self;
        if layout == Layout::Strided {
            let list = sys::xen_sysctl_livepatch_list_v1 {
                idx,
                nr,
                status: places.status,
                name: places.name,
                len: places.len,
                ..Default::default()
            };
            block.write::<{ offset_of!(sys::xen_sysctl, u.livepatch.u.list_v1) }, _>(&list);
        } else {
            // Before 4.21 the sizes are outputs only, and what comes in is not looked at.
            let (names, metadata) = if layout == Layout::Sized { places.sizes } else { (0, 0) };
            let list = sys::xen_sysctl_livepatch_list_v2 {
                idx,
                nr,
                name_total_size: names,
                metadata_total_size: metadata,
                status: places.status,
                name: places.name,
                len: places.len,
                metadata: places.metadata,
                metadata_len: places.metadata_len,
                ..Default::default()
            };
            block.write::<{ offset_of!(sys::xen_sysctl, u.livepatch.u.list_v2) }, _>(&list);
        }
    }

    fn decode(&self, layout: Layout, rows: u32, block: &HypercallBuffer) -> Listed {
        if layout == Layout::Strided {
            let list: sys::xen_sysctl_livepatch_list_v1 =
                block.read::<{ offset_of!(sys::xen_sysctl, u.livepatch.u.list_v1) }, _>();
            Listed { version: list.version, rows, remaining: list.nr, metadata_total: 0 }
        } else {
            let list: sys::xen_sysctl_livepatch_list_v2 =
                block.read::<{ offset_of!(sys::xen_sysctl, u.livepatch.u.list_v2) }, _>();
            Listed { version: list.version, rows, remaining: list.nr, metadata_total: list.metadata_total_size }
        }
    }
}

/// Reads Xen's log, and leaves it as it is.
#[derive(Debug)]
pub(crate) struct ReadConsole<'a> {
    /// Where to begin: 0, or what an earlier answer says. Xen goes on from its oldest byte where that is gone.
    pub(crate) index: u32,
    pub(crate) buffer: &'a mut HypercallBuffer,
}

/// What was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ConsoleRead {
    /// How many bytes are in the buffer.
    pub(crate) count: usize,
    /// Where the next read begins.
    pub(crate) index: u32,
}

impl Operation for ReadConsole<'_> {
    type Answer = ConsoleRead;
    const COMMAND: Command = Command::ReadConsole;

    fn about(&self) -> Hypercall<'_> {
        Hypercall::ReadConsole
    }

    #[inline]
    fn encode(&self, _: Layout, block: &mut HypercallBuffer) {
        let read = sys::xen_sysctl_readconsole {
            incremental: 1,
            index: self.index,
            buffer: self.buffer.handle(0),
            count: u32::try_from(self.buffer.len()).unwrap_or(u32::MAX),
            ..Default::default()
        };
        block.write::<{ offset_of!(sys::xen_sysctl, u.readconsole) }, _>(&read);
    }

    fn memory(&mut self) -> Option<&mut HypercallBuffer> {
        Some(self.buffer)
    }

    fn decode(&self, _: Layout, _: u32, block: &HypercallBuffer) -> ConsoleRead {
        let read: sys::xen_sysctl_readconsole = block.read::<{ offset_of!(sys::xen_sysctl, u.readconsole) }, _>();
        ConsoleRead { count: usize::try_from(read.count).unwrap_or(usize::MAX), index: read.index }
    }
}

/// Does what a key does that is pressed on Xen's console.
#[derive(Debug)]
pub(crate) struct DebugKey(pub(crate) u8);

impl Operation for DebugKey {
    type Answer = ();
    const COMMAND: Command = Command::DebugKeys;

    fn about(&self) -> Hypercall<'_> {
        Hypercall::DebugKey { key: self.0 }
    }

    #[inline]
    fn encode(&self, _: Layout, block: &mut HypercallBuffer) {
        if let Some(place) = block.as_mut_slice().get_mut(NAME_OFFSET) {
            *place = self.0;
        }
        let keys = sys::xen_sysctl_debug_keys { keys: block.handle(NAME_OFFSET), nr_keys: 1, pad_end: 0 };
        block.write::<{ offset_of!(sys::xen_sysctl, u.debug_keys) }, _>(&keys);
    }

    fn decode(&self, _: Layout, _: u32, _: &HypercallBuffer) {}
}
