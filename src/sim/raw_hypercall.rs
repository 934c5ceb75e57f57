//! Hypercalls written byte by byte, for requests that a client never sends.

use core::fmt;

use super::bytes::{put, u32_at};
use super::request::{DEBUG_KEYS, LIVEPATCH, READ_CONSOLE, SIZE};
use crate::hypercall::channel::CallError;
use crate::hypercall::{End, HypercallBuffer, Hypervisor, Sysctl};
use crate::types::{Errno, to_usize};
use crate::xen::Release;

/// The offsets of addresses in upload, get, list and action, from 4.14 on and before. An address is that of given memory or
/// null, so no hypervisor writes to other memory.
const PACKED: [&[usize]; 4] = [&[16, 40], &[16], &[40, 48, 56, 64, 72], &[16]];
const STRIDED: [&[usize]; 4] = [&[16, 40], &[16], &[32, 40, 48], &[16]];

/// A sysctl written byte by byte, with the memory that it points to: for tests that send a simulated or real hypervisor
/// requests that [`LivepatchClient`](crate::LivepatchClient) never sends.
///
/// Nothing else is checked: the hypervisor carries the request out.
///
/// ```
/// use xen_livepatch::{Errno, Release};
/// use xen_livepatch::sim::{RawSysctl, SimulatedXen};
///
/// let xen = SimulatedXen::new(Release::V4_17);
/// // LIST of 1025 rows.
/// let answer = RawSysctl::livepatch(Release::V4_17, 2).word(24, 1025).send(&xen)?;
/// assert_eq!(answer.result, Err(Errno::new(7)));
/// # Ok::<(), xen_livepatch::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
#[must_use = "`send` makes the hypercall"]
pub struct RawSysctl {
    command: u32,
    block: [u8; SIZE],
    memory: Vec<(usize, Vec<u8>)>,
}

/// The answer to a [`RawSysctl`].
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RawAnswer {
    /// The result of the hypercall.
    pub result: Result<u32, Errno>,
    /// The sysctl after the hypercall, with zeros for the addresses of memory.
    pub block: [u8; SIZE],
    /// The memory after the hypercall, in the order of the calls of [`memory`](RawSysctl::memory).
    pub memory: Vec<Vec<u8>>,
}

impl RawSysctl {
    /// A livepatch operation (0 upload, 1 get, 2 list, 3 action) at the interface version of a release; all else zero.
    pub fn livepatch(release: Release, operation: u32) -> Self {
        Self::new(LIVEPATCH, release).word(8, operation)
    }

    /// `readconsole` at the interface version of a release; all else zero.
    pub fn read_console(release: Release) -> Self {
        Self::new(READ_CONSOLE, release)
    }

    /// `debug_keys` at the interface version of a release; all else zero.
    pub fn debug_keys(release: Release) -> Self {
        Self::new(DEBUG_KEYS, release)
    }

    pub(super) fn new(command: u32, release: Release) -> Self {
        let empty = Self { command, block: [0; SIZE], memory: Vec::new() };
        empty.word(4, release.interface_version())
    }

    /// Sets the bytes at an offset; does nothing where they don't fit.
    pub fn bytes(mut self, offset: usize, bytes: &[u8]) -> Self {
        put(&mut self.block, offset, bytes);
        self
    }

    /// Sets the word of 32 bits at an offset.
    pub fn word(self, offset: usize, word: u32) -> Self {
        self.bytes(offset, &word.to_le_bytes())
    }

    /// Sets the address at an offset to that of memory with these bytes, which ends at an inaccessible page. Addresses that are
    /// not set are null.
    pub fn memory(mut self, offset: usize, bytes: impl Into<Vec<u8>>) -> Self {
        self.memory.push((offset, bytes.into()));
        self
    }

    /// Sets the payload's name of upload, get and action, and its length. Xen expects the bytes to end with a NUL.
    pub fn name(self, name: &[u8]) -> Self {
        let size = u16::try_from(name.len()).unwrap_or(u16::MAX);
        self.memory(16, name).bytes(24, &size.to_le_bytes())
    }

    fn addresses(&self) -> &'static [usize] {
        match self.command {
            READ_CONSOLE => return &[16],
            DEBUG_KEYS => return &[8],
            _ => {}
        }
        let word = |offset| u32_at(&self.block, offset).expect("the block has 136 bytes");
        let by_operation = if word(4) < Release::V4_14.interface_version() { STRIDED } else { PACKED };
        // None where there is no such operation.
        by_operation.get(to_usize(word(8))).copied().unwrap_or(&[])
    }

    /// Sends the request to a hypervisor.
    ///
    /// # Errors
    /// [`BufferMemory`](crate::ErrorKind::BufferMemory) when there is no memory for the request.
    pub fn send(&self, xen: &dyn Hypervisor) -> crate::Result<RawAnswer> {
        let mut prepared = self.prepare(xen)?;
        let result = prepared.send();
        Ok(prepared.answer(result))
    }

    /// Prepares the memory of the request, so that sending it is a single hypercall.
    ///
    /// # Errors
    /// As of [`send`](Self::send).
    pub fn prepare<'a>(&self, xen: &'a dyn Hypervisor) -> crate::Result<PreparedSysctl<'a>> {
        let mut guarded = self.clone();
        self.addresses().iter().for_each(|offset| put(&mut guarded.block, *offset, &[0; 8]));
        guarded.place(xen)
    }

    /// Prepares the memory, and leaves other addresses as they are.
    pub(super) fn place<'a>(&self, xen: &'a dyn Hypervisor) -> crate::Result<PreparedSysctl<'a>> {
        let allocate = |len| xen.allocate(len, End::Guarded).map_err(CallError::Memory);
        let mut block = allocate(SIZE)?;
        put(block.as_mut_slice(), 0, &self.block);
        put(block.as_mut_slice(), 0, &self.command.to_le_bytes());
        let mut memory = Vec::new();
        for (offset, bytes) in &self.memory {
            let mut buffer: HypercallBuffer = allocate(bytes.len())?;
            let start = start_of_last(&buffer, bytes.len());
            put(buffer.as_mut_slice(), start, bytes);
            put(block.as_mut_slice(), *offset, &buffer.handle(start).address.to_le_bytes());
            memory.push(Memory { offset: *offset, start, buffer });
        }
        Ok(PreparedSysctl { xen, block, memory })
    }
}

/// A [`RawSysctl`] in memory for hypercalls.
#[derive(Debug)]
#[must_use = "`send` makes the hypercall"]
pub struct PreparedSysctl<'a> {
    xen: &'a dyn Hypervisor,
    block: HypercallBuffer,
    memory: Vec<Memory>,
}

#[derive(Debug)]
struct Memory {
    /// The offset of its address.
    offset: usize,
    /// Its offset in the buffer. Both end at the same place.
    start: usize,
    buffer: HypercallBuffer,
}

impl Memory {
    fn bytes(&self) -> Vec<u8> {
        self.buffer.as_slice().get(self.start..).expect("it starts inside of its buffer").to_vec()
    }
}

const LONG_ENOUGH: &str = "a buffer is as long as was asked for, or longer";

fn first(buffer: &HypercallBuffer, len: usize) -> &[u8] {
    buffer.as_slice().get(..len).expect(LONG_ENOUGH)
}

fn start_of_last(buffer: &HypercallBuffer, len: usize) -> usize {
    buffer.len().checked_sub(len).expect(LONG_ENOUGH)
}

impl PreparedSysctl<'_> {
    /// Sends the request. If it is sent again, it contains whatever the hypervisor has written into it.
    ///
    /// # Errors
    /// Those of the hypervisor.
    pub fn send(&mut self) -> Result<u32, Errno> {
        let mut buffers: Vec<_> = self.memory.iter_mut().map(|memory| &mut memory.buffer).collect();
        self.xen.sysctl(&mut Sysctl::new(&mut self.block, &mut buffers))
    }

    /// Returns the answer, with this result.
    #[must_use]
    pub fn answer(&self, result: Result<u32, Errno>) -> RawAnswer {
        let mut block = [0; SIZE];
        put(&mut block, 0, first(&self.block, SIZE));
        self.memory.iter().for_each(|memory| put(&mut block, memory.offset, &[0; 8]));
        RawAnswer { result, block, memory: self.memory.iter().map(Memory::bytes).collect() }
    }
}

/// An `xen_version` hypercall written byte by byte.
///
/// ```
/// use xen_livepatch::{Errno, Release};
/// use xen_livepatch::sim::{RawVersion, SimulatedXen};
///
/// let xen = SimulatedXen::new(Release::V4_17);
/// // The build-id, into a structure that has no room for it.
/// let (result, _) = RawVersion::new(10).argument(4_u32.to_le_bytes()).send(&xen)?;
/// assert_eq!(result, Err(Errno::new(105)));
/// # Ok::<(), xen_livepatch::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "`send` makes the hypercall"]
pub struct RawVersion {
    command: u32,
    argument: Option<Vec<u8>>,
}

impl RawVersion {
    /// A command, with a null pointer for its argument.
    pub fn new(command: u32) -> Self {
        Self { command, argument: None }
    }

    /// Sets the argument to memory with these bytes.
    pub fn argument(self, bytes: impl Into<Vec<u8>>) -> Self {
        Self { argument: Some(bytes.into()), ..self }
    }

    /// Sends the request to a hypervisor. Returns the result of the hypercall, and the memory after it.
    ///
    /// # Errors
    /// [`BufferMemory`](crate::ErrorKind::BufferMemory) when there is no memory for the argument.
    pub fn send(&self, xen: &dyn Hypervisor) -> crate::Result<(Result<u32, Errno>, Vec<u8>)> {
        let Some(argument) = &self.argument else { return Ok((xen.xen_version(self.command, None), Vec::new())) };
        let allocated = xen.allocate(argument.len(), End::Guarded).map_err(CallError::Memory);
        let mut buffer: HypercallBuffer = allocated?;
        put(buffer.as_mut_slice(), 0, argument);
        let result = xen.xen_version(self.command, Some(&mut buffer));
        Ok((result, first(&buffer, argument.len()).to_vec()))
    }
}

/// The words of a sysctl that are not zero, by offset.
struct Words<'a>(&'a [u8; SIZE]);

impl fmt::Debug for Words<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = (0..SIZE).step_by(4).filter_map(|offset| Some((offset, u32_at(self.0, offset)?)));
        f.debug_map().entries(words.filter(|(_, word)| *word != 0)).finish()
    }
}

/// Memory as text, without the zeros at its end.
struct Text<'a>(&'a [u8]);

impl fmt::Debug for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = self.0.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        let text = self.0.get(..end).expect("it ends inside").escape_ascii();
        write!(f, "{} bytes \"{text}\"", self.0.len())
    }
}

impl fmt::Debug for RawSysctl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("RawSysctl");
        debug.field("command", &self.command).field("block", &Words(&self.block));
        for (offset, bytes) in &self.memory {
            debug.field(&format!("at {offset}"), &Text(bytes));
        }
        debug.finish()
    }
}

impl fmt::Debug for RawAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let memory: Vec<_> = self.memory.iter().map(|bytes| Text(bytes)).collect();
        let words = Words(&self.block);
        f.debug_struct("RawAnswer")
            .field("result", &self.result)
            .field("block", &words)
            .field("memory", &memory)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::super::SimulatedXen;
    use super::*;

    #[test]
    fn memory_goes_there_and_back_and_ends_at_a_page() {
        let xen = SimulatedXen::new(Release::V4_17);
        let upload = RawSysctl::livepatch(Release::V4_17, 0).name(b"n\0").word(32, 5).memory(40, *b"noise");
        assert_eq!(upload.send(&xen).unwrap().result, Err(Errno::EINVAL));
        assert_eq!(upload.word(32, 6).send(&xen).unwrap().result, Err(Errno::EFAULT));
        let list = RawSysctl::livepatch(Release::V4_17, 2).word(4, 0x15).memory(40, [7; 8]);
        let answer = list.send(&xen).unwrap();
        assert_eq!((answer.result, answer.memory), (Ok(0), vec![vec![7; 8]]));
        assert_eq!((u32_at(&answer.block, 16), u32_at(&answer.block, 40)), (Some(1), Some(0)));
    }

    #[test]
    fn what_is_prepared_can_be_sent_again_and_again() {
        let xen = SimulatedXen::new(Release::V4_17);
        let mut list = RawSysctl::livepatch(Release::V4_17, 2).prepare(&xen).unwrap();
        assert_eq!(xen.calls().total(), 0);
        let results = [list.send(), list.send()];
        assert_eq!(results, [Ok(0), Ok(0)]);
        assert_eq!(xen.calls().total(), 2);
        let answer = list.answer(results[1]);
        assert_eq!((answer.result, u32_at(&answer.block, 16)), (Ok(0), Some(1)));
    }

    #[test]
    fn keys_are_pressed_one_by_one() {
        let xen = SimulatedXen::new(Release::V4_17);
        let press = |keys: &[u8], count| {
            let before = xen.console().len();
            let answer = RawSysctl::debug_keys(Release::V4_17).memory(8, keys).word(16, count).send(&xen).unwrap();
            (answer.result, xen.console()[before..].matches("'x' pressed").count())
        };
        assert_eq!(press(b"x", 1), (Ok(0), 1));
        assert_eq!(press(b"xhx", 3), (Ok(0), 2));
        assert_eq!(press(b"xx", 1), (Ok(0), 1));
        assert_eq!(press(b"x", 0), (Ok(0), 0));
        let nowhere = RawSysctl::debug_keys(Release::V4_17).word(16, 1).send(&xen).unwrap();
        assert_eq!(nowhere.result, Err(Errno::EFAULT));
        let old = RawSysctl::debug_keys(Release::V4_7).memory(8, b"x").word(16, 1).send(&xen).unwrap();
        assert_eq!(old.result, Err(Errno::EACCES));
        assert_eq!(xen.calls().of(crate::sim::Call::DebugKeys), 6);
    }

    #[test]
    fn addresses_are_of_given_memory_or_null() {
        let xen = SimulatedXen::new(Release::V4_17);
        let name = [b'n', 0];
        let address = crate::hypercall::HypercallBuffer::plain(1, crate::hypercall::End::Guarded)
            .unwrap()
            .address()
            .to_le_bytes();
        let get = RawSysctl::livepatch(Release::V4_17, 1).name(&name);
        assert_eq!(get.send(&xen).unwrap().result, Err(Errno::ENOENT));
        let answer = RawSysctl::livepatch(Release::V4_17, 1).bytes(16, &address).word(24, 2).send(&xen).unwrap();
        assert_eq!((answer.result, &answer.block[16..24]), (Err(Errno::EFAULT), &[0; 8][..]));
    }
}
