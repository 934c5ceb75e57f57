//! The bare hypercall: one ioctl with everything in place. No client can be faster.
//!
//! `sim::PreparedSysctl` is no substitute, since it can't list twice (Xen counts down the requested rows in the
//! request itself) and collects its buffers anew for each call.

use std::fs::File;
use std::io::Read;
use std::os::fd::AsRawFd;
use std::path::Path;

use memmap2::{MmapMut, MmapOptions};
use nix::errno::Errno;
use nix::libc;
use xen_livepatch::Release;

/// Linux's number for it, and Xen's for the sysctl hypercall and its livepatch operations.
const HYPERCALL: libc::Ioctl = 0x30_5000;
const SYSCTL: u64 = 35;
const LIVEPATCH: u32 = 27;
const SYSCTL_SIZE: usize = 136;
const NAME_SIZE: usize = 128;

/// The argument of the ioctl.
#[repr(C)]
struct Hypercall {
    op: u64,
    arg: [u64; 5],
}

/// Maps pages of `/dev/xen/hypercall` for Xen to read and write.
fn map(device: &File, bytes: usize) -> MmapMut {
    let bytes = bytes.max(1).next_multiple_of(4096);
    // SAFETY: these pages are of no file, so that only Xen changes them, while `Xen::send` has the `Call` that they belong to borrowed
    // mutably.
    let mut pages = unsafe { MmapOptions::new().len(bytes).map_mut(device) }.expect("pages of /dev/xen/hypercall");
    // Present and writable from now on.
    pages.fill(0);
    pages
}

fn address(pages: &MmapMut) -> u64 {
    pages.as_ptr().addr() as u64
}

/// The devices, with the interface version of the running Xen.
#[derive(Debug)]
pub struct Xen {
    privcmd: File,
    hypercall: File,
    interface: u32,
}

/// A request with its buffers.
#[derive(Debug)]
pub struct Call {
    block: MmapMut,
    /// The buffers at the addresses in `block`.
    memory: Vec<MmapMut>,
    /// The requested rows of a list.
    rows: u32,
}

/// Xen's numbers for actions.
#[derive(Clone, Copy, Debug)]
pub enum Action {
    Unload = 1,
    Revert = 2,
    Apply = 3,
}

impl Xen {
    pub fn open() -> std::io::Result<Self> {
        let device = |path| File::options().read(true).write(true).open(path);
        let mut xen =
            Self { privcmd: device("/dev/xen/privcmd")?, hypercall: device("/dev/xen/hypercall")?, interface: 0 };
        // The list has metadata from 4.14 on.
        for release in Release::ALL.into_iter().rev().filter(|release| *release >= Release::V4_14) {
            xen.interface = release.interface_version();
            let mut sizes = xen.list(0, 0);
            match xen.send(&mut sizes) {
                Err(Errno::EACCES) => {}
                result => return result.map(|_| xen).map_err(Into::into),
            }
        }
        Err(std::io::Error::other("a Xen before 4.14, or one that is too new"))
    }

    fn call(&self, operation: u32) -> Call {
        let mut call = Call { block: map(&self.hypercall, SYSCTL_SIZE), memory: Vec::new(), rows: 0 };
        call.word(0, LIVEPATCH);
        call.word(4, self.interface);
        call.word(8, operation);
        call
    }

    fn named(&self, operation: u32, name: &str) -> Call {
        let mut call = self.call(operation);
        let bytes = [name.as_bytes(), &[0]].concat();
        call.word(24, u32::try_from(bytes.len()).unwrap());
        self.attach(&mut call, 16, bytes.len(), &bytes);
        call
    }

    /// Attaches a buffer of this size, which begins with `contents`, at an address field of the request.
    fn attach(&self, call: &mut Call, offset: usize, size: usize, contents: &[u8]) {
        let mut pages = map(&self.hypercall, size);
        pages[..contents.len()].copy_from_slice(contents);
        call.block[offset..offset + 8].copy_from_slice(&address(&pages).to_ne_bytes());
        call.memory.push(pages);
    }

    pub fn status(&self, name: &str) -> Call {
        self.named(1, name)
    }

    pub fn upload(&self, name: &str, payload: &[u8]) -> Call {
        let mut call = self.named(0, name);
        call.word(32, u32::try_from(payload.len()).unwrap());
        self.attach(&mut call, 40, payload.len(), payload);
        call
    }

    pub fn action(&self, name: &str, action: Action, timeout: u32) -> Call {
        let mut call = self.named(3, name);
        call.word(32, action as u32);
        call.word(36, timeout);
        call
    }

    /// A list of at most this number of rows, with this size of metadata in all.
    pub fn list(&self, rows: usize, metadata: usize) -> Call {
        let mut call = self.call(2);
        call.rows = u32::try_from(rows).unwrap();
        // Xen reads them from 4.21 on.
        call.word(32, u32::try_from(rows * NAME_SIZE).unwrap());
        call.word(36, u32::try_from(metadata).unwrap());
        if rows > 0 {
            // status, name, len, metadata, metadata_len
            for (offset, size) in
                [(40, 8 * rows), (48, NAME_SIZE * rows), (56, 4 * rows), (64, metadata), (72, 4 * rows)]
            {
                self.attach(&mut call, offset, size, &[]);
            }
        }
        call
    }

    /// Makes the ioctl.
    pub fn send(&self, call: &mut Call) -> Result<u32, Errno> {
        let mut hypercall = Hypercall { op: SYSCTL, arg: [address(&call.block), 0, 0, 0, 0] };
        // SAFETY: the ioctl reads `hypercall`, which lives through it. Xen reads and writes the call's pages, which are
        // mapped as long as the `Call` lives and are borrowed mutably until this returns: every address in its block is
        // that of pages in `memory` with as much room as the request states, or null, since `attach` alone writes them.
        let result = unsafe { libc::ioctl(self.privcmd.as_raw_fd(), HYPERCALL, &raw mut hypercall) };
        Errno::result(result).map(|value| u32::try_from(value).unwrap_or_default())
    }

    /// Lists all rows, in several ioctls if Xen stops early, as it does when the processor is needed.
    pub fn send_list(&self, call: &mut Call) -> Result<u32, Errno> {
        let mut start = 0;
        loop {
            let rows = call.rows.saturating_sub(start);
            call.word(20, start);
            call.word(24, rows);
            start += self.send(call)?;
            if call.get(24) == 0 || rows == 0 {
                return Ok(start);
            }
        }
    }
}

impl Call {
    fn word(&mut self, offset: usize, word: u32) {
        self.block[offset..offset + 4].copy_from_slice(&word.to_ne_bytes());
    }

    fn get(&self, offset: usize) -> u32 {
        u32::from_ne_bytes(self.block[offset..offset + 4].try_into().unwrap())
    }

    /// Reads the payload of an upload from its file into the buffer that Xen reads: open, read, close.
    pub fn read_payload(&mut self, file: &Path) -> std::io::Result<()> {
        let size = self.get(32) as usize;
        let payload = self.memory.last_mut().expect("an upload has a payload");
        File::open(file)?.read_exact(&mut payload[..size])
    }

    /// The state and the result of an answered status.
    pub fn answered(&self) -> (u32, i32) {
        (self.get(32), i32::from_ne_bytes(self.get(36).to_ne_bytes()))
    }
}
