//! What an error is expected to be. Kinds with fields can't be made outside of the crate, since they may gain more.

use xen_livepatch::{Action, BuildId, Duplicate, Errno, ErrorKind, PayloadName, State};

/// As the kind of the same name.
#[derive(Clone, Debug)]
#[allow(dead_code, reason = "not each test needs each of them")]
pub enum Told {
    ActionFailed { code: Errno, state: State },
    AlreadyLoaded { by: Duplicate },
    DependencyOrExpectation,
    DependsOnAnother { action: Action, expected: Option<BuildId>, found: Option<BuildId>, on: Option<PayloadName> },
    ExpectationNotMet { function: Option<String> },
    HookRefused { code: Errno },
    InterfaceNotSupported { xen: String, pinned: Option<u32> },
    NotOnTop { top: Option<PayloadName> },
    OutcomeUnknown,
    Overtaken { state: Option<State>, applied: Option<Vec<PayloadName>> },
    ReplaceFailed { code: Errno, applied: Option<Vec<PayloadName>> },
    StaleInProgress { state: State },
}

impl PartialEq<Told> for ErrorKind {
    fn eq(&self, told: &Told) -> bool {
        format!("{self:?}") == format!("{told:?}")
    }
}
