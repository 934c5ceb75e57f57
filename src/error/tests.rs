//! The text of every error, pinned: one line with the failure, its cause and its remedy.

use std::collections::BTreeSet;
use std::error::Error as _;

use super::*;
use crate::payload::{Finding, Problem};
use crate::types::{BuildId, Flags, State};
use crate::xen::KnownSeries;

fn name(text: &str) -> PayloadName {
    PayloadName::new(text).unwrap()
}

/// Every kind once and more where its text depends on its values.
fn kinds() -> Vec<ErrorKind> {
    use ErrorKind as K;
    let (expected, found) = (Some(BuildId::new([0xab; 4])), Some(BuildId::new([0x12; 4])));
    vec![
        K::InvalidName(InvalidName { problem: "it is empty" }),
        K::InvalidBuildId(InvalidBuildId { text: "xyz".into() }),
        K::InvalidTimeout { nanoseconds: 5_000_000_000 },
        K::DeviceMissing { path: "/dev/xen/privcmd".into() },
        K::DeviceUnverified { path: "/dev/xen/privcmd".into() },
        K::NotPrivcmd,
        K::Device { path: "/dev/xen/privcmd".into() },
        K::NotHypercallDevice,
        K::UnsupportedMachine { machine: "armv7l".into() },
        K::NotPermitted { path: None },
        K::NotPermitted { path: Some("/dev/xen/privcmd".into()) },
        K::InterfaceNotSupported { xen: "4.6".into(), pinned: None },
        K::InterfaceNotSupported { xen: "4.24".into(), pinned: Some(0x17) },
        K::NotBuiltIn,
        K::NoSuchPayload,
        K::AlreadyLoaded { by: Duplicate::Name },
        K::AlreadyLoaded { by: Duplicate::Payload { name: name("a"), state: State::Checked } },
        K::AlreadyLoaded { by: Duplicate::Payload { name: name("a"), state: State::Applied } },
        K::AlreadyLoaded { by: Duplicate::SomeSymbol },
        K::AlreadyLoaded { by: Duplicate::BuildIdOrSymbol },
        K::AlreadyLoaded { by: Duplicate::Unknown },
        K::WrongState { found: State::Applied, needed: State::Checked },
        K::NotDone { found: State::Applied, expected: State::Checked },
        K::Overtaken { state: None, applied: None },
        K::Overtaken { state: Some(State::Checked), applied: Some(vec![]) },
        K::Overtaken { state: Some(State::Applied), applied: Some(vec![name("a"), name("b")]) },
        K::NotAsPlanned { applied: vec![name("bye")] },
        K::NotAsPlanned { applied: Vec::new() },
        K::NotOnTop { top: None },
        K::NotOnTop { top: Some(name("bye")) },
        K::AlreadyLoaded { by: Duplicate::BuildId },
        K::AlreadyLoaded { by: Duplicate::Symbol("s".into()) },
        K::BuiltForAnotherXen { expected: expected.clone(), found: found.clone() },
        K::BuiltForAnotherXen { expected: expected.clone(), found: None },
        K::BuiltForAnotherXen { expected: None, found: found.clone() },
        K::BuiltForAnotherXen { expected: None, found: None },
        K::DependsOnAnother { action: Action::Apply, expected: expected.clone(), found: found.clone(), on: None },
        K::DependsOnAnother { action: Action::Apply, expected, found, on: Some(name("hello")) },
        K::DependsOnAnother { action: Action::Apply, expected: None, found: None, on: Some(name("hello")) },
        K::DependsOnAnother { action: Action::Replace, expected: None, found: None, on: None },
        K::DependencyOrExpectation,
        K::Unexplained { code: Errno::EBUSY, reasons: "it is this, or that" },
        K::ExpectationNotMet { function: None },
        K::HookRefused { code: Errno::new(4242) },
        K::VetoingHooks,
        K::UnsupportedFlag { flags: Flags::NODEPS, by: "Xen 4.13 (4.14 introduced it)".into() },
        K::UnsupportedForce,
        K::QuiesceTimeout,
        K::ActiveWaitqueue { domain: Some(3) },
        K::OperationInProgress,
        K::InsideOperation,
        K::DeadlinePassed,
        K::HookMayBeRunning,
        K::Unfinished,
        K::StaleInProgress { state: State::Checked },
        K::ReapplyNeedsReupload,
        K::ActionFailed { code: Errno::EINVAL, state: State::Checked },
        K::ActionFailed { code: Errno::EIO, state: State::Applied },
        K::ReplaceFailed { code: Errno::EINVAL, applied: Some(vec![name("a"), name("b")]) },
        K::ReplaceFailed { code: Errno::EINVAL, applied: None },
        K::ReplaceFailed { code: Errno::EINVAL, applied: Some(vec![]) },
        K::InvalidPayload { reason: "it is not an ELF file", xen: None },
        K::InvalidPayload { reason: "it is not an ELF file", xen: Some("Bogus e_shoff".into()) },
        K::UnfitPayload {
            findings: [Problem::NothingToPatch, Problem::EmptySection { section: ".modinfo" }]
                .map(|problem| Finding::refused(Errno::EINVAL, problem))
                .into(),
        },
        K::EmptyPayload,
        K::PayloadTooLarge { size: 2_097_153, without_debug: None },
        K::PayloadTooLarge { size: 2_458_696, without_debug: Some(71_200) },
        K::File { path: "/x".into(), reason: "it changed".into() },
        K::ListKeptChanging { attempts: 32 },
        K::BufferMemory { bytes: 8192 },
        K::XenOutOfMemory,
        K::Fault,
        K::OutcomeUnknown,
        K::NoBuildId,
        K::UnexpectedAnswer { what: "odd".into() },
    ]
}

#[test]
fn every_kind_has_its_line_in_the_list_of_texts() {
    let expected = include_str!("texts.txt").replace("SUPPORTED", &KnownSeries.to_string());
    let mut lines = expected.lines();
    for kind in kinds() {
        assert_eq!(Some(&*format!("{}: {kind}", variant(&kind))), lines.next());
    }
    assert_eq!(lines.next(), None);
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
    assert_eq!(kinds().iter().map(variant).collect::<BTreeSet<_>>(), defined());
    for kind in kinds() {
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

/// The schema of the tool names every fact that an error of the library has.
#[cfg(feature = "serde")]
#[test]
fn the_details_of_every_kind_are_in_the_schema() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/xen-livepatch/schema.json");
    // It is not in the package.
    let Ok(schema) = std::fs::read_to_string(path) else { return };
    let schema: serde_json::Value = serde_json::from_str(&schema).unwrap();
    let documented = &schema["$defs"]["details"]["properties"];
    for kind in kinds() {
        let details = serde_json::to_value(&kind).unwrap();
        assert!(details.is_object() || details.is_null(), "{details}");
        for name in details.as_object().into_iter().flatten().map(|(name, _)| name) {
            assert!(documented.get(name).is_some(), "{kind:?}: {name}");
        }
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
            for kind in kinds().into_iter().filter(|kind| variant(kind) == name) {
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
