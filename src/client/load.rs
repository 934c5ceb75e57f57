//! A payload from its file into effect, and nothing left behind where that fails.

use std::time::Duration;

use super::LivepatchClient;
use super::action;
use super::inventory::{self, Depth};
use super::listing;
use super::options::LoadOptions;
use super::upload::Uploading;
use crate::error::{Action, Cleanup, Error, ErrorKind, Operation, Result};
use crate::payload::Payload;
use crate::types::errno::Errno;
use crate::types::name::PayloadName;
use crate::types::status::State;

/// The least time for unloading, besides time for a hook to return. Xen takes none for it, but the deadline of the apply may
/// leave none.
const CLEANUP: Duration = Duration::from_secs(1);

/// Uploads and applies; unloads again if it was not applied. Flags without a meaning are refused before either.
pub(super) fn load(
    client: &LivepatchClient,
    name: &PayloadName,
    payload: &Payload,
    options: LoadOptions,
) -> Result<()> {
    let flags = action::check_flags(client, Action::Apply, options.flags);
    flags.map_err(|error| error.during(Operation::Action(Action::Apply)).of(name))?;
    let loading = Loading { client, name, payload, options };
    let was_free = loading.is_free();
    let upload = client.watched(Operation::Upload, name, |watch| {
        Uploading { client, watch, name, options: options.upload, turn: None }.payload(payload)
    });
    upload.map_err(|error| loading.after_upload(error, was_free))?;
    let apply = client.action(Action::Apply, name).flags(options.flags).options(options.action).run();
    apply.map_err(|error| loading.after_apply(error))
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

    /// Unloads the payload after an upload of which Xen could not report the result, if it is there because of that.
    fn after_upload(&self, error: Error, was_free: bool) -> Error {
        if *error.kind() != ErrorKind::OutcomeUnknown {
            return error;
        }
        let cleanup = if was_free && self.is_there() { self.unload(Duration::ZERO) } else { Cleanup::Left };
        match cleanup {
            // As if it had never been there.
            Cleanup::Unloaded | Cleanup::Gone => {
                let fault = Error::new(ErrorKind::Fault).errno(Errno::EFAULT);
                fault.during(Operation::Upload).of(self.name).log(error.xen_log().to_vec()).with_cleanup(cleanup)
            }
            cleanup => error.with_cleanup(cleanup),
        }
    }

    /// Returns true if the payload of this name is surely this one.
    fn is_there(&self) -> bool {
        // Otherwise a debug key would be pressed by a client that is to leave Xen's log alone.
        let attempts = if self.client.console.is_readable() { inventory::ATTEMPTS } else { 0 };
        let inventory = inventory::take_within(self.client, None, Depth::Identities, attempts);
        let id = self.payload.build_id().filter(|_| inventory.is_ok());
        let mut entries = inventory.iter().flat_map(|inventory| &inventory.payloads);
        id.is_some() && entries.any(|entry| entry.name == *self.name && entry.build_id.as_ref() == id)
    }

    /// Unloads the payload, unless it may be applied.
    fn after_apply(&self, error: Error) -> Error {
        // Another action has been waited for long enough.
        let busy = *error.kind() == ErrorKind::OperationInProgress;
        let time = if busy { Duration::ZERO } else { self.options.action.or(self.client.defaults).time() };
        let cleanup = match overtaken(&error) {
            Some(cleanup) => cleanup,
            None if error.may_have_happened() => Cleanup::Left,
            None => self.unload(time),
        };
        error.with_cleanup(cleanup)
    }

    /// Unloads it within this time, or a little more.
    fn unload(&self, time: Duration) -> Cleanup {
        let time = time.max(self.client.turn.hook_time().saturating_add(CLEANUP));
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
