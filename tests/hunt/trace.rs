//! What the runner outside is told, whatever becomes of Xen: bytes to an I/O port, which are out when the write returns.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt as _;

/// Where QEMU's debug console is.
const PORT: u64 = 0xe9;

pub struct Trace(Option<File>);

impl Trace {
    /// To nowhere, where the runner has asked for none.
    pub fn new(wanted: bool) -> Self {
        Self(wanted.then(|| OpenOptions::new().write(true).open("/dev/port").unwrap()))
    }

    pub fn tell(&self, text: &str) {
        let Some(port) = &self.0 else { return };
        for byte in text.as_bytes() {
            port.write_all_at(&[*byte], PORT).unwrap();
        }
    }
}
