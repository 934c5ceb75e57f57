//! Loads: an upload and an apply, with nothing left behind if either fails.

use std::path::Path;
use std::time::Duration;

use super::LivepatchClient;
use super::action::check_flags;
use super::inventory::{self, Depth};
use super::listing;
use super::options::LoadOptions;
use crate::error::{Cleanup, Error, ErrorKind, Operation, Result};
use crate::payload::Payload;
use crate::types::{Action, Errno, PayloadName, State};

/// The least time for unloading, besides the time for a hook to return: the deadline of the apply may leave none.
const CLEANUP: Duration = Duration::from_secs(1);

impl LivepatchClient {
    /// Uploads the payload of a file under the file's name without its last suffix (`/x/xsa-500.livepatch` becomes
    /// `xsa-500`) and applies it, with [`Flags`](crate::Flags) or [`LoadOptions`]. If it can't be applied, it is unloaded
    /// again; [`Error::cleanup`] has the result.
    ///
    /// # Errors
    /// [`InvalidName`](ErrorKind::InvalidName), and those of [`Payload::read`], [`upload_with`](Self::upload_with) and
    /// [`apply`](Self::apply). If the payload stays loaded, because it may be applied, because another tool has applied it
    /// or because it could not be unloaded, [`Error::may_have_happened`] is true and [`Error::is_retryable`] is false: the
    /// next call would fail with [`AlreadyLoaded`](ErrorKind::AlreadyLoaded).
    ///
    /// If Xen can't report the result of the upload (`EFAULT`), an [`inventory`](Self::inventory) is taken, and a payload
    /// that was not there before and has this one's build-id is unloaded again.
    ///
    /// ```
    /// # use xen_livepatch::*;
    /// # let (_, client, _, payload) = doctest::fix()?;
    /// # let file = std::env::temp_dir().join(format!("xsa-500-{}.livepatch", std::process::id()));
    /// # std::fs::write(&file, payload).unwrap();
    /// let name = client.load(&file, Flags::empty())?;
    /// assert_eq!(client.status(&name)?.state, State::Applied);
    /// # std::fs::remove_file(&file).unwrap();
    /// # Ok::<(), Error>(())
    /// ```
    pub fn load(&self, path: impl AsRef<Path>, options: impl Into<LoadOptions>) -> Result<PayloadName> {
        let path = path.as_ref();
        let name = PayloadName::of_file(path).map_err(|error| Error::from(error).during(Operation::Upload))?;
        let payload = Payload::read(path).map_err(|error| error.during(Operation::Upload).of(&name))?;
        self.load_as(&name, &payload, options)?;
        Ok(name)
    }

    /// Loads a payload that was read before under this name, like [`load`](Self::load).
    ///
    /// # Errors
    /// As [`load`](Self::load).
    ///
    /// ```
    /// # use xen_livepatch::*;
    /// # let (_, client, fix, bytes) = doctest::fix()?;
    /// use std::time::Duration;
    ///
    /// let payload = Payload::parse(&bytes)?;
    /// let in_a_hurry = ActionOptions::new().deadline(Duration::from_secs(5));
    /// client.load_as(&fix, &payload, LoadOptions::new().flags(Flags::NODEPS).action(in_a_hurry))?;
    /// # Ok::<(), Error>(())
    /// ```
    pub fn load_as(&self, name: &PayloadName, payload: &Payload, options: impl Into<LoadOptions>) -> Result<()> {
        let options = options.into();
        check_flags(self, Action::Apply, options.flags)
            .map_err(|error| error.during(Operation::Action(Action::Apply)).of(name))?;
        let loading = Loading { client: self, name, payload, options };
        let was_free = loading.is_free();
        self.upload_payload(name, payload, options.upload, None)
            .map_err(|error| loading.after_upload(error, was_free))?;
        let apply = self.action(Action::Apply, name).flags(options.flags).options(options.action);
        apply.run().map_err(|error| loading.after_apply(error))
    }
}

/// One call of `load`.
struct Loading<'a> {
    client: &'a LivepatchClient,
    name: &'a PayloadName,
    payload: &'a Payload,
    options: LoadOptions,
}

impl Loading<'_> {
    /// Returns true if no payload of this name is loaded.
    fn is_free(&self) -> bool {
        let listing = listing::list(&self.client.channel);
        listing.is_ok_and(|listing| !listing.rows.iter().any(|row| row.name == *self.name))
    }

    /// Unloads the payload if it is there because of an upload whose result Xen could not report.
    fn after_upload(&self, error: Error, was_free: bool) -> Error {
        if *error.kind() != ErrorKind::OutcomeUnknown {
            return error;
        }
        let cleanup = if was_free && self.is_there() { self.unload(Duration::ZERO) } else { Cleanup::Left };
        match cleanup {
            // Now it is as if it had never been there.
            Cleanup::Unloaded | Cleanup::Gone => {
                let fault = Error::new(ErrorKind::Fault).errno(Errno::EFAULT);
                fault.during(Operation::Upload).of(self.name).log(error.xen_log().to_vec()).with_cleanup(cleanup)
            }
            cleanup => error.with_cleanup(cleanup),
        }
    }

    /// Returns true if the payload of this name is certainly this one.
    fn is_there(&self) -> bool {
        // A client that must not read Xen's log sends no debug key.
        let attempts = if self.client.console.is_readable() { inventory::ATTEMPTS } else { 0 };
        let inventory = inventory::take_within(self.client, None, Depth::Identities, attempts);
        let id = self.payload.build_id().filter(|_| inventory.is_ok());
        let mut entries = inventory.iter().flat_map(|inventory| &inventory.payloads);
        id.is_some() && entries.any(|entry| entry.name == *self.name && entry.build_id.as_ref() == id)
    }

    /// Unloads the payload, unless it may be applied.
    fn after_apply(&self, error: Error) -> Error {
        // The wait for another action was long enough.
        let busy = *error.kind() == ErrorKind::OperationInProgress;
        let time =
            if busy { Duration::ZERO } else { self.options.action.or(self.client.defaults).deadline_or_default() };
        let cleanup = match overtaken(&error) {
            Some(cleanup) => cleanup,
            None if error.may_have_happened() => Cleanup::Left,
            None => self.unload(time),
        };
        error.with_cleanup(cleanup)
    }

    /// Unloads it within this time, or a little more.
    fn unload(&self, time: Duration) -> Cleanup {
        let time = time.max(self.client.action_lock.hook_time().saturating_add(CLEANUP));
        match self.client.action(Action::Unload, self.name).options(self.options.action).deadline(time).run() {
            Ok(()) => Cleanup::Unloaded,
            Err(error) => overtaken(&error).unwrap_or(Cleanup::Failed(error)),
        }
    }
}

/// The fate of the payload that follows from an error, because another tool decided it.
fn overtaken(error: &Error) -> Option<Cleanup> {
    match error.kind() {
        ErrorKind::NoSuchPayload | ErrorKind::Overtaken { state: None, .. } => Some(Cleanup::Gone),
        ErrorKind::Overtaken { state: Some(State::Applied), .. }
        | ErrorKind::WrongState { found: State::Applied, .. } => Some(Cleanup::Applied),
        _ => None,
    }
}
