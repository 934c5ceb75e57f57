//! The trace for the runner outside, which survives a crash of Xen: bytes to a port of the machine, which are out when the
//! write returns.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;

/// The I/O ports of x86, one of which is QEMU's debug console, and a port of QEMU for this purpose on AArch64, which has none.
const PORTS: &str = if cfg!(target_arch = "aarch64") { "/dev/virtio-ports/trace" } else { "/dev/port" };
const DEBUG_CONSOLE: u64 = 0xe9;

pub struct Trace(Option<File>);

impl Trace {
    /// Opens the port, if the runner wants a trace.
    pub fn new(wanted: bool) -> Self {
        Self(wanted.then(|| OpenOptions::new().write(true).open(PORTS).unwrap()))
    }

    pub fn write(&self, text: &str) {
        let Some(mut ports) = self.0.as_ref() else { return };
        if cfg!(target_arch = "aarch64") {
            return ports.write_all(text.as_bytes()).unwrap();
        }
        for byte in text.as_bytes() {
            ports.write_all_at(&[*byte], DEBUG_CONSOLE).unwrap();
        }
    }
}
