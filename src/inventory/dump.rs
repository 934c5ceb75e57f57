//! What debug key `x` prints, which is believed only as a whole.
//!
//! Names, metadata and names of functions are printed as they are, and whoever made a payload chose them. So this does not
//! look for lines that look right. The list tells which payloads there are, in which order, in which state and with which
//! metadata: all of the text has to be what Xen prints for just these, line by line, once. A text that a payload puts
//! between would have to leave out what Xen prints after it, and can't. What a payload can do is to lie about its own
//! functions.

use crate::build_id::BuildId;
use crate::log::{PREFIX, without_prefix};
use crate::status::{LoadedPayload, Metadata, State};
use crate::symbol_name::SymbolName;

use super::ReplacedFunction;

/// What is only in the dump.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Dumped {
    pub(crate) build_id: BuildId,
    pub(crate) depends: BuildId,
    pub(crate) functions: Vec<ReplacedFunction>,
}

/// How the dump begins.
const MARK: &[u8] = b"'x' pressed - Dumping all livepatch patches";

/// What of each row the dump tells; `None` unless all of it agrees with the rows, and with Xen's build-id.
pub(crate) fn read(text: &[u8], rows: &[LoadedPayload], xen: Option<&BuildId>) -> Option<Vec<Dumped>> {
    if rows.iter().any(|row| breaks_lines(row.name.as_bytes()) || !is_printed_whole(&row.metadata)) {
        return None;
    }
    // Xen's own first line may be in the middle of another, and one that a payload made up in a line of its own.
    let mut marks = text.windows(MARK.len()).enumerate().filter(|(_, part)| *part == MARK);
    let (mark, None) = (marks.next()?.0, marks.next()) else { return None };
    let start = text.get(..mark)?.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end.saturating_add(1));
    // A line that is cut off at the end of the ring is no line.
    let lines = text.get(start..)?.split_inclusive(|byte| *byte == b'\n').filter_map(|line| line.strip_suffix(b"\n"));
    let own: Vec<&[u8]> = lines.filter(|line| !is_of_a_domain(line)).map(own).collect::<Option<_>>()?;
    let (first, rest) = own.split_first()?;
    if *first != MARK {
        return None;
    }
    let mut dump = Lines { lines: rest };
    let own_id = dump.value(b"build-id: ").map(id);
    if own_id.as_ref().map(Option::as_ref) != xen.map(Some) {
        return None;
    }
    let dumped = rows.iter().map(|row| dump.payload(row, xen)).collect::<Option<Vec<_>>>()?;
    dump.lines.is_empty().then_some(dumped)
}

/// `(d1) ` and what a domain wrote, in between. Nothing of Xen's is passed over with it.
fn is_of_a_domain(line: &[u8]) -> bool {
    let number = line.strip_prefix(b"(d").and_then(|rest| split_at(rest, b") ")).map(|(number, _)| number);
    number.is_some_and(|number| !number.is_empty() && number.iter().all(u8::is_ascii_digit))
        && !line.windows(PREFIX.len()).any(|part| part == PREFIX)
}

/// A line that Xen began. The rest of one that it began earlier, and somebody else ended, is without its prefix: then what
/// Xen said is not all there.
fn own(line: &[u8]) -> Option<&[u8]> {
    line.starts_with(PREFIX).then(|| without_prefix(line))
}

/// The lines that are left.
struct Lines<'a> {
    lines: &'a [&'a [u8]],
}

impl<'a> Lines<'a> {
    /// The next line, if it is one that is wanted; what that makes of it.
    fn next_if<R>(&mut self, wanted: impl FnOnce(&'a [u8]) -> Option<R>) -> Option<R> {
        let (line, rest) = self.lines.split_first()?;
        let found = wanted(line)?;
        self.lines = rest;
        Some(found)
    }

    /// What follows a word at the beginning of the next line.
    fn value(&mut self, word: &[u8]) -> Option<&'a [u8]> {
        self.next_if(|line| line.strip_prefix(word))
    }

    /// What Xen prints about a payload.
    fn payload(&mut self, row: &LoadedPayload, xen: Option<&BuildId>) -> Option<Dumped> {
        self.next_if(|line| is_heading(line, row).then_some(()))?;
        if !row.metadata.is_empty() {
            self.next_if(|line| (line == b"livepatch: module metadata:").then_some(()))?;
            for entry in row.metadata.texts() {
                self.next_if(|line| (line.strip_prefix(b"livepatch:   ") == Some(entry)).then_some(()))?;
            }
        }
        let mut functions = Vec::new();
        while let Some(function) = self.next_if(function) {
            functions.push(function);
        }
        // No release loads a payload that is without either.
        let build_id = id(self.value(b"build-id=")?)?;
        let depends = id(self.value(b"depend-on=")?)?;
        // Xen's own, as that of every payload that was let in.
        if let Some(digits) = self.value(b"depend-on-xen=") {
            id(digits).filter(|id| Some(id) == xen)?;
        }
        Some(Dumped { build_id, depends, functions })
    }
}

/// ` name=NAME state=APPLIED(2) ADDRESS (.data=ADDRESS, .rodata=ADDRESS) using N pages.`
fn is_heading(line: &[u8], row: &LoadedPayload) -> bool {
    let state: &[u8] = match row.status.state {
        State::Checked => b" state=CHECKED(1) ",
        State::Applied => b" state=APPLIED(2) ",
        State::Unknown(_) => return false,
    };
    let rest = line.strip_prefix(b" name=").and_then(|rest| rest.strip_prefix(row.name.as_bytes()));
    let fields = || {
        let (text, rest) = split_at(rest?.strip_prefix(state)?, b" (.data=")?;
        let (data, rest) = split_at(rest, b", .rodata=")?;
        let (constants, rest) = split_at(rest, b") using ")?;
        let pages = number::<u32>(rest.strip_suffix(b" pages.")?)?;
        Some(([text, data, constants].map(address), pages))
    };
    fields().is_some_and(|(addresses, _)| addresses.iter().all(Option::is_some))
}

/// `    NAME patch ADDRESS(SIZE) with ADDRESS (SIZE)`, where only the name may be anything.
fn function(line: &[u8]) -> Option<ReplacedFunction> {
    const WORD: &[u8] = b" patch ";
    let rest = line.strip_prefix(b"    ")?;
    let at = rest.windows(WORD.len()).rposition(|part| part == WORD)?;
    let (name, rest) = (rest.get(..at)?, rest.get(at.checked_add(WORD.len())?..)?);
    let (old_address, rest) = split_at(rest, b"(")?;
    let (old_size, rest) = split_at(rest, b") with ")?;
    let (new_address, rest) = split_at(rest, b" (")?;
    let new_size = rest.strip_suffix(b")")?;
    Some(ReplacedFunction {
        name: SymbolName::new(name),
        old_address: address(old_address)?,
        old_size: number(old_size)?,
        new_address: address(new_address)?,
        new_size: number(new_size)?,
    })
}

fn split_at<'a>(text: &'a [u8], at: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let start = text.windows(at.len()).position(|part| part == at)?;
    Some((text.get(..start)?, text.get(start.checked_add(at.len())?..)?))
}

/// Sixteen digits, as Xen prints pointers.
fn address(digits: &[u8]) -> Option<u64> {
    let right = digits.len() == 16 && digits.iter().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
    let text = core::str::from_utf8(digits).ok().filter(|_| right)?;
    u64::from_str_radix(text, 16).ok()
}

fn number<N: core::str::FromStr>(digits: &[u8]) -> Option<N> {
    let text = core::str::from_utf8(digits).ok()?;
    text.bytes().all(|digit| digit.is_ascii_digit()).then(|| text.parse().ok())?
}

/// Xen prints no more than 64 bytes of a build-id: at that length there may be more.
fn id(digits: &[u8]) -> Option<BuildId> {
    let text = core::str::from_utf8(digits).ok().filter(|text| text.len() < 128);
    text?.parse().ok()
}

/// Whether a text is more, or less, than one line of a log.
fn breaks_lines(text: &[u8]) -> bool {
    text.iter().any(u8::is_ascii_control)
}

/// Whether each entry is printed in a line of its own. Xen cuts what is longer than its buffer of 1024 bytes.
fn is_printed_whole(metadata: &Metadata) -> bool {
    metadata.texts().all(|text| !breaks_lines(text) && text.len() < 1000)
}

#[cfg(test)]
mod tests;
