//! The text of every error, pinned: one line that says what failed, why, and what to do about it.

use std::error::Error as _;

use super::*;
use crate::build_id::BuildId;
use crate::flags::Flags;
use crate::payload::{Finding, Problem};
use crate::status::State;

fn name(text: &str) -> PayloadName {
    PayloadName::new(text).unwrap()
}

/// Every kind once and more where its text depends on its values.
fn kinds() -> Vec<(ErrorKind, &'static str)> {
    use ErrorKind as K;
    let (expected, found) = (Some(BuildId::new([0xab; 4])), Some(BuildId::new([0x12; 4])));
    vec![
        (K::InvalidName { problem: "it is empty" }, "a payload name has 1 to 127 bytes and no NUL, but it is empty"),
        (K::InvalidBuildId { text: "xyz".into() }, "\"xyz\" is no build-id: it must be pairs of hexadecimal digits"),
        (
            K::InvalidTimeout { nanoseconds: 5_000_000_000 },
            "a quiesce timeout is between 1 ns and 4.294967295 s, not 5000000000 ns",
        ),
        (
            K::DeviceMissing { path: "/dev/xen/privcmd".into() },
            "/dev/xen/privcmd is missing: this is no Xen control domain, or the kernel's xen-privcmd module is not loaded",
        ),
        (K::NotPrivcmd, "this is not Xen's privileged command device; it is usually /dev/xen/privcmd"),
        (K::Device { path: "/dev/xen/privcmd".into() }, "/dev/xen/privcmd can't be opened"),
        (
            K::NotHypercallDevice,
            "the second descriptor is not Xen's device for hypercall memory; it is usually /dev/xen/hypercall",
        ),
        (
            K::UnsupportedMachine { machine: "armv7l".into() },
            "machine type armv7l is not supported: only x86-64 and 64-bit Arm are",
        ),
        (
            K::NotPermitted { path: None },
            "not permitted: run as root in the control domain (in another domain the kernel wants \
             xen_privcmd.unrestricted)",
        ),
        (
            K::NotPermitted { path: Some("/dev/xen/privcmd".into()) },
            "/dev/xen/privcmd can't be opened: not permitted: run as root in the control domain (in another domain the \
             kernel wants xen_privcmd.unrestricted)",
        ),
        (
            K::InterfaceNotSupported { xen: "4.6".into() },
            "Xen 4.6 accepts none of the sysctl interface versions of 4.7 to 4.22: it is older or newer than this crate \
             knows, or its FLASK policy denies livepatch_op to this domain",
        ),
        (K::NotBuiltIn, "this Xen was built without live patching (CONFIG_LIVEPATCH)"),
        (K::NoSuchPayload, "no payload of this name is loaded"),
        (
            K::AlreadyLoaded { by: Duplicate::Name },
            "a payload of this name is loaded already; unload it first or choose another name",
        ),
        (
            K::AlreadyLoaded { by: Duplicate::BuildIdOrSymbol },
            "its build-id, or a symbol that it defines anew, is loaded already under another name",
        ),
        (
            K::WrongState { found: State::Applied, needed: State::Checked },
            "it is APPLIED, but must be CHECKED for this",
        ),
        (K::NotOnTop { top: None }, "it is not the payload applied last; revert what was applied after it first"),
        (
            K::NotOnTop { top: Some(name("bye")) },
            "it is not the payload applied last (\"bye\" is); revert what was applied after it first",
        ),
        (
            K::AlreadyLoaded { by: Duplicate::BuildId },
            "a payload with the same build-id is loaded already under another name",
        ),
        (
            K::AlreadyLoaded { by: Duplicate::Symbol("s".into()) },
            "a symbol that it defines anew is defined already, by Xen or a loaded payload",
        ),
        (
            K::BuiltForAnotherXen { expected: expected.clone(), found: found.clone() },
            "it was built for the Xen with build-id abababab, but this one has build-id 12121212",
        ),
        (
            K::BuiltForAnotherXen { expected: None, found: None },
            "it was built for the Xen with another build-id, but this one has another build-id",
        ),
        (
            K::DependsOnAnother { action: Action::Apply, expected: expected.clone(), found: found.clone(), on: None },
            "it depends on build-id abababab, but would go on Xen itself with build-id 12121212; apply what it depends \
             on first, or use NODEPS for a debug patch",
        ),
        (
            K::DependsOnAnother { action: Action::Apply, expected, found, on: Some(name("hello")) },
            "it depends on build-id abababab, but would go on payload \"hello\" with build-id 12121212; apply what it \
             depends on first, or use NODEPS for a debug patch",
        ),
        (
            K::DependsOnAnother { action: Action::Apply, expected: None, found: None, on: Some(name("hello")) },
            "it depends on another build-id, but would go on payload \"hello\"; apply what it depends on first, or use \
             NODEPS for a debug patch",
        ),
        (
            K::DependsOnAnother { action: Action::Replace, expected: None, found: None, on: None },
            "it depends on another build-id, but would go on something else; replace compares with Xen's own build-id, \
             and knows no NODEPS",
        ),
        (
            K::DependencyOrExpectation,
            "Xen refused it: either its dependency is not the build-id on top of the stack, or the code it replaces is \
             not what it expects; Xen's log (xl dmesg) says which",
        ),
        (
            K::ExpectationNotMet { function: None },
            "the code of a function that it replaces is not what it expects: another patch changed it, or it was built \
             for another Xen",
        ),
        (K::HookRefused { code: Errno::new(4242) }, "a hook of the payload refused with error 4242"),
        (
            K::VetoingHooks,
            "it or an applied payload has pre- or post-hooks, which replace does not run; revert and apply one by one \
             instead",
        ),
        (
            K::UnsupportedFlag { flags: Flags::NODEPS, by: "Xen 4.13: actions have flags from 4.14 on".into() },
            "flag NODEPS is not understood by Xen 4.13: actions have flags from 4.14 on",
        ),
        (K::UnsupportedForce, "FORCE is not understood by this Xen (it is from 4.19 on)"),
        (
            K::QuiesceTimeout,
            "the CPUs could not be quiesced in time; nothing has changed: try again, or with a longer quiesce timeout",
        ),
        (K::OperationInProgress, "another live-patch action was running on this host until the deadline; try again"),
        (
            K::Unfinished,
            "Xen accepted it but had not finished by the deadline; it may still happen: look at its status later",
        ),
        (
            K::StaleInProgress { state: State::Checked },
            "it is CHECKED and marked as in progress, but no action is running: another tool met a busy host; try again",
        ),
        (
            K::ReapplyNeedsReupload,
            "it was reverted before and has writable data: unload it and upload it again to apply it",
        ),
        (
            K::ActionFailed { code: Errno::EINVAL, state: State::Checked },
            "Xen started it and it failed with EINVAL (22, invalid argument) (from a hook of the payload, or while \
             mapping its code); it is CHECKED",
        ),
        (
            K::ReplaceFailed { code: Errno::EINVAL, applied: Some(vec![name("a"), name("b")]) },
            "it failed with EINVAL (22, invalid argument) after reverting others: still applied: a, b",
        ),
        (
            K::ReplaceFailed { code: Errno::EINVAL, applied: None },
            "it failed with EINVAL (22, invalid argument) after reverting others: what is still applied could not be \
             found out, look at the list",
        ),
        (
            K::ReplaceFailed { code: Errno::EINVAL, applied: Some(vec![]) },
            "it failed with EINVAL (22, invalid argument) after reverting others: nothing is applied now, so this host \
             is unpatched",
        ),
        (
            K::InvalidPayload { reason: "it is no ELF file", xen: None },
            "Xen can't use this payload: it is no ELF file; Xen's log (xl dmesg) may say more",
        ),
        (
            K::InvalidPayload { reason: "it is no ELF file", xen: Some("Bogus e_shoff".into()) },
            "Xen can't use this payload: it is no ELF file. Xen says: Bogus e_shoff",
        ),
        (
            K::UnfitPayload {
                findings: [Problem::NothingToPatch, Problem::EmptySection { section: ".modinfo" }]
                    .map(|problem| Finding::refused(Errno::EINVAL, problem))
                    .into(),
            },
            "this Xen can't take the payload: it has neither .livepatch.funcs nor hooks: there is nothing to patch; \
             .modinfo is empty, which this Xen refuses: leave it out or fill it",
        ),
        (K::EmptyPayload, "the payload is empty"),
        (K::PayloadTooLarge { size: 2_097_153 }, "the payload has 2097153 bytes, Xen takes 2097152 (2 MiB)"),
        (K::File { path: "/x".into(), reason: "it changed".into() }, "/x can't be read: it changed"),
        (
            K::ListKeptChanging { attempts: 32 },
            "the list of payloads changed each time it was read (32 times); try again when others are quiet",
        ),
        (
            K::BufferMemory { bytes: 8192 },
            "8192 bytes of memory for hypercalls can't be had: without /dev/xen/hypercall they must be locked \
             (RLIMIT_MEMLOCK)",
        ),
        (K::XenOutOfMemory, "Xen has not enough memory for this"),
        (K::Fault, "Xen could not read or write this program's memory, and nothing was done; try again"),
        (K::OutcomeUnknown, "it may have been carried out, but what came of it could not be read: look at the status"),
        (K::NoBuildId, "this Xen has no build-id, so no payload can depend on it"),
        (K::UnexpectedAnswer { what: "odd".into() }, "unexpected answer from Xen: odd"),
    ]
}

#[test]
fn every_kind_says_what_and_why_in_one_line() {
    for (kind, text) in kinds() {
        assert_eq!(kind.to_string(), text);
        assert!(!text.contains('\n'));
    }
}

#[test]
fn an_error_says_what_was_done_to_what_and_keeps_the_number() {
    let error = Error::new(ErrorKind::NotOnTop { top: None })
        .errno(Errno::EBUSY)
        .during(Operation::Action(Action::Revert))
        .during(Operation::List)
        .of(&name("a b\n"));
    assert_eq!(
        error.to_string(),
        "revert \"a b\\n\": it is not the payload applied last; revert what was applied after it first [EBUSY (16, busy)]"
    );
    assert_eq!(error.operation(), Some(Operation::Action(Action::Revert)), "the innermost operation stays");
    assert_eq!(error.payload(), Some(&name("a b\n")));
    assert_eq!(error.raw_errno(), Some(Errno::EBUSY));
    assert_eq!(error.source().map(ToString::to_string).as_deref(), Some("EBUSY (16, busy)"));
    assert!(error.xen_log().is_empty());
    assert!(format!("{error:?}").contains("NotOnTop"));
}

#[test]
fn an_error_without_a_number_has_no_source() {
    let error = PayloadName::new("").unwrap_err();
    assert_eq!((error.operation(), error.payload(), error.raw_errno()), (None, None, None));
    assert!(error.source().is_none());
    assert_eq!(error.clone().during(Operation::List).to_string(), format!("list: {error}"));
    assert_eq!(error.clone().of(&name("x")).to_string(), format!("\"x\": {error}"));
}

#[test]
fn an_error_says_what_became_of_what_was_loaded() {
    let error = |cleanup| Error::new(ErrorKind::VetoingHooks).with_cleanup(cleanup);
    let failed = Cleanup::Failed(Error::new(ErrorKind::NoSuchPayload).of(&name("x")));
    for (cleanup, text) in [
        (Cleanup::Unloaded, "; it was unloaded again"),
        (Cleanup::Left, "; it was left loaded, since it may still be applied"),
        (failed, "; it is still loaded: \"x\": no payload of this name is loaded"),
    ] {
        assert!(error(cleanup.clone()).to_string().ends_with(text), "{cleanup}");
    }
}

#[test]
fn operations_are_named_as_scripts_name_them() {
    let all = [Operation::Open, Operation::Upload, Operation::Status, Operation::List, Operation::Version];
    let actions = [Action::Apply, Action::Revert, Action::Replace, Action::Unload].map(Operation::Action);
    let text: Vec<String> = all.iter().chain(&actions).map(ToString::to_string).collect();
    assert_eq!(text.join(" "), "open upload status list version apply revert replace unload");
}
