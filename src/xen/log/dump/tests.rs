//! Dumps that are right, cut, interrupted and forged.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::printer::{Payload, ids as own_ids, printed, row};
use super::*;

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
const HELLO: &str = "e65788c860f9c52ca465011c2cfbddaba2898e4e";
const BYE: &str = "a4c777cc1e15e6d4f0e6fb33d9743c4d5d830812";
const FAKE: &str = "5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a";

fn rows() -> Vec<LoadedPayload> {
    vec![row(b"hello", b"author=we\0x\0"), row(b"bye", b"")]
}

fn read(text: impl AsRef<[u8]>, rows: &[LoadedPayload]) -> Vec<Result<Dumped, Unidentified>> {
    super::read(text.as_ref(), rows, Some(&XEN.parse().unwrap()))
}

/// The build-ids that are read, and the reasons.
fn ids(text: impl AsRef<[u8]>, rows: &[LoadedPayload]) -> Vec<Result<String, Unidentified>> {
    read(text, rows).into_iter().map(|dumped| dumped.map(|dumped| dumped.build_id.to_string())).collect()
}

fn right() -> Vec<Result<String, Unidentified>> {
    vec![Ok(HELLO.into()), Ok(BYE.into())]
}

const DISTURBED: Result<String, Unidentified> = Err(Unidentified::Disturbed);
const UNREADABLE: Result<String, Unidentified> = Err(Unidentified::Unreadable);

#[test]
fn the_text_of_a_real_xen_is_read() {
    let dumped: Vec<Dumped> = read(DUMP, &rows()).into_iter().map(Result::unwrap).collect();
    assert_eq!(ids(DUMP, &rows()), right());
    assert_eq!(dumped[0].depends.to_string(), XEN);
    assert_eq!(dumped[1].depends, dumped[0].build_id);
    let function = ReplacedFunction {
        name: SymbolName::new("xen_extra_version"),
        old_address: 0xffff_82d0_4023_4b20,
        old_size: 16,
        new_address: 0xffff_82d0_405b_0000,
        new_size: 8,
    };
    assert_eq!(dumped[0].functions.as_ref().unwrap(), &[function]);
    let nop = &dumped[1].functions.as_ref().unwrap()[0];
    assert_eq!((nop.new_address, nop.new_size), (0, 5));
    let without = super::read(DUMP.as_bytes(), &rows(), None);
    assert!(without.iter().all(Result::is_ok), "Xen's own build-id may be denied to the client");
}

/// Between any two lines.
#[test]
fn other_lines_in_the_log_do_not_matter() {
    let lines: Vec<&str> = DUMP.split_inclusive('\n').collect();
    for line in [
        "(d1) hello from a guest",
        "(d17) (not Xen) build-id=5a5a",
        "(d1) 'x' pressed - Dumping all livepatch patches",
        "(d1)  name=bye state=CHECKED(1) ",
        "(d1) Lock held. Try again.",
        "(d1) ",
        "(XEN) d3v0 Unhandled vmexit: reason 7",
        "(XEN) [2026-11-24 10:00:00] mm.c:777:d0v1 Bad L1 flags",
        "(XEN) livepatch: x: Reverting",
        "(XEN) ",
        "[   12.345678] a line of dom0's kernel",
        "",
    ] {
        for at in 1..lines.len() {
            let text = [lines[..at].concat(), format!("{line}\n"), lines[at..].concat()].concat();
            let dumped = read(&text, &rows());
            assert_eq!(ids(&text, &rows()), right(), "{text}");
            assert!(
                dumped.iter().all(|dumped| dumped.as_ref().unwrap().functions.as_ref().unwrap().len() == 1),
                "{text}"
            );
        }
    }
    for text in [
        format!("t of a line\n(XEN) livepatch: hello: Reverting\n{DUMP}"),
        DUMP.replace('\n', "\r\n"),
        DUMP.replace("(XEN) ", "(XEN) [2026-11-24 10:00:00] "),
        DUMP.replace("(XEN) ", "(XEN) [    12.345678] "),
        DUMP.replace("(XEN) depend-on-xen=151b373fd64b321593bf987fd923cd10dabadac4\n", ""),
    ] {
        assert_eq!(ids(&text, &rows()), right(), "{text}");
        assert!(read(&text, &rows()).into_iter().all(|dumped| dumped.unwrap().functions.is_some()), "{text}");
    }
    let empty: String = DUMP.split_inclusive('\n').take(2).collect();
    assert_eq!(read(&empty, &[]), []);
}

#[test]
fn a_disturbed_dump_is_not_believed() {
    let lines: Vec<&str> = DUMP.split_inclusive('\n').collect();
    let locked = format!("{}(XEN) Lock held. Try again.\n", lines[..2].concat());
    let given_up = format!("{}(XEN) Couldn't reacquire lock. Try again.\n", lines[..10].concat());
    let given_up_and_forged = format!("{given_up}{}", lines[10..].concat());
    for text in [&locked, &given_up, &given_up_and_forged, "", &DUMP.replace("build-id: 15", "build-id: 16")] {
        assert_eq!(ids(text, &rows()), [DISTURBED, DISTURBED], "{text}");
    }
    // Pressed by two.
    assert!(ids(format!("{DUMP}{DUMP}"), &rows()).iter().all(Result::is_err));
    assert!(ids(format!("{}{DUMP}", lines[8..].concat()), &rows()).iter().all(|id| *id != Ok(FAKE.into())));
    // Cut anywhere at its end.
    let last = DUMP.find("depend-on=e6").unwrap() + "depend-on=\n".len() + 40;
    for at in 0..DUMP.len() {
        let found = ids(&DUMP[..at], &rows());
        assert!(found.iter().zip(right()).all(|(found, right)| found.is_err() || *found == right), "{at}");
        assert_eq!(found == right(), at >= last, "{at}");
    }
}

#[test]
fn another_list_is_not_believed() {
    let [hello, bye] = [rows()[0].clone(), rows()[1].clone()];
    for rows in [vec![hello.clone()], vec![bye.clone()], vec![bye.clone(), hello.clone()]] {
        assert!(ids(DUMP, &rows).iter().all(Result::is_err), "{rows:?}");
    }
    let more = [hello, bye, row(b"more", b"")];
    assert_eq!(ids(DUMP, &more), [Ok(HELLO.into()), DISTURBED, DISTURBED]);
    assert_eq!(ids(DUMP, &[row(b"hell", b"author=we\0x\0"), rows()[1].clone()]), [DISTURBED, Ok(BYE.into())]);
}

/// A payload with a text that can't be read hides itself, and no other.
#[test]
fn an_unreadable_payload_hides_itself_alone() {
    let function = "xen_extra_version patch";
    for name in [format!("build-id={FAKE}"), format!("x\n(XEN) build-id={FAKE}\n(XEN) depend-on={FAKE}\n(XEN)     g")] {
        let text = DUMP.replace(function, &format!("{name} patch"));
        assert_eq!(ids(&text, &rows()), [UNREADABLE, Ok(BYE.into())], "{text}");
    }
    let text = DUMP.replace("xen_changeset", &format!("depend-on={FAKE}"));
    assert_eq!(ids(&text, &rows()), [Ok(HELLO.into()), UNREADABLE]);
    // There may be more of it than is printed.
    let long = "5a".repeat(64);
    for (digits, expected) in [(&long[2..], Ok(long[2..].to_owned())), (&long[..], UNREADABLE)] {
        let text = DUMP.replacen(HELLO, digits, 1);
        assert_eq!(ids(text, &rows()), [expected, Ok(BYE.into())]);
    }
    // The words in metadata and names are accounted for, as far as they are surely printed.
    let metadata = format!("base build-id={FAKE}");
    let text = DUMP.replace("author=we", &metadata);
    assert_eq!(ids(&text, &[row(b"hello", format!("{metadata}\0x\0").as_bytes()), rows()[1].clone()]), right());
    let name = b"depend-on=5a state=CHECKED(1) patch (\xc3\xa9\t";
    let text = DUMP.replace("name=bye", &format!("name={}", String::from_utf8_lossy(name)));
    assert_eq!(ids(&text, &[rows()[0].clone(), row(name, b"")]), right());
    let long = format!("{}build-id={FAKE}", "l".repeat(1000));
    let text = DUMP.replace("author=we", &long);
    let rows = [row(b"hello", format!("{long}\0x\0").as_bytes()), rows()[1].clone()];
    assert_eq!(ids(&text, &rows), [UNREADABLE, Ok(BYE.into())]);
}

#[test]
fn control_characters_and_long_texts_hide_functions_alone() {
    for name in ["by\ne", "by\re", "\u{1b}[0mbye", "by\te"] {
        let text = DUMP.replace("name=bye", &format!("name={}", name.replace('\n', "\n(XEN) ")));
        let rows = [rows()[0].clone(), row(name.as_bytes(), b"")];
        assert_eq!(ids(&text, &rows), right(), "{name:?}");
        let functions: Vec<bool> = read(&text, &rows).iter().map(|d| d.as_ref().unwrap().functions.is_some()).collect();
        assert_eq!(functions, [true, false]);
    }
    // Cut at 1023 bytes, with the line break.
    let long = "l".repeat(1010);
    let text = DUMP.replace("author=we\n(XEN) ", &long);
    let rows = [row(b"hello", format!("{long}l\0x\0").as_bytes()), rows()[1].clone()];
    assert_eq!(ids(&text, &rows), right());
    for (name, clear) in [("a patch of b", true), ("a\n(XEN) b", false)] {
        let text = DUMP.replace("xen_changeset", name);
        let functions = read(&text, &self::rows())[1].clone().unwrap().functions;
        assert_eq!(functions.map(|all| all[0].name.as_bytes().to_vec()), clear.then(|| name.as_bytes().to_vec()));
    }
}

#[test]
fn payloads_that_can_not_be_read_back_are_known_before() {
    let id = |len: usize| BuildId::new(vec![1; len]);
    let check = |name: &str, metadata: &[u8], function: &str, len: usize| {
        let (own, below) = (id(len), id(20));
        let functions = core::iter::once(function.as_bytes());
        readable(&PayloadName::new(name).unwrap(), &Metadata::new(metadata), functions, [Some(&own), Some(&below)])
    };
    let long = [vec![b'l'; 1200], b"\0x\0".to_vec()].concat();
    for (name, metadata, function, len) in
        [("a", &b"b=c\0"[..], "f", 20), ("a\tb\n", b"build-id=x\0\n\0", "f\n", 63), ("a", &long, "f", 20)]
    {
        assert_eq!(check(name, metadata, function, len), Ok(()));
    }
    let long = [vec![b'l'; 1200], b"build-id=\0".to_vec()].concat();
    for (name, metadata, function, len) in
        [("a", &long[..], "f", 20), ("a", b"", "build-id=", 20), ("a", b"", "x\ndepend-on=", 20), ("a", b"", "f", 64)]
    {
        assert_eq!(check(name, metadata, function, len), Err(Unidentified::Unreadable));
    }
}

/// A text out of parts of a dump.
fn hostile(least: usize) -> impl Strategy<Value = Vec<u8>> {
    let words = [
        "a|b|c|x|\n|\n|\n|\r|\t| |[|] |<3>|(XEN) ",
        "(d1) |\n(XEN) |build-id=|depend-on=|depend-on-xen=|build-id: | name=a state=| name=b state=APPLIED(2) ",
        " name=c state=|livepatch: module metadata:\n|livepatch:   |    f patch ffff82d040234b20(16) with |ffff82d040234b20 (8)|Lock held. Try again.|livepatch.c:1: |'x' pressed - Dumping all livepatch patches",
        "\nbuild-id=5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a\n",
        "\ndepend-on=5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a\n",
        "f patch ffff82d040234b20(16) with ffff82d040234b20 (8)\nbuild-id=5a5a\ndepend-on=5a5a\n name=b state=APPLIED(2) x",
    ];
    let words: Vec<_> = words.iter().flat_map(|words| words.split('|')).map(|word| word.as_bytes().to_vec()).collect();
    let word = prop_oneof![
        8 => select(words),
        1 => (900..1100_usize).prop_map(|len| vec![b'x'; len]),
    ];
    vec(word, least..6).prop_map(|words| words.concat().into_iter().filter(|byte| *byte != 0).collect())
}

fn payloads() -> impl Strategy<Value = Vec<Payload>> {
    let tame = select(vec![b"a".to_vec(), b"b".to_vec(), b"c".to_vec()]);
    let name = prop_oneof![2 => tame, 1 => hostile(1).prop_map(|name| name.into_iter().take(120).collect())];
    let functions = prop_oneof![1 => vec(hostile(0), 0..3), 1 => Just(vec![b"f".to_vec()])];
    let metadata = prop_oneof![1 => vec(hostile(0), 0..3), 2 => Just(vec![])];
    let payload =
        (name, metadata, functions).prop_map(|(name, metadata, functions)| Payload { name, metadata, functions });
    vec(payload, 1..4)
}

/// Lines of guests, and of others that are not about payloads.
fn others() -> impl Strategy<Value = Vec<(usize, Vec<u8>)>> {
    let guests = hostile(0).prop_map(|text| {
        let line = text.split(|byte| *byte == b'\n').next().unwrap_or_default().to_vec();
        [b"(d1) ", &*line].concat()
    });
    let xen =
        select(vec![b"(XEN) d3v0 something".to_vec(), b"(XEN) livepatch: a: Reverting".to_vec(), b"dom0".to_vec()]);
    vec((any::<usize>(), prop_oneof![guests, xen, hostile(0)]), 0..4)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever payloads have Xen print, and whatever others print in between, an identity that is read is the true one.
    #[test]
    fn no_identity_is_forged(payloads in payloads(), names_xen: bool, others in others()) {
        let (rows, xen) = (payloads.iter().map(Payload::row).collect::<Vec<_>>(), XEN.parse().unwrap());
        let log = printed(&payloads, &xen, names_xen, &others);
        for (dumped, own) in read(&log, &rows).into_iter().zip((0..).map(own_ids)) {
            if let Ok(dumped) = dumped {
                prop_assert_eq!([dumped.build_id, dumped.depends], own, "{}", log.escape_ascii());
            }
        }
    }

    /// Payloads with ordinary texts are identified whatever a guest writes.
    #[test]
    fn guests_hide_nothing(lines in vec((any::<usize>(), hostile(0)), 0..6)) {
        let payloads = ["a", "b"].map(|name| Payload {
            name: name.into(), metadata: vec![b"x=y".to_vec()], functions: vec![b"f".to_vec()],
        });
        let guests: Vec<_> = lines.into_iter().map(|(at, text)| {
            let line: Vec<u8> = text.into_iter().filter(|byte| !byte.is_ascii_control()).take(900).collect();
            (at, [b"(d1) ", &*line].concat())
        }).collect();
        let (rows, xen) = (payloads.each_ref().map(Payload::row), XEN.parse().unwrap());
        let dumped = read(printed(&payloads, &xen, true, &guests), &rows);
        for (dumped, [build_id, _]) in dumped.into_iter().zip((0..).map(own_ids)) {
            prop_assert_eq!(dumped.unwrap().build_id, build_id);
        }
    }
}
