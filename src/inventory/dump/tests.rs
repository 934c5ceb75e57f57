//! Dumps that are right, cut, interrupted and forged.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use super::*;
use crate::name::PayloadName;
use crate::status::Status;

/// As a real Xen 4.17 printed it.
const DUMP: &str = "\
(XEN) 'x' pressed - Dumping all livepatch patches
(XEN) build-id: 151b373fd64b321593bf987fd923cd10dabadac4
(XEN)  name=hello state=APPLIED(2) ffff82d0405b0000 (.data=ffff82d0405b1000, .rodata=ffff82d0405b2000) using 3 pages.
(XEN) livepatch: module metadata:
(XEN) livepatch:   author=we
(XEN) livepatch:   x
(XEN)     xen_extra_version patch ffff82d040234b20(16) with ffff82d0405b0000 (8)
(XEN) build-id=e65788c860f9c52ca465011c2cfbddaba2898e4e
(XEN) depend-on=151b373fd64b321593bf987fd923cd10dabadac4
(XEN) depend-on-xen=151b373fd64b321593bf987fd923cd10dabadac4
(XEN)  name=bye state=CHECKED(1) ffff82d0405b4000 (.data=ffff82d0405b4000, .rodata=ffff82d0405b5000) using 2 pages.
(XEN)     xen_changeset patch ffff82d040234b30(16) with 0000000000000000 (5)
(XEN) build-id=a4c777cc1e15e6d4f0e6fb33d9743c4d5d830812
(XEN) depend-on=e65788c860f9c52ca465011c2cfbddaba2898e4e
(XEN) depend-on-xen=151b373fd64b321593bf987fd923cd10dabadac4
";

const XEN: &str = "151b373fd64b321593bf987fd923cd10dabadac4";

fn row(name: &str, state: State, metadata: &str) -> LoadedPayload {
    let name = PayloadName::new(name).unwrap();
    LoadedPayload { name, status: Status { state, rc: 0 }, metadata: Metadata::new(metadata) }
}

fn rows() -> Vec<LoadedPayload> {
    vec![row("hello", State::Applied, "author=we\0x\0"), row("bye", State::Checked, "")]
}

fn read(text: &str, rows: &[LoadedPayload]) -> Option<Vec<Dumped>> {
    super::read(text.as_bytes(), rows, Some(&XEN.parse().unwrap()))
}

#[test]
fn what_xen_prints_is_read() {
    let dumped = read(DUMP, &rows()).unwrap();
    let ids: Vec<_> = dumped.iter().map(|dumped| dumped.build_id.to_string()).collect();
    assert_eq!(ids, ["e65788c860f9c52ca465011c2cfbddaba2898e4e", "a4c777cc1e15e6d4f0e6fb33d9743c4d5d830812"]);
    assert_eq!(dumped[0].depends.to_string(), XEN);
    assert_eq!(dumped[1].depends, dumped[0].build_id);
    let function = ReplacedFunction {
        name: SymbolName::new("xen_extra_version"),
        old_address: 0xffff_82d0_4023_4b20,
        old_size: 16,
        new_address: 0xffff_82d0_405b_0000,
        new_size: 8,
    };
    assert_eq!(dumped[0].functions, [function]);
    assert_eq!((dumped[1].functions[0].new_address, dumped[1].functions[0].new_size), (0, 5));
}

#[test]
fn other_lines_in_the_log_do_not_matter() {
    for text in [
        format!("t of a line\n(XEN) livepatch: hello: Reverting\n{DUMP}"),
        DUMP.replace("(XEN)  name=bye", "(d1) hello from a guest\n(XEN)  name=bye"),
        DUMP.replace('\n', "\r\n"),
        DUMP.replace("(XEN) ", "(XEN) [2026-11-24 10:00:00] "),
        DUMP.replace("(XEN) depend-on-xen=151b373fd64b321593bf987fd923cd10dabadac4\n", ""),
    ] {
        assert_eq!(read(&text, &rows()).map(|dumped| dumped.len()), Some(2), "{text}");
    }
    let empty: String = DUMP.split_inclusive('\n').take(2).collect();
    assert_eq!(read(&empty, &[]), Some(Vec::new()));
    let nameless = empty.replace("(XEN) build-id: 151b373fd64b321593bf987fd923cd10dabadac4\n", "");
    assert_eq!(super::read(nameless.as_bytes(), &[], None), Some(Vec::new()));
}

#[test]
fn what_is_not_all_there_is_not_believed() {
    // Cut anywhere, at either end. After what the last payload goes on nothing is missed.
    let last = DUMP.len() - "(XEN) depend-on-xen=\n".len() - XEN.len();
    for at in 0..DUMP.len() {
        assert_eq!(read(&DUMP[..at], &rows()).is_some(), at >= last, "{at}");
        assert!(at == 0 || read(&DUMP[at..], &rows()).is_none(), "{at}");
    }
    // Without any of its lines, or with one twice, but for those that a payload may do without.
    let lines: Vec<&str> = DUMP.split_inclusive('\n').collect();
    for index in 0..lines.len() {
        let optional = lines[index].contains("depend-on-xen") || lines[index].contains(" patch ");
        let without: String = lines.iter().enumerate().filter(|(at, _)| *at != index).map(|(_, line)| *line).collect();
        assert!(optional || read(&without, &rows()).is_none(), "without {}", lines[index]);
        let twice: String =
            lines.iter().enumerate().map(|(at, line)| line.repeat(1 + usize::from(at == index))).collect();
        assert_eq!(read(&twice, &rows()).is_some(), lines[index].contains(" patch "), "twice {}", lines[index]);
        let after = |text: &str| {
            let with =
                |(at, line): (usize, &&str)| if at == index { format!("{line}(XEN) {text}\n") } else { (*line).into() };
            lines.iter().enumerate().map(with).collect::<String>()
        };
        for text in ["Lock held. Try again.", "Couldn't reacquire lock. Try again.", "livepatch: x: Reverting", ""] {
            assert_eq!(read(&after(text), &rows()), None, "{text} after {}", lines[index]);
        }
    }
    let locked = format!("{}(XEN) Lock held. Try again.\n", lines[..2].concat());
    assert_eq!(read(&locked, &rows()), None);
    assert_eq!(read(&locked, &[]), None);
    assert_eq!(read(&format!("{DUMP}{DUMP}"), &rows()), None, "somebody else pressed it too");
}

#[test]
fn what_does_not_agree_with_the_list_is_not_believed() {
    for rows in [
        vec![],
        rows()[..1].to_vec(),
        rows()[1..].to_vec(),
        vec![rows()[1].clone(), rows()[0].clone()],
        vec![row("hello", State::Checked, "author=we\0x\0"), rows()[1].clone()],
        vec![row("hell", State::Applied, "author=we\0x\0"), rows()[1].clone()],
        vec![row("hello", State::Applied, "author=we\0"), rows()[1].clone()],
        vec![row("hello", State::Applied, ""), rows()[1].clone()],
        vec![rows()[0].clone(), row("bye", State::Checked, "author=we\0")],
        vec![rows()[0].clone(), row("bye", State::Unknown(1), "")],
    ] {
        assert_eq!(read(DUMP, &rows), None, "{rows:?}");
    }
    assert_eq!(super::read(DUMP.as_bytes(), &rows(), None), None, "this Xen has no build-id");
    assert_eq!(super::read(DUMP.as_bytes(), &rows(), Some(&"5a5a".parse().unwrap())), None);
    for (right, wrong) in [
        ("ffff82d0405b0000 (.data", "ffff82d0405b000 (.data"),
        ("ffff82d0405b0000 (.data", "ffff82d0405b000g (.data"),
        ("using 3 pages.", "using 3 pages"),
        ("using 3 pages.", "using +3 pages."),
        ("state=APPLIED(2)", "state=APPLIED(1)"),
        ("(16) with", "(x) with"),
        ("(8)", "(99999999999)"),
        ("depend-on-xen=15", "depend-on-xen=16"),
        ("depend-on-xen=15", "depend-on-xen=build-id=15"),
        ("build-id=e6", "build-id=e"),
        ("build-id=e6", "build-id=xy"),
        ("(XEN)     xen_extra", "(XEN)    xen_extra"),
    ] {
        let text = DUMP.replace(right, wrong);
        assert_ne!(text, DUMP, "{right}");
        assert_eq!(read(&text, &rows()), None, "{wrong}");
    }
}

/// A payload whose function has a name like the rest of the dump, made up by someone who knows all the rest of it.
#[test]
fn a_name_can_not_speak_for_others() {
    let real: Vec<&str> = DUMP.lines().collect();
    let line = "(XEN)     xen_extra_version patch ffff82d040234b20(16) with ffff82d0405b0000 (8)";
    let fake = "5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a";
    // From the dump's beginning, from that of its own part, or from its own function on, up to anywhere.
    for from in 0..real.len() {
        for to in from..=real.len() {
            for id in 0..real.len() {
                let forged = real.iter().enumerate().take(to).skip(from).map(|(at, line)| match line.split_once('=') {
                    Some((word, _)) if at == id && !line.contains("name=") => format!("{word}={fake}"),
                    _ => (*line).to_owned(),
                });
                let forged: Vec<_> = forged.collect();
                let before = "(XEN)     f patch ffff82d040234b20(16) with ffff82d0405b0000 (8)";
                let forged = format!("{before}\n{}\n{line}", forged.join("\n"));
                let text = DUMP.replace(line, &forged);
                let told = read(&text, &rows()).unwrap_or_default();
                let is_fake =
                    |dumped: &Dumped| [&dumped.build_id, &dumped.depends].iter().any(|id| id.to_string() == fake);
                assert!(!told.iter().any(is_fake), "{text}");
            }
        }
    }
}

/// Xen cuts what it prints at 1023 bytes, with the newline there, so that the next line goes on in this one.
#[test]
fn a_name_that_is_cut_can_not_either() {
    let fake = "5a".repeat(20);
    let function = "f patch ffff82d040234b20(16) with ffff82d0405b0000 (8)\n";
    let real = "xen_extra_version patch ffff82d040234b20(16) with ffff82d0405b0000 (8)\n";
    for cut in ["build-id=", "depend-on=", "depend-on-xen=", "    g patch ", " name=bye state=CHECKED(1) "] {
        for ids in
            ["", "build-id=ID\n", "build-id=ID\ndepend-on=ID\n", "build-id=ID\ndepend-on=ID\ndepend-on-xen=XEN\n"]
        {
            let ids = ids.replace("ID", &fake).replace("XEN", XEN);
            let text = DUMP.replace(real, &format!("{function}{ids}{cut}").replace('\n', "\n(XEN) "));
            let text = text.replacen(&format!("{cut}(XEN) "), cut, 1);
            assert!(text.contains(&format!("{cut}build-id=")));
            assert_ne!(text, DUMP);
            assert_eq!(read(&text, &rows()), None, "{text}");
        }
    }
    let long = "5a".repeat(64);
    for (digits, told) in [(&long[2..], true), (&long[..], false)] {
        let text = DUMP.replace("build-id=a4c777cc1e15e6d4f0e6fb33d9743c4d5d830812", &format!("build-id={digits}"));
        assert_eq!(read(&text, &rows()).is_some(), told, "there may be more of it");
    }
}

#[test]
fn names_that_are_not_one_line_are_not_looked_for() {
    for name in ["by\ne", "by\re", "\u{1b}[0mbye", "by\te"] {
        let text = DUMP.replace("name=bye", &format!("name={}", name.replace('\n', "\n(XEN) ")));
        assert_eq!(read(&text, &[rows()[0].clone(), row(name, State::Checked, "")]), None, "{name:?}");
    }
    for metadata in ["a\nb\0", "a\x7f\0"] {
        assert_eq!(read(DUMP, &[row("hello", State::Applied, metadata), rows()[1].clone()]), None);
    }
    let long = "l".repeat(1000);
    let text = DUMP.replace("author=we", &long);
    assert_eq!(read(&text, &[row("hello", State::Applied, &format!("{long}\0x\0")), rows()[1].clone()]), None);
    // Any other byte may be in them.
    let odd = "x state=CHECKED(1) patch (é";
    let text = DUMP.replace("name=bye", &format!("name={odd}"));
    assert!(read(&text, &[rows()[0].clone(), row(odd, State::Checked, "")]).is_some());
    let text = DUMP.replace("xen_changeset patch", "a patch of b patch");
    assert_eq!(read(&text, &rows()).unwrap()[1].functions[0].name.as_bytes(), b"a patch of b");
}

/// Xen goes on in a line that the same processor has not ended, without its prefix: one that was cut at 1023 bytes.
#[test]
fn a_first_line_that_continues_another_hides_nothing() {
    let fake = "5a".repeat(20);
    let lines: Vec<&str> = DUMP.split_inclusive('\n').collect();
    // The last payload's function is named like a whole dump, and nothing has a line of its own before it.
    let forged: String = lines[..lines.len() - 4].concat().replace("e65788c860f9c52ca465011c2cfbddaba2898e4e", &fake);
    let name = format!("(XEN)     f patch ffff82d040234b20(16) with ffff82d0405b0000 (8)\n{forged}");
    let own: String = lines[..11].concat() + &name + &lines[11..].concat();
    for rest in ["", "(XEN) livepatch: bad: Unknown symbol: xxxx"] {
        let text = own.replacen("(XEN) ", rest, 1);
        let told = read(&text, &rows());
        assert_eq!(told, None, "{text}");
    }
}

/// What another processor prints in the middle of a line that was cut ends that, and the rest is without Xen's prefix.
#[test]
fn a_line_that_somebody_ended_hides_nothing() {
    let fake = "5a".repeat(20);
    let real = "(XEN) build-id=a4c777cc1e15e6d4f0e6fb33d9743c4d5d830812\n";
    for cut in ["[", "x livepatch.c:1: "] {
        let guest = if cut == "[" {
            format!("(d1) ] build-id={fake}\n")
        } else {
            format!("(d1) livepatch.c:1: build-id={fake}\n")
        };
        let text = DUMP.replace(real, &format!("(XEN) {cut}{guest}{}", &real["(XEN) ".len()..]));
        assert_ne!(text, DUMP);
        assert_eq!(read(&text, &rows()), None, "{text}");
    }
}
