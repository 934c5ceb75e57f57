//! What payloads must fit: this Xen, which does not change.

use std::sync::OnceLock;

use crate::errno::Errno;
use crate::error::Result;
use crate::hypercall::channel::{CallError, Channel};
use crate::payload::Target;

/// Found out when it is first needed.
#[derive(Debug, Default)]
pub(super) struct KnownTarget(OnceLock<Target>);

impl KnownTarget {
    pub(super) fn of(&self, channel: &Channel) -> Result<Target> {
        if let Some(target) = self.0.get() {
            return Ok(target.clone());
        }
        let version = channel.xen_version().map_err(CallError::general)?;
        let target = Target::from(&version).architecture(channel.architecture());
        match channel.build_id() {
            Ok(id) => Ok(self.0.get_or_init(|| target.build_id(id)).clone()),
            Err(CallError::Refused(Errno::ENODATA)) => Ok(self.0.get_or_init(|| target).clone()),
            // Who may not know it now may know it later; meanwhile Xen compares it, from 4.14 on.
            Err(_) => Ok(target),
        }
    }
}
