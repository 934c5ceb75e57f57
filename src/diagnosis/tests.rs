//! A table of verdicts, one row per case.

use super::*;
use crate::error::Duplicate;
use crate::types::Metadata;
use crate::xen::Architecture;

/// `STATE RESULT`, then `| APPLIED…` if the list was read, then `@VERSION` of the list unless it is 1.
fn look(text: &str) -> Look {
    let (text, version) = text.split_once(" @").map_or((text, 1), |(text, version)| (text, version.parse().unwrap()));
    let (status, applied) = text.split_once(" |").map_or((text, None), |(status, applied)| (status, Some(applied)));
    let (state, rc) = status.split_once(' ').unwrap();
    let state = if state == "APPLIED" { State::Applied } else { State::Checked };
    let names = |names: &str| names.split_whitespace().map(|name| PayloadName::new(name).unwrap()).collect();
    let status = Status { state, rc: rc.parse().unwrap() };
    Look { status, applied: applied.map(names), version: applied.map(|_| version) }
}

fn after(text: &str) -> After {
    match text {
        "gone" => After::Gone,
        "running" => After::Running,
        "unreadable" => After::Unreadable(Error::new(Kind::NotPermitted { path: None }).errno(Errno::EPERM)),
        look_at => After::Seen(look(look_at)),
    }
}

/// `done`, or the kind, after `again quiesce` or `again busy`.
fn text_of(verdict: &Verdict) -> String {
    let kind = |error: &Error| match error.kind() {
        Kind::Unexplained { code, .. } => format!("Unexplained {code:?}"),
        kind => format!("{kind:?}").replace(", function: None", ""),
    };
    match verdict {
        Verdict::Done => "done".into(),
        Verdict::Again(Again::Quiesce, error) => format!("again quiesce {}", kind(error)),
        Verdict::Again(Again::Busy, error) => format!("again busy {}", kind(error)),
        Verdict::Failed(error) => kind(error),
    }
}

use ErrorKind as Kind;
use LogMessage::{HookFailed, HookInstead, MayHaveChanged, NotAsExpected, NotBuiltOn, NotQuiesced, Top};

/// Minor release, action, before, refused with, after, messages in Xen's log, expected verdict.
type Case = (u16, Action, &'static str, i32, &'static str, Vec<LogMessage>, &'static str);

const OK: i32 = 0;
const C: &str = "CHECKED 0 |";
const A: &str = "APPLIED 0 | me";
const OVERTAKEN_C: &str = "Overtaken { state: Some(Checked), applied: None }";
const OVERTAKEN_A: &str = "Overtaken { state: Some(Applied), applied: None }";

#[rustfmt::skip]
fn cases() -> Vec<Case> {
    use Action::{Apply, Replace, Revert, Unload};
    const ENOENT: i32 = 2; const EIO: i32 = 5; const EAGAIN: i32 = 11; const EFAULT: i32 = 14; const EBUSY: i32 = 16;
    const EINVAL: i32 = 22; const ERANGE: i32 = 34; const ENODATA: i32 = 61; const EOPNOTSUPP: i32 = 95;
    vec![
    // Accepted, and done.
    (17, Apply, C, OK, "APPLIED 0", vec![], "done"),
    (7, Revert, A, OK, "CHECKED 0", vec![], "done"),
    (17, Unload, C, OK, "gone", vec![], "done"),
    (17, Replace, "CHECKED 0 | old", OK, "APPLIED 0 | me", vec![], "done"),
    // Accepted, and the result is open.
    (17, Apply, C, OK, "running", vec![], "Unfinished"),
    (17, Apply, C, OK, "unreadable", vec![], "OutcomeUnknown"),
    (17, Replace, C, OK, "APPLIED 0", vec![], "OutcomeUnknown"),
    (17, Apply, C, OK, "gone", vec![], "Overtaken { state: None, applied: None }"),
    (17, Apply, C, OK, "CHECKED -11", vec![], "StaleInProgress { state: Checked }"),
    (17, Apply, C, OK, "APPLIED -11", vec![], "StaleInProgress { state: Applied }"),
    (17, Replace, C, OK, "CHECKED -11 |", vec![], "StaleInProgress { state: Checked }"),
    // Accepted, and another tool was there too.
    (17, Apply, C, OK, "CHECKED 0", vec![], OVERTAKEN_C),
    (17, Apply, C, OK, "APPLIED -16", vec![NotQuiesced], OVERTAKEN_A),
    (17, Revert, A, OK, "CHECKED -16", vec![], OVERTAKEN_C),
    (17, Replace, "CHECKED 0 | old", OK, "APPLIED 0 | old me", vec![], "Overtaken { state: Some(Applied), applied: Some([\"old\", \"me\"]) }"),
    (17, Replace, "CHECKED 0 | old", OK, "CHECKED 0 | old", vec![], "Overtaken { state: Some(Checked), applied: Some([\"old\"]) }"),
    // Accepted, and failed: the CPUs were not stopped in time, or a hook returned a number of its own.
    (7, Apply, C, OK, "CHECKED -16", vec![], "again quiesce QuiesceTimeout"),
    (17, Apply, C, OK, "CHECKED -16", vec![NotQuiesced], "again quiesce QuiesceTimeout"),
    (17, Revert, A, OK, "APPLIED -16", vec![NotQuiesced, HookInstead], "again quiesce QuiesceTimeout"),
    (17, Apply, C, OK, "CHECKED -16", vec![HookInstead], "ActionFailed { code: EBUSY(16), state: Checked }"),
    (17, Apply, C, OK, "CHECKED -11", vec![HookInstead], "ActionFailed { code: EAGAIN(11), state: Checked }"),
    (17, Revert, A, OK, "APPLIED -5", vec![], "ActionFailed { code: EIO(5), state: Applied }"),
    (17, Apply, C, OK, "CHECKED 7", vec![HookFailed(Errno::new(-7))], "HookRefused { code: Errno(-7) }"),
    (17, Apply, C, OK, "CHECKED 7", vec![], "ActionFailed { code: Errno(-7), state: Checked }"),
    // Accepted, and failed with EINVAL: an earlier revert is the cause only if Xen logs it, or if no other exists.
    (17, Apply, C, OK, "CHECKED -22", vec![MayHaveChanged], "ReapplyNeedsReupload"),
    (17, Apply, C, OK, "CHECKED -22", vec![], "ActionFailed { code: EINVAL(22), state: Checked }"),
    (22, Apply, C, OK, "CHECKED -22", vec![HookInstead], "ActionFailed { code: EINVAL(22), state: Checked }"),
    (12, Apply, C, OK, "CHECKED -22", vec![], "ReapplyNeedsReupload"),
    (7, Apply, C, OK, "CHECKED -22", vec![], "ActionFailed { code: EINVAL(22), state: Checked }"),
    // A replace that failed.
    (17, Replace, "CHECKED 0 | old", OK, "CHECKED -22 | old", vec![], "ReplaceFailed { code: EINVAL(22), applied: Some([\"old\"]) }"),
    (17, Replace, "CHECKED 0 | old", OK, "CHECKED -16 |", vec![], "ReplaceFailed { code: EBUSY(16), applied: Some([]) }"),
    (17, Replace, "CHECKED 0 | old", OK, "CHECKED -11 |", vec![], "ReplaceFailed { code: EAGAIN(11), applied: Some([]) }"),
    (17, Replace, "CHECKED 0 |", OK, "CHECKED -16 |", vec![HookInstead], "ReplaceFailed { code: EBUSY(16), applied: Some([]) }"),
    (17, Replace, "CHECKED 0 |", OK, "CHECKED -11 |", vec![HookInstead], "ReplaceFailed { code: EAGAIN(11), applied: Some([]) }"),
    (17, Replace, "CHECKED 0 | old", OK, "CHECKED -16", vec![], "ReplaceFailed { code: EBUSY(16), applied: None }"),
    (17, Replace, "CHECKED 0 | old", OK, "CHECKED -16 | old", vec![], "again quiesce QuiesceTimeout"),
    (7, Replace, "CHECKED 0 |", OK, "CHECKED -16 |", vec![], "again quiesce QuiesceTimeout"),
    // Refused, and the state is another by now.
    (17, Apply, C, EINVAL, "APPLIED 0 | me", vec![], OVERTAKEN_A),
    (7, Revert, A, EBUSY, "CHECKED 0 |", vec![], OVERTAKEN_C),
    (17, Unload, C, EINVAL, "APPLIED 0 | me", vec![], OVERTAKEN_A),
    (17, Apply, C, ENOENT, "gone", vec![], "NoSuchPayload"),
    (17, Apply, C, EINVAL, "gone", vec![], "Overtaken { state: None, applied: None }"),
    (17, Apply, C, ENOENT, "CHECKED 0 |", vec![], OVERTAKEN_C),
    // Refused as busy.
    (17, Apply, C, EBUSY, "CHECKED -11 |", vec![], "again busy OperationInProgress"),
    (17, Replace, "CHECKED -11 |", EBUSY, "CHECKED -11 |", vec![], "again busy OperationInProgress"),
    (17, Unload, C, EBUSY, C, vec![], "again busy OperationInProgress"),
    (17, Apply, C, EBUSY, C, vec![], "again busy OperationInProgress"),
    (7, Apply, "CHECKED -16 |", EBUSY, "CHECKED -16 |", vec![], "again busy OperationInProgress"),
    (7, Revert, A, EBUSY, "APPLIED -16 | me", vec![], OVERTAKEN_A),
    (17, Revert, A, EBUSY, "APPLIED -16 | me", vec![NotQuiesced], OVERTAKEN_A),
    (17, Replace, C, EBUSY, "CHECKED -16 |", vec![], "Overtaken { state: Some(Checked), applied: Some([]) }"),
    (17, Revert, A, EBUSY, "APPLIED -16 | me", vec![], "Unexplained EBUSY(16)"),
    (17, Apply, "CHECKED -16 |", EBUSY, "CHECKED -16 |", vec![], "Unexplained EBUSY(16)"),
    (17, Apply, C, EBUSY, "CHECKED -16 |", vec![HookFailed(Errno::EBUSY)], "HookRefused { code: EBUSY(16) }"),
    (17, Apply, C, EBUSY, "CHECKED -11 |", vec![HookFailed(Errno::EIO)], "again busy OperationInProgress"),
    // Refused below the top.
    (17, Revert, "APPLIED 0 | me top", EBUSY, "APPLIED 0 | me top", vec![Top(None)], "NotOnTop { top: None }"),
    (7, Revert, "APPLIED 0 | me top", EBUSY, "APPLIED 0 | me top", vec![], "NotOnTop { top: None }"),
    (7, Revert, "APPLIED -16 | me top", EBUSY, "APPLIED -16 | me top", vec![], "NotOnTop { top: None }"),
    (17, Revert, "APPLIED -11 | me top", EBUSY, "APPLIED -11 | me top", vec![Top(None)], "NotOnTop { top: None }"),
    (17, Revert, "APPLIED -11 | me top", EBUSY, "APPLIED -11 | me top", vec![], "again busy Unexplained EBUSY(16)"),
    (17, Revert, "APPLIED -16 | me top", EBUSY, "APPLIED -16 | me top", vec![], "Unexplained EBUSY(16)"),
    (17, Revert, A, EBUSY, A, vec![], "again busy OperationInProgress"),
    // Xen could not reach our memory.
    (17, Apply, C, EFAULT, C, vec![], "Fault"),
    (17, Apply, C, EFAULT, "CHECKED -11 |", vec![], "Fault"),
    (17, Apply, C, EFAULT, "APPLIED 0 | me", vec![], "done"),
    (17, Apply, C, EFAULT, "running", vec![], "Unfinished"),
    (17, Apply, C, EFAULT, "unreadable", vec![], "OutcomeUnknown"),
    (17, Apply, C, EFAULT, "CHECKED -16 |", vec![], "again quiesce QuiesceTimeout"),
    (17, Apply, C, EFAULT, "CHECKED -14 |", vec![HookFailed(Errno::EFAULT)], "HookRefused { code: EFAULT(14) }"),
    (17, Apply, "CHECKED -14 |", EFAULT, "CHECKED -14 |", vec![HookFailed(Errno::EFAULT)], "HookRefused { code: EFAULT(14) }"),
    (17, Apply, "CHECKED -14 |", EFAULT, "CHECKED -14 |", vec![], "Unexplained EFAULT(14)"),
    (17, Replace, "CHECKED 0 | old", EFAULT, "APPLIED 0 | me", vec![], "done"),
    (17, Replace, "CHECKED 0 | old", EFAULT, "APPLIED 0 | old me", vec![], "Overtaken { state: Some(Applied), applied: Some([\"old\", \"me\"]) }"),
    (17, Replace, "CHECKED 0 | old", EFAULT, "CHECKED -22 | old", vec![], "ReplaceFailed { code: EINVAL(22), applied: Some([\"old\"]) }"),
    (17, Replace, "CHECKED 0 | old", EFAULT, "CHECKED -11 |", vec![], "ReplaceFailed { code: EAGAIN(11), applied: Some([]) }"),
    (17, Unload, C, EFAULT, "gone", vec![], "done"),
    (17, Unload, C, EFAULT, C, vec![], "Fault"),
    (17, Unload, C, EFAULT, "CHECKED 0 | @3", vec![], "OutcomeUnknown"),
    // Other refusals: by a hook, for a dependency, for an expectation.
    (17, Apply, C, EINVAL, "CHECKED -22 |", vec![HookFailed(Errno::EINVAL)], "HookRefused { code: EINVAL(22) }"),
    (17, Apply, C, EIO, "CHECKED -5 |", vec![], "HookRefused { code: EIO(5) }"),
    (17, Apply, "CHECKED -5 |", EIO, "CHECKED -5 |", vec![], "Unexplained EIO(5)"),
    (17, Apply, C, EAGAIN, "CHECKED -11 |", vec![], "HookRefused { code: EAGAIN(11) }"),
    (17, Revert, A, EINVAL, "APPLIED -22 | me", vec![], "HookRefused { code: EINVAL(22) }"),
    (17, Apply, C, EINVAL, "CHECKED -22 |", vec![], "Unexplained EINVAL(22)"),
    (17, Apply, C, ENOENT, "CHECKED -2 |", vec![], "Unexplained ENOENT(2)"),
    (17, Apply, C, EINVAL, C, vec![], "DependencyOrExpectation"),
    (17, Apply, C, EINVAL, "unreadable", vec![], "Unexplained EINVAL(22)"),
    (17, Apply, C, EINVAL, "unreadable", vec![HookFailed(Errno::EINVAL)], "HookRefused { code: EINVAL(22) }"),
    (7, Apply, C, ENOENT, "unreadable", vec![], "NoSuchPayload"),
    (17, Replace, C, EBUSY, "unreadable", vec![], "OperationInProgress"),
    (7, Revert, A, EBUSY, "unreadable", vec![], "Unexplained EBUSY(16)"),
    (17, Apply, C, EINVAL, C, vec![NotBuiltOn(None)], "DependsOnAnother { action: Apply, expected: None, found: Some(BuildId(aa)), on: None }"),
    (12, Apply, C, EINVAL, C, vec![], "DependsOnAnother { action: Apply, expected: None, found: None, on: None }"),
    (17, Replace, C, EINVAL, C, vec![], "DependsOnAnother { action: Replace, expected: None, found: Some(BuildId(aa)), on: None }"),
    (17, Apply, C, ERANGE, C, vec![], "ExpectationNotMet { function: None }"),
    (17, Apply, C, ENODATA, C, vec![], "NoBuildId"),
    (17, Replace, C, EOPNOTSUPP, C, vec![], "VetoingHooks"),
    (12, Replace, C, EOPNOTSUPP, C, vec![], "UnexpectedAnswer { what: \"an error number that this operation does not have\" }"),
    (17, Apply, C, 1, "unreadable", vec![], "NotPermitted { path: None }"),
    ]
}

/// An action on a Xen of this minor release that was accepted and left no message.
fn evidence<'a>(minor: u16, action: Action, before: &'a Look, after: &'a After) -> Evidence<'a> {
    let xen = Xen { release: (4, minor), architecture: Architecture::X86_64 };
    let (flags, messages, known) = (Flags::empty(), Vec::new(), Known::default());
    Evidence { action, flags, xen, before, refused: None, after, messages, known }
}

#[test]
fn every_action_is_judged_as_its_row_expects() {
    let known = Known { xen: Some(BuildId::new([0xaa])), ..Known::default() };
    let mut wrong = Vec::new();
    for case in cases() {
        let (minor, action, before, refused, now, messages, expected) = case.clone();
        let (before, now) = (look(before), after(now));
        let refused = Some(Errno::new(refused)).filter(|errno| errno.number() != 0);
        let evidence = Evidence { refused, messages, known: known.clone(), ..evidence(minor, action, &before, &now) };
        let judged = text_of(&judge(&evidence));
        if judged != expected || is_done(&evidence) != (expected == "done") {
            wrong.push(format!("{case:?}\n    not {judged}"));
        }
    }
    assert_eq!(wrong, [""; 0], "{}", wrong.join("\n"));
}

#[test]
fn an_action_whose_beginning_was_not_seen_is_judged_by_its_end() {
    use Action::{Apply, Replace, Revert, Unload};
    for (action, now, expected) in [
        (Apply, "APPLIED 0", "done"),
        (Apply, "CHECKED 0", "NotDone { found: Checked, expected: Applied }"),
        (Apply, "CHECKED -16", "again quiesce QuiesceTimeout"),
        (Apply, "CHECKED -5", "ActionFailed { code: EIO(5), state: Checked }"),
        (Apply, "APPLIED -16", OVERTAKEN_A),
        (Apply, "CHECKED -11", "StaleInProgress { state: Checked }"),
        (Apply, "gone", "NoSuchPayload"),
        (Apply, "running", "Unfinished"),
        (Apply, "unreadable", "OutcomeUnknown"),
        (Revert, "CHECKED 0", "done"),
        (Revert, "APPLIED 0", "NotDone { found: Applied, expected: Checked }"),
        (Revert, "APPLIED -16", "again quiesce QuiesceTimeout"),
        (Replace, "APPLIED 0 | me", "done"),
        (Replace, "APPLIED 0", "OutcomeUnknown"),
        (Replace, "CHECKED -11 |", "StaleInProgress { state: Checked }"),
        (Replace, "CHECKED -16 | old", "ReplaceFailed { code: EBUSY(16), applied: Some([\"old\"]) }"),
        (Unload, "gone", "done"),
        (Unload, "CHECKED 0", "OutcomeUnknown"),
        (Unload, "CHECKED -11", "StaleInProgress { state: Checked }"),
    ] {
        let unseen = judge_unseen(&evidence(17, action, &Look::needed(action), &after(now)));
        assert_eq!(text_of(&unseen), expected, "{action} {now}");
    }
}

/// Before 4.14 an APPLY that fails with `EINVAL` has one cause on x86, but the result may be that of a REPLACE.
#[test]
fn an_unseen_result_has_more_causes_than_that_of_the_action() {
    let (before, after) = (Look::needed(Action::Apply), After::Seen(look("CHECKED -22")));
    for minor in [8, 12, 13] {
        for (messages, unseen) in [(vec![], "Unexplained EINVAL(22)"), (vec![MayHaveChanged], "ReapplyNeedsReupload")] {
            let evidence = Evidence { messages, ..evidence(minor, Action::Apply, &before, &after) };
            assert_eq!(text_of(&judge(&evidence)), "ReapplyNeedsReupload", "{minor}");
            assert_eq!(text_of(&judge_unseen(&evidence)), unseen, "{minor}");
            let applied = After::Seen(look("APPLIED -22"));
            assert_eq!(text_of(&judge_unseen(&Evidence { after: &applied, ..evidence })), OVERTAKEN_A, "{minor}");
        }
    }
}

#[test]
fn messages_add_a_function_and_a_name() {
    let (before, top) = (look(C), PayloadName::new("top").unwrap());
    let ids = |id: u8| Some(BuildId::new([id]));
    let known = Known {
        xen: ids(0xaa),
        payload: Identity { build_id: ids(1), depends: ids(2) },
        others: vec![(top.clone(), BuildId::new([3]))],
    };
    let judged = |messages: &[LogMessage], errno, flags, architecture| {
        let (minor, refused, after) = match errno {
            Errno::EAGAIN => (12, None, After::Seen(look("CHECKED -22"))),
            errno => (17, Some(errno), After::Seen(before.clone())),
        };
        let evidence = evidence(minor, Action::Apply, &before, &after);
        let xen = Xen { architecture, ..evidence.xen };
        let evidence = Evidence { flags, xen, refused, messages: messages.to_vec(), known: known.clone(), ..evidence };
        let Verdict::Failed(error) = judge(&evidence) else { panic!("{messages:?}") };
        error.kind().clone()
    };
    let (x86, none) = (Architecture::X86_64, Flags::empty());
    assert_eq!(
        judged(&[NotBuiltOn(Some(top.clone()))], Errno::EINVAL, none, x86),
        Kind::DependsOnAnother { action: Action::Apply, expected: ids(2), found: ids(3), on: Some(top) }
    );
    let function = Some("f".to_owned());
    for errno in [Errno::EINVAL, Errno::ERANGE, Errno::EFAULT] {
        let messages = [NotAsExpected("f".into(), errno), HookFailed(Errno::EIO)];
        assert_eq!(judged(&messages, errno, none, x86), Kind::ExpectationNotMet { function: function.clone() });
    }
    assert_eq!(judged(&[], Errno::EINVAL, Flags::NODEPS, x86), Kind::ExpectationNotMet { function: None });
    // On Arm, EINVAL before 4.14 may also come from mapping the code.
    assert_eq!(judged(&[], Errno::EAGAIN, none, x86), Kind::ReapplyNeedsReupload);
    let failed = Kind::ActionFailed { code: Errno::EINVAL, state: State::Checked };
    assert_eq!(judged(&[], Errno::EAGAIN, none, Architecture::AArch64), failed);
}

#[test]
fn a_wrong_state_is_refused_before_anything_is_sent() {
    for (action, before) in [(Action::Revert, C), (Action::Apply, A), (Action::Replace, A), (Action::Unload, A)] {
        let error = ready(action, &look(before)).unwrap_err();
        let (found, needed) = (look(before).status.state, needed(action));
        assert_eq!(error.kind(), &Kind::WrongState { found, needed });
    }
    assert!(ready(Action::Apply, &look(C)).is_ok());
}

#[test]
fn every_refused_upload_is_judged_as_its_row_expects() {
    let here = |metadata: &str| Present::Yes(Some(Metadata::new(metadata)));
    let (no, unasked) = (Present::No, Present::Unknown(None));
    let id = BuildId::new([1]);
    let invalid = |reason, xen: Option<&str>| Kind::InvalidPayload { reason, xen: xen.map(Into::into) };
    let by = |by| Kind::AlreadyLoaded { by };
    let (einval, note) =
        ("it is not a well-formed live patch, or was built for another Xen", "a note in it is not a build-id");
    let other = |text: &str| LogMessage::Other(text.into());
    let symbol = LogMessage::DuplicateSymbol("s".into());
    let ids = (Some(BuildId::new([2])), Some(id.clone()));
    let foreign = LogMessage::ForAnotherXen(ids.0.clone(), ids.1.clone());
    let built_for = |expected, found| Kind::BuiltForAnotherXen { expected, found };
    for (refused, present, xen, messages, expected) in [
        (Errno::EFAULT, no.clone(), None, vec![], Kind::Fault),
        (Errno::EFAULT, here("k=v\0"), None, vec![], Kind::OutcomeUnknown),
        (Errno::EFAULT, here("k=old\0"), None, vec![], by(Duplicate::Name)),
        (Errno::EFAULT, Present::Yes(None), None, vec![], Kind::OutcomeUnknown),
        (Errno::EFAULT, Present::Unknown(Some(Errno::EPERM)), None, vec![], Kind::OutcomeUnknown),
        (Errno::EEXIST, Present::Yes(None), None, vec![], by(Duplicate::Name)),
        (Errno::EEXIST, no.clone(), None, vec![], by(Duplicate::BuildIdOrSymbol)),
        (Errno::EEXIST, no.clone(), None, vec![other("x")], by(Duplicate::BuildIdOrSymbol)),
        (Errno::EEXIST, no.clone(), None, vec![symbol], by(Duplicate::Symbol("s".into()))),
        (Errno::EEXIST, no, None, vec![LogMessage::SameBuildId], by(Duplicate::BuildId)),
        (Errno::EEXIST, unasked.clone(), None, vec![], by(Duplicate::Unknown)),
        (Errno::ENODATA, unasked.clone(), Some(Ok(id.clone())), vec![], invalid(note, None)),
        (Errno::ENODATA, unasked.clone(), Some(Err(Errno::ENODATA)), vec![], Kind::NoBuildId),
        (Errno::EINVAL, unasked.clone(), None, vec![], invalid(einval, None)),
        (Errno::EINVAL, unasked.clone(), None, vec![other("a"), other("b")], invalid(einval, Some("b"))),
        (Errno::EINVAL, unasked.clone(), None, vec![NotBuiltOn(None)], built_for(None, None)),
        (Errno::EINVAL, unasked.clone(), None, vec![foreign], built_for(ids.0, ids.1)),
        (Errno::ENOMEM, unasked.clone(), None, vec![], Kind::XenOutOfMemory),
        (Errno::EPERM, unasked, None, vec![other("x")], Kind::NotPermitted { path: None }),
    ] {
        let metadata = Some(Metadata::new("k=v\0"));
        let evidence = UploadEvidence { refused, present, twin: Twin::Unknown, metadata, xen, messages };
        assert_eq!(judge_upload(&evidence).kind(), &expected, "{evidence:?}");
        let it = PayloadName::new("twin").unwrap();
        let same = Duplicate::Payload { name: it.clone(), state: State::Checked };
        let twin = Twin::Yes(it, State::Checked);
        let error = judge_upload(&UploadEvidence { twin, ..evidence.clone() });
        assert_eq!(*error.kind(), if refused == Errno::EEXIST { by(same) } else { expected.clone() }, "{evidence:?}");
        let error = judge_upload(&UploadEvidence { twin: Twin::No, ..evidence.clone() });
        let symbol = expected == by(Duplicate::BuildIdOrSymbol);
        assert_eq!(*error.kind(), if symbol { by(Duplicate::SomeSymbol) } else { expected }, "{evidence:?}");
    }
}
