//! What a hypercall of a client consists of.

use core::fmt;

use super::memory::HypercallBuffer;

/// A sysctl ready to be issued: its 136 bytes, and all memory that guest handles in it point into, every page of it
/// present.
///
/// Holding that memory borrowed is what makes issuing it safe: nobody else looks at it while Xen writes there.
pub struct Sysctl<'a> {
    /// The first 136 bytes are the sysctl; what handles point to may follow in the same buffer.
    block: &'a mut HypercallBuffer,
    memory: &'a mut [&'a mut HypercallBuffer],
}

impl<'a> Sysctl<'a> {
    pub(crate) fn new(block: &'a mut HypercallBuffer, memory: &'a mut [&'a mut HypercallBuffer]) -> Self {
        block.make_present();
        for buffer in &mut *memory {
            buffer.make_present();
        }
        Self { block, memory }
    }

    /// Where Xen finds the 136 bytes.
    pub(crate) fn address(&self) -> u64 {
        self.block.address()
    }

    /// The `len` bytes at a guest address, where they lie whole in memory of this call: what a hypervisor may touch.
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

impl fmt::Debug for Sysctl<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sysctl").field("block", &self.block).field("memory", &self.memory).finish()
    }
}
