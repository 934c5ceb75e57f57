//! Reading Xen's log, which contains the reasons that error numbers do not give.
//!
//! Best effort: if the log can't be read, there are no messages, and nothing else differs.

use std::cell::{Cell, RefCell};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard};

use super::hooks::{HookLog, Running};
use super::lock;
use super::query::retry_faults;
use crate::hypercall::channel::{CallError, Channel, SMALLEST_BUFFER};
use crate::types::{Errno, PayloadName};
use crate::xen::log::messages::{LogMessage, PayloadLog};

/// The most reads of a log at once: 16 MiB.
const READS: usize = 256;

/// The errors that mean that this domain will never read the log. Others may be gone next time.
const FORBIDDEN: [Errno; 3] = [Errno::EPERM, Errno::EACCES, Errno::ENOSYS];

pub(super) fn is_forbidden(errno: Errno) -> bool {
    FORBIDDEN.contains(&errno)
}

/// The record of hooks in the log as far as this client has read it.
#[derive(Debug, Default)]
pub(super) struct Console {
    /// True once reading the log was denied, or if this client must not read it.
    forbidden: AtomicBool,
    hooks: Mutex<HookLog>,
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

    pub(super) fn begin_at(&self, start: Option<u32>) {
        self.start.set(start);
    }

    /// The end of the log when the attempt began; `None` if the log can't be read.
    pub(super) fn start(&self) -> Option<u32> {
        self.start.get()
    }

    /// Reads the log from the last position to its end, which it returns; `None` if the log can't be read.
    pub(super) fn catch_up(&self) -> Option<u32> {
        if self.console.is_readable() { self.read(self.console.end(), |_| {}) } else { None }
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
        let chunk = |bytes: Option<&[u8]>, end| {
            // The lines around lost text are not joined.
            each(bytes.unwrap_or(b"\n"));
            self.console.hooks().feed(bytes.unwrap_or(b""), end);
        };
        match read_chunks(self.channel, start, chunk) {
            Ok(end) => Some(end),
            Err(error) => {
                let denied = matches!(error, CallError::Refused(errno) if is_forbidden(errno));
                self.console.forbidden.fetch_or(denied, Ordering::Relaxed);
                None
            }
        }
    }
}

/// Reads the log from `start` to its end, which it returns. It is an error if a part is lost in between.
pub(super) fn read(channel: &Channel, start: u32, mut each: impl FnMut(&[u8])) -> core::result::Result<u32, CallError> {
    let mut lost = false;
    let end = read_chunks(channel, start, |bytes, _| match bytes {
        Some(bytes) => each(bytes),
        None => lost = true,
    })?;
    if lost { Err(CallError::Refused(Errno::EIO)) } else { Ok(end) }
}

/// Reads the log from `start` to its end, which it returns. Each chunk comes with the index at which it ends; it is `None` if
/// Xen's answer does not fit the buffer.
fn read_chunks(
    channel: &Channel,
    start: u32,
    mut each: impl FnMut(Option<&[u8]>, u32),
) -> core::result::Result<u32, CallError> {
    channel.with_buffer(SMALLEST_BUFFER, |buffer| {
        let mut index = start;
        for _ in 0..READS {
            let (place, next) = retry_faults(|| channel.read_console(index, buffer))?;
            let filled = place.end >= buffer.len();
            each(buffer.as_slice().get(place), next);
            let stays = next == index;
            index = next;
            if stays || !filled {
                break;
            }
        }
        Ok(index)
    })
}

impl Console {
    /// One that is never read.
    pub(super) fn off() -> Self {
        Self { forbidden: AtomicBool::new(true), hooks: Mutex::default() }
    }

    /// The position from which reading continues.
    pub(super) fn end(&self) -> u32 {
        self.hooks().end()
    }

    pub(super) fn hooks(&self) -> MutexGuard<'_, HookLog> {
        lock(&self.hooks)
    }

    /// Returns false once reading the log was denied, or if this client must not read it.
    pub(super) fn is_readable(&self) -> bool {
        !self.forbidden.load(Ordering::Relaxed)
    }
}

#[cfg(all(test, feature = "sim"))]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::atomic::AtomicU32;

    use super::*;
    use crate::hypercall::sealed::Sealed;
    use crate::hypercall::{AllocationError, End, HypercallBuffer, Hypervisor, Sysctl};
    use crate::sim::{Call, SimulatedXen};
    use crate::xen::Release;

    /// A Xen of which one answer, after so many others, has a count larger than the buffer.
    #[derive(Debug)]
    struct Overcounts(SimulatedXen, AtomicU32);

    impl Hypervisor for Overcounts {}

    impl Sealed for Overcounts {
        fn sysctl(&self, call: &mut Sysctl<'_>) -> Result<u32, Errno> {
            let reads = self.0.calls().of(Call::Console);
            let result = self.0.sysctl(call);
            if self.0.calls().of(Call::Console) > reads && self.1.fetch_sub(1, Ordering::Relaxed) == 0 {
                let count = call.memory(call.address() + 24, 4).expect("the count is a part of the block");
                count.copy_from_slice(&u32::MAX.to_ne_bytes());
            }
            result
        }

        fn xen_version(&self, command: u32, argument: Option<&mut HypercallBuffer>) -> Result<u32, Errno> {
            self.0.xen_version(command, argument)
        }

        fn architecture(&self) -> crate::Result<crate::xen::Architecture> {
            Ok(self.0.architecture())
        }

        fn allocate(&self, len: usize, end: End) -> Result<HypercallBuffer, AllocationError> {
            self.0.allocate(len, end)
        }
    }

    #[test]
    fn an_answer_larger_than_the_buffer_costs_its_own_lines_alone() {
        // Three reads, of which each ends inside of a line.
        let xen = SimulatedXen::builder(Release::V4_20).console_size(1 << 20).build();
        let lines = SMALLEST_BUFFER * 5 / 2 / 100;
        let text = |line: usize| format!("livepatch: it: {line:084}");
        let all: BTreeSet<String> = (0..lines).map(text).collect();
        for line in &all {
            xen.print(line);
        }
        let name = PayloadName::new("it").unwrap();
        for bad in 0..3 {
            let hypervisor = Box::new(Overcounts(xen.clone(), AtomicU32::new(bad)));
            let channel = Channel::open(hypervisor, None, None).unwrap();
            let console = Console::default();
            let log = LogWatch::new(&console, &channel, &name);
            log.begin_at(Some(0));
            log.messages();
            let end = log.start();
            assert_eq!(log.catch_up(), end, "{bad}: the end is known");
            let kept = log.into_lines();
            let whole = kept.iter().filter(|line| all.contains(*line)).count();
            assert!(kept.len() > lines / 2 && whole + 2 >= kept.len(), "{bad}: {} and {whole} of {lines}", kept.len());
            assert_eq!(kept.contains(&text(0)), bad != 0, "{bad}");
            assert_eq!(kept.contains(&text(lines - 1)), bad != 2, "{bad}");

            // Where no part may be missing, it is an error.
            let hypervisor = Box::new(Overcounts(xen.clone(), AtomicU32::new(bad)));
            let channel = Channel::open(hypervisor, None, None).unwrap();
            assert!(matches!(read(&channel, 0, |_| {}), Err(CallError::Refused(Errno::EIO))), "{bad}");
        }
    }
}
