//! A sysctl with the memory that it points into.

use super::memory::HypercallBuffer;

/// A sysctl ready to be issued: its 136 bytes, and all memory that its guest handles point into, with every page present.
///
/// The mutable borrow of that memory makes the call safe: nobody else accesses it while Xen writes there.
#[derive(Debug)]
pub struct Sysctl<'a> {
    /// The sysctl in the first 136 bytes, which others may follow that handles point to.
    block: &'a mut HypercallBuffer,
    #[cfg_attr(
        not(feature = "sim"),
        expect(dead_code, reason = "only the simulated Xen reads it; otherwise it holds the borrow")
    )]
    memory: &'a mut [&'a mut HypercallBuffer],
}

impl<'a> Sysctl<'a> {
    #[inline]
    pub(crate) fn new(block: &'a mut HypercallBuffer, memory: &'a mut [&'a mut HypercallBuffer]) -> Self {
        block.make_present();
        for buffer in &mut *memory {
            buffer.make_present();
        }
        Self { block, memory }
    }

    /// Returns the address of the 136 bytes.
    pub(crate) fn address(&self) -> u64 {
        self.block.address()
    }

    /// Returns the `len` bytes at a guest address; `None` unless all of them are memory of this call, which is all that a
    /// hypervisor may access.
    #[cfg(feature = "sim")]
    pub(crate) fn memory(&mut self, address: u64, len: usize) -> Option<&mut [u8]> {
        let buffers = core::iter::once(&mut *self.block).chain(self.memory.iter_mut().map(|buffer| &mut **buffer));
        for buffer in buffers {
            let offset = address.checked_sub(buffer.address()).and_then(|offset| usize::try_from(offset).ok());
            let range = offset.and_then(|start| Some(start..start.checked_add(len)?));
            if range.as_ref().is_some_and(|range| range.end <= buffer.len()) {
                return range.and_then(|range| buffer.as_mut_slice().get_mut(range));
            }
        }
        None
    }
}
