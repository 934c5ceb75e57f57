//! Hypercalls by kind, and the number of each.

use std::collections::BTreeMap;

/// A kind of hypercall.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Call {
    /// UPLOAD of a payload.
    Upload,
    /// GET of one payload's status.
    Get,
    /// LIST, with rows or for the sizes alone.
    List,
    /// ACTION: apply.
    Apply,
    /// ACTION: revert.
    Revert,
    /// ACTION: replace.
    Replace,
    /// ACTION: unload.
    Unload,
    /// ACTION with a command that no release has. Its error shows whether an action is under way on a payload.
    OtherAction,
    /// Reading the console ring.
    Console,
    /// Sending debug keys.
    DebugKeys,
    /// `XENVER_version`.
    Version,
    /// `XENVER_extraversion`.
    ExtraVersion,
    /// `XENVER_compile_info`.
    CompileInfo,
    /// `XENVER_changeset`.
    Changeset,
    /// `XENVER_build_id`.
    BuildId,
    /// Anything else.
    Other,
}

impl From<crate::types::Action> for Call {
    fn from(action: crate::types::Action) -> Self {
        match action {
            crate::types::Action::Apply => Self::Apply,
            crate::types::Action::Revert => Self::Revert,
            crate::types::Action::Replace => Self::Replace,
            crate::types::Action::Unload => Self::Unload,
        }
    }
}

/// Numbers of hypercalls by kind, including failed ones and those with a wrong interface version.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Calls(BTreeMap<Call, u64>);

impl Calls {
    /// Returns the number of hypercalls of a kind.
    #[must_use]
    pub fn of(&self, call: Call) -> u64 {
        self.0.get(&call).map_or(0, |count| *count)
    }

    /// Returns the number of all hypercalls.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.values().sum()
    }

    pub(super) fn count(&mut self, call: Call) {
        *self.0.entry(call).or_insert(0) += 1;
    }
}
