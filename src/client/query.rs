//! Questions to Xen that change nothing.

use super::LivepatchClient;
use crate::error::{Error, ErrorKind};
use crate::hypercall::channel::CallError;
use crate::hypercall::operation::{Act, Get};
use crate::types::errno::Errno;
use crate::types::name::PayloadName;
use crate::types::status::Status;

/// How often a question is asked again when Xen could not reach our memory.
pub(super) const FAULT_RETRIES: u32 = 3;

impl LivepatchClient {
    /// GET.
    pub(super) fn get(&self, name: &PayloadName) -> core::result::Result<Status, CallError> {
        ask(|| self.channel.call(Get { name }))
    }

    /// Whether Xen really has work pending on a payload, whatever its mark says. A payload that is gone has none.
    ///
    /// ACTION with a command that no release has is refused as busy or as unknown, and does nothing.
    pub(super) fn is_pending(&self, name: &PayloadName) -> core::result::Result<bool, CallError> {
        match ask(|| self.channel.call(Act { name, action: None, timeout: 0, flags: 0 })) {
            Err(CallError::Refused(Errno::EBUSY)) => Ok(true),
            Ok(()) | Err(CallError::Refused(Errno::EOPNOTSUPP | Errno::ENOENT)) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// What it means that GET was refused.
pub(super) fn not_got(error: CallError) -> Error {
    match error {
        CallError::Refused(Errno::ENOENT) => Error::new(ErrorKind::NoSuchPayload).errno(Errno::ENOENT),
        other => other.general(),
    }
}

/// Asks what changes nothing, and asks again when Xen could not reach our memory.
pub(super) fn ask<A>(
    mut question: impl FnMut() -> core::result::Result<A, CallError>,
) -> core::result::Result<A, CallError> {
    for _ in 0..FAULT_RETRIES {
        match question() {
            Err(CallError::Refused(Errno::EFAULT)) => {}
            answer => return answer,
        }
    }
    question()
}
