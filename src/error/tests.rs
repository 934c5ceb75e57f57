//! The text of every error, pinned: one line with the failure, its cause and its remedy.

use std::collections::BTreeSet;
use std::error::Error as _;

use super::*;
use crate::payload::{Finding, Problem};
use crate::types::build_id::BuildId;
use crate::types::flags::Flags;
use crate::types::status::State;
use crate::xen::release::KnownSeries;

fn name(text: &str) -> PayloadName {
    PayloadName::new(text).unwrap()
}

/// Every kind once and more where its text depends on its values.
fn kinds() -> Vec<(ErrorKind, &'static str)> {
    use ErrorKind as K;
    let (expected, found) = (Some(BuildId::new([0xab; 4])), Some(BuildId::new([0x12; 4])));
    vec![
        (
            K::InvalidName(InvalidName { problem: "it is empty" }),
            "invalid payload name: it is empty (1 to 127 bytes, no NUL)",
        ),
        (
            K::InvalidBuildId(InvalidBuildId { text: "xyz".into() }),
            "\"xyz\" is not a build-id: expected pairs of hexadecimal digits",
        ),
        (
            K::InvalidTimeout { nanoseconds: 5_000_000_000 },
            "a quiesce timeout is between 1 ns and 4.294967295 s, not 5000000000 ns",
        ),
        (
            K::DeviceMissing { path: "/dev/xen/privcmd".into() },
            "/dev/xen/privcmd is missing: this is not a Xen control domain, or the kernel's xen-privcmd module is not loaded",
        ),
        (
            K::DeviceUnverified { path: "/dev/xen/privcmd".into() },
            "could not verify that this is /dev/xen/privcmd: neither /proc/misc nor /sys/class/misc is readable; make the \
             client before changing the root directory",
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
            "not permitted: run as root in the control domain (outside it the kernel requires \
             xen_privcmd.unrestricted)",
        ),
        (
            K::NotPermitted { path: Some("/dev/xen/privcmd".into()) },
            "/dev/xen/privcmd can't be opened: not permitted: run as root in the control domain (outside it the \
             kernel requires xen_privcmd.unrestricted)",
        ),
        (
            K::InterfaceNotSupported { xen: "4.6".into(), pinned: None },
            "Xen 4.6 accepts none of the sysctl interface versions of SUPPORTED: it is older or newer than this crate \
             knows, or its FLASK policy denies livepatch_op to this domain",
        ),
        (
            K::InterfaceNotSupported { xen: "4.24".into(), pinned: Some(0x17) },
            "Xen 4.24 does not accept sysctl interface version 0x17, or its FLASK policy denies livepatch_op to this domain",
        ),
        (K::NotBuiltIn, "this Xen was built without live patching (CONFIG_LIVEPATCH)"),
        (K::NoSuchPayload, "no payload of this name is loaded"),
        (
            K::AlreadyLoaded { by: Duplicate::Name },
            "a payload of this name is already loaded: if it is this one, apply it; otherwise unload it or choose another name",
        ),
        (
            K::AlreadyLoaded { by: Duplicate::Payload { name: name("a"), state: State::Checked } },
            "it is loaded already, as \"a\", and not applied: apply \"a\", or `ensure` the file",
        ),
        (
            K::AlreadyLoaded { by: Duplicate::Payload { name: name("a"), state: State::Applied } },
            "it is loaded already, as \"a\", and applied: nothing is left to do",
        ),
        (
            K::AlreadyLoaded { by: Duplicate::SomeSymbol },
            "a symbol that it defines as new is already defined by Xen or a loaded payload",
        ),
        (
            K::AlreadyLoaded { by: Duplicate::BuildIdOrSymbol },
            "a payload with the same build-id, or with a symbol that it defines as new, is already loaded",
        ),
        (
            K::AlreadyLoaded { by: Duplicate::Unknown },
            "a payload of this name, with this build-id, or with a symbol that it defines as new, is already loaded",
        ),
        (
            K::WrongState { found: State::Applied, needed: State::Checked },
            "the payload is APPLIED, but this action requires CHECKED",
        ),
        (
            K::NotDone { found: State::Applied, expected: State::Checked },
            "the payload is APPLIED, but would be CHECKED after this action: it was not carried out, or undone since",
        ),
        (K::Overtaken { state: None, applied: None }, "another tool acted meanwhile: it is no longer loaded"),
        (
            K::Overtaken { state: Some(State::Checked), applied: Some(vec![]) },
            "another tool acted meanwhile: it is CHECKED, and nothing is applied",
        ),
        (
            K::Overtaken { state: Some(State::Applied), applied: Some(vec![name("a"), name("b")]) },
            "another tool acted meanwhile: it is APPLIED, and these are applied: a, b",
        ),
        (
            K::NotAsPlanned { applied: vec![name("bye")] },
            "another tool changed what is loaded since the plan was made, and these are applied: bye; plan again",
        ),
        (
            K::NotAsPlanned { applied: Vec::new() },
            "another tool changed what is loaded since the plan was made, and nothing is applied; plan again",
        ),
        (K::NotOnTop { top: None }, "it is not the payload applied last; revert what was applied after it first"),
        (
            K::NotOnTop { top: Some(name("bye")) },
            "it is not the payload applied last (\"bye\" is); revert what was applied after it first",
        ),
        (
            K::AlreadyLoaded { by: Duplicate::BuildId },
            "a payload with the same build-id is already loaded under another name",
        ),
        (
            K::AlreadyLoaded { by: Duplicate::Symbol("s".into()) },
            "\"s\", which it defines as new, is already defined by Xen or a loaded payload",
        ),
        (
            K::BuiltForAnotherXen { expected: expected.clone(), found: found.clone() },
            "it was built for the Xen with build-id abababab, but this one has build-id 12121212",
        ),
        (
            K::BuiltForAnotherXen { expected: expected.clone(), found: None },
            "it was built for another Xen, the one with build-id abababab",
        ),
        (
            K::BuiltForAnotherXen { expected: None, found: found.clone() },
            "it was built for another Xen than this one, which has build-id 12121212",
        ),
        (K::BuiltForAnotherXen { expected: None, found: None }, "it was built for another Xen"),
        (
            K::DependsOnAnother { action: Action::Apply, expected: expected.clone(), found: found.clone(), on: None },
            "it depends on build-id abababab, but would be applied on Xen itself with build-id 12121212; apply what \
             it depends on first, or, from Xen 4.14 on, use NODEPS for a debug patch",
        ),
        (
            K::DependsOnAnother { action: Action::Apply, expected, found, on: Some(name("hello")) },
            "it depends on build-id abababab, but would be applied on payload \"hello\" with build-id 12121212 (both \
             as uploaded by this client); apply what it depends on first, or, from Xen 4.14 on, use NODEPS for a \
             debug patch",
        ),
        (
            K::DependsOnAnother { action: Action::Apply, expected: None, found: None, on: Some(name("hello")) },
            "it does not depend on payload \"hello\", which it would be applied on; apply what it depends on first, \
             or, from Xen 4.14 on, use NODEPS for a debug patch",
        ),
        (
            K::DependsOnAnother { action: Action::Replace, expected: None, found: None, on: None },
            "it does not depend on the build-id on top of the stack; replace compares with Xen's own build-id, and \
             NODEPS does not apply to it",
        ),
        (
            K::DependencyOrExpectation,
            "Xen refused it: either its dependency is not the build-id on top of the stack, or the code it replaces \
             is not what it expects; see Xen's log (xl dmesg)",
        ),
        (
            K::Unexplained { code: Errno::EBUSY, reasons: "it is this, or that" },
            "Xen refused it with EBUSY (16, busy): it is this, or that; see Xen's log (xl dmesg)",
        ),
        (
            K::ExpectationNotMet { function: None },
            "the code of a function that it replaces is not what it expects: another patch changed it, or it was built \
             for another Xen",
        ),
        (K::HookRefused { code: Errno::new(4242) }, "a hook of the payload refused the action and returned error 4242"),
        (
            K::VetoingHooks,
            "it or an applied payload has pre- or post-hooks, which replace does not run; revert and apply one by one \
             instead",
        ),
        (
            K::UnsupportedFlag { flags: Flags::NODEPS, by: "Xen 4.13 (4.14 introduced it)".into() },
            "flag NODEPS is not supported by Xen 4.13 (4.14 introduced it)",
        ),
        (K::UnsupportedForce, "FORCE is not supported by this Xen (4.19 introduced it)"),
        (
            K::QuiesceTimeout,
            "the CPUs could not be quiesced in time, or a hook was busy; nothing was changed: try again, possibly \
             with a longer quiesce timeout",
        ),
        (
            K::ActiveWaitqueue { domain: Some(3) },
            "a virtual CPU of d3 waits inside Xen for its monitor, paging or sharing ring, so that Xen does not patch; pause \
             it, or let its ring drain, and try again",
        ),
        (
            K::OperationInProgress,
            "the host was busy until the deadline, with another live-patch action or with its CPUs, and nothing was done; \
             try again",
        ),
        (
            K::InsideOperation,
            "this thread is inside another operation of the same client, and nothing was done; do it after that operation, \
             not in an observer",
        ),
        (K::DeadlinePassed, "the deadline passed before Xen was asked, and nothing was done; try again with more time"),
        (
            K::HookMayBeRunning,
            "a hook may still be running after an earlier action, and the deadline left no time to make sure that none is; \
             nothing was done: try again with more time",
        ),
        (
            K::Unfinished,
            "Xen had not finished by the deadline; it may still happen: wait for it, or look at its status later",
        ),
        (
            K::StaleInProgress { state: State::Checked },
            "it is CHECKED and marked as in progress, but no action is running: an attempt met a busy host, or a hook \
             returned EAGAIN; look at its state and try again",
        ),
        (
            K::ReapplyNeedsReupload,
            "it was reverted before and has writable data: unload it and upload it again to apply it",
        ),
        (
            K::ActionFailed { code: Errno::EINVAL, state: State::Checked },
            "it failed with EINVAL (22, invalid argument): a hook of the payload returned this, Xen could not map its \
             code, or it was reverted before and has writable data (then unload it and upload it again); it is CHECKED",
        ),
        (
            K::ActionFailed { code: Errno::EIO, state: State::Applied },
            "it failed with EIO (5, input/output error): a hook of the payload returned this, or Xen could not map its \
             code; it is APPLIED",
        ),
        (
            K::ReplaceFailed { code: Errno::EINVAL, applied: Some(vec![name("a"), name("b")]) },
            "it failed with EINVAL (22, invalid argument): applied now: a, b",
        ),
        (
            K::ReplaceFailed { code: Errno::EINVAL, applied: None },
            "it failed with EINVAL (22, invalid argument): the payloads applied now could not be determined: look at \
             the list",
        ),
        (
            K::ReplaceFailed { code: Errno::EINVAL, applied: Some(vec![]) },
            "it failed with EINVAL (22, invalid argument): nothing is applied now, so this host is unpatched",
        ),
        (
            K::InvalidPayload { reason: "it is not an ELF file", xen: None },
            "Xen can't use this payload: it is not an ELF file",
        ),
        (
            K::InvalidPayload { reason: "it is not an ELF file", xen: Some("Bogus e_shoff".into()) },
            "Xen can't use this payload: it is not an ELF file. Xen's log: Bogus e_shoff",
        ),
        (
            K::UnfitPayload {
                findings: [Problem::NothingToPatch, Problem::EmptySection { section: ".modinfo" }]
                    .map(|problem| Finding::refused(Errno::EINVAL, problem))
                    .into(),
            },
            "the payload does not pass the check for this Xen: it has neither .livepatch.funcs nor hooks: there is nothing to patch; \
             .modinfo is empty, which this Xen refuses: leave it out or fill it",
        ),
        (K::EmptyPayload, "the payload is empty"),
        (
            K::PayloadTooLarge { size: 2_097_153, without_debug: None },
            "the payload has 2097153 bytes, but Xen accepts at most 2097152 (2 MiB): leave out debug information (strip -S) and what the \
             patch does not change",
        ),
        (
            K::PayloadTooLarge { size: 2_458_696, without_debug: Some(71_200) },
            "the payload has 2458696 bytes, but Xen accepts at most 2097152 (2 MiB): strip -S leaves about 71200 of them",
        ),
        (K::File { path: "/x".into(), reason: "it changed".into() }, "/x can't be read: it changed"),
        (
            K::ListKeptChanging { attempts: 32 },
            "the list of payloads changed each time it was read (32 times); try again when others are quiet",
        ),
        (
            K::BufferMemory { bytes: 8192 },
            "could not allocate 8192 bytes for hypercalls: without /dev/xen/hypercall the memory must be locked; \
             raise RLIMIT_MEMLOCK",
        ),
        (K::XenOutOfMemory, "Xen does not have enough memory for this"),
        (K::Fault, "Xen could not read or write this program's memory, and the payload is as it was; try again"),
        (K::OutcomeUnknown, "it may have been carried out, but its outcome could not be determined: look at the list"),
        (K::NoBuildId, "this Xen has no build-id, so no payload can depend on it"),
        (K::UnexpectedAnswer { what: "odd".into() }, "unexpected answer from Xen: odd"),
    ]
}

#[test]
fn every_kind_says_what_and_why_in_one_line() {
    for (kind, text) in kinds() {
        assert_eq!(kind.to_string(), text.replace("SUPPORTED", &KnownSeries.to_string()));
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
    assert!(error.source().is_none(), "the text has the number");
    assert!(error.xen_log().is_empty());
    assert!(format!("{error:#?}").contains("NotOnTop"));
}

#[test]
fn debug_is_the_line_and_xens_log() {
    let error = Error::new(ErrorKind::NotOnTop { top: None }).during(Operation::Action(Action::Revert)).of(&name("a"));
    assert_eq!(format!("{error:?}"), error.to_string());
    let logged = error.clone().log(vec!["livepatch: a: can't unload.".into(), "second".into()]);
    assert_eq!(format!("{logged:?}"), format!("{error}\n\nXen's log:\n    livepatch: a: can't unload.\n    second"));
    assert!(error != logged && logged == logged.clone());
    let structure = format!("{logged:#?}");
    assert!(structure.starts_with("Error {\n    operation: Some(") && structure.contains("\"second\""), "{structure}");
}

#[test]
fn an_error_becomes_an_io_error_of_its_number() {
    let of = |error: Error| (io::Error::from(error.clone()).kind(), io::Error::from(error).to_string());
    let permission = Error::new(ErrorKind::NotPermitted { path: None }).errno(Errno::EPERM);
    assert_eq!(of(permission.clone()), (io::ErrorKind::PermissionDenied, permission.to_string()));
    assert_eq!(of(PayloadName::new("").unwrap_err().into()).0, io::ErrorKind::InvalidInput);
    assert_eq!(of(Error::new(ErrorKind::QuiesceTimeout)).0, io::ErrorKind::Other);
    let inner = io::Error::from(permission.clone()).into_inner().unwrap();
    assert_eq!(inner.downcast_ref::<Error>(), Some(&permission));
}

#[test]
fn an_error_has_only_what_there_is() {
    let error = Error::from(PayloadName::new("").unwrap_err());
    assert_eq!((error.operation(), error.payload(), error.raw_errno()), (None, None, None));
    assert_eq!(error.clone().during(Operation::List).to_string(), format!("list: {error}"));
    assert_eq!(error.clone().of(&name("x")).to_string(), format!("\"x\": {error}"));
    assert!(matches!("x".parse::<BuildId>().map_err(Error::from).unwrap_err().kind(), ErrorKind::InvalidBuildId(_)));
}

#[test]
fn a_number_is_given_once_and_xens_log_only_where_xen_was_asked() {
    let hook = Error::new(ErrorKind::HookRefused { code: Errno::EIO }).errno(Errno::EIO);
    assert_eq!(hook.to_string(), "a hook of the payload refused the action and returned EIO (5, input/output error)");
    let invalid = Error::new(ErrorKind::InvalidPayload { reason: "odd", xen: None });
    assert_eq!(invalid.to_string(), "Xen can't use this payload: odd");
    assert_eq!(
        invalid.errno(Errno::EINVAL).to_string(),
        "Xen can't use this payload: odd; Xen's log (xl dmesg) may have more [EINVAL (22, invalid argument)]"
    );
}

#[test]
fn an_error_says_what_became_of_what_was_loaded() {
    let error = |cleanup| Error::new(ErrorKind::VetoingHooks).with_cleanup(cleanup);
    let failed = Cleanup::Failed(Error::new(ErrorKind::NotPermitted { path: None }).of(&name("x")));
    for (cleanup, text) in [
        (Cleanup::Unloaded, "; it was unloaded again"),
        (Cleanup::Gone, "; another tool has unloaded it"),
        (Cleanup::Applied, "; another tool has applied it meanwhile"),
        (Cleanup::Left, "; it was not unloaded, since it may be applied or an action may be running"),
        (failed, "; it may still be loaded, since unloading it failed: \"x\": not permitted"),
    ] {
        assert!(error(cleanup.clone()).to_string().contains(text), "{cleanup}");
    }
}

#[test]
fn operations_are_named_as_scripts_name_them() {
    use Operation as O;
    let all = [O::Open, O::Upload, O::Status, O::List, O::Version, O::Wait];
    let actions = [Action::Apply, Action::Revert, Action::Replace, Action::Unload].map(Operation::Action);
    let text: Vec<String> = all.iter().chain(&actions).map(ToString::to_string).collect();
    assert_eq!(text.join(" "), "open upload status list version wait apply revert replace unload");
}

/// The names of all kinds, from their definition.
fn defined() -> BTreeSet<String> {
    let source = include_str!("kind.rs");
    let body = source.split_once("pub enum ErrorKind {").unwrap().1.split_once("\n}").unwrap().0;
    let names = body.lines().filter(|line| line.starts_with("    ") && line[4..].starts_with(char::is_uppercase));
    names.map(|line| line.trim().split(|c: char| !c.is_alphanumeric()).next().unwrap().to_owned()).collect()
}

/// `NotOnTop` from `NotOnTop { top: None }`.
fn variant(kind: &ErrorKind) -> String {
    format!("{kind:?}").split(|c: char| !c.is_alphanumeric()).next().unwrap().to_owned()
}

#[test]
fn every_kind_has_its_text_pinned_and_a_word_of_its_own() {
    assert_eq!(kinds().iter().map(|(kind, _)| variant(kind)).collect::<BTreeSet<_>>(), defined());
    for (kind, _) in kinds() {
        let snake: String = variant(&kind)
            .chars()
            .flat_map(|c| {
                let underscore = c.is_uppercase().then_some('_');
                underscore.into_iter().chain(c.to_lowercase())
            })
            .collect();
        assert_eq!(kind.word(), snake.trim_start_matches('_'));
    }
}

/// The guide's table agrees with the methods for programs about every kind.
#[test]
fn the_guide_names_every_kind_and_says_what_the_methods_say() {
    let guide = include_str!("../guide.md");
    let table = guide.split_once("| what went wrong | again? | done? | what to do |").unwrap().1;
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    let mut named = BTreeSet::new();
    for row in rows {
        let cells: Vec<_> = row.split('|').map(str::trim).collect();
        let [_, kinds_cell, again, done, what, _] = cells[..] else { panic!("{row}") };
        assert!(!what.is_empty());
        for name in kinds_cell.split(", ").map(|name| name.trim_matches('`')) {
            assert!(named.insert(name.to_owned()), "{name} twice");
            let said = (again == "yes", done == "perhaps");
            for (kind, _) in kinds().into_iter().filter(|(kind, _)| variant(kind) == name) {
                let meaning = kind.meaning();
                // An unexplained EBUSY is like any other.
                let busy = matches!(kind, ErrorKind::Unexplained { code: Errno::EBUSY, .. });
                assert_eq!((meaning.retryable && !busy, meaning.may_have_happened), said, "{name}");
            }
        }
    }
    assert_eq!(named, defined());
}

#[test]
fn what_only_looks_has_not_happened() {
    let of = |operation| Error::new(ErrorKind::UnexpectedAnswer { what: "odd".into() }).during(operation);
    assert!(of(Operation::Action(Action::Apply)).may_have_happened());
    assert!(!of(Operation::List).may_have_happened());
    assert!(Error::new(ErrorKind::QuiesceTimeout).is_retryable());
    assert!(!Error::new(ErrorKind::Unfinished).is_retryable());
}
