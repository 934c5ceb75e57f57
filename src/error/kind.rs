//! The kinds of errors.

use core::fmt;

use super::text::{
    after_start, another_xen, dependency, guest, hearsay, is_top, list_findings, now_applied, opening, overtaken,
    refused_interface, remedy, still_applied, xens_words,
};
use crate::loader::Finding;
use crate::types::{Action, BuildId, Errno, Flags, InvalidBuildId, InvalidName, PayloadName, State};
use crate::xen::elf::Smaller;

/// The property that an upload shares with Xen or a loaded payload.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize),
    serde(tag = "by", content = "value", rename_all = "snake_case")
)]
#[non_exhaustive]
pub enum Duplicate {
    /// A payload of this name is loaded.
    Name,
    /// A payload with the same build-id is loaded under another name. Only debug builds of Xen log this.
    BuildId,
    /// Xen or a loaded payload already defines this symbol, which the payload defines as new.
    Symbol(String),
    /// A payload with the same build-id is loaded under this name and in this state.
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

impl fmt::Display for Duplicate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name => f.write_str(
                "a payload of this name is already loaded: if it is this one, apply it; otherwise unload it or choose \
                 another name",
            ),
            Self::Payload { name, state: State::Applied } => {
                write!(f, "it is loaded already, as {name:?}, and applied: nothing is left to do")
            }
            Self::Payload { name, state: State::Checked } => {
                write!(f, "it is loaded already, as {name:?}, and not applied: apply {name:?}, or `ensure` the file")
            }
            Self::Payload { name, state } => write!(f, "it is loaded already, as {name:?}, and {state}"),
            Self::SomeSymbol => {
                f.write_str("a symbol that it defines as new is already defined by Xen or a loaded payload")
            }
            Self::BuildId => f.write_str("a payload with the same build-id is already loaded under another name"),
            Self::Symbol(symbol) => {
                write!(f, "{symbol:?}, which it defines as new, is already defined by Xen or a loaded payload")
            }
            Self::BuildIdOrSymbol => f.write_str(
                "a payload with the same build-id, or with a symbol that it defines as new, is already loaded",
            ),
            Self::Unknown => f.write_str(
                "a payload of this name, with this build-id, or with a symbol that it defines as new, is already loaded",
            ),
        }
    }
}

/// The cause of an error, to match on. Its text has the cause and the remedy.
///
/// It is serialised as the fields of its variant, the `details` of a serialised [`Error`](crate::Error).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(untagged))]
#[non_exhaustive]
pub enum ErrorKind {
    /// Bytes are not a payload name.
    #[error("{0}")]
    InvalidName(InvalidName),
    /// A text is not a build-id.
    #[error("{0}")]
    InvalidBuildId(InvalidBuildId),
    /// A quiesce timeout is out of range.
    #[error("a quiesce timeout is between 1 ns and 4.294967295 s, not {nanoseconds} ns")]
    InvalidTimeout {
        /// The timeout that was asked for.
        #[cfg_attr(feature = "serde", serde(serialize_with = "as_text"))]
        nanoseconds: u128,
    },
    /// The device is missing.
    #[error("{path} is missing: this is not a Xen control domain, or the kernel's xen-privcmd module is not loaded")]
    DeviceMissing {
        /// The device.
        path: String,
    },
    /// The file or descriptor is not Xen's privileged command device.
    #[error("this is not Xen's privileged command device; it is usually /dev/xen/privcmd")]
    NotPrivcmd,
    /// The second descriptor is not Xen's device for hypercall memory.
    #[error("the second descriptor is not Xen's device for hypercall memory; it is usually /dev/xen/hypercall")]
    NotHypercallDevice,
    /// The kernel's number of the device is not available, so a descriptor can't be verified.
    #[error(
        "could not verify that this is {path}: neither /proc/misc nor /sys/class/misc is readable; make the client before \
         changing the root directory"
    )]
    DeviceUnverified {
        /// The device that the descriptor should be of.
        path: String,
    },
    /// This crate does not support live patching on this architecture.
    #[error("machine type {machine} is not supported: only x86-64 and 64-bit Arm are")]
    UnsupportedMachine {
        /// The machine, as `uname -m` prints it.
        machine: String,
    },
    /// The device can't be opened for another reason.
    #[error("{path} can't be opened")]
    Device {
        /// The device.
        path: String,
    },
    /// The kernel or Xen forbids the operation.
    #[error(
        "{}not permitted: run as root in the control domain (outside it the kernel requires xen_privcmd.unrestricted)",
        opening(.path.as_deref())
    )]
    NotPermitted {
        /// The device that may not be opened; `None` if a hypercall was refused.
        path: Option<String>,
    },
    /// Xen refused every interface version that was tried.
    #[error("{}", refused_interface(.xen, *.pinned))]
    InterfaceNotSupported {
        /// The release that Xen reports.
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
    /// The name, the build-id or a symbol of the payload is in use already.
    #[error("{by}")]
    AlreadyLoaded {
        /// The shared property.
        #[cfg_attr(feature = "serde", serde(flatten))]
        by: Duplicate,
    },
    /// The payload is in a state in which the action would do nothing or is refused.
    #[error("the payload is {found}, but this action requires {needed}")]
    WrongState {
        /// The state of the payload.
        found: State,
        /// The state that the action requires.
        needed: State,
    },
    /// [`wait`](crate::LivepatchClient::wait) found that nothing had failed, but the payload was not in the state that the
    /// action leads to.
    #[error(
        "the payload is {found}, but would be {expected} after this action: it was not carried out, or undone since"
    )]
    NotDone {
        /// The state of the payload.
        found: State,
        /// The state that the action leads to.
        expected: State,
    },
    /// Another tool acted on the payload, or on the stack, during the operation.
    #[error("another tool acted meanwhile: {}", overtaken(*.state, .applied.as_deref()))]
    Overtaken {
        /// The state of the payload; `None` if it is no longer loaded.
        state: Option<State>,
        /// The payloads that are applied, in the order of upload, where that matters and could be read.
        applied: Option<Vec<PayloadName>>,
    },
    /// Another tool loaded, unloaded, applied or reverted a payload while a plan was carried out.
    #[error("another tool changed what is loaded since the plan was made{}; plan again", now_applied(.applied))]
    NotAsPlanned {
        /// The payloads that are applied, in the order of upload.
        applied: Vec<PayloadName>,
    },
    /// Other payloads were applied after this one.
    #[error("it is not the payload applied last{}; revert what was applied after it first", is_top(.top.as_ref()))]
    NotOnTop {
        /// The payload applied last, if known.
        top: Option<PayloadName>,
    },
    /// The payload does not depend on the build-id of the payload, or Xen, that it would be applied on.
    ///
    /// Xen does not report the build-ids of payloads. `expected`, and `found` for a payload, come from the files that *this
    /// client* uploaded under these names. They are out of date if another tool has replaced the payloads since.
    #[error("{}{}; {}", dependency(.expected.as_ref(), .on.as_ref(), .found.as_ref()),
        hearsay(.expected.as_ref(), .on.as_ref().and(.found.as_ref())), remedy(*.action))]
    DependsOnAnother {
        /// The action: apply compares with the top of the stack, replace with Xen itself.
        action: Action,
        /// The build-id that the payload depends on, if known.
        expected: Option<BuildId>,
        /// The build-id of the payload or the Xen on top of the stack, if known.
        found: Option<BuildId>,
        /// The payload on top of the stack; `None` if that is Xen itself or unknown.
        on: Option<PayloadName>,
    },
    /// The payload was built for another Xen.
    #[error("{}", another_xen(.expected.as_ref(), .found.as_ref()))]
    BuiltForAnotherXen {
        /// The build-id of the Xen that it was built for, if known.
        expected: Option<BuildId>,
        /// The build-id of this Xen, if known.
        found: Option<BuildId>,
    },
    /// Xen refused to apply the payload for one of two reasons, and did not log which.
    #[error(
        "Xen refused it: either its dependency is not the build-id on top of the stack, or the code it replaces is not \
         what it expects; see Xen's log (xl dmesg)"
    )]
    DependencyOrExpectation,
    /// Xen refused the operation with a number that has several causes, and did not log which.
    #[error("Xen refused it with {code}: {reasons}; see Xen's log (xl dmesg)")]
    Unexplained {
        /// The number that Xen returned.
        code: Errno,
        /// The possible causes.
        reasons: &'static str,
    },
    /// The code that the payload would replace is not the code that it expects.
    #[error("the code of {} is not what it expects: another patch changed it, or it was built for another Xen", .function.as_deref().unwrap_or("a function that it replaces"))]
    ExpectationNotMet {
        /// The first function that differs, if known.
        function: Option<String>,
    },
    /// A hook of the payload refused.
    #[error("a hook of the payload refused the action and returned {code}")]
    HookRefused {
        /// The number that the hook returned.
        code: Errno,
    },
    /// Xen refuses REPLACE, because this payload or an applied one has hooks that could veto it.
    #[error(
        "it or an applied payload has pre- or post-hooks, which replace does not run; revert and apply one by one instead"
    )]
    VetoingHooks,
    /// The running Xen would ignore or reject a flag.
    #[error("flag {flags} is not supported by {by}")]
    UnsupportedFlag {
        /// The flags that it would ignore or reject, without the others.
        flags: Flags,
        /// The action or the Xen that does not have them.
        by: String,
    },
    /// The running Xen rejects [`UploadOptions::force`](crate::UploadOptions::force).
    #[error("FORCE is not supported by this Xen (4.19 introduced it)")]
    UnsupportedForce,
    /// Xen could not stop all CPUs in time, or a hook in place of the action returned the same number.
    #[error(
        "the CPUs could not be quiesced in time, or a hook was busy; nothing was changed: try again, possibly with a longer \
         quiesce timeout"
    )]
    QuiesceTimeout,
    /// A virtual CPU of a guest waits inside Xen for its monitor, paging or sharing ring. Xen changes no code meanwhile.
    ///
    /// Only on x86, from Xen 4.13, 4.12.2 and 4.11.3 on. REPLACE makes this check after it has reverted the other payloads.
    #[error(
        "{} waits inside Xen for its monitor, paging or sharing ring, so that Xen does not patch; pause it, or let its ring \
         drain, and try again", guest(*.domain)
    )]
    ActiveWaitqueue {
        /// The domain, if Xen's log names it.
        domain: Option<u16>,
    },
    /// Another action was running, or CPUs were going on-line or off-line, until the deadline.
    #[error(
        "the host was busy until the deadline, with another live-patch action or with its CPUs, and nothing was done; try again"
    )]
    OperationInProgress,
    /// An observer called its own client, and the thread is inside another operation of that client already.
    #[error(
        "this thread is inside another operation of the same client, and nothing was done; \
         do it after that operation, not in an observer"
    )]
    InsideOperation,
    /// The deadline passed before the action was sent to Xen.
    #[error("the deadline passed before Xen was asked, and nothing was done; try again with more time")]
    DeadlinePassed,
    /// The deadline left no time to make sure that no hook of a payload is running
    /// ([`hook_time`](crate::ClientBuilder::hook_time)).
    #[error(
        "a hook may still be running after an earlier action, and the deadline left no time to make sure that none is; \
         nothing was done: try again with more time"
    )]
    HookMayBeRunning,
    /// Xen accepted the action and had not finished it by the deadline.
    #[error("Xen had not finished by the deadline; it may still happen: wait for it, or look at its status later")]
    Unfinished,
    /// The payload is marked as in progress, although no action is running.
    #[error(
        "it is {state} and marked as in progress, but no action is running: an attempt met a busy host, or a hook \
         returned EAGAIN; look at its state and try again"
    )]
    StaleInProgress {
        /// The state of the payload.
        state: State,
    },
    /// The payload was reverted before and has writable data, which may have changed since.
    #[error("it was reverted before and has writable data: unload it and upload it again to apply it")]
    ReapplyNeedsReupload,
    /// The action started and failed.
    #[error("it failed with {code}: {}; it is {state}", after_start(*.code, *.state))]
    ActionFailed {
        /// The result that Xen reports.
        code: Errno,
        /// The state of the payload now.
        state: State,
    },
    /// REPLACE failed, possibly after it had reverted payloads.
    #[error("it failed with {code}: {}", still_applied(.applied.as_deref()))]
    ReplaceFailed {
        /// The result that Xen reports.
        code: Errno,
        /// The payloads that are still applied, in the order of upload; `None` if the list could not be read.
        applied: Option<Vec<PayloadName>>,
    },
    /// Xen can't use the payload.
    #[error("Xen can't use this payload: {reason}{}", xens_words(.xen.as_deref()))]
    InvalidPayload {
        /// The reason that follows from the error number.
        reason: &'static str,
        /// The reason in Xen's log, if that could be read.
        xen: Option<String>,
    },
    /// The check before the upload found that this Xen would not accept the payload, or would be damaged by it.
    ///
    /// If the only finding is that it was built for another Xen, the kind is
    /// [`BuiltForAnotherXen`](Self::BuiltForAnotherXen).
    #[error("the payload does not pass the check for this Xen: {}", list_findings(.findings))]
    UnfitPayload {
        /// The findings.
        findings: Vec<Finding>,
    },
    /// The payload has no bytes.
    #[error("the payload is empty")]
    EmptyPayload,
    /// The payload is larger than 2 MiB, the most that Xen accepts.
    #[error("the payload has {size} bytes, but Xen accepts at most 2097152 (2 MiB): {}", Smaller(*.without_debug))]
    PayloadTooLarge {
        /// Its size in bytes.
        size: u64,
        /// The approximate size without debug sections (`strip -S`), if it could be read and has any.
        without_debug: Option<u64>,
    },
    /// A payload file can't be read.
    #[error("{path} can't be read: {reason}")]
    File {
        /// The file, [escaped](crate::escaped).
        path: String,
        /// The reason.
        reason: String,
    },
    /// The list of payloads changed each time it was read.
    #[error("the list of payloads changed each time it was read ({attempts} times); try again when others are quiet")]
    ListKeptChanging {
        /// The number of attempts to read it.
        attempts: u32,
    },
    /// Memory for hypercalls could not be allocated.
    #[error(
        "could not allocate {bytes} bytes for hypercalls: without /dev/xen/hypercall the memory must be locked; raise \
         RLIMIT_MEMLOCK"
    )]
    BufferMemory {
        /// The size in bytes.
        bytes: usize,
    },
    /// Xen is out of memory.
    #[error("Xen does not have enough memory for this")]
    XenOutOfMemory,
    /// Xen could not access this program's memory, and the payload is in the state that it was in before.
    #[error("Xen could not read or write this program's memory, and the payload is as it was; try again")]
    Fault,
    /// The operation was sent to Xen, and its outcome could not be determined.
    #[error("it may have been carried out, but its outcome could not be determined: look at the list")]
    OutcomeUnknown,
    /// This Xen has no build-id.
    #[error("this Xen has no build-id, so no payload can depend on it")]
    NoBuildId,
    /// Xen returned something that its interface does not allow.
    #[error("unexpected answer from Xen: {what}")]
    UnexpectedAnswer {
        /// A description of it.
        what: String,
    },
}

/// As text, since it has more bits than numbers of JSON.
#[cfg(feature = "serde")]
fn as_text<S: serde::Serializer>(number: &u128, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(number)
}
