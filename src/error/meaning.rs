//! The meaning of each kind of error for programs.

use super::ErrorKind;
use crate::types::Errno;

/// The meaning of a kind for a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Meaning {
    /// The kind in one word.
    pub(crate) word: &'static str,
    /// The same call may well succeed later, and does no harm.
    pub(crate) retryable: bool,
    /// The operation, or a part of it, may have taken effect, or may still do so.
    pub(crate) may_have_happened: bool,
}

impl ErrorKind {
    /// Returns the kind of an error number in any operation. Operations handle the numbers first that have a meaning of
    /// their own there.
    pub(crate) fn of_number(errno: Errno) -> Self {
        match errno {
            Errno::EPERM | Errno::EACCES => Self::NotPermitted { path: None },
            Errno::ENOSYS => Self::NotBuiltIn,
            Errno::ENOTTY | Errno::EBADF => Self::NotPrivcmd,
            Errno::ENOMEM => Self::XenOutOfMemory,
            Errno::EFAULT => Self::Fault,
            _ => Self::UnexpectedAnswer { what: "an error number that this operation does not have".into() },
        }
    }

    /// Returns the kind in one word, such as `not_on_top`, for logs and metrics. It is the same in every version of this
    /// crate, and the `kind` of a serialised error.
    ///
    /// ```
    /// assert_eq!(xen_livepatch::ErrorKind::QuiesceTimeout.word(), "quiesce_timeout");
    /// ```
    #[must_use]
    pub fn word(&self) -> &'static str {
        self.meaning().word
    }

    /// Returns its meaning, as in the guide's table.
    pub(crate) fn meaning(&self) -> Meaning {
        const FINAL: (bool, bool) = (false, false);
        const AGAIN: (bool, bool) = (true, false);
        const UNCLEAR: (bool, bool) = (false, true);
        const UNCLEAR_AGAIN: (bool, bool) = (true, true);
        let (word, (retryable, may_have_happened)) = match self {
            Self::InvalidName(_) => ("invalid_name", FINAL),
            Self::InvalidBuildId(_) => ("invalid_build_id", FINAL),
            Self::InvalidTimeout { .. } => ("invalid_timeout", FINAL),
            Self::DeviceMissing { .. } => ("device_missing", FINAL),
            Self::NotPrivcmd => ("not_privcmd", FINAL),
            Self::Device { .. } => ("device", FINAL),
            Self::NotHypercallDevice => ("not_hypercall_device", FINAL),
            Self::DeviceUnverified { .. } => ("device_unverified", FINAL),
            Self::UnsupportedMachine { .. } => ("unsupported_machine", FINAL),
            Self::NotPermitted { .. } => ("not_permitted", FINAL),
            Self::InterfaceNotSupported { .. } => ("interface_not_supported", FINAL),
            Self::NotBuiltIn => ("not_built_in", FINAL),
            Self::NoSuchPayload => ("no_such_payload", FINAL),
            Self::AlreadyLoaded { .. } => ("already_loaded", FINAL),
            Self::WrongState { .. } => ("wrong_state", FINAL),
            Self::NotDone { .. } => ("not_done", UNCLEAR),
            Self::Overtaken { .. } => ("overtaken", UNCLEAR),
            Self::NotAsPlanned { .. } => ("not_as_planned", AGAIN),
            Self::NotOnTop { .. } => ("not_on_top", FINAL),
            Self::DependsOnAnother { .. } => ("depends_on_another", FINAL),
            Self::BuiltForAnotherXen { .. } => ("built_for_another_xen", FINAL),
            Self::DependencyOrExpectation => ("dependency_or_expectation", FINAL),
            Self::Unexplained { code: Errno::EBUSY, .. } => ("unexplained", AGAIN),
            Self::Unexplained { .. } => ("unexplained", FINAL),
            Self::ExpectationNotMet { .. } => ("expectation_not_met", FINAL),
            Self::HookRefused { .. } => ("hook_refused", FINAL),
            Self::VetoingHooks => ("vetoing_hooks", FINAL),
            Self::UnsupportedFlag { .. } => ("unsupported_flag", FINAL),
            Self::UnsupportedForce => ("unsupported_force", FINAL),
            Self::QuiesceTimeout => ("quiesce_timeout", AGAIN),
            Self::ActiveWaitqueue { .. } => ("active_waitqueue", AGAIN),
            Self::OperationInProgress => ("operation_in_progress", AGAIN),
            Self::InsideOperation => ("inside_operation", FINAL),
            Self::DeadlinePassed => ("deadline_passed", AGAIN),
            Self::HookMayBeRunning => ("hook_may_be_running", AGAIN),
            Self::Unfinished => ("unfinished", UNCLEAR),
            Self::StaleInProgress { .. } => ("stale_in_progress", UNCLEAR_AGAIN),
            Self::ReapplyNeedsReupload => ("reapply_needs_reupload", FINAL),
            Self::ActionFailed { .. } => ("action_failed", FINAL),
            Self::ReplaceFailed { .. } => ("replace_failed", UNCLEAR),
            Self::InvalidPayload { .. } => ("invalid_payload", FINAL),
            Self::UnfitPayload { .. } => ("unfit_payload", FINAL),
            Self::EmptyPayload => ("empty_payload", FINAL),
            Self::PayloadTooLarge { .. } => ("payload_too_large", FINAL),
            Self::File { .. } => ("file", FINAL),
            Self::ListKeptChanging { .. } => ("list_kept_changing", AGAIN),
            Self::BufferMemory { .. } => ("buffer_memory", FINAL),
            Self::XenOutOfMemory => ("xen_out_of_memory", FINAL),
            Self::Fault => ("fault", AGAIN),
            Self::OutcomeUnknown => ("outcome_unknown", UNCLEAR),
            Self::NoBuildId => ("no_build_id", FINAL),
            Self::UnexpectedAnswer { .. } => ("unexpected_answer", UNCLEAR),
        };
        Meaning { word, retryable, may_have_happened }
    }

    /// Returns the cause without the claim that nothing was done, for a call that did something else before.
    pub(super) const fn cause(&self) -> Option<&'static str> {
        Some(match self {
            Self::QuiesceTimeout => "the CPUs could not be quiesced in time, or a hook was busy",
            Self::OperationInProgress => {
                "the host was busy until the deadline, with another live-patch action or with its CPUs"
            }
            Self::DeadlinePassed => "the deadline passed before Xen was asked to apply it",
            Self::HookMayBeRunning => "a hook may still be running after an earlier action",
            Self::InsideOperation => "this thread is inside another operation of the same client",
            Self::Fault => "Xen could not read or write this program's memory",
            _ => return None,
        })
    }

    /// Returns the error number that is part of the text, so that an error does not contain it twice.
    pub(super) fn code_in_text(&self) -> Option<Errno> {
        match self {
            Self::HookRefused { code }
            | Self::Unexplained { code, .. }
            | Self::ActionFailed { code, .. }
            | Self::ReplaceFailed { code, .. } => Some(*code),
            _ => None,
        }
    }
}
