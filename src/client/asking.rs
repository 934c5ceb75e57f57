//! Questions to Xen that change nothing, and what it means when they fail.

use super::LivepatchClient;
use crate::errno::Errno;
use crate::error::{Error, ErrorKind, Result};
use crate::hypercall::channel::CallError;
use crate::hypercall::operation::Get;
use crate::name::PayloadName;
use crate::payload::Target;
use crate::status::Status;

/// How often a question is asked again when Xen could not reach our memory.
pub(super) const FAULT_RETRIES: u32 = 3;

impl LivepatchClient {
    /// What payloads must fit.
    pub(super) fn target(&self) -> Result<Target> {
        if let Some(target) = self.target.get() {
            return Ok(target.clone());
        }
        let version = self.channel.xen_version().map_err(CallError::general)?;
        let target = Target::from(&version).architecture(self.channel.architecture());
        match self.channel.build_id() {
            Ok(id) => Ok(self.target.get_or_init(|| target.build_id(id)).clone()),
            Err(CallError::Refused(Errno::ENODATA)) => Ok(self.target.get_or_init(|| target).clone()),
            // Who may not know it now may know it later; meanwhile Xen compares it, from 4.14 on.
            Err(_) => Ok(target),
        }
    }

    /// GET.
    pub(super) fn get(&self, name: &PayloadName) -> core::result::Result<Status, CallError> {
        ask(|| self.channel.call(Get { name }))
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

/// Xen has been asked to do something, and then it could not be seen what came of it: not an error that says that
/// nothing was done.
pub(super) fn outcome_unknown(error: Error) -> Error {
    if *error.kind() == ErrorKind::NoSuchPayload {
        return error;
    }
    error.because(ErrorKind::OutcomeUnknown)
}
