//! Queries, which change nothing.

use super::LivepatchClient;
use crate::error::{Error, ErrorKind, Operation, Result};
use crate::hypercall::channel::CallError;
use crate::types::{Action, BuildId, Errno, Flags, PayloadName, Status, XenVersion};
use crate::xen::rules;

/// The number of times that a query is repeated when Xen could not reach our memory.
pub(super) const FAULT_RETRIES: u32 = 3;

/// The features of the running Xen, for callers who would otherwise compare versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Capabilities {
    /// The version of Xen's sysctl interface, which this client uses.
    pub interface_version: u32,
    /// The flags that have a meaning for an apply. For other actions no release has any.
    pub apply_flags: Flags,
    /// True if [`UploadOptions::force`](crate::UploadOptions::force) is accepted.
    pub force: bool,
    /// True if a list contains the metadata of payloads.
    pub metadata: bool,
    /// True if payloads may have hooks before, after and in place of actions.
    pub action_hooks: bool,
}

impl LivepatchClient {
    /// Returns the status of a payload at this moment, as Xen reports it.
    ///
    /// # Errors
    /// [`NoSuchPayload`](ErrorKind::NoSuchPayload) (`ENOENT`), and those of any call:
    /// [`NotPermitted`](ErrorKind::NotPermitted), [`Fault`](ErrorKind::Fault), [`BufferMemory`](ErrorKind::BufferMemory),
    /// [`UnexpectedAnswer`](ErrorKind::UnexpectedAnswer).
    ///
    /// ```
    /// # use xen_livepatch::*;
    /// # let (_, client, fix, payload) = doctest::fix()?;
    /// # client.upload(&fix, &payload)?;
    /// let status = client.status(&fix)?;
    /// assert_eq!((status.state, status.rc), (State::Checked, 0));
    /// # Ok::<(), Error>(())
    /// ```
    #[doc(alias = "xc_livepatch_get")]
    pub fn status(&self, name: &PayloadName) -> Result<Status> {
        self.get(name).map_err(|error| no_status(error).during(Operation::Status).of(name))
    }

    /// Returns Xen's own build-id, on which the first payload of a stack depends.
    ///
    /// # Errors
    /// [`NoBuildId`](ErrorKind::NoBuildId) (`ENODATA`), and those of any call: [`NotPermitted`](ErrorKind::NotPermitted)
    /// (`EPERM`), [`Fault`](ErrorKind::Fault), [`BufferMemory`](ErrorKind::BufferMemory),
    /// [`UnexpectedAnswer`](ErrorKind::UnexpectedAnswer).
    ///
    /// ```
    /// # use xen_livepatch::*;
    /// # let (_, client, ..) = doctest::fix()?;
    /// assert_eq!(client.build_id()?.as_bytes().len(), 20);
    /// # Ok::<(), Error>(())
    /// ```
    #[doc(alias = "xc_version")]
    pub fn build_id(&self) -> Result<BuildId> {
        let error = |error| match error {
            CallError::Refused(Errno::ENODATA) => Error::new(ErrorKind::NoBuildId).errno(Errno::ENODATA),
            other => other.into(),
        };
        self.channel.build_id().map_err(|e| error(e).during(Operation::Version))
    }

    /// Returns the version of the running Xen.
    ///
    /// # Errors
    /// Only if the device fails, since every domain may make this call: [`NotPrivcmd`](ErrorKind::NotPrivcmd),
    /// [`Fault`](ErrorKind::Fault), [`BufferMemory`](ErrorKind::BufferMemory), [`UnexpectedAnswer`](ErrorKind::UnexpectedAnswer).
    ///
    /// ```
    /// # use xen_livepatch::*;
    /// # let (_, client, ..) = doctest::fix()?;
    /// assert_eq!(client.xen_version()?.to_string(), "4.20.4");
    /// # Ok::<(), Error>(())
    /// ```
    #[doc(alias = "xc_version")]
    pub fn xen_version(&self) -> Result<XenVersion> {
        self.channel.xen_version().map_err(|error| Error::from(error).during(Operation::Version))
    }

    /// Returns the features of the running Xen.
    ///
    /// # Errors
    /// Those of any call: [`NotPermitted`](ErrorKind::NotPermitted), [`Fault`](ErrorKind::Fault),
    /// [`BufferMemory`](ErrorKind::BufferMemory), [`UnexpectedAnswer`](ErrorKind::UnexpectedAnswer).
    ///
    /// # Xen
    /// From 4.17 to 4.20 the interface version leaves open whether FORCE is accepted: there the first call finds out with a
    /// LIST, which changes nothing.
    ///
    /// ```
    /// # use xen_livepatch::*;
    /// # let (_, client, ..) = doctest::fix()?;
    /// let xen = client.capabilities()?;
    /// assert!(xen.apply_flags.contains(Flags::NODEPS) && xen.metadata);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn capabilities(&self) -> Result<Capabilities> {
        let xen = self.xen();
        let force = self.channel.understands_force();
        Ok(Capabilities {
            interface_version: self.channel.interface.version,
            apply_flags: Flags::understood_by(xen.release, Action::Apply),
            force: force.map_err(|error| Error::from(error).during(Operation::Version))?,
            metadata: xen.has(&rules::METADATA_LISTED),
            action_hooks: xen.has(&rules::ACTION_HOOKS),
        })
    }

    /// GET.
    pub(super) fn get(&self, name: &PayloadName) -> core::result::Result<Status, CallError> {
        retry_faults(|| self.channel.get(name))
    }

    /// Returns true if Xen has work pending on a payload, whatever its mark shows. A payload that is gone has none.
    ///
    /// ACTION with a command that no release has is refused as busy or as unknown, and does nothing.
    pub(super) fn is_pending(&self, name: &PayloadName) -> core::result::Result<bool, CallError> {
        match retry_faults(|| self.channel.act(name, None, 0, 0)) {
            Err(CallError::Refused(Errno::EBUSY)) => Ok(true),
            Ok(()) | Err(CallError::Refused(Errno::EOPNOTSUPP | Errno::ENOENT)) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// The error of a GET that failed.
pub(super) fn no_status(error: CallError) -> Error {
    match error {
        CallError::Refused(Errno::ENOENT) => Error::new(ErrorKind::NoSuchPayload).errno(Errno::ENOENT),
        other => other.into(),
    }
}

/// Repeats a query, which changes nothing, when Xen could not reach our memory.
pub(super) fn retry_faults<A>(
    mut query: impl FnMut() -> core::result::Result<A, CallError>,
) -> core::result::Result<A, CallError> {
    for _ in 0..FAULT_RETRIES {
        match query() {
            Err(CallError::Refused(Errno::EFAULT)) => {}
            answer => return answer,
        }
    }
    query()
}
