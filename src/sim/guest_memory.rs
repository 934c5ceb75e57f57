//! The caller's memory, as far as the handles of a request may point into it.

use crate::hypercall::{HypercallBuffer, Sysctl};
use crate::types::Errno;

/// Memory that Xen copies from and to. Access to missing memory is `EFAULT`.
pub(super) trait Caller {
    /// The range, if all of it is there.
    fn range(&mut self, address: u64, len: usize) -> Option<&mut [u8]>;

    fn read(&mut self, address: u64, len: usize) -> Result<Vec<u8>, Errno> {
        if len == 0 {
            return Ok(Vec::new());
        }
        self.range(address, len).map(|bytes| bytes.to_vec()).ok_or(Errno::EFAULT)
    }

    /// Writes up to the first missing byte, as a copy that faults does.
    fn write(&mut self, address: u64, bytes: &[u8]) -> Result<(), Errno> {
        if bytes.is_empty() {
            return Ok(());
        }
        if let Some(range) = self.range(address, bytes.len()) {
            range.copy_from_slice(bytes);
            return Ok(());
        }
        for (byte, offset) in bytes.iter().zip(0..) {
            match self.range(address.wrapping_add(offset), 1) {
                Some(range) => range.fill(*byte),
                None => break,
            }
        }
        Err(Errno::EFAULT)
    }
}

impl Caller for Sysctl<'_> {
    fn range(&mut self, address: u64, len: usize) -> Option<&mut [u8]> {
        self.memory(address, len)
    }
}

/// The argument of an `xen_version` call: addresses count from its beginning.
impl Caller for &mut HypercallBuffer {
    fn range(&mut self, address: u64, len: usize) -> Option<&mut [u8]> {
        let start = usize::try_from(address).ok()?;
        self.as_mut_slice().get_mut(start..start.checked_add(len)?)
    }
}
