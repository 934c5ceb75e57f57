//! An operation on a payload, and the one place where its error is put together.

use super::LivepatchClient;
use super::console::LogWatch;
use crate::diagnosis::{Known, Xen};
use crate::error::{Operation, Result};
use crate::types::name::PayloadName;

impl LivepatchClient {
    /// Runs an operation on a payload. Its error says which, and carries what Xen wrote to its log about it.
    pub(super) fn watched<R>(
        &self,
        operation: Operation,
        name: &PayloadName,
        run: impl FnOnce(&LogWatch<'_>) -> Result<R>,
    ) -> Result<R> {
        let watch = LogWatch::new(&self.console, &self.channel, name);
        run(&watch).map_err(|error| error.during(operation).of(name).log(watch.into_lines()))
    }

    /// The rules that this Xen goes by.
    pub(super) fn xen(&self) -> Xen {
        let release = self.channel.interface().release(self.channel.release());
        Xen { release, architecture: self.channel.architecture() }
    }

    /// What is known about build-ids here.
    pub(super) fn known(&self, name: &PayloadName) -> Known {
        Known { xen: self.channel.build_id().ok(), payload: self.identities.of(name), others: self.identities.all() }
    }
}
