//! The meaning of the lines that Xen logs about payloads and actions.
//!
//! The texts are those of real Xens 4.14, 4.17, 4.20 and 4.22, and of Xen's source from 4.7 on. Xen logs reasons at the level
//! of errors. It logs the progress of an action at the level of information, which is off unless `loglvl` enables it.

use super::{split_at, split_at_last, without_prefix};
use crate::types::{BuildId, Errno, PayloadName, escaped};

/// A message about a payload: a line, or several that belong together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum LogMessage {
    /// The payload's pre-apply or pre-revert hook returned this.
    HookFailed(Errno),
    /// A hook is about to run in place of an apply or a revert.
    HookInstead,
    /// The payload does not depend on the build-id of this payload, or of Xen if there is none.
    NotBuiltOn(Option<PayloadName>),
    /// A function is not as expected.
    NotAsExpected(String, Errno),
    /// The payload is not on top of the stack; this one is, if its name can be read back.
    Top(Option<PayloadName>),
    /// The payload was reverted before and has data.
    MayHaveChanged,
    /// Xen could not stop the CPUs in time, or CPUs came or went meanwhile.
    NotQuiesced,
    /// The payload was built for the Xen with the first build-id, and this one has the second.
    ForAnotherXen(Option<BuildId>, Option<BuildId>),
    /// The payload defines a symbol that another one has defined.
    DuplicateSymbol(String),
    /// The payload's build-id is loaded under another name.
    SameBuildId,
    /// A virtual CPU of this domain waits inside Xen.
    ActiveWaitqueue(Option<u16>),
    /// Any other message.
    Other(String),
}

/// The part of a log that is about one payload.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct PayloadLog {
    /// Its lines, escaped and without prefixes, with those that continue them.
    pub(crate) lines: Vec<String>,
    pub(crate) messages: Vec<LogMessage>,
}

impl PayloadLog {
    pub(crate) fn parse(log: &[u8], name: &PayloadName) -> Self {
        let mut found = Self::default();
        let mut ours = false;
        let mut waitqueue = None;
        for line in log.split(|byte| *byte == b'\n') {
            let text = without_prefix(line);
            if text.ends_with(ACTIVE_WAITQUEUE) {
                waitqueue = Some(text);
                continue;
            }
            let indented = is_indented(text);
            // Xen names the function, not the payload, in a line about what it found instead of what was expected.
            let continues = indented || split_at(text, EXPECTATION).is_some();
            let rest = text.strip_prefix(b"livepatch: ").and_then(|text| text.strip_prefix(name.as_bytes()));
            let message = rest.and_then(|rest| rest.strip_prefix(b": "));
            if !continues {
                ours = message.is_some() || rest.is_some_and(|rest| rest.starts_with(FINISHED));
            }
            // It does not name the payload; the next line does.
            let before = waitqueue.take();
            if !ours {
                continue;
            }
            if let Some(before) = before.map(escaped) {
                found.messages.extend(active_waitqueue(&before));
                found.lines.push(before);
            }
            let line = escaped(text);
            match message {
                Some(message) => found.messages.push(meaning(&escaped(message))),
                None if indented => found.continue_mismatch(&line),
                None => {}
            }
            found.lines.push(line);
        }
        found
    }

    /// Takes a build-id from an indented line after the one that reports a mismatch.
    fn continue_mismatch(&mut self, line: &str) {
        let Some(LogMessage::ForAnotherXen(expected, found)) = self.messages.last_mut() else { return };
        let value = |word: &str| line.trim_start().strip_prefix(word)?.trim().parse().ok();
        *expected = expected.take().or_else(|| value("livepatch:"));
        *found = found.take().or_else(|| value("xen:"));
    }
}

/// The end of the line before the one about a payload that Xen did not apply.
const ACTIVE_WAITQUEUE: &[u8] = b" found with active waitqueue";

const EXPECTATION: &[u8] = b": expectation failed: ";

/// Xen 4.20 indents with spaces that don't break (U+00A0).
fn is_indented(text: &[u8]) -> bool {
    text.first() == Some(&b' ') || text.starts_with("\u{a0}".as_bytes())
}

/// `livepatch: d3 found with active waitqueue`, of which the payload is in the line that follows.
fn active_waitqueue(line: &str) -> Option<LogMessage> {
    let domain = between(line, "livepatch: ", " found with active waitqueue")?;
    Some(LogMessage::ActiveWaitqueue(domain.strip_prefix('d').and_then(|number| number.parse().ok())))
}

fn meaning(text: &str) -> LogMessage {
    // Debug builds of Xen before 4.13 add an exclamation mark to some.
    let text = text.strip_suffix('!').unwrap_or(text);
    between(text, "check against ", " build-id failed")
        .map(|on| LogMessage::NotBuiltOn(Some(on).filter(|on| *on != "hypervisor").and_then(read_back)))
        .or_else(|| {
            let (function, rest) = text.strip_prefix("expectations of ")?.split_once(" failed (rc=")?;
            Some(LogMessage::NotAsExpected(function.into(), hook_result(rest)?))
        })
        .or_else(|| {
            let (hook, rest) = text.split_once(" hook failed (rc=")?;
            let pre = matches!(hook, "pre-apply" | "pre-revert");
            pre.then_some(LogMessage::HookFailed(hook_result(rest)?))
        })
        .or_else(|| text.strip_prefix("can't unload. Top is ").map(|top| LogMessage::Top(read_back(top))))
        .or_else(|| {
            text.strip_prefix("duplicate new symbol: ").map(|symbol| LogMessage::DuplicateSymbol(symbol.into()))
        })
        .or_else(|| MEANINGS.iter().find(|(start, _)| text.starts_with(start)).map(|(_, message)| message.clone()))
        .or_else(|| text.contains("unable to get cpu_maps lock").then_some(LogMessage::NotQuiesced))
        .unwrap_or_else(|| LogMessage::Other(text.into()))
}

/// The beginnings of messages without a value.
const MEANINGS: [(&str, LogMessage); 6] = [
    ("Calling apply action hook function", LogMessage::HookInstead),
    ("Calling revert action hook function", LogMessage::HookInstead),
    ("can't revert as payload has .data", LogMessage::MayHaveChanged),
    ("Timed out on semaphore in ", LogMessage::NotQuiesced),
    ("Already loaded as ", LogMessage::SameBuildId),
    ("build-id mismatch:", LogMessage::ForAnotherXen(None, None)),
];

fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    text.strip_prefix(before)?.strip_suffix(after)
}

/// The error that a result up to a closing bracket stands for. A hook may return any number.
fn hook_result(text: &str) -> Option<Errno> {
    text.split(')').next()?.parse().ok().map(|rc: i32| Errno::new(rc.wrapping_neg()))
}

/// A name from the text of a log; `None` if it was escaped, so that it could be another's.
fn read_back(text: &str) -> Option<PayloadName> {
    if text.contains('\\') { None } else { PayloadName::new(text).ok() }
}

/// A line about an action on any payload. Names may contain anything, so they end at the last occurrence of the text that
/// follows them.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ActionLine<'a> {
    Begun(&'a [u8]),
    /// The hook after the action is about to be called.
    InHook(&'a [u8]),
    /// Xen could not stop the CPUs in time.
    Late(&'a [u8]),
    Finished {
        name: &'a [u8],
        /// `APPLY`, `REVERT` or `REPLACE`.
        action: &'a str,
        rc: i32,
    },
}

/// The texts after a name with which an action begins, or is about to fail.
const BEGINNINGS: [&[u8]; 6] = [
    b": Applying ",
    b": Reverting",
    b": Calling apply action hook function",
    b": Calling revert action hook function",
    b": Safety checks failed: ",
    b": unable to quiesce",
];

const FINISHED: &[u8] = b" finished ";

impl<'a> ActionLine<'a> {
    pub(crate) fn parse(line: &'a [u8]) -> Option<Self> {
        let text = without_prefix(line).strip_prefix(b"livepatch: ")?;
        let split = |part: &[u8]| split_at_last(text, part);
        if let Some((name, rest)) = split(FINISHED) {
            let (action, rc) = std::str::from_utf8(rest).ok()?.trim_end().split_once(" with rc=")?;
            return Some(Self::Finished { name, action, rc: rc.parse().ok()? });
        }
        if let Some((name, _)) = split(b": Calling post-") {
            return Some(Self::InHook(name));
        }
        if let Some((name, _)) = split(b": Timed out on semaphore in ") {
            return Some(Self::Late(name));
        }
        let (name, _) = BEGINNINGS.iter().find_map(|beginning| split(beginning))?;
        Some(Self::Begun(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(log: &str, name: &str) -> PayloadLog {
        PayloadLog::parse(log.as_bytes(), &PayloadName::new(name).unwrap())
    }

    fn messages(log: &str) -> Vec<LogMessage> {
        parse(log, "me").messages
    }

    #[test]
    fn each_line_has_its_meaning() {
        let name = |text: &str| Some(PayloadName::new(text).unwrap());
        for (line, expected) in [
            ("check against bye build-id failed", LogMessage::NotBuiltOn(name("bye"))),
            ("check against hypervisor build-id failed", LogMessage::NotBuiltOn(None)),
            ("check against hypervisor build-id failed!", LogMessage::NotBuiltOn(None)),
            ("expectations of f failed (rc=-22), aborting!", LogMessage::NotAsExpected("f".into(), Errno::EINVAL)),
            ("pre-apply hook failed (rc=-16), aborting!", LogMessage::HookFailed(Errno::EBUSY)),
            ("pre-revert hook failed (rc=-4095), aborting!", LogMessage::HookFailed(Errno::new(4095))),
            ("can't unload. Top is bye", LogMessage::Top(name("bye"))),
            ("can't unload. Top is \\u{1b}", LogMessage::Top(None)),
            ("can't revert as payload has .data. Please unload", LogMessage::MayHaveChanged),
            ("Timed out on semaphore in CPU quiesce phase 0/1", LogMessage::NotQuiesced),
            ("CPU0 - unable to get cpu_maps lock!", LogMessage::NotQuiesced),
            ("unable to get cpu_maps lock!", LogMessage::NotQuiesced),
            ("Calling apply action hook function", LogMessage::HookInstead),
            ("duplicate new symbol: s", LogMessage::DuplicateSymbol("s".into())),
            ("Already loaded as other!", LogMessage::SameBuildId),
            ("build-id mismatch:", LogMessage::ForAnotherXen(None, None)),
            ("Bogus e_shoff", LogMessage::Other("Bogus e_shoff".into())),
            ("pre-apply hook failed (rc=7), aborting!", LogMessage::HookFailed(Errno::new(-7))),
            ("post-apply hook failed (rc=-7)", LogMessage::Other("post-apply hook failed (rc=-7)".into())),
        ] {
            let log = format!("livepatch: me: {line}\nlivepatch: me finished APPLY with rc=0");
            assert_eq!(messages(&log), [expected], "{line}");
        }
        assert_eq!(messages("livepatch: someone: Bogus"), []);
    }

    /// As real Xens wrote it: 4.20 splits a mismatch into lines.
    const LOG: &str = "t of a line\n\
        (XEN) livepatch: hello: Applying 1 functions\r\n\
        (XEN) livepatch: foreign: build-id mismatch:\n\
        (XEN) \u{a0} livepatch: 5a5a\n\
        (XEN) \u{a0}\u{a0}\u{a0}\u{a0}\u{a0}\u{a0}\u{a0} xen: 576c\n\
        (XEN) livepatch: other: check against foreign build-id failed\n\
        (XEN)  something that continues it\n\
        (XEN) [2026-11-23 10:00:00.123] livepatch: foreign finished APPLY with rc=-22\n\
        (XEN) livepatch: foreigner: Not an ELF payload\n\
        (XEN) common/livepatch.c:614: livepatch: foreign: Already loaded as x!\n\
        livepatch: foreign: \x1b[31mred\n\
        (XEN) common/livepatch.c:61x: livepatch: foreign: in no place\n\
        (XEN) livepatch: foreign: cut o";

    #[test]
    fn lines_about_a_payload_stay_whole() {
        let foreign = parse(LOG, "foreign");
        assert_eq!(
            foreign.lines,
            [
                "livepatch: foreign: build-id mismatch:",
                "\u{a0} livepatch: 5a5a",
                "\u{a0}\u{a0}\u{a0}\u{a0}\u{a0}\u{a0}\u{a0} xen: 576c",
                "livepatch: foreign finished APPLY with rc=-22",
                "livepatch: foreign: Already loaded as x!",
                "livepatch: foreign: \\u{1b}[31mred",
                "livepatch: foreign: cut o",
            ]
        );
        let ids = (Some(BuildId::new([0x5a, 0x5a])), Some(BuildId::new([0x57, 0x6c])));
        assert_eq!(foreign.messages[..2], [LogMessage::ForAnotherXen(ids.0, ids.1), LogMessage::SameBuildId]);
        assert_eq!(parse(LOG, "nobody"), PayloadLog::default());
        assert_eq!(parse("", "hello"), PayloadLog::default());
    }
}
