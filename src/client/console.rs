//! Reading Xen's log, which contains the reasons that error numbers do not give.
//!
//! Best effort: if the log can't be read, there are no messages, and nothing else differs.

use std::cell::{Cell, RefCell};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::hooks::{HookLog, Running};
use super::query::retry_faults;
use crate::hypercall::channel::{CallError, Channel, SMALLEST_BUFFER};
use crate::hypercall::operation::{ConsoleRead, ReadConsole};
use crate::types::errno::Errno;
use crate::types::name::PayloadName;
use crate::xen::log::messages::{LogMessage, PayloadLog};

/// The most reads of a log at once: 16 MiB.
const READS: usize = 256;

/// The errors that mean that this domain will never read the log. Others may be gone next time.
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
pub(super) struct LogWatch<'a> {
    console: &'a Console,
    channel: &'a Channel,
    name: &'a PayloadName,
    /// The end of the log when the attempt began.
    start: Cell<Option<u32>>,
    /// The lines about the payload, of all attempts.
    lines: RefCell<Vec<String>>,
}

impl<'a> LogWatch<'a> {
    pub(super) fn new(console: &'a Console, channel: &'a Channel, name: &'a PayloadName) -> Self {
        Self { console, channel, name, start: Cell::new(None), lines: RefCell::default() }
    }

    /// Notes the end of the log, before a hypercall that may add to it. This takes one hypercall, except for the first time.
    pub(super) fn begin(&self) {
        self.start.set(self.catch_up());
    }

    /// Begins at an earlier end of the log.
    pub(super) fn begin_at(&self, start: Option<u32>) {
        self.start.set(start);
    }

    /// The end of the log when the attempt began; `None` if the log can't be read.
    pub(super) fn start(&self) -> Option<u32> {
        self.start.get()
    }

    /// Reads the log from the last position to its end, which it returns; `None` if the log can't be read.
    pub(super) fn catch_up(&self) -> Option<u32> {
        match self.console.position() {
            Position::Unread => self.read(0, |_| {}),
            Position::At(index) => self.read(index, |_| {}),
            Position::Forbidden => None,
        }
    }

    pub(super) fn hook_running(&self) -> Running {
        self.console.hooks().of(self.name)
    }

    /// Notes that an action is about to be sent, which may run a hook.
    pub(super) fn begin_action(&self) {
        self.console.hooks().begin(self.name);
    }

    /// The messages about the payload that Xen logged in this attempt. The next attempt begins where they end.
    pub(super) fn messages(&self) -> Vec<LogMessage> {
        let mut text = Vec::new();
        if let Some(start) = self.start.get() {
            let end = self.read(start, |bytes| text.extend_from_slice(bytes));
            self.start.set(end.or(Some(start)));
        }
        let PayloadLog { lines, messages } = PayloadLog::parse(&text, self.name);
        self.lines.borrow_mut().extend(lines);
        messages
    }

    /// The lines of all messages that were read.
    pub(super) fn into_lines(self) -> Vec<String> {
        self.lines.into_inner()
    }

    /// Reads from `start` to the end, which it returns.
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

/// Reads the log from `start` to its end, which it returns.
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
            let ConsoleRead { count, index: next } = retry_faults(|| channel.call(ReadConsole { index, buffer }))?;
            let read = buffer.as_slice().get(..count).ok_or(CallError::Refused(Errno::EIO))?;
            each(read, next);
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

    /// The position from which reading continues.
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

    /// Returns false once reading the log was denied, or if this client must not read it.
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
