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
    let line = without_time(line);
    match split_at(line, b"livepatch.c:").and_then(|(_, rest)| split_at(rest, b": ")) {
        Some((number, text)) if number.iter().all(u8::is_ascii_digit) => text,
        _ => line,
    }
}

/// Strips the time that may follow `(XEN) `.
fn without_time(line: &[u8]) -> &[u8] {
    let time = line.strip_prefix(b"[").and_then(|rest| split_at(rest, b"] "));
    time.map_or(line, |(_, text)| text)
}

/// Splits a text at the first occurrence of a part.
fn split_at<'a>(text: &'a [u8], part: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    halves(text, part, text.windows(part.len()).position(|window| window == part)?)
}

/// Splits a text at the last occurrence of a part.
fn split_at_last<'a>(text: &'a [u8], part: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    halves(text, part, text.windows(part.len()).rposition(|window| window == part)?)
}

fn halves<'a>(text: &'a [u8], part: &[u8], at: usize) -> Option<(&'a [u8], &'a [u8])> {
    Some((text.get(..at)?, text.get(at.checked_add(part.len())?..)?))
}
