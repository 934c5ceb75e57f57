//! What a payload is and what it goes on top of.

use crate::build_id::BuildId;

/// A payload's build-id, and the build-id of what it goes on top of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) build_id: Option<BuildId>,
    pub(crate) depends: Option<BuildId>,
}
