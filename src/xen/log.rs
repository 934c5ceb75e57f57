//! The text that Xen logs: its lines, their meaning, and the dump of debug key `x`.

pub(crate) mod dump;
pub(crate) mod messages;
pub(crate) mod unidentified;

/// The beginning of Xen's own lines.
pub(crate) const PREFIX: &[u8] = b"(XEN) ";

/// Strips `(XEN) `, the time that may follow it, and the place in Xen's source that debug builds add.
pub(crate) fn without_prefix(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let Some(line) = line.strip_prefix(PREFIX) else { return line };
    let after =
        |line: &'_ [u8], end: &[u8]| line.windows(end.len()).position(|part| part == end).map(|at| at + end.len());
    let time = after(line, b"] ").filter(|_| line.first() == Some(&b'['));
    let line = time.and_then(|end| line.get(end..)).unwrap_or(line);
    let place = after(line, b"livepatch.c:").and_then(|start| {
        let rest = line.get(start..)?;
        Some(start + after(rest, b": ").filter(|end| rest.iter().take(end - 2).all(u8::is_ascii_digit))?)
    });
    place.and_then(|end| line.get(end..)).unwrap_or(line)
}
