//! A payload from its file into effect, and nothing left behind where that fails.

use std::time::Duration;

use super::LivepatchClient;
use super::action;
use super::options::LoadOptions;
use crate::error::{Action, Cleanup, Error, ErrorKind, Operation, Result};
use crate::name::PayloadName;
use crate::payload::Payload;

/// The least time for unloading, besides time for a hook to return. Xen takes none for it, but the deadline of the apply may
/// leave none.
const CLEANUP: Duration = Duration::from_secs(1);

/// Uploads and applies; unloads again if it was not applied. Flags that can't be meant are refused before either.
pub(super) fn load(
    client: &LivepatchClient,
    name: &PayloadName,
    payload: &Payload,
    options: LoadOptions,
) -> Result<()> {
    let flags = action::check_flags(client, Action::Apply, options.flags);
    flags.map_err(|error| error.during(Operation::Action(Action::Apply)).of(name))?;
    client.upload_with(name, payload.bytes(), options.upload)?;
    let apply = client.action(Action::Apply, name).flags(options.flags).options(options.action).run();
    apply.map_err(|error| clean_up(client, name, options, error))
}

fn clean_up(client: &LivepatchClient, name: &PayloadName, options: LoadOptions, error: Error) -> Error {
    if matches!(error.kind(), ErrorKind::Overtaken { state: None, .. }) {
        return error.with_cleanup(Cleanup::Gone);
    }
    let busy = *error.kind() == ErrorKind::OperationInProgress;
    if busy || error.may_have_happened() {
        return error.with_cleanup(Cleanup::Left);
    }
    let least = client.turn.hook_time().saturating_add(CLEANUP);
    let time = options.action.or(client.defaults).time().max(least);
    let unload = client.action(Action::Unload, name).options(options.action).deadline(time).run();
    error.with_cleanup(match unload {
        Ok(()) => Cleanup::Unloaded,
        Err(error) if *error.kind() == ErrorKind::NoSuchPayload => Cleanup::Gone,
        Err(error) => Cleanup::Failed(error),
    })
}
