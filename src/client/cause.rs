//! From Xen's words to a cause: error numbers that stand for many things are told apart by the log.
//!
//! The words are those of real Xens 4.14, 4.17 and 4.20. Where Xen says something else, or nothing, an error stays as
//! the number and the payload's status had it.

use super::LivepatchClient;
use super::console::Watch;
use crate::build_id::BuildId;
use crate::errno::Errno;
use crate::error::{Action, Duplicate, ErrorKind, Operation, Result};
use crate::name::{PayloadName, escaped};

impl LivepatchClient {
    /// Runs an operation on a payload. Its error says which, and carries what Xen wrote to its log about it.
    pub(super) fn watched(
        &self,
        operation: Operation,
        name: &PayloadName,
        run: impl FnOnce(&Watch<'_>) -> Result<()>,
    ) -> Result<()> {
        let watch = Watch::new(&self.console, &self.channel);
        run(&watch).map_err(|error| {
            let lines = watch.lines(name);
            let named = named_by(&lines, operation, name, error.kind());
            let silent = watch.is_readable() && lines.is_empty();
            let cause = named.or_else(|| of_silence(error.kind(), self.channel.release()).filter(|_| silent));
            let error = error.during(operation).of(name).log(lines);
            let told = cause.is_some();
            let kind = self.with_build_ids(name, cause.unwrap_or_else(|| error.kind().clone()), told);
            error.because(kind)
        })
    }

    /// Adds the build-ids to an error that is about them, as far as they are known here. `told`: Xen said what is on top.
    fn with_build_ids(&self, name: &PayloadName, kind: ErrorKind, told: bool) -> ErrorKind {
        let ErrorKind::DependsOnAnother { action, on, expected, found } = kind else { return kind };
        let below = match &on {
            Some(top) => self.identities.of(top).build_id,
            None if told || action == Action::Replace => self.channel.build_id().ok(),
            None => None,
        };
        let expected = expected.or_else(|| self.identities.of(name).depends);
        ErrorKind::DependsOnAnother { action, on, expected, found: found.or(below) }
    }
}

/// A line of the log about the payload, without its name, and the lines that continue it.
struct Message<'a> {
    text: &'a str,
    more: &'a [String],
}

/// The cause that Xen's log names, if it names one that says more than `kind` does.
fn named_by(log: &[String], operation: Operation, name: &PayloadName, kind: &ErrorKind) -> Option<ErrorKind> {
    let prefix = format!("livepatch: {}: ", escaped(name.as_bytes()));
    let messages = log.iter().enumerate().filter_map(|(index, line)| {
        let text = line.strip_prefix(&prefix)?;
        Some(Message { text, more: log.get(index + 1..).unwrap_or_default() })
    });
    let messages: Vec<_> = messages.collect();
    // The last word is about the end of the operation.
    messages.iter().rev().find_map(|message| cause(message, operation, kind)).or_else(|| complaint(&messages, kind))
}

/// The cause when Xen's log could be read and has no word about it.
///
/// From 4.13 on (commit 4470efeae4) release builds too name a symbol that is defined twice, but not a build-id.
fn of_silence(kind: &ErrorKind, release: (u16, u16)) -> Option<ErrorKind> {
    let build_id = *kind == ErrorKind::AlreadyLoaded { by: Duplicate::BuildIdOrSymbol } && release >= (4, 13);
    build_id.then_some(ErrorKind::AlreadyLoaded { by: Duplicate::BuildId })
}

fn cause(message: &Message<'_>, operation: Operation, kind: &ErrorKind) -> Option<ErrorKind> {
    use ErrorKind as K;
    let text = message.text;
    match (operation, kind) {
        (Operation::Upload, K::InvalidPayload { .. }) => {
            if text == "build-id mismatch:" {
                let expected = message.build_id("livepatch:");
                return Some(K::BuiltForAnotherXen { expected, found: message.build_id("xen:") });
            }
            (text == "check against hypervisor build-id failed")
                .then_some(K::BuiltForAnotherXen { expected: None, found: None })
        }
        (Operation::Upload, K::AlreadyLoaded { .. }) => {
            let symbol = text.strip_prefix("duplicate new symbol: ")?;
            Some(K::AlreadyLoaded { by: Duplicate::Symbol(symbol.into()) })
        }
        (
            Operation::Action(action),
            K::DependencyOrExpectation
            | K::DependsOnAnother { .. }
            | K::ExpectationNotMet { .. }
            | K::OperationInProgress,
        ) => {
            if let Some(function) = text.strip_prefix("expectations of ").and_then(|rest| rest.split(" failed").next())
            {
                return Some(K::ExpectationNotMet { function: Some(function.into()) });
            }
            if let Some((_, code)) = text.split_once("-apply hook failed (rc=-") {
                let code = code.split(')').next()?.parse().ok()?;
                return Some(K::HookRefused { code: Errno::new(code) });
            }
            let top = text.strip_prefix("check against ")?.strip_suffix(" build-id failed")?;
            let on = if top == "hypervisor" { None } else { PayloadName::new(top).ok() };
            Some(K::DependsOnAnother { action, expected: None, found: None, on })
        }
        (Operation::Action(_), K::NotOnTop { .. }) => {
            let top = text.strip_prefix("can't unload. Top is ")?;
            Some(K::NotOnTop { top: PayloadName::new(top).ok() })
        }
        _ => None,
    }
}

/// Of a payload that Xen can't use, what it says itself.
fn complaint(messages: &[Message<'_>], kind: &ErrorKind) -> Option<ErrorKind> {
    let ErrorKind::InvalidPayload { reason, .. } = kind else { return None };
    let text = messages.last()?.text;
    Some(ErrorKind::InvalidPayload { reason, xen: Some(text.into()) })
}

impl Message<'_> {
    /// The build-id behind a word at the beginning of one of the lines that continue this one.
    fn build_id(&self, word: &str) -> Option<BuildId> {
        let mut more = self.more.iter().take_while(|line| line.starts_with(char::is_whitespace));
        more.find_map(|line| line.trim_start().strip_prefix(word)?.trim().parse().ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(log: &[&str], operation: Operation, kind: &ErrorKind) -> Option<ErrorKind> {
        let log: Vec<String> = log.iter().map(ToString::to_string).collect();
        named_by(&log, operation, &PayloadName::new("me").unwrap(), kind)
    }

    #[test]
    fn a_refused_upload_has_the_cause_that_xen_names() {
        let kind = ErrorKind::InvalidPayload { reason: "r", xen: None };
        let upload = |log: &[&str]| named(log, Operation::Upload, &kind);
        let (expected, found) = (Some(BuildId::new([0x5a, 0x5b])), Some(BuildId::new([0x57, 0x6c])));
        assert_eq!(
            upload(&[
                "livepatch: me: build-id mismatch:",
                "\u{a0} livepatch: 5a5b",
                "\u{a0}\u{a0}\u{a0}\u{a0}\u{a0}\u{a0}\u{a0} xen: 576c",
                "livepatch: me: x"
            ]),
            Some(ErrorKind::BuiltForAnotherXen { expected, found })
        );
        assert_eq!(
            upload(&["livepatch: me: check against hypervisor build-id failed"]),
            Some(ErrorKind::BuiltForAnotherXen { expected: None, found: None })
        );
        assert_eq!(
            upload(&["livepatch: me: Bogus e_shoff"]),
            Some(ErrorKind::InvalidPayload { reason: "r", xen: Some("Bogus e_shoff".into()) })
        );
        assert_eq!(upload(&[]), None);
        assert_eq!(upload(&["livepatch: someone: Bogus e_shoff", "livepatch: me finished APPLY with rc=0"]), None);
        assert_eq!(
            named(
                &["livepatch: me: duplicate new symbol: s"],
                Operation::Upload,
                &ErrorKind::AlreadyLoaded { by: Duplicate::BuildIdOrSymbol }
            ),
            Some(ErrorKind::AlreadyLoaded { by: Duplicate::Symbol("s".into()) })
        );
    }

    #[test]
    fn a_refused_action_has_the_cause_that_xen_names() {
        let action = Action::Apply;
        let act = |line: &str, kind| named(&["livepatch: me: Verifying", line], Operation::Action(action), kind);
        let either = &ErrorKind::DependencyOrExpectation;
        let on = |on| ErrorKind::DependsOnAnother { action, expected: None, found: None, on };
        assert_eq!(
            act("livepatch: me: check against bye build-id failed", either),
            Some(on(Some(PayloadName::new("bye").unwrap())))
        );
        assert_eq!(act("livepatch: me: check against hypervisor build-id failed", either), Some(on(None)));
        assert_eq!(
            act("livepatch: me: expectations of f failed (rc=-22), aborting!", either),
            Some(ErrorKind::ExpectationNotMet { function: Some("f".into()) })
        );
        assert_eq!(
            act("livepatch: me: pre-apply hook failed (rc=-22), aborting!", either),
            Some(ErrorKind::HookRefused { code: Errno::EINVAL })
        );
        assert_eq!(
            act("livepatch: me: can't unload. Top is bye", &ErrorKind::NotOnTop { top: None }),
            Some(ErrorKind::NotOnTop { top: Some(PayloadName::new("bye").unwrap()) })
        );
        assert_eq!(act("livepatch: me: can't unload. Top is bye", &ErrorKind::QuiesceTimeout), None);
    }
}
