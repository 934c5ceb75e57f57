//! What Xen's log says about a payload, in words that mean something.
//!
//! They are those of real Xens 4.14, 4.17, 4.20 and 4.22, and of their source from 4.7 on. Xen prints its reasons at
//! the level of errors, and what it is doing at that of information, which is off unless `loglvl` says otherwise.

use crate::types::build_id::BuildId;
use crate::types::errno::Errno;
use crate::types::name::{PayloadName, escaped};

/// A line about a payload, or several that belong together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Word {
    /// Its pre-apply or pre-revert hook returned this.
    HookFailed(Errno),
    /// A hook is about to run in place of an apply or a revert.
    HookInstead,
    /// What it depends on is not the build-id of this payload, or of Xen where there is none.
    NotBuiltOn(Option<PayloadName>),
    /// A function is not as expected.
    NotAsExpected(String, Errno),
    /// It is not on top of the stack; this one is, where the name can be read back.
    Top(Option<PayloadName>),
    /// It was reverted and has data.
    MayHaveChanged,
    /// The CPUs did not come to rest, or come and go.
    NotQuiesced,
    /// It was built for the Xen with the first build-id, and this one has the second.
    ForAnotherXen(Option<BuildId>, Option<BuildId>),
    /// It defines a symbol that is there.
    DuplicateSymbol(String),
    /// Its build-id is loaded under another name.
    SameBuildId,
    /// A virtual CPU of this domain waits inside Xen.
    ActiveWaitqueue(Option<u16>),
    /// Anything else that it says about the payload.
    Other(String),
}

/// The words in lines about a payload.
pub(crate) fn words(log: &[String], name: &PayloadName) -> Vec<Word> {
    let prefix = format!("livepatch: {}: ", escaped(name.as_bytes()));
    let lines = log.iter().enumerate().filter_map(|(index, line)| {
        let more = || log.get(index + 1..).unwrap_or_default();
        line.strip_prefix(&prefix).map(|text| word(text, more())).or_else(|| waitqueue(line))
    });
    lines.collect()
}

fn word(text: &str, more: &[String]) -> Word {
    // Debug builds of Xen before 4.13 add an exclamation mark to some.
    let text = text.strip_suffix('!').unwrap_or(text);
    between(text, "check against ", " build-id failed")
        .map(|on| Word::NotBuiltOn(Some(on).filter(|on| *on != "hypervisor").and_then(read_back)))
        .or_else(|| {
            let (function, rest) = text.strip_prefix("expectations of ")?.split_once(" failed (rc=")?;
            Some(Word::NotAsExpected(function.into(), result(rest)?))
        })
        .or_else(|| {
            let (hook, rest) = text.split_once(" hook failed (rc=")?;
            let pre = matches!(hook, "pre-apply" | "pre-revert");
            pre.then_some(Word::HookFailed(result(rest)?))
        })
        .or_else(|| text.strip_prefix("can't unload. Top is ").map(|top| Word::Top(read_back(top))))
        .or_else(|| text.strip_prefix("duplicate new symbol: ").map(|symbol| Word::DuplicateSymbol(symbol.into())))
        .or_else(|| {
            (text == "build-id mismatch:")
                .then(|| Word::ForAnotherXen(build_id(more, "livepatch:"), build_id(more, "xen:")))
        })
        .or_else(|| MEANINGS.iter().find(|(start, _)| text.starts_with(start)).map(|(_, word)| word.clone()))
        .or_else(|| text.contains("unable to get cpu_maps lock").then_some(Word::NotQuiesced))
        .unwrap_or_else(|| Word::Other(text.into()))
}

/// What lines begin with that say one thing.
const MEANINGS: [(&str, Word); 5] = [
    ("Calling apply action hook function", Word::HookInstead),
    ("Calling revert action hook function", Word::HookInstead),
    ("can't revert as payload has .data", Word::MayHaveChanged),
    ("Timed out on semaphore in ", Word::NotQuiesced),
    ("Already loaded as ", Word::SameBuildId),
];

/// The end of the line before the one about a payload that Xen did not apply.
pub(crate) const ACTIVE_WAITQUEUE: &str = " found with active waitqueue";

/// `livepatch: d3 found with active waitqueue`, of which the payload is in the line that follows.
fn waitqueue(line: &str) -> Option<Word> {
    let domain = between(line, "livepatch: ", ACTIVE_WAITQUEUE)?;
    Some(Word::ActiveWaitqueue(domain.strip_prefix('d').and_then(|number| number.parse().ok())))
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    text.strip_prefix(before)?.strip_suffix(after)
}

/// The error that a result up to a closing bracket stands for. What a hook returns may be any number.
fn result(text: &str) -> Option<Errno> {
    text.split(')').next()?.parse().ok().map(|rc: i32| Errno::new(rc.wrapping_neg()))
}

/// A name from the text of a log; none where it was escaped and could be another's.
fn read_back(text: &str) -> Option<PayloadName> {
    if text.contains('\\') { None } else { PayloadName::new(text).ok() }
}

/// The build-id after a word at the beginning of one of the indented lines that follow.
fn build_id(more: &[String], word: &str) -> Option<BuildId> {
    let mut more = more.iter().take_while(|line| line.starts_with(char::is_whitespace));
    more.find_map(|line| line.trim_start().strip_prefix(word)?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_has_its_meaning() {
        let name = |text: &str| Some(PayloadName::new(text).unwrap());
        for (line, expected) in [
            ("check against bye build-id failed", Word::NotBuiltOn(name("bye"))),
            ("check against hypervisor build-id failed", Word::NotBuiltOn(None)),
            ("check against hypervisor build-id failed!", Word::NotBuiltOn(None)),
            ("expectations of f failed (rc=-22), aborting!", Word::NotAsExpected("f".into(), Errno::EINVAL)),
            ("pre-apply hook failed (rc=-16), aborting!", Word::HookFailed(Errno::EBUSY)),
            ("pre-revert hook failed (rc=-4095), aborting!", Word::HookFailed(Errno::new(4095))),
            ("can't unload. Top is bye", Word::Top(name("bye"))),
            ("can't unload. Top is \\u{1b}", Word::Top(None)),
            ("can't revert as payload has .data. Please unload", Word::MayHaveChanged),
            ("Timed out on semaphore in CPU quiesce phase 0/1", Word::NotQuiesced),
            ("CPU0 - unable to get cpu_maps lock!", Word::NotQuiesced),
            ("unable to get cpu_maps lock!", Word::NotQuiesced),
            ("Calling apply action hook function", Word::HookInstead),
            ("duplicate new symbol: s", Word::DuplicateSymbol("s".into())),
            ("Already loaded as other!", Word::SameBuildId),
            ("build-id mismatch:", Word::ForAnotherXen(None, None)),
            ("Bogus e_shoff", Word::Other("Bogus e_shoff".into())),
            ("pre-apply hook failed (rc=7), aborting!", Word::HookFailed(Errno::new(-7))),
            ("post-apply hook failed (rc=-7)", Word::Other("post-apply hook failed (rc=-7)".into())),
        ] {
            let log = [format!("livepatch: me: {line}"), "livepatch: me finished APPLY with rc=0".into()];
            assert_eq!(words(&log, &PayloadName::new("me").unwrap()), [expected], "{line}");
        }
        assert_eq!(words(&["livepatch: someone: Bogus".into()], &PayloadName::new("me").unwrap()), []);
    }

    #[test]
    fn a_mismatch_of_build_ids_takes_three_lines() {
        let log = [
            "livepatch: me: build-id mismatch:",
            "\u{a0} livepatch: 5a5b",
            "\u{a0}\u{a0}\u{a0}\u{a0}\u{a0}\u{a0}\u{a0} xen: 576c",
            "livepatch: me: x",
        ]
        .map(String::from);
        let ids = (Some(BuildId::new([0x5a, 0x5b])), Some(BuildId::new([0x57, 0x6c])));
        let expected = [Word::ForAnotherXen(ids.0, ids.1), Word::Other("x".into())];
        assert_eq!(words(&log, &PayloadName::new("me").unwrap()), expected);
    }
}
