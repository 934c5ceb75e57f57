//! What the running Xen understands.

use super::LivepatchClient;
use crate::error::{Action, Operation, Result};
use crate::hypercall::channel::CallError;
use crate::types::flags::Flags;
use crate::xen::rules;

/// What the running Xen understands, for those who would otherwise compare versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Capabilities {
    /// The interface version of its sysctls, which is what this client speaks.
    pub interface_version: u32,
    /// The flags that mean something for an apply. For other actions no release has any.
    pub apply_flags: Flags,
    /// Whether [`UploadOptions::force`](crate::UploadOptions::force) is accepted.
    pub force: bool,
    /// Whether a list has the metadata of payloads.
    pub metadata: bool,
    /// Whether payloads may have hooks before, after and in place of actions.
    pub action_hooks: bool,
}

pub(super) fn of(client: &LivepatchClient) -> Result<Capabilities> {
    let xen = client.xen();
    let force = client.channel.understands_force();
    Ok(Capabilities {
        interface_version: client.channel.interface().version,
        apply_flags: Flags::understood_by(xen.release, Action::Apply),
        force: force.map_err(|error| CallError::general(error).during(Operation::Version))?,
        metadata: xen.has(&rules::METADATA_LISTED),
        action_hooks: xen.has(&rules::ACTION_HOOKS),
    })
}
