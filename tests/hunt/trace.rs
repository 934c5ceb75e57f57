//! What the runner outside is told, whatever becomes of Xen: bytes to a port of the machine, which are out when the write
//! returns.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;

/// On x86 I/O ports, of which one is QEMU's debug console; on AArch64, which has none, a port that QEMU has for this alone.
const PORTS: &str = if cfg!(target_arch = "aarch64") { "/dev/virtio-ports/trace" } else { "/dev/port" };
const DEBUG_CONSOLE: u64 = 0xe9;

pub struct Trace(Option<File>);

impl Trace {
    /// To nowhere, where the runner has asked for none.
    pub fn new(wanted: bool) -> Self {
        Self(wanted.then(|| OpenOptions::new().write(true).open(PORTS).unwrap()))
    }

    pub fn tell(&self, text: &str) {
        let Some(mut ports) = self.0.as_ref() else { return };
        if cfg!(target_arch = "aarch64") {
            return ports.write_all(text.as_bytes()).unwrap();
        }
        for byte in text.as_bytes() {
            ports.write_all_at(&[*byte], DEBUG_CONSOLE).unwrap();
        }
    }
}
