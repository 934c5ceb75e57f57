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

const C: &str = "CHECKED 0 |";
const A: &str = "APPLIED 0 | me";

/// An error number by its name, or itself.
fn errno(text: &str) -> Errno {
    let named = Errno::KNOWN.iter().find(|(_, name, _)| *name == text);
    Errno::new(named.map_or_else(|| text.parse().unwrap(), |(number, ..)| *number))
}

fn message(text: &str) -> LogMessage {
    match text {
        "HookInstead" => HookInstead,
        "MayHaveChanged" => MayHaveChanged,
        "NotBuiltOn" => NotBuiltOn(None),
        "NotQuiesced" => NotQuiesced,
        "Top" => Top(None),
        _ => HookFailed(errno(text.strip_prefix("HookFailed ").unwrap())),
    }
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
    let rows = include_str!("verdicts.txt").lines().filter(|row| !row.is_empty() && !row.starts_with('#'));
    let mut wrong = Vec::new();
    for row in rows {
        let columns: Vec<&str> = row.split(';').map(str::trim).collect();
        let [minor, action, before, refused, now, messages, expected] = columns[..] else { panic!("{row}") };
        let action = action.parse().unwrap();
        let is_seen = before != "unseen";
        let before = if is_seen { look(before) } else { Look::needed(action) };
        let now = after(now);
        let refused = (refused != "-").then(|| errno(refused));
        let messages = messages.split_terminator(", ").map(message).collect();
        let evidence = evidence(minor.parse().unwrap(), action, &before, &now);
        let evidence = Evidence { refused, messages, known: known.clone(), ..evidence };
        let judged = text_of(&if is_seen { judge(&evidence) } else { judge_unseen(&evidence) });
        if judged != expected
            || is_seen && is_done(evidence.action, evidence.refused, evidence.after) != (expected == "done")
        {
            wrong.push(format!("{row}\n    not {judged}"));
        }
    }
    assert_eq!(wrong, [""; 0], "{}", wrong.join("\n"));
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
            assert_eq!(
                text_of(&judge_unseen(&Evidence { after: &applied, ..evidence })),
                "Overtaken { state: Some(Applied), applied: None }",
                "{minor}"
            );
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
