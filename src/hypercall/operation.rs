//! The operations in the layout of each release: the encoding of requests, and the decoding of answers.

use core::mem::offset_of;
use core::ops::Range;

use super::channel::{CallError, Channel};
use super::event::Hypercall;
use super::interface::Layout;
use super::list::{BLOCK, Listed, Places};
use super::memory::HypercallBuffer;
use crate::sys;
use crate::types::{Action, Errno, PayloadName, Status, to_u64, to_usize};

/// The offset of a name or a debug key: after the sysctl, in the same page.
const NAME_OFFSET: usize = 256;

/// Writes the name into `block`, and returns its address and size, which counts the NUL.
fn place_name(block: &mut HypercallBuffer, name: &PayloadName) -> sys::xen_livepatch_name {
    place(block, NAME_OFFSET, name.as_bytes());
    place(block, NAME_OFFSET + name.as_bytes().len(), &[0]);
    let size = u16::try_from(name.as_bytes().len() + 1).expect("a name has at most 127 bytes");
    sys::xen_livepatch_name { name: block.handle(NAME_OFFSET), size, pad: [0; 3] }
}

fn place(block: &mut HypercallBuffer, offset: usize, bytes: &[u8]) {
    let range = offset..offset + bytes.len();
    block.as_mut_slice().get_mut(range).expect("a page has room for a sysctl and a name").copy_from_slice(bytes);
}

fn force_flag(force: bool) -> u32 {
    if force { sys::LIVEPATCH_FLAG_FORCE } else { 0 }
}

impl Channel {
    /// Uploads the first `len` bytes of a buffer.
    #[inline]
    pub(crate) fn upload(
        &self,
        name: &PayloadName,
        payload: &mut HypercallBuffer,
        len: usize,
        force: bool,
    ) -> Result<(), CallError> {
        let size = to_u64(len);
        self.with_block(|block| {
            self.begin_livepatch(block, sys::XEN_SYSCTL_LIVEPATCH_UPLOAD, force_flag(force));
            let name_at = place_name(block, name);
            let upload = sys::xen_sysctl_livepatch_upload { name: name_at, size, payload: payload.handle(0) };
            block.write::<{ offset_of!(sys::xen_sysctl, u.livepatch.u.upload) }, _>(&upload);
            self.issue_sysctl(block, &mut [payload], || Hypercall::Upload { name, size })?;
            Ok(())
        })
    }

    #[inline]
    pub(crate) fn get(&self, name: &PayloadName) -> Result<Status, CallError> {
        self.with_block(|block| {
            self.begin_livepatch(block, sys::XEN_SYSCTL_LIVEPATCH_GET, 0);
            let get = sys::xen_sysctl_livepatch_get { name: place_name(block, name), ..Default::default() };
            block.write::<{ offset_of!(sys::xen_sysctl, u.livepatch.u.get) }, _>(&get);
            self.issue_sysctl(block, &mut [], || Hypercall::Get { name })?;
            Ok(Status::from_raw(block.read::<{ offset_of!(sys::xen_sysctl, u.livepatch.u.get.status) }, _>()))
        })
    }

    /// Sends an action. `None` sends command 0, which no release has: Xen returns `EBUSY` if work is pending on the payload
    /// and `EOPNOTSUPP` otherwise, and does nothing.
    ///
    /// The timeout is in nanoseconds, contrary to the headers of 4.7 and 4.8; 0 is Xen's own 30 ms.
    #[inline]
    pub(crate) fn act(
        &self,
        name: &PayloadName,
        action: Option<Action>,
        timeout: u32,
        flags: u32,
    ) -> Result<(), CallError> {
        self.with_block(|block| {
            self.begin_livepatch(block, sys::XEN_SYSCTL_LIVEPATCH_ACTION, 0);
            let name_at = place_name(block, name);
            let cmd = match action {
                Some(Action::Unload) => sys::LIVEPATCH_ACTION_UNLOAD,
                Some(Action::Revert) => sys::LIVEPATCH_ACTION_REVERT,
                Some(Action::Apply) => sys::LIVEPATCH_ACTION_APPLY,
                Some(Action::Replace) => sys::LIVEPATCH_ACTION_REPLACE,
                None => 0,
            };
            if self.interface.layout == Layout::Strided {
                let action = sys::xen_sysctl_livepatch_action_v1 { name: name_at, cmd, timeout };
                block.write::<{ offset_of!(sys::xen_sysctl, u.livepatch.u.action_v1) }, _>(&action);
            } else {
                let action = sys::xen_sysctl_livepatch_action_v2 { name: name_at, cmd, timeout, flags, pad: 0 };
                block.write::<{ offset_of!(sys::xen_sysctl, u.livepatch.u.action_v2) }, _>(&action);
            }
            self.issue_sysctl(block, &mut [], || Hypercall::Action { action, name })?;
            Ok(())
        })
    }

    /// Reads at most `nr` rows of the list from row `idx` on; without places, its extent only. FORCE, a flag of 4.19, probes
    /// the release: older ones reject it.
    #[inline]
    pub(super) fn list_in(
        &self,
        block: &mut HypercallBuffer,
        idx: u32,
        nr: u32,
        places: Places,
        force: bool,
    ) -> Result<Listed, Errno> {
        let layout = self.interface.layout;
        self.begin_livepatch(block, sys::XEN_SYSCTL_LIVEPATCH_LIST, force_flag(force));
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
        let rows = self.issue_sysctl(block, &mut [], || Hypercall::List)?;
        Ok(if layout == Layout::Strided {
            let list: sys::xen_sysctl_livepatch_list_v1 =
                block.read::<{ offset_of!(sys::xen_sysctl, u.livepatch.u.list_v1) }, _>();
            Listed { version: list.version, rows, remaining: list.nr, metadata_total: 0 }
        } else {
            let list: sys::xen_sysctl_livepatch_list_v2 =
                block.read::<{ offset_of!(sys::xen_sysctl, u.livepatch.u.list_v2) }, _>();
            Listed { version: list.version, rows, remaining: list.nr, metadata_total: list.metadata_total_size }
        })
    }

    /// Reads Xen's log into a buffer, without clearing it, from the byte of this index on: 0, or the index of an earlier
    /// answer. Xen continues with its oldest byte if that is gone. Returns the place of the bytes in
    /// the buffer, and the index of the next read.
    #[inline]
    pub(crate) fn read_console(
        &self,
        index: u32,
        buffer: &mut HypercallBuffer,
    ) -> Result<(Range<usize>, u32), CallError> {
        self.begin(buffer, sys::XEN_SYSCTL_readconsole);
        let room = buffer.len() - BLOCK;
        let read = sys::xen_sysctl_readconsole {
            incremental: 1,
            index,
            buffer: buffer.handle(BLOCK),
            count: u32::try_from(room).expect("a buffer for the log is some KiB, or for a payload 2 MiB"),
            ..Default::default()
        };
        buffer.write::<{ offset_of!(sys::xen_sysctl, u.readconsole) }, _>(&read);
        self.issue_sysctl(buffer, &mut [], || Hypercall::ReadConsole)?;
        let read: sys::xen_sysctl_readconsole = buffer.read::<{ offset_of!(sys::xen_sysctl, u.readconsole) }, _>();
        Ok((BLOCK..BLOCK.saturating_add(to_usize(read.count)), read.index))
    }

    /// Presses a debug key, as on Xen's console.
    pub(crate) fn press_key(&self, key: u8) -> Result<(), CallError> {
        self.with_block(|block| {
            self.begin(block, sys::XEN_SYSCTL_debug_keys);
            place(block, NAME_OFFSET, &[key]);
            let keys = sys::xen_sysctl_debug_keys { keys: block.handle(NAME_OFFSET), nr_keys: 1, pad_end: 0 };
            block.write::<{ offset_of!(sys::xen_sysctl, u.debug_keys) }, _>(&keys);
            self.issue_sysctl(block, &mut [], || Hypercall::DebugKey { key })?;
            Ok(())
        })
    }
}
