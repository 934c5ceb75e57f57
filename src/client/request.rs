//! An action with all that can be said about it.

use std::time::Duration;

use super::action_lock::ActionGuard;
use super::deadline::Deadline;
use super::options::{ActionOptions, QuiesceTimeout};
use super::{LivepatchClient, action};
use crate::error::{Action, Operation, Result};
use crate::types::flags::Flags;
use crate::types::name::PayloadName;

/// An action about to be asked for; made by [`LivepatchClient::action`]. What is not set is the client's own.
#[derive(Clone, Copy, Debug)]
#[must_use = "nothing is asked of Xen before `run`"]
pub struct ActionRequest<'a> {
    client: &'a LivepatchClient,
    action: Action,
    name: &'a PayloadName,
    flags: Flags,
    options: ActionOptions,
}

impl<'a> ActionRequest<'a> {
    pub(super) fn new(client: &'a LivepatchClient, action: Action, name: &'a PayloadName) -> Self {
        Self { client, action, name, flags: Flags::empty(), options: ActionOptions::new() }
    }

    /// The flags of the action. Default: none.
    pub fn flags(mut self, flags: Flags) -> Self {
        self.flags = flags;
        self
    }

    /// These options, where they say something, in place of those set so far.
    pub fn options(mut self, options: ActionOptions) -> Self {
        self.options = options.or(self.options);
        self
    }

    /// See [`ActionOptions::quiesce_timeout`].
    pub fn quiesce_timeout(self, timeout: QuiesceTimeout) -> Self {
        self.options(ActionOptions::new().quiesce_timeout(timeout))
    }

    /// See [`ActionOptions::quiesce_retries`].
    pub fn quiesce_retries(self, retries: u32) -> Self {
        self.options(ActionOptions::new().quiesce_retries(retries))
    }

    /// See [`ActionOptions::deadline`].
    pub fn deadline(self, deadline: Duration) -> Self {
        self.options(ActionOptions::new().deadline(deadline))
    }

    /// Asks Xen for it, and returns when Xen has finished.
    ///
    /// # Errors
    /// Those of [`apply`](LivepatchClient::apply), [`revert`](LivepatchClient::revert),
    /// [`replace`](LivepatchClient::replace) or [`unload`](LivepatchClient::unload).
    pub fn run(self) -> Result<()> {
        self.run_in(None)
    }

    /// In the caller's turn, where it has it.
    pub(super) fn run_in(self, turn: Option<&ActionGuard<'_>>) -> Result<()> {
        let Self { client, action, name, flags, options } = self;
        let options = options.or(client.defaults);
        let deadline = Deadline::after(options.time());
        let attempt = action::Attempt { client, action, name, flags, options, deadline };
        client.watched(Operation::Action(action), name, |watch| attempt.run(turn, watch))?;
        if action == Action::Unload {
            client.identities.forget(name);
        }
        Ok(())
    }
}
