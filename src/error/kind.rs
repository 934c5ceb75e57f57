//! What went wrong, to match on: the kinds, their texts, and what each means for a caller.

use super::Action;
use crate::loader::Finding;
use crate::types::build_id::{BuildId, InvalidBuildId};
use crate::types::errno::Errno;
use crate::types::flags::Flags;
use crate::types::name::{InvalidName, PayloadName};
use crate::types::status::State;
use crate::xen::elf::Smaller;
use crate::xen::release::KnownSeries;

/// What an upload has in common with something that is already loaded.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Duplicate {
    /// A payload of this name is loaded.
    Name,
    /// A payload with the same build-id is loaded under another name. Only debug builds of Xen say so.
    BuildId,
    /// Xen, or a loaded payload, already has this symbol, which the payload defines anew.
    Symbol(String),
    /// A payload with the same build-id is loaded: under this name and in this state.
    Payload {
        /// The name.
        name: PayloadName,
        /// The state.
        state: State,
    },
    /// A symbol that Xen's log does not name: no payload of this name or with this build-id is loaded.
    SomeSymbol,
    /// The build-id or a symbol: neither Xen's log nor an inventory shows which.
    BuildIdOrSymbol,
    /// The name, the build-id or a symbol: the status of the payload of this name could not be read either.
    Unknown,
}

/// What went wrong, to match on. The text says why and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Bytes that are not a payload name.
    #[error("{0}")]
    InvalidName(InvalidName),
    /// A text that is not a build-id.
    #[error("{0}")]
    InvalidBuildId(InvalidBuildId),
    /// A quiesce timeout is out of range.
    #[error("a quiesce timeout is between 1 ns and 4.294967295 s, not {nanoseconds} ns")]
    InvalidTimeout {
        /// What was asked for.
        nanoseconds: u128,
    },
    /// There is no device to reach Xen through.
    #[error("{path} is missing: this is not a Xen control domain, or the kernel's xen-privcmd module is not loaded")]
    DeviceMissing {
        /// The device that is not there.
        path: String,
    },
    /// What was opened is not Xen's privileged command device.
    #[error("this is not Xen's privileged command device; it is usually /dev/xen/privcmd")]
    NotPrivcmd,
    /// What was given for Xen's hypercall memory is not that device.
    #[error("the second descriptor is not Xen's device for hypercall memory; it is usually /dev/xen/hypercall")]
    NotHypercallDevice,
    /// The device number that would show whether a descriptor is this device is not available.
    #[error(
        "could not verify that this is {path}: neither /proc/misc nor /sys/class/misc is readable; make the client before \
         changing the root directory"
    )]
    DeviceUnverified {
        /// The device that the descriptor should be of.
        path: String,
    },
    /// This machine is not one whose Xen can be live-patched by this crate.
    #[error("machine type {machine} is not supported: only x86-64 and 64-bit Arm are")]
    UnsupportedMachine {
        /// The machine, as `uname -m` prints it.
        machine: String,
    },
    /// The device can't be opened, for another reason.
    #[error("{path} can't be opened")]
    Device {
        /// The device.
        path: String,
    },
    /// The kernel or Xen forbids it.
    #[error(
        "{}not permitted: run as root in the control domain (in another domain the kernel wants xen_privcmd.unrestricted)",
        opening(.path.as_deref())
    )]
    NotPermitted {
        /// The device that may not be opened; `None` where Xen or the kernel refused a hypercall.
        path: Option<String>,
    },
    /// Xen refused every interface version that it was offered.
    #[error("{}", refused_interface(.xen, *.pinned))]
    InterfaceNotSupported {
        /// The release that Xen says it is.
        xen: String,
        /// The only version that was tried, if the caller chose one.
        pinned: Option<u32>,
    },
    /// This Xen was built without live patching.
    #[error("this Xen was built without live patching (CONFIG_LIVEPATCH)")]
    NotBuiltIn,
    /// No payload of this name is loaded.
    #[error("no payload of this name is loaded")]
    NoSuchPayload,
    /// Part of the payload is already loaded.
    #[error("{}", match .by {
        Duplicate::Name =>
            "a payload of this name is already loaded: if it is this one, apply it; otherwise unload it or choose another name".into(),
        Duplicate::Payload { name, state: State::Applied } =>
            format!("it is loaded already, as {name:?}, and applied: nothing is left to do"),
        Duplicate::Payload { name, state: State::Checked } =>
            format!("it is loaded already, as {name:?}, and not applied: apply {name:?}, or `ensure` the file"),
        Duplicate::Payload { name, state } => format!("it is loaded already, as {name:?}, and {state}"),
        Duplicate::SomeSymbol =>
            "a symbol that it defines as new is already defined by Xen or a loaded payload".into(),
        Duplicate::BuildId => "a payload with the same build-id is already loaded under another name".into(),
        Duplicate::Symbol(symbol) =>
            format!("{symbol:?}, which it defines as new, is already defined by Xen or a loaded payload"),
        Duplicate::BuildIdOrSymbol =>
            "a payload with the same build-id, or with a symbol that it defines as new, is already loaded".into(),
        Duplicate::Unknown =>
            "a payload of this name, with this build-id, or with a symbol that it defines as new, is already loaded".to_owned(),
    })]
    AlreadyLoaded {
        /// What the two have in common.
        by: Duplicate,
    },
    /// The payload is in a state in which the action would do nothing or is refused.
    #[error("it is {found}, but must be {needed} for this")]
    WrongState {
        /// The state it is in.
        found: State,
        /// The state it must be in.
        needed: State,
    },
    /// Another tool acted on the payload, or on the stack, while this operation was going on.
    #[error("another tool acted meanwhile: {}", overtaken(*.state, .applied.as_deref()))]
    Overtaken {
        /// The state that the payload is in; `None` if it is no longer loaded.
        state: Option<State>,
        /// What is applied, in the order of upload, where that matters and could be read.
        applied: Option<Vec<PayloadName>>,
    },
    /// While a plan was carried out, another tool changed what is loaded or applied.
    #[error("another tool changed what is loaded since the plan was made{}; plan again", now_applied(.applied))]
    NotAsPlanned {
        /// What is applied, in the order of upload.
        applied: Vec<PayloadName>,
    },
    /// Others were applied after it.
    #[error("it is not the payload applied last{}; revert what was applied after it first", is_top(.top.as_ref()))]
    NotOnTop {
        /// The payload applied last, where known.
        top: Option<PayloadName>,
    },
    /// It depends on something other than what it would go on top of.
    ///
    /// Xen does not report the build-ids of payloads. Those of `expected` and, for a payload, `found` are what *this
    /// client* uploaded under these names; if another tool has put something else there since, they are out of date.
    #[error("it depends on {}, but would go on {}{}; {}", show(.expected.as_ref()), below(.on.as_ref(), .found.as_ref()),
        hearsay(.expected.as_ref(), .on.as_ref().and(.found.as_ref())), what_to_do(*.action))]
    DependsOnAnother {
        /// The action: apply compares with the top of the stack, replace with Xen itself.
        action: Action,
        /// The build-id that the payload depends on, where known.
        expected: Option<BuildId>,
        /// The build-id that is there, where known.
        found: Option<BuildId>,
        /// The payload on top of the stack; `None` when that is Xen itself, or is not known.
        on: Option<PayloadName>,
    },
    /// It was built for another Xen.
    #[error("{}", another_xen(.expected.as_ref(), .found.as_ref()))]
    BuiltForAnotherXen {
        /// The build-id of the Xen that it was built for, where known.
        expected: Option<BuildId>,
        /// The build-id of this Xen, where known.
        found: Option<BuildId>,
    },
    /// Xen refused to apply it, for one of two reasons, and did not say which.
    #[error(
        "Xen refused it: either its dependency is not the build-id on top of the stack, or the code it replaces is not \
         what it expects; Xen's log (xl dmesg) says which"
    )]
    DependencyOrExpectation,
    /// Xen refused it with a number that stands for several reasons, and did not say which.
    #[error("Xen refused it with {code}: {reasons}; Xen's log (xl dmesg) may say which")]
    Unexplained {
        /// What Xen returned.
        code: Errno,
        /// What that can mean.
        reasons: &'static str,
    },
    /// The code that it would replace is not what its expectations say.
    #[error("the code of {} is not what it expects: another patch changed it, or it was built for another Xen", .function.as_deref().unwrap_or("a function that it replaces"))]
    ExpectationNotMet {
        /// The first function that is not as expected, where known.
        function: Option<String>,
    },
    /// One of its hooks refused.
    #[error("a hook of the payload refused with {code}")]
    HookRefused {
        /// What the hook returned.
        code: Errno,
    },
    /// Replace can't run while this payload, or an applied one, has hooks that may veto.
    #[error(
        "it or an applied payload has pre- or post-hooks, which replace does not run; revert and apply one by one instead"
    )]
    VetoingHooks,
    /// A flag that the running Xen would ignore or reject.
    #[error("flag {flags} is not understood by {by}")]
    UnsupportedFlag {
        /// The offending bits alone.
        flags: Flags,
        /// What does not understand them.
        by: String,
    },
    /// `UploadOptions::force` asks for what the running Xen rejects.
    #[error("FORCE is not understood by this Xen (4.19 introduced it)")]
    UnsupportedForce,
    /// Xen could not stop all CPUs in time (or a hook in place of the action returned the same number).
    #[error(
        "the CPUs could not be quiesced in time, or a hook was busy; nothing has changed: try again, or with a longer \
         quiesce timeout"
    )]
    QuiesceTimeout,
    /// A virtual CPU of a guest waits inside Xen for its monitor, paging or sharing ring: Xen changes no code meanwhile.
    ///
    /// x86 only, from 4.13 on, and 4.11.3 and 4.12.2. Xen looks when it applies a payload; REPLACE has reverted all others
    /// by then.
    #[error(
        "{} waits inside Xen for its monitor, paging or sharing ring, so that Xen does not patch; pause it, or let its ring \
         drain, and try again", guest(*.domain)
    )]
    ActiveWaitqueue {
        /// The domain, where Xen's log names it.
        domain: Option<u16>,
    },
    /// Another action was running until the deadline, or CPUs were coming and going.
    #[error(
        "the host was busy until the deadline, with another live-patch action or with its CPUs, and nothing was done; try again"
    )]
    OperationInProgress,
    /// The thread is in an operation of the same client already: an observer has called it.
    #[error(
        "this thread is inside another operation of the same client, and nothing was done; \
         do it after that operation, not in an observer"
    )]
    InsideOperation,
    /// The deadline passed before Xen was asked for the action.
    #[error("the deadline passed before Xen was asked, and nothing was done; try again with more time")]
    DeadlinePassed,
    /// The deadline left no time to make sure that no hook of a payload is running. See
    /// [`hook_time`](crate::ClientBuilder::hook_time).
    #[error(
        "a hook may still be running after an earlier action, and the deadline left no time to make sure that none is; \
         nothing was done: try again with more time"
    )]
    HookMayBeRunning,
    /// The action was accepted and has not finished by the deadline.
    #[error("Xen had not finished by the deadline; it may still happen: wait for it, or look at its status later")]
    Unfinished,
    /// The payload is marked as in progress although nothing is.
    #[error(
        "it is {state} and marked as in progress, but no action is running: an attempt met a busy host, or a hook \
         returned EAGAIN; look at its state and try again"
    )]
    StaleInProgress {
        /// The state it is in.
        state: State,
    },
    /// It was reverted before and has data that may have changed since.
    #[error("it was reverted before and has writable data: unload it and upload it again to apply it")]
    ReapplyNeedsReupload,
    /// Xen started it, and it failed.
    #[error("it failed with {code}: {}; it is {state}", after_start(*.code, *.state))]
    ActionFailed {
        /// What Xen left as the result.
        code: Errno,
        /// The state it is in now.
        state: State,
    },
    /// Replace failed after it may have reverted something.
    #[error("it failed with {code}: {}", still_applied(.applied.as_deref()))]
    ReplaceFailed {
        /// What Xen left as the result.
        code: Errno,
        /// What is still applied, in the order of upload; `None` if that could not be found out.
        applied: Option<Vec<PayloadName>>,
    },
    /// Xen can't use the payload.
    #[error("Xen can't use this payload: {reason}{}", says(.xen.as_deref()))]
    InvalidPayload {
        /// What the error number tells.
        reason: &'static str,
        /// What Xen itself says about it in its log, where that could be read.
        xen: Option<String>,
    },
    /// The check before the upload found that this Xen can't take the payload, or is not safe with it.
    ///
    /// If all that is wrong is that it was built for another Xen, the kind is [`BuiltForAnotherXen`](Self::BuiltForAnotherXen).
    #[error("this Xen can't take the payload: {}", list_findings(.findings))]
    UnfitPayload {
        /// All that is wrong with it.
        findings: Vec<Finding>,
    },
    /// A payload of no bytes.
    #[error("the payload is empty")]
    EmptyPayload,
    /// A payload larger than Xen takes.
    #[error("the payload has {size} bytes, Xen takes 2097152 (2 MiB): {}", Smaller(*.without_debug))]
    PayloadTooLarge {
        /// Its size in bytes.
        size: u64,
        /// About the size that it would have without debug sections (`strip -S`), where it could be read and has any.
        without_debug: Option<u64>,
    },
    /// A payload file can't be read.
    #[error("{path} can't be read: {reason}")]
    File {
        /// The file, [escaped](crate::escaped).
        path: String,
        /// Why not.
        reason: String,
    },
    /// The list changed each time it was read.
    #[error("the list of payloads changed each time it was read ({attempts} times); try again when others are quiet")]
    ListKeptChanging {
        /// How often it was read.
        attempts: u32,
    },
    /// There is no memory that Xen may write to.
    #[error(
        "{bytes} bytes of memory for hypercalls can't be had: without /dev/xen/hypercall they must be locked (RLIMIT_MEMLOCK)"
    )]
    BufferMemory {
        /// How much was asked for.
        bytes: usize,
    },
    /// Xen is out of memory.
    #[error("Xen does not have enough memory for this")]
    XenOutOfMemory,
    /// Xen could not reach this program's memory, and a second look shows that nothing came of it.
    #[error("Xen could not read or write this program's memory, and the payload is as it was; try again")]
    Fault,
    /// Xen was asked to do it, and what came of it could not be found out.
    #[error("it may have been carried out, but what came of it could not be found out: look at the list")]
    OutcomeUnknown,
    /// This Xen has no build-id.
    #[error("this Xen has no build-id, so no payload can depend on it")]
    NoBuildId,
    /// Xen answered what its interface does not allow.
    #[error("unexpected answer from Xen: {what}")]
    UnexpectedAnswer {
        /// What was odd.
        what: String,
    },
}

fn opening(path: Option<&str>) -> String {
    path.map(|path| format!("{path} can't be opened: ")).unwrap_or_default()
}

/// What a kind means for a program that meets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Meaning {
    /// The kind in one word that never changes.
    pub(crate) word: &'static str,
    /// The same call may well succeed later, and does no harm.
    pub(crate) retryable: bool,
    /// What was asked for, or part of it, may be in effect, or may still come into effect.
    pub(crate) may_have_happened: bool,
}

impl ErrorKind {
    /// What a number of Xen's or the kernel's means in any operation; operations look first at those that mean more to
    /// them.
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

    /// What it means: the guide's table, for programs.
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

    /// The cause without the claim that nothing was done, for a call that has done something else before.
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

    /// The error number that the text gives, so that an error does not give it twice.
    pub(super) fn code_told(&self) -> Option<Errno> {
        match self {
            Self::HookRefused { code }
            | Self::Unexplained { code, .. }
            | Self::ActionFailed { code, .. }
            | Self::ReplaceFailed { code, .. } => Some(*code),
            _ => None,
        }
    }
}

fn refused_interface(xen: &str, pinned: Option<u32>) -> String {
    let flask = "its FLASK policy denies livepatch_op to this domain";
    match pinned {
        Some(version) => format!("Xen {xen} does not accept sysctl interface version {version:#x}, or {flask}"),
        None => format!(
            "Xen {xen} accepts none of the sysctl interface versions of {KnownSeries}: it is older or newer than this \
             crate knows, or {flask}"
        ),
    }
}

fn overtaken(state: Option<State>, applied: Option<&[PayloadName]>) -> String {
    let state = state.map_or_else(|| "it is no longer loaded".into(), |state| format!("it is {state}"));
    match applied {
        None => state,
        Some(names) => format!("{state}{}", now_applied(names)),
    }
}

fn now_applied(names: &[PayloadName]) -> String {
    if names.is_empty() {
        ", and nothing is applied".into()
    } else {
        format!(", and these are applied: {}", list_names(names))
    }
}

fn show(id: Option<&BuildId>) -> String {
    id.map_or_else(|| "another build-id".into(), |id| format!("build-id {id}"))
}

fn another_xen(expected: Option<&BuildId>, found: Option<&BuildId>) -> String {
    match (expected, found) {
        (Some(expected), Some(found)) => {
            format!("it was built for the Xen with build-id {expected}, but this one has build-id {found}")
        }
        (Some(expected), None) => format!("it was built for another Xen, the one with build-id {expected}"),
        (None, Some(found)) => format!("it was built for another Xen than this one, which has build-id {found}"),
        (None, None) => "it was built for another Xen".into(),
    }
}

fn below(on: Option<&PayloadName>, found: Option<&BuildId>) -> String {
    match (on, found) {
        (Some(name), Some(id)) => format!("payload {name:?} with build-id {id}"),
        (Some(name), None) => format!("payload {name:?}"),
        (None, Some(id)) => format!("Xen itself with build-id {id}"),
        (None, None) => "something else".into(),
    }
}

/// Which build-ids Xen did not report.
fn hearsay(expected: Option<&BuildId>, below: Option<&BuildId>) -> &'static str {
    match (expected, below) {
        (Some(_), Some(_)) => " (both as uploaded by this client)",
        (None, Some(_)) => " (as uploaded by this client)",
        _ => "",
    }
}

fn what_to_do(action: Action) -> &'static str {
    match action {
        Action::Replace => "replace compares with Xen's own build-id, and NODEPS does not apply to it",
        _ => "apply what it depends on first, or, from Xen 4.14 on, use NODEPS for a debug patch",
    }
}

fn is_top(name: Option<&PayloadName>) -> String {
    name.map(|name| format!(" ({name:?} is)")).unwrap_or_default()
}

/// What can fail once all CPUs are stopped.
fn after_start(code: Errno, state: State) -> &'static str {
    if code == Errno::EINVAL && state == State::Checked {
        "a hook of the payload returned this, Xen could not map its code, or it was reverted before and has writable \
         data (then unload it and upload it again)"
    } else {
        "a hook of the payload returned this, or Xen could not map its code"
    }
}

fn says(text: Option<&str>) -> String {
    text.map(|text| format!(". Xen says: {text}")).unwrap_or_default()
}

fn list_findings(findings: &[Finding]) -> String {
    const MOST: usize = 5;
    let mut texts: Vec<String> = findings.iter().take(MOST).map(ToString::to_string).collect();
    if let Some(more) = findings.len().checked_sub(MOST).filter(|more| *more > 0) {
        texts.push(format!("and {more} more"));
    }
    texts.join("; ")
}

fn list_names(names: &[PayloadName]) -> String {
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    names.join(", ")
}

fn still_applied(names: Option<&[PayloadName]>) -> String {
    match names {
        None => "what is applied now could not be found out, look at the list".into(),
        Some([]) => "nothing is applied now, so this host is unpatched".into(),
        Some(names) => format!("applied now: {}", list_names(names)),
    }
}

fn guest(domain: Option<u16>) -> String {
    domain.map_or_else(|| "a virtual CPU of a guest".into(), |domain| format!("a virtual CPU of d{domain}"))
}
