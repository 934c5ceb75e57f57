//! The output of debug key `x`.

use super::host::{Host, status};
use super::payload::Payload;
use crate::types::BuildId;
use crate::xen::rules;

impl Host {
    /// Prints every payload, whatever the log level, with names and metadata unescaped.
    pub(super) fn dump(&mut self, lock_held: bool) {
        let mut lines = vec![b"'x' pressed - Dumping all livepatch patches".to_vec()];
        lines.extend(self.build_id.as_ref().map(|id| format!("build-id: {}", BuildId::new(id)).into_bytes()));
        if lock_held {
            lines.push(b"Lock held. Try again.".to_vec());
        } else {
            lines.extend(self.payloads.iter().flat_map(|payload| self.about(payload)));
        }
        for line in lines {
            // Each part of a line has Xen's prefix.
            line.split(|byte| *byte == b'\n').for_each(|part| self.console.line(part));
        }
    }

    fn about(&self, payload: &Payload) -> Vec<Vec<u8>> {
        let (number, _) = status(payload);
        let state = if number == 2 { "APPLIED" } else { "CHECKED" };
        let base = payload.base;
        let heading =
            format!(" state={state}({number}) {base:016x} (.data={base:016x}, .rodata={base:016x}) using 3 pages.");
        let mut lines = vec![[b" name=", &*payload.name, heading.as_bytes()].concat()];
        if self.has(&rules::METADATA_LISTED) && !payload.metadata.is_empty() {
            lines.push(b"livepatch: module metadata:".to_vec());
            let texts = payload.metadata.strip_suffix(&[0]).unwrap_or(&payload.metadata);
            lines.extend(texts.split(|byte| *byte == 0).map(|text| [b"livepatch:   ", text].concat()));
        }
        lines.extend(payload.functions.iter().map(|function| {
            let function = &function.loaded;
            let (old, old_size) = (function.old_address, function.old_size);
            let (new, new_size) = (function.new_address, function.new_size);
            let rest = format!(" patch {old:016x}({old_size}) with {new:016x} ({new_size})");
            [b"    ", function.name.as_deref().unwrap_or(b"<NULL>"), rest.as_bytes()].concat()
        }));
        lines.push(format!("build-id={}", BuildId::new(&payload.build_id)).into_bytes());
        lines.push(format!("depend-on={}", BuildId::new(&payload.depends)).into_bytes());
        // Equal for all payloads that were accepted. Xen that compares it first does not keep it.
        if self.has(&rules::XEN_DEPENDS) && !self.has(&rules::XEN_DEPENDS_FIRST) {
            // Empty for a Xen without a build-id, which accepts no payload.
            let xen = BuildId::new(self.build_id.as_deref().unwrap_or_default());
            lines.push(format!("depend-on-xen={xen}").into_bytes());
        }
        lines
    }
}
