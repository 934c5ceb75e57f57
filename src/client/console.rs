//! What Xen wrote to its log about an operation: the reason that its error number doesn't give.
//!
//! Best effort. Where the log can't be read there are no lines, and nothing else is different.

use std::cell::{Cell, RefCell};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::hooks::{HookLog, Running};
use super::query::ask;
use crate::hypercall::channel::{CallError, Channel, SMALLEST_BUFFER};
use crate::hypercall::operation::{ConsoleRead, ReadConsole};
use crate::types::errno::Errno;
use crate::types::name::{PayloadName, escaped};
use crate::xen::log::messages::ACTIVE_WAITQUEUE;
use crate::xen::log::without_prefix;

const EXPECTATION: &[u8] = b": expectation failed: ";

/// How often to go on reading before a log is too long: 16 MiB of it.
const READS: usize = 256;

/// What says that this domain will never read the log. Anything else may be different next time.
const FORBIDDEN: [Errno; 3] = [Errno::EPERM, Errno::EACCES, Errno::ENOSYS];

pub(super) fn is_forbidden(errno: Errno) -> bool {
    FORBIDDEN.contains(&errno)
}

/// The place up to which this client has read the log, and the record of hooks from there.
#[derive(Debug, Default)]
pub(super) struct Console {
    position: Mutex<Position>,
    hooks: Mutex<HookLog>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Position {
    #[default]
    Unread,
    At(u32),
    Forbidden,
}

/// The log during one operation, which may take several attempts.
#[derive(Debug)]
pub(super) struct Watch<'a> {
    console: &'a Console,
    channel: &'a Channel,
    name: &'a PayloadName,
    /// The end of the log when the attempt began.
    start: Cell<Option<u32>>,
    /// What was said in all attempts.
    said: RefCell<Vec<String>>,
}

impl<'a> Watch<'a> {
    pub(super) fn new(console: &'a Console, channel: &'a Channel, name: &'a PayloadName) -> Self {
        Self { console, channel, name, start: Cell::new(None), said: RefCell::default() }
    }

    /// Xen is about to be asked. One hypercall, except for the first time.
    pub(super) fn begin(&self) {
        self.start.set(self.catch_up());
    }

    /// Reads what Xen has written since, and returns where it ends; `None` where the log can't be read.
    pub(super) fn catch_up(&self) -> Option<u32> {
        match self.console.position() {
            Position::Unread => self.read(0, |_| {}),
            Position::At(index) => self.read(index, |_| {}),
            Position::Forbidden => None,
        }
    }

    /// Returns whether a hook of the payload is running, as far as the log was read.
    pub(super) fn hook_running(&self) -> Running {
        self.console.hooks().of(self.name)
    }

    /// Xen is about to be asked for an action, which may run a hook.
    pub(super) fn begin_action(&self) {
        self.console.hooks().begin(self.name);
    }

    /// The lines about the payload that Xen wrote in this attempt. The next attempt begins where they end.
    pub(super) fn lines(&self) -> Vec<String> {
        let mut text = Vec::new();
        if let Some(start) = self.start.get() {
            let end = self.read(start, |bytes| text.extend_from_slice(bytes));
            self.start.set(end.or(Some(start)));
        }
        let lines = about(&text, self.name);
        self.said.borrow_mut().extend_from_slice(&lines);
        lines
    }

    /// All lines that were read by [`lines`](Self::lines).
    pub(super) fn said(self) -> Vec<String> {
        self.said.into_inner()
    }

    /// Reads from `start` to the end, and says where that is.
    fn read(&self, start: u32, each: impl FnMut(&[u8])) -> Option<u32> {
        let mut each = each;
        let chunk = |bytes: &[u8], end| {
            each(bytes);
            self.console.hooks().feed(bytes, end);
        };
        match read_chunks(self.channel, start, chunk) {
            Ok(index) => {
                self.console.advance(Position::At(index));
                Some(index)
            }
            Err(CallError::Refused(errno)) if is_forbidden(errno) => {
                self.console.advance(Position::Forbidden);
                None
            }
            Err(_) => None,
        }
    }
}

/// Reads the log from `start` to its end, and says where that is.
pub(super) fn read(channel: &Channel, start: u32, mut each: impl FnMut(&[u8])) -> core::result::Result<u32, CallError> {
    read_chunks(channel, start, |bytes, _| each(bytes))
}

/// The same, with the index at which each chunk ends.
fn read_chunks(
    channel: &Channel,
    start: u32,
    mut each: impl FnMut(&[u8], u32),
) -> core::result::Result<u32, CallError> {
    channel.with_buffer(SMALLEST_BUFFER, |buffer| {
        let mut index = start;
        for _ in 0..READS {
            let ConsoleRead { count, index: next } = ask(|| channel.call(ReadConsole { index, buffer }))?;
            each(buffer.as_slice().get(..count).unwrap_or_default(), next);
            index = next;
            if count < buffer.len() {
                break;
            }
        }
        Ok(index)
    })
}

impl Console {
    /// One that is never read.
    pub(super) fn off() -> Self {
        Self { position: Mutex::new(Position::Forbidden), hooks: Mutex::default() }
    }

    /// Where reading would go on.
    pub(super) fn end(&self) -> u32 {
        match self.position() {
            Position::At(index) => index,
            Position::Unread | Position::Forbidden => 0,
        }
    }

    /// The record of hooks in the log.
    pub(super) fn hooks(&self) -> MutexGuard<'_, HookLog> {
        self.hooks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns false once this domain was refused to read the log, or is not to.
    pub(super) fn is_readable(&self) -> bool {
        self.position() != Position::Forbidden
    }

    fn position(&self) -> Position {
        *self.position.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn advance(&self, to: Position) {
        *self.position.lock().unwrap_or_else(PoisonError::into_inner) = to;
    }
}

/// The lines of a log that are about this payload, with those that continue them.
fn about(log: &[u8], name: &PayloadName) -> Vec<String> {
    let mut ours = false;
    let mut lines = Vec::new();
    let mut waitqueue = None;
    for line in log.split(|byte| *byte == b'\n') {
        let text = without_prefix(line);
        if text.ends_with(ACTIVE_WAITQUEUE.as_bytes()) {
            waitqueue = Some(text);
            continue;
        }
        // Xen names the function, not the payload, where it says what it found instead of what was expected.
        let continues = indented(text) || text.windows(EXPECTATION.len()).any(|part| part == EXPECTATION);
        ours = if continues { ours } else { names(text, name) };
        // It does not name the payload; the next line does.
        let before = waitqueue.take();
        if ours {
            lines.extend(before.map(escaped));
            lines.push(escaped(text));
        }
    }
    lines
}

/// Whether a line continues the one before. Xen 4.20 indents with spaces that don't break (U+00A0).
fn indented(text: &[u8]) -> bool {
    text.first() == Some(&b' ') || text.starts_with("\u{a0}".as_bytes())
}

/// `livepatch: NAME: …` and `livepatch: NAME finished …`.
fn names(text: &[u8], name: &PayloadName) -> bool {
    let rest = text.strip_prefix(b"livepatch: ").and_then(|text| text.strip_prefix(name.as_bytes()));
    rest.is_some_and(|rest| rest.starts_with(b": ") || rest.starts_with(b" finished "))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As real Xens wrote it: 4.20 splits a mismatch into lines.
    const LOG: &str = "t of a line\n\
        (XEN) livepatch: hello: Applying 1 functions\r\n\
        (XEN) livepatch: foreign: build-id mismatch:\n\
        (XEN) \u{a0} livepatch: 5a5a\n\
        (XEN) \u{a0}\u{a0}\u{a0}\u{a0}\u{a0}\u{a0}\u{a0} xen: 576c\n\
        (XEN) livepatch: other: check against foreign build-id failed\n\
        (XEN)  something that continues it\n\
        (XEN) [2026-11-23 10:00:00.123] livepatch: foreign finished APPLY with rc=-22\n\
        (XEN) livepatch: foreigner: Not an ELF payload\n\
        (XEN) common/livepatch.c:614: livepatch: foreign: Already loaded as x!\n\
        livepatch: foreign: \x1b[31mred\n\
        (XEN) common/livepatch.c:61x: livepatch: foreign: in no place\n\
        (XEN) livepatch: foreign: cut o";

    #[test]
    fn lines_about_a_payload_stay_whole() {
        assert_eq!(
            about(LOG.as_bytes(), &PayloadName::new("foreign").unwrap()),
            [
                "livepatch: foreign: build-id mismatch:",
                "\u{a0} livepatch: 5a5a",
                "\u{a0}\u{a0}\u{a0}\u{a0}\u{a0}\u{a0}\u{a0} xen: 576c",
                "livepatch: foreign finished APPLY with rc=-22",
                "livepatch: foreign: Already loaded as x!",
                "livepatch: foreign: \\u{1b}[31mred",
                "livepatch: foreign: cut o",
            ]
        );
        assert_eq!(about(LOG.as_bytes(), &PayloadName::new("nobody").unwrap()), [""; 0]);
        assert_eq!(about(b"", &PayloadName::new("hello").unwrap()), [""; 0]);
    }
}
