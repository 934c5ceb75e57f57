//! A decoder of hypercalls, byte by byte.
//!
//! The offsets are those of Xen's interface, on purpose without the bindings that the client uses: a wrong binding must not
//! be right on both sides.

use super::action;
use super::bytes::{array, put, u32_at, word};
use super::calls::Call;
use super::faults::Faults;
use super::guest_memory::Caller;
use super::host::{HOST_IS_DOWN, Host, Support};
use super::settings::Access;
use crate::types::{Errno, to_usize};
use crate::xen::format::MAX_SIZE;
use crate::xen::rules;

pub(super) const SIZE: usize = 136;

const COMMAND: usize = 0;
const INTERFACE_VERSION: usize = 4;

pub(super) const READ_CONSOLE: u32 = 1;
pub(super) const DEBUG_KEYS: u32 = 7;
pub(super) const LIVEPATCH: u32 = 27;

/// Offsets in `readconsole`.
const CONSOLE_CLEAR: usize = 8;
const CONSOLE_INCREMENTAL: usize = 9;
const CONSOLE_INDEX: usize = 12;
const CONSOLE_BUFFER: usize = 16;
const CONSOLE_COUNT: usize = 24;

/// Offsets in `debug_keys`.
const KEYS: usize = 8;
const KEYS_COUNT: usize = 16;

/// Offsets and commands of `livepatch_op`.
mod livepatch {
    pub(super) const COMMAND: usize = 8;
    pub(super) const FLAGS: usize = 12;
    pub(super) const UPLOAD: u32 = 0;
    pub(super) const GET: u32 = 1;
    pub(super) const LIST: u32 = 2;
    pub(super) const ACTION: u32 = 3;
    /// Of UPLOAD, GET and ACTION.
    pub(super) const NAME: usize = 16;
    pub(super) const NAME_SIZE: usize = 24;
    pub(super) const NAME_PAD: [usize; 3] = [26, 28, 30];
    pub(super) const UPLOAD_SIZE: usize = 32;
    pub(super) const UPLOAD_PAYLOAD: usize = 40;
    pub(super) const GET_STATE: usize = 32;
    pub(super) const GET_RC: usize = 36;
    pub(super) const ACTION_COMMAND: usize = 32;
    pub(super) const ACTION_TIMEOUT: usize = 36;
    /// From 4.14 on.
    pub(super) const ACTION_FLAGS: usize = 40;
    pub(super) const ACTION_PAD: usize = 44;
}

const FORCE: u32 = 1;
const MAX_NAME: u16 = 128;

const XENVER_VERSION: u32 = 0;
const XENVER_EXTRAVERSION: u32 = 1;
const XENVER_COMPILE_INFO: u32 = 2;
const XENVER_CHANGESET: u32 = 4;
const XENVER_BUILD_ID: u32 = 10;

pub(super) type Block = [u8; SIZE];

const INSIDE: &str = "the fields above end at byte 80 of 136";

fn half_at(block: &Block, offset: usize) -> u16 {
    array(block, offset).map(u16::from_le_bytes).expect(INSIDE)
}

pub(super) fn word_at(block: &Block, offset: usize) -> u32 {
    u32_at(block, offset).expect(INSIDE)
}

pub(super) fn long_at(block: &Block, offset: usize) -> u64 {
    array(block, offset).map(u64::from_le_bytes).expect(INSIDE)
}

/// The kind of a sysctl, whether or not Xen carries it out.
pub(super) fn sysctl_kind(block: &Block) -> Call {
    match (word_at(block, COMMAND), word_at(block, livepatch::COMMAND)) {
        (READ_CONSOLE, _) => Call::Console,
        (DEBUG_KEYS, _) => Call::DebugKeys,
        (LIVEPATCH, livepatch::UPLOAD) => Call::Upload,
        (LIVEPATCH, livepatch::GET) => Call::Get,
        (LIVEPATCH, livepatch::LIST) => Call::List,
        (LIVEPATCH, livepatch::ACTION) => match action::from_number(word_at(block, livepatch::ACTION_COMMAND)) {
            Some(action) => action.into(),
            None => Call::OtherAction,
        },
        _ => Call::Other,
    }
}

pub(super) fn version_kind(command: u32) -> Call {
    match command {
        XENVER_VERSION => Call::Version,
        XENVER_EXTRAVERSION => Call::ExtraVersion,
        XENVER_COMPILE_INFO => Call::CompileInfo,
        XENVER_CHANGESET => Call::Changeset,
        XENVER_BUILD_ID => Call::BuildId,
        _ => Call::Other,
    }
}

/// Carries out a sysctl whose 136 bytes were read from `address`.
pub(super) fn sysctl(
    host: &mut Host,
    address: u64,
    mut block: Block,
    caller: &mut impl Caller,
    faults: &Faults,
) -> Result<u32, Errno> {
    if host.support == Support::NoSysctl {
        return Err(Errno::ENOSYS);
    }
    if word_at(&block, INTERFACE_VERSION) != host.release.interface_version() {
        return Err(Errno::EACCES);
    }
    let command = word_at(&block, COMMAND);
    match host.settings.access {
        Access::NotPrivileged => return Err(Errno::EPERM),
        Access::DeniedByFlask if command == LIVEPATCH => return Err(Errno::EACCES),
        _ => {}
    }
    let result = match command {
        LIVEPATCH if host.support == Support::NoLivepatch => Err(Errno::ENOSYS),
        LIVEPATCH => {
            host.faults = faults.clone();
            let result = operation(host, &mut block, caller);
            host.faults = Faults::default();
            result
        }
        READ_CONSOLE => read_console(host, &mut block, caller),
        DEBUG_KEYS => debug_keys(host, &block, caller, faults.finds_lock_held()),
        _ => Err(Errno::ENOSYS),
    };
    if host.crashed.is_some() {
        return Err(HOST_IS_DOWN);
    }
    if matches!(result, Err(Errno::ENOSYS | Errno::EOPNOTSUPP)) {
        return result;
    }
    if faults.loses_answer() {
        return Err(Errno::EFAULT);
    }
    caller.write(address, &block)?;
    result
}

fn operation(host: &mut Host, block: &mut Block, caller: &mut impl Caller) -> Result<u32, Errno> {
    let flags = word_at(block, livepatch::FLAGS);
    // Unknown bits pass together with the known one.
    let refused = if host.has(&rules::REQUEST_FLAGS) { flags & FORCE == 0 && flags != 0 } else { flags != 0 };
    if refused {
        return Err(Errno::EINVAL);
    }
    match word_at(block, livepatch::COMMAND) {
        livepatch::UPLOAD => upload(host, block, caller),
        livepatch::GET => get(host, block, caller),
        livepatch::LIST => {
            host.poll();
            host.list(block, caller)
        }
        livepatch::ACTION => act(host, block, caller),
        _ => Err(Errno::EOPNOTSUPP),
    }
}

/// The name, with its NUL.
fn name(block: &Block, caller: &mut impl Caller) -> Result<Vec<u8>, Errno> {
    let size = half_at(block, livepatch::NAME_SIZE);
    if size == 0 || size > MAX_NAME || livepatch::NAME_PAD.iter().any(|offset| half_at(block, *offset) != 0) {
        return Err(Errno::EINVAL);
    }
    let name = caller.read(long_at(block, livepatch::NAME), size.into())?;
    if name.last() == Some(&0) { Ok(name) } else { Err(Errno::EINVAL) }
}

fn upload(host: &mut Host, block: &Block, caller: &mut impl Caller) -> Result<u32, Errno> {
    // UPLOAD alone returns EINVAL for a name that can't be read.
    let name = name(block, caller).map_err(|_| Errno::EINVAL)?;
    let (size, payload) = (long_at(block, livepatch::UPLOAD_SIZE), long_at(block, livepatch::UPLOAD_PAYLOAD));
    let size = usize::try_from(size).ok().filter(|size| (1..=MAX_SIZE).contains(size));
    let size = size.ok_or(Errno::EINVAL)?;
    if !host.is_in_guest(payload) {
        return Err(Errno::EFAULT);
    }
    host.upload(&name, || caller.read(payload, size))
}

fn get(host: &mut Host, block: &mut Block, caller: &mut impl Caller) -> Result<u32, Errno> {
    host.poll();
    let name = name(block, caller)?;
    let (state, rc) = host.get(&name)?;
    put(block, livepatch::GET_STATE, &state.to_le_bytes());
    put(block, livepatch::GET_RC, &rc.to_le_bytes());
    Ok(0)
}

fn act(host: &mut Host, block: &Block, caller: &mut impl Caller) -> Result<u32, Errno> {
    host.poll();
    let packed = host.has(&rules::PACKED_LAYOUT);
    if packed && word_at(block, livepatch::ACTION_PAD) != 0 {
        return Err(Errno::EINVAL);
    }
    let name = name(block, caller)?;
    let flags = if packed { word_at(block, livepatch::ACTION_FLAGS) } else { 0 };
    let command = word_at(block, livepatch::ACTION_COMMAND);
    host.act(&name, command, word_at(block, livepatch::ACTION_TIMEOUT), flags)
}

fn read_console(host: &mut Host, block: &mut Block, caller: &mut impl Caller) -> Result<u32, Errno> {
    let byte = |offset| block.get(offset).is_some_and(|byte: &u8| *byte != 0);
    let (clear, incremental) = (byte(CONSOLE_CLEAR), byte(CONSOLE_INCREMENTAL));
    let index = incremental.then(|| word_at(block, CONSOLE_INDEX));
    let (text, next) = host.console.read(index, word_at(block, CONSOLE_COUNT));
    caller.write(long_at(block, CONSOLE_BUFFER), &text)?;
    if clear {
        host.console.clear(next);
    }
    put(block, CONSOLE_INDEX, &next.to_le_bytes());
    put(block, CONSOLE_COUNT, &word(text.len()).to_le_bytes());
    Ok(0)
}

/// Xen reads the keys one by one. Only `x` belongs to live patching.
fn debug_keys(host: &mut Host, block: &Block, caller: &mut impl Caller, lock_held: bool) -> Result<u32, Errno> {
    for index in 0..u64::from(word_at(block, KEYS_COUNT)) {
        let key = caller.read(long_at(block, KEYS).wrapping_add(index), 1)?;
        if key == b"x" && host.support == Support::Full {
            host.dump(lock_held);
        }
    }
    Ok(0)
}

pub(super) fn xen_version(
    host: &mut Host,
    command: u32,
    argument: Option<&mut impl Caller>,
    faults: &Faults,
) -> Result<u32, Errno> {
    let result = match command {
        XENVER_VERSION => Ok(4 << 16 | u32::from(host.release.minor())),
        XENVER_EXTRAVERSION => answer(argument, &[(host.extra_version(), 16)]),
        XENVER_COMPILE_INFO => {
            let date = host.compile_date.as_bytes();
            // Compiler, user, domain and date.
            answer(argument, &[(b"gcc", 64), (b"root", 16), (b"", 32), (date, 32)])
        }
        XENVER_CHANGESET => answer(argument, &[(host.changeset.as_bytes(), 64)]),
        XENVER_BUILD_ID => build_id(host, argument),
        _ => Err(Errno::ENOSYS),
    };
    if faults.loses_answer() && result.is_ok() { Err(Errno::EFAULT) } else { result }
}

/// Writes texts, each cut to the size of its field, whose last byte is a NUL.
fn answer(argument: Option<&mut impl Caller>, fields: &[(&[u8], usize)]) -> Result<u32, Errno> {
    let mut bytes = Vec::new();
    for (text, size) in fields {
        let end = bytes.len() + size;
        bytes.extend(text.iter().take(size - 1));
        bytes.resize(end, 0);
    }
    argument.ok_or(Errno::EFAULT)?.write(0, &bytes).map(|()| 0)
}

fn build_id(host: &Host, argument: Option<&mut impl Caller>) -> Result<u32, Errno> {
    if host.settings.access == Access::NotPrivileged {
        return Err(Errno::EPERM);
    }
    let varbuf = host.has(&rules::BUILD_ID_AS_VARBUF);
    let id = host.build_id.as_deref().ok_or(Errno::ENODATA);
    if varbuf && id.is_err() {
        return Err(Errno::ENODATA);
    }
    if let Some(argument) = argument {
        let room = u32_at(&argument.read(0, 4)?, 0).ok_or(Errno::EFAULT)?;
        if room == 0 && !varbuf {
            return Err(Errno::EINVAL);
        }
        if id?.len() > to_usize(room) {
            return Err(Errno::ENOBUFS);
        }
        argument.write(4, id?)?;
    }
    id.map(|id| word(id.len()))
}
