//! The operations in the layout of each release: the encoding of requests, and the decoding of answers.

use core::mem::offset_of;

use super::event::Hypercall;
use super::interface::Layout;
use super::list::Places;
use super::memory::HypercallBuffer;
use crate::error::Action;
use crate::sys;
use crate::types::name::PayloadName;
use crate::types::status::Status;
use crate::types::widen::to_usize;

/// An operation by sysctl, for [`Channel::call`](super::channel::Channel::call).
pub(crate) trait Operation {
    /// The answer to an operation that Xen does not refuse.
    type Answer;

    /// The command.
    const COMMAND: Command;

    /// Returns it as observers get it.
    fn about(&self) -> Hypercall<'_>;

    /// Returns the second word of the livepatch operation.
    fn flags(&self) -> u32 {
        0
    }

    /// Writes its part of `block`, which is zero.
    fn encode(&self, layout: Layout, block: &mut HypercallBuffer);

    /// Returns the memory besides `block` that guest handles point into.
    fn memory(&mut self) -> Option<&mut HypercallBuffer> {
        None
    }

    /// Reads the answer from the result of the hypercall and the `block` as Xen left it.
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

/// The offset of a name or a debug key: after the sysctl, in the same page.
const NAME_OFFSET: usize = 256;

/// Writes the name into `block`, and returns its address and size, which counts the NUL.
fn place_name(block: &mut HypercallBuffer, name: &PayloadName) -> sys::xen_livepatch_name {
    place(block, name.as_bytes());
    place_at(block, NAME_OFFSET + name.as_bytes().len(), &[0]);
    let size = u16::try_from(name.as_bytes().len() + 1).expect("a name has at most 127 bytes");
    sys::xen_livepatch_name { name: block.handle(NAME_OFFSET), size, pad: [0; 3] }
}

/// Writes bytes at `NAME_OFFSET`.
fn place(block: &mut HypercallBuffer, bytes: &[u8]) {
    place_at(block, NAME_OFFSET, bytes);
}

fn place_at(block: &mut HypercallBuffer, offset: usize, bytes: &[u8]) {
    let range = offset..offset + bytes.len();
    block.as_mut_slice().get_mut(range).expect("a page has room for a sysctl and a name").copy_from_slice(bytes);
}

/// The upload of the first `len` bytes of a buffer.
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

/// The query of a payload's status.
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

/// An action.
#[derive(Debug)]
pub(crate) struct Act<'a> {
    pub(crate) name: &'a PayloadName,
    /// `None` sends command 0, which no release has: Xen returns `EBUSY` if work is pending on the payload and `EOPNOTSUPP`
    /// otherwise, and does nothing.
    pub(crate) action: Option<Action>,
    /// In nanoseconds, contrary to the headers of 4.7 and 4.8; 0 is Xen's own 30 ms.
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

/// The query of rows of the list, or, without places, of its extent only.
#[derive(Debug, Default)]
pub(crate) struct List {
    /// The first row wanted.
    pub(crate) start: u32,
    /// The most rows wanted.
    pub(crate) rows: u32,
    pub(crate) places: Places,
    /// Sets the FORCE flag of 4.19, which older releases reject.
    pub(crate) probe_force: bool,
}

/// The answer to LIST, without the rows themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Listed {
    /// The number of uploads and unloads so far; apply, revert and replace don't change it.
    pub(crate) version: u32,
    /// The number of rows delivered.
    pub(crate) rows: u32,
    /// The number of rows after those delivered.
    pub(crate) remaining: u32,
    /// The bytes of all metadata, if there were no places (0 before 4.14).
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
            // Before 4.21 Xen ignores the sizes in a request.
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

/// A read of Xen's log, without clearing it.
#[derive(Debug)]
pub(crate) struct ReadConsole<'a> {
    /// The index of the first byte: 0, or that of an earlier answer. Xen continues with its oldest byte if that is gone.
    pub(crate) index: u32,
    pub(crate) buffer: &'a mut HypercallBuffer,
}

/// The result of a read of Xen's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ConsoleRead {
    /// The number of bytes in the buffer.
    pub(crate) count: usize,
    /// The index of the next read.
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
            count: u32::try_from(self.buffer.len()).expect("a buffer for the log is some KiB, or for a payload 2 MiB"),
            ..Default::default()
        };
        block.write::<{ offset_of!(sys::xen_sysctl, u.readconsole) }, _>(&read);
    }

    fn memory(&mut self) -> Option<&mut HypercallBuffer> {
        Some(self.buffer)
    }

    fn decode(&self, _: Layout, _: u32, block: &HypercallBuffer) -> ConsoleRead {
        let read: sys::xen_sysctl_readconsole = block.read::<{ offset_of!(sys::xen_sysctl, u.readconsole) }, _>();
        ConsoleRead { count: to_usize(read.count), index: read.index }
    }
}

/// The press of a debug key, as on Xen's console.
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
        place(block, &[self.0]);
        let keys = sys::xen_sysctl_debug_keys { keys: block.handle(NAME_OFFSET), nr_keys: 1, pad_end: 0 };
        block.write::<{ offset_of!(sys::xen_sysctl, u.debug_keys) }, _>(&keys);
    }

    fn decode(&self, _: Layout, _: u32, _: &HypercallBuffer) {}
}
