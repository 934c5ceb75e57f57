//! A writer of dumps as Xen's, for tests of the reader.

use super::MARK;
use crate::types::{BuildId, LoadedPayload, Metadata, PayloadName, State, Status};
use crate::xen::log::PREFIX;

/// A payload as its maker chose it.
#[derive(Clone, Debug)]
pub(crate) struct Payload {
    pub(crate) name: Vec<u8>,
    pub(crate) metadata: Vec<Vec<u8>>,
    pub(crate) functions: Vec<Vec<u8>>,
}

impl Payload {
    pub(crate) fn row(&self) -> LoadedPayload {
        let metadata: Vec<u8> = self.metadata.iter().flat_map(|text| [&**text, b"\0"].concat()).collect();
        row(&self.name, &metadata)
    }
}

/// The row of LIST of a payload.
pub(crate) fn row(name: &[u8], metadata: &[u8]) -> LoadedPayload {
    let name = PayloadName::new(name).expect("names of up to 127 bytes without a NUL are printed");
    LoadedPayload { name, status: Status { state: State::Applied, rc: 0 }, metadata: Metadata::new(metadata) }
}

/// Xen's console: what is written to it, as Xen writes it.
#[derive(Default)]
struct Printer {
    log: Vec<u8>,
    continued: bool,
}

impl Printer {
    /// One `printk`: cut at 1023 bytes, with a prefix at the beginning of each line, and without its level. Lines of the debug
    /// level are not printed.
    fn print(&mut self, text: &[u8]) {
        for part in text.get(..1023).unwrap_or(text).split_inclusive(|byte| *byte == b'\n') {
            let mut part = part;
            if !self.continued {
                if part.starts_with(b"<3>") {
                    continue;
                }
                while let [b'<', _, b'>', rest @ ..] = part {
                    part = rest;
                }
                self.log.extend(PREFIX);
            }
            self.log.extend(part);
            self.continued = !part.ends_with(b"\n");
        }
    }
}

/// The build-ids of a payload, and of what it depends on.
pub(crate) fn ids(at: u8) -> [BuildId; 2] {
    [[0x30 + at; 20], [0x40 + at; 20]].map(BuildId::new)
}

/// The log with the dump of these payloads, and with these lines of others between its lines: another processor is not in the
/// middle of a line of Xen's own. Some releases name Xen in each payload.
pub(crate) fn printed(payloads: &[Payload], xen: &BuildId, names_xen: bool, others: &[(usize, Vec<u8>)]) -> Vec<u8> {
    let mut lines: Vec<Vec<u8>> = vec![[MARK, b"\n"].concat(), format!("build-id: {xen}\n").into_bytes()];
    let address = "ffff82d040234b20";
    for (payload, at) in payloads.iter().zip(0..) {
        let rest = format!(" state=APPLIED(2) {address} (.data={address}, .rodata={address}) using 3 pages.\n");
        lines.push([b" name=", &*payload.name, rest.as_bytes()].concat());
        if !payload.metadata.is_empty() {
            lines.push(b"livepatch: module metadata:\n".to_vec());
            lines.extend(payload.metadata.iter().map(|text| [b"livepatch:   ", &**text, b"\n"].concat()));
        }
        let rest = format!(" patch {address}(16) with {address} (8)\n");
        lines.extend(payload.functions.iter().map(|name| [b"    ", &**name, rest.as_bytes()].concat()));
        let [build_id, depends] = ids(at);
        lines.push(format!("build-id={build_id}\n").into_bytes());
        lines.push(format!("depend-on={depends}\n").into_bytes());
        lines.extend(names_xen.then(|| format!("depend-on-xen={xen}\n").into_bytes()));
    }
    let mut printer = Printer::default();
    for (at, line) in lines.iter().enumerate() {
        for (_, text) in others.iter().filter(|(place, _)| place % lines.len() == at) {
            printer.log.extend(text.iter().chain(b"\n"));
        }
        printer.print(line);
    }
    printer.log
}
