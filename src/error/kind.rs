//! What went wrong: one variant a cause, with its text.

use super::Action;
use crate::build_id::BuildId;
use crate::errno::Errno;
use crate::flags::Flags;
use crate::name::PayloadName;
use crate::payload::Finding;
use crate::status::State;

/// Why an upload met something that is loaded already.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Duplicate {
    /// A payload of this name is loaded.
    Name,
    /// A payload with the same build-id is loaded under another name.
    BuildId,
    /// Xen, or a loaded payload, has this symbol, which the payload defines anew.
    Symbol(String),
    /// One of the last two; Xen's log, which tells them apart, could not be read.
    BuildIdOrSymbol,
}

/// What went wrong, to match on. The text says why and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A payload name is no name (see [`PayloadName`]).
    #[error("a payload name has 1 to 127 bytes and no NUL, but {problem}")]
    InvalidName {
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A text is no build-id.
    #[error("{text:?} is no build-id: it must be pairs of hexadecimal digits")]
    InvalidBuildId {
        /// The text.
        text: String,
    },
    /// A quiesce timeout is out of range.
    #[error("a quiesce timeout is between 1 ns and 4.294967295 s, not {nanoseconds} ns")]
    InvalidTimeout {
        /// What was asked for.
        nanoseconds: u128,
    },
    /// There is no device to reach Xen by.
    #[error("{path} is missing: this is no Xen control domain, or the kernel's xen-privcmd module is not loaded")]
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
    /// Xen refused every interface version that this crate knows.
    #[error(
        "Xen {xen} accepts none of the sysctl interface versions of 4.7 to 4.22: it is older or newer than this crate \
         knows, or its FLASK policy denies livepatch_op to this domain"
    )]
    InterfaceNotSupported {
        /// The release that Xen says it is.
        xen: String,
    },
    /// This Xen was built without live patching.
    #[error("this Xen was built without live patching (CONFIG_LIVEPATCH)")]
    NotBuiltIn,
    /// No payload of this name is loaded.
    #[error("no payload of this name is loaded")]
    NoSuchPayload,
    /// Something of the payload is loaded already.
    #[error("{}", match .by {
        Duplicate::Name => "a payload of this name is loaded already; unload it first or choose another name",
        Duplicate::BuildId => "a payload with the same build-id is loaded already under another name",
        Duplicate::Symbol(_) => "a symbol that it defines anew is defined already, by Xen or a loaded payload",
        Duplicate::BuildIdOrSymbol => "its build-id, or a symbol that it defines anew, is loaded already under another name",
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
    /// Others were applied after it.
    #[error("it is not the payload applied last{}; revert what was applied after it first", is_top(.top.as_ref()))]
    NotOnTop {
        /// The payload applied last, where known.
        top: Option<PayloadName>,
    },
    /// It goes on top of something else than what is there.
    #[error("it depends on {}, but would go on {}; {}", show(.expected.as_ref()), below(.on.as_ref(), .found.as_ref()), what_to_do(*.action))]
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
    #[error("it was built for the Xen with {}, but this one has {}", show(.expected.as_ref()), show(.found.as_ref()))]
    BuiltForAnotherXen {
        /// The build-id of the Xen that it was built for, where known.
        expected: Option<BuildId>,
        /// The build-id of this Xen, where known.
        found: Option<BuildId>,
    },
    /// Xen refused to apply it without saying which of two rules it breaks.
    #[error(
        "Xen refused it: either its dependency is not the build-id on top of the stack, or the code it replaces is not \
         what it expects; Xen's log (xl dmesg) says which"
    )]
    DependencyOrExpectation,
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
    #[error("FORCE is not understood by this Xen (it is from 4.19 on)")]
    UnsupportedForce,
    /// Xen could not stop all CPUs in time.
    #[error("the CPUs could not be quiesced in time; nothing has changed: try again, or with a longer quiesce timeout")]
    QuiesceTimeout,
    /// Xen was running another action until the deadline.
    #[error("another live-patch action was running on this host until the deadline; try again")]
    OperationInProgress,
    /// The action was accepted and has not finished by the deadline.
    #[error("Xen accepted it but had not finished by the deadline; it may still happen: look at its status later")]
    Unfinished,
    /// The payload is marked as in progress although nothing is.
    #[error(
        "it is {state} and marked as in progress, but no action is running: another tool met a busy host; try again"
    )]
    StaleInProgress {
        /// The state it is in.
        state: State,
    },
    /// It was reverted before and has data that may have changed since.
    #[error("it was reverted before and has writable data: unload it and upload it again to apply it")]
    ReapplyNeedsReupload,
    /// Xen started it, and it failed.
    #[error(
        "Xen started it and it failed with {code} (from a hook of the payload, or while mapping its code); it is {state}"
    )]
    ActionFailed {
        /// What Xen left as the result.
        code: Errno,
        /// The state it is in now.
        state: State,
    },
    /// Replace reverted something and then failed.
    #[error("it failed with {code} after reverting others: {}", still_applied(.applied.as_deref()))]
    ReplaceFailed {
        /// What Xen left as the result.
        code: Errno,
        /// What is applied still, in the order of upload; `None` if that could not be found out.
        applied: Option<Vec<PayloadName>>,
    },
    /// Xen can't use the payload.
    #[error("Xen can't use this payload: {reason}{}", says(.xen.as_deref()))]
    InvalidPayload {
        /// What the error number tells.
        reason: &'static str,
        /// What Xen itself says of it in its log, where that could be read.
        xen: Option<String>,
    },
    /// The check before the upload found that this Xen can't take the payload, or is not safe with it.
    ///
    /// That it was built for another Xen has a kind of its own, where that is all.
    #[error("this Xen can't take the payload: {}", list_findings(.findings))]
    UnfitPayload {
        /// All that is wrong with it.
        findings: Vec<Finding>,
    },
    /// A payload without a byte.
    #[error("the payload is empty")]
    EmptyPayload,
    /// A payload larger than Xen takes.
    #[error("the payload has {size} bytes, Xen takes 2097152 (2 MiB)")]
    PayloadTooLarge {
        /// Its size in bytes.
        size: u64,
    },
    /// A payload file can't be read.
    #[error("{path} can't be read: {reason}")]
    File {
        /// The file.
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
    /// Memory that Xen may write to can't be had.
    #[error(
        "{bytes} bytes of memory for hypercalls can't be had: without /dev/xen/hypercall they must be locked (RLIMIT_MEMLOCK)"
    )]
    BufferMemory {
        /// How much was asked for.
        bytes: usize,
    },
    /// Xen is out of memory.
    #[error("Xen has not enough memory for this")]
    XenOutOfMemory,
    /// Xen could not reach our memory; what it left undone was looked up and is said in the text.
    #[error("Xen could not read or write this program's memory, and nothing was done; try again")]
    Fault,
    /// Xen was asked to do it, and then could not be asked what came of it.
    #[error("it may have been carried out, but what came of it could not be read: look at the status")]
    OutcomeUnknown,
    /// This Xen has no build-id.
    #[error("this Xen has no build-id, so no payload can depend on it")]
    NoBuildId,
    /// Xen answered what its interface does not allow, or something changed under our feet.
    #[error("unexpected answer from Xen: {what}")]
    UnexpectedAnswer {
        /// What was odd.
        what: String,
    },
}

fn opening(path: Option<&str>) -> String {
    path.map(|path| format!("{path} can't be opened: ")).unwrap_or_default()
}

fn show(id: Option<&BuildId>) -> String {
    id.map_or_else(|| "another build-id".into(), |id| format!("build-id {id}"))
}

fn below(on: Option<&PayloadName>, found: Option<&BuildId>) -> String {
    match (on, found) {
        (Some(name), Some(id)) => format!("payload {name:?} with build-id {id}"),
        (Some(name), None) => format!("payload {name:?}"),
        (None, Some(id)) => format!("Xen itself with build-id {id}"),
        (None, None) => "something else".into(),
    }
}

fn what_to_do(action: Action) -> &'static str {
    match action {
        Action::Replace => "replace compares with Xen's own build-id, and knows no NODEPS",
        _ => "apply what it depends on first, or use NODEPS for a debug patch",
    }
}

fn is_top(name: Option<&PayloadName>) -> String {
    name.map(|name| format!(" ({name:?} is)")).unwrap_or_default()
}

fn says(text: Option<&str>) -> String {
    text.map_or_else(|| "; Xen's log (xl dmesg) may say more".into(), |text| format!(". Xen says: {text}"))
}

fn list_findings(findings: &[Finding]) -> String {
    const MOST: usize = 5;
    let mut texts: Vec<String> = findings.iter().take(MOST).map(ToString::to_string).collect();
    if let Some(more) = findings.len().checked_sub(MOST).filter(|more| *more > 0) {
        texts.push(format!("and {more} more"));
    }
    texts.join("; ")
}

fn still_applied(names: Option<&[PayloadName]>) -> String {
    match names {
        None => "what is still applied could not be found out, look at the list".into(),
        Some([]) => "nothing is applied now, so this host is unpatched".into(),
        Some(names) => {
            let names: Vec<String> = names.iter().map(ToString::to_string).collect();
            format!("still applied: {}", names.join(", "))
        }
    }
}
