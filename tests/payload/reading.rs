//! Payload files as they are read, without a check.

use std::fs::{self, File};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use crate::prelude::*;

fn parse(editor: &Editor) -> Payload {
    Payload::parse(&editor.bytes).unwrap()
}

#[test]
fn people_and_programs_read_the_same() {
    for (name, bytes) in [("extra-version", EXTRA_VERSION), ("hooked", HOOKED), ("stacked", STACKED)] {
        let payload = Payload::parse(bytes).unwrap();
        assert_eq!(payload.bytes(), bytes);
        let json = serde_json::to_value(&payload).unwrap();
        expect_text(&format!("contents/{name}.txt"), &format!("{payload}\n\n{json:#}\n"));
        assert_eq!(serde_json::from_value::<PayloadReport>(json).unwrap(), PayloadReport::from(&payload));
    }
}

#[test]
fn expectations_and_addresses_are_read() {
    let mut expectation = vec![0b1000_1001];
    expectation.extend([0xf3, 0x0f, 0x1e, 0xfa]);
    let editor = Editor::function(72, &expectation)
        .patch(".livepatch.funcs", 16, &0xffff_82d0_4023_0f90_u64.to_le_bytes())
        .entry(".rela.livepatch.funcs", 0, (0, 8), 0x28)
        .entry(".rela.livepatch.funcs", 1, (0, 8), 0x30);
    let payload = parse(&editor);
    let function = &payload.functions()[0];
    assert_eq!(function.name, None);
    assert_eq!(function.old_address, Some(Address::Number(0xffff_82d0_4023_0f90)));
    assert_eq!(function.to_string(), "0xffff82d040230f90");
    assert!(function.is_nop());
    let expectation = function.expectation.as_ref().unwrap();
    assert_eq!((&*expectation.bytes, expectation.reserved), (&[0xf3, 0x0f, 0x1e, 0xfa][..], 0b10));
    let unknown = parse(&Editor::function(32, &[3]));
    assert_eq!((unknown.version(), unknown.functions()), (Some(PayloadVersion::Unknown(3)), &[][..]));
    let hooks_alone = parse(&Editor::new(HOOKED).hide(".livepatch.funcs"));
    assert_eq!((hooks_alone.version(), hooks_alone.functions().len()), (None, 0));
}

#[test]
fn writable_sections_decide_on_applying_again() {
    use Reapply::{Allowed, NeedsReupload, Unguarded};
    let only_funcs = Payload::parse(EXTRA_VERSION).unwrap();
    let data = Payload::parse(HOOKED).unwrap();
    let read_only = parse(&Editor::new(EXTRA_VERSION).clear_flag(".livepatch.funcs", 1));
    let other = parse(&Editor::new(EXTRA_VERSION).hide(".livepatch.funcs"));
    for (release, expected) in [
        ((4, 7), [Allowed, Unguarded, Allowed, Unguarded]),
        ((4, 8), [Allowed, NeedsReupload, NeedsReupload, NeedsReupload]),
        ((4, 9), [Allowed, NeedsReupload, NeedsReupload, NeedsReupload]),
        ((4, 10), [Allowed, NeedsReupload, Allowed, NeedsReupload]),
        ((4, 22), [Allowed, NeedsReupload, Allowed, NeedsReupload]),
    ] {
        let found = [&only_funcs, &data, &read_only, &other].map(|payload| payload.reapply(release));
        assert_eq!(found, expected, "{release:?}");
    }
    assert!(only_funcs.is_replaceable() && !data.is_replaceable());
}

#[test]
fn releases_follow_from_the_function_version() {
    let since = |first, last| {
        let series = Release::ALL.into_iter().filter(move |release| (first..=last).contains(&release.minor()));
        series.flat_map(|last| (0..=last.point()).map(move |point| last.at(point))).collect::<Vec<_>>()
    };
    let read = |bytes| Payload::parse(bytes).unwrap();
    for bytes in [EXTRA_VERSION, HOOKED, STACKED] {
        assert_eq!(read(bytes).releases(), since(14, u16::MAX));
    }
    assert_eq!(parse(&Editor::version_1()).releases(), since(7, 13));
    assert_eq!(parse(&Editor::version_1().hide(".livepatch.xen_depends")).releases(), since(7, 13));
    // Relocations of another architecture have other types.
    assert_eq!(parse(&Editor::version_1().header(header::MACHINE, 183)).releases(), []);
    assert_eq!(parse(&Editor::new(HOOKED).hide(".livepatch.funcs")).releases(), since(14, u16::MAX));
    assert_eq!(parse(&Editor::new(HOOKED).hide(".livepatch.depends")).releases(), []);
    // Releases newer than the newest known one count as that one.
    assert_eq!(read(HOOKED).check_against(&Target::new((5, 0)).build_id(xen())), []);
}

#[test]
fn other_files_are_errors_with_a_reason() {
    let reason = |bytes: &[u8]| match Payload::parse(bytes).unwrap_err().kind() {
        ErrorKind::InvalidPayload { reason, .. } => *reason,
        other => panic!("{other:?}"),
    };
    assert_eq!(reason(&HOOKED[..63]), "it is too short for an ELF file");
    assert_eq!(reason(&[0; 64]), "it is not an ELF file");
    assert_eq!(reason(&Editor::new(HOOKED).header((4, 1), 1).bytes), "it is not a 64-bit ELF file");
    assert_eq!(reason(&Editor::new(HOOKED).header((5, 1), 2).bytes), "it is not a little-endian ELF file");
    assert_eq!(
        reason(&Editor::new(HOOKED).header((4, 1), 1).header((18, 2), 40).bytes),
        "it is for 32-bit Arm, which is not supported: only x86-64 and 64-bit Arm are"
    );
    assert_eq!(Payload::parse(&[]).unwrap_err().kind(), &ErrorKind::EmptyPayload);
    assert!(Payload::parse(&HOOKED[..64]).is_ok());
}

#[test]
fn files_are_read_and_what_is_none_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("payload");
    let file = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        path.clone()
    };
    assert_eq!(Payload::read(file(HOOKED)).unwrap().bytes(), HOOKED);

    assert_eq!(Payload::read(file(b"")).unwrap_err().kind(), &ErrorKind::EmptyPayload);
    let mut large = HOOKED.to_vec();
    large.resize(Payload::MAX_SIZE, 0);
    assert_eq!(Payload::read(file(&large)).unwrap().bytes().len(), Payload::MAX_SIZE);
    File::create(&path).unwrap().set_len(1 << 40).unwrap();
    let huge = Payload::read(&path).unwrap_err();
    assert_eq!(huge.kind(), &ErrorKind::PayloadTooLarge { size: 1 << 40, without_debug: None });

    let refused = |path: PathBuf| match Payload::read(path).unwrap_err().kind() {
        ErrorKind::File { reason, .. } => reason.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(refused(file(b"#!/bin/sh\n")), "it is too short for an ELF file");
    assert_eq!(refused(directory.path().to_owned()), "it is not a regular file");
    assert_eq!(refused("/dev/zero".into()), "it is not a regular file");
    assert_eq!(refused(directory.path().join("none")), "No such file or directory (os error 2)");

    let pipe = directory.path().join("pipe");
    mkfifo(&pipe, Mode::S_IRUSR).unwrap();
    assert_eq!(refused(pipe), "it is not a regular file");
}

#[test]
fn nothing_in_a_payload_reaches_the_terminal() {
    let nothing = Editor::new(HOOKED)
        .patch(".modinfo", 0, b"\x1b[2J\n\xff")
        .patch(".livepatch.strings", 0, b"\x1b[31m")
        .patch(".shstrtab", 1, b"\x1b[0m\x07");
    let payload = parse(&nothing);
    let texts = [payload.to_string(), format!("{payload:?}"), serde_json::to_string(&payload).unwrap()];
    for text in texts {
        assert!(text.contains("[31mhangeset") && !text.contains(['\x1b', '\x07', '\u{fffd}']), "{text}");
    }
    // In any number and of any length.
    let mut many = Editor::new(HOOKED);
    let start = many.bytes.len();
    many.bytes.extend([b"k".repeat(5000), b"\0k=v".repeat(5000), vec![0]].concat());
    let len = u64::try_from(many.bytes.len() - start).unwrap();
    let many = many.set(".modinfo", section::OFFSET, u64::try_from(start).unwrap()).set(".modinfo", section::SIZE, len);
    let text = parse(&many).to_string();
    assert!(text.contains("and 4993 more") && text.lines().count() < 24, "{text}");
    assert!(text.lines().all(|line| line.chars().count() < 120), "{text}");
}

#[test]
fn long_texts_are_cut_by_characters() {
    let (clef, builder) = ("\u{1d11e}", PayloadBuilder::named("p", &xen()));
    let payload = Payload::parse(&builder.metadata("k", Some(&clef.repeat(100))).build()).unwrap();
    let shown = payload.to_string().lines().find_map(|line| line.split_once("k=")).map(|(_, value)| value.to_owned());
    assert_eq!(shown, Some(format!("{}…", clef.repeat(78))));
}

/// Relocations are applied in order, as by Xen.
#[test]
fn pointers_that_relocations_change_in_part_lead_nowhere() {
    let moved = |index, offset| Editor::new(HOOKED).entry(RELA_FUNCS, index, relocation::OFFSET, offset);
    let first = |editor: &Editor| parse(editor).functions()[0].clone();
    assert_eq!(first(&moved(3, 4)).name, None);
    let overwritten =
        moved(0, 4).entry(RELA_FUNCS, 3, relocation::OFFSET, 0).entry(RELA_FUNCS, 3, relocation::SYMBOL, 7);
    assert_eq!(first(&overwritten.entry(RELA_FUNCS, 3, relocation::ADDEND, 0)).to_string(), "xen_changeset");
    assert_eq!(first(&moved(3, 0x14)).old_address, Some(Address::Number(0)));
    assert_eq!(first(&moved(3, 0x18)).old_address, None);
}

#[test]
fn places_before_a_symbol_have_a_minus() {
    let before = Editor::new(EXTRA_VERSION).entry(RELA_FUNCS, 1, relocation::ADDEND, 8_u64.wrapping_neg());
    assert_eq!(parse(&before).functions()[0].new_address.as_ref().map(ToString::to_string), Some(".text-0x8".into()));
}

/// Sections may overlap, so a small file could have many hooks.
#[test]
fn hooks_are_no_more_than_fit_into_the_file() {
    let len = u64::try_from(HOOKED.len()).unwrap();
    let load = ".livepatch.hooks.load";
    let large = Editor::new(HOOKED).set(load, section::OFFSET, 64).set(load, section::SIZE, (len - 64) / 8 * 8);
    assert_eq!(parse(&large).hooks().len(), HOOKED.len() / 32);
}

#[test]
fn a_section_of_no_functions_has_no_version() {
    let none = Editor::new(EXTRA_VERSION).set(FUNCS, section::TYPE, 8).empty(FUNCS);
    assert_eq!(parse(&none).version(), None);
}

#[test]
fn programs_read_findings() {
    let finding = &parse(&Editor::new(HOOKED).empty(".modinfo")).check_against(&Target::new((4, 17)))[0];
    let json = serde_json::json!({
        "problem": "empty-metadata", "severity": "harmful", "releases": [], "text": finding.to_string(),
    });
    assert_eq!(serde_json::to_value(finding).unwrap(), json);
    let report: FindingReport = serde_json::from_value(json).unwrap();
    assert_eq!((report.problem, report.severity), (finding.kind(), finding.severity));
}

#[test]
fn texts_are_read_back() {
    for kind in HookKind::ALL {
        assert_eq!(kind.to_string().parse(), Ok(kind));
    }
    for machine in [Architecture::X86_64, Architecture::AArch64, Architecture::Other(40), Architecture::Other(243)] {
        assert_eq!(machine.to_string().parse(), Ok(machine));
    }
    assert!("x86".parse::<Architecture>().is_err() && "later".parse::<HookKind>().is_err());
    for text in ["0xffff82d040200000", ".text", ".text+0x10", ".text-0x8", "a-b", "a+0xz", "f+0x1-0x2", "+", ""] {
        assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
    }
    assert_eq!("0x10".parse(), Ok(Address::Number(16)));
    assert!(matches!(".text-0x8".parse(), Ok(Address::Symbol { offset: -8, .. })));
    assert!(matches!("a-b".parse(), Ok(Address::Symbol { offset: 0, .. })));
}

/// All sections overlap, and each is as large as the file.
#[test]
fn sections_that_overlap_cost_no_time() {
    let mut file = vec![0; Payload::MAX_SIZE];
    file[..64].copy_from_slice(&HOOKED[..64]);
    let names: Vec<u8> = b"\0.livepatch.funcs\0.livepatch.hooks.load\0.symtab\0".to_vec();
    file[64..64 + names.len()].copy_from_slice(&names);
    let size = u64::try_from(file.len() - 64).unwrap();
    let mut file = Editor { bytes: file };
    let table = 1 << 20;
    for index in 0..1023 {
        let base = table + 64 * index;
        // The names, the symbols, two sections to relocate, and relocations of either for the rest.
        let (name, kind, info) = match index {
            1 => (0, 3, 0),
            2 => (41, 2, 0),
            3 => (1, 1, 0),
            4 => (19, 1, 0),
            _ => (0, 4, 3 + u64::try_from(index % 2).unwrap()),
        };
        for (field, value) in [
            (section::NAME, name),
            (section::TYPE, kind),
            (section::FLAGS, if kind == 1 { 3 } else { 0 }),
            (section::OFFSET, 64),
            (section::SIZE, size),
            (section::LINK, 2),
            (section::INFO, info),
            (section::ALIGNMENT, 1),
            (section::ENTRY_SIZE, 24),
        ] {
            file = file.put(base, field, value);
        }
    }
    let file = file.header(header::TABLE, 1 << 20).header(header::COUNT, 1023).header(header::NAMES, 1);
    let file = file.put(64 + 32, (0, 1), 2);
    let start = Instant::now();
    let payload = parse(&file);
    let text = format!("{payload} {:?}", payload.check_against(&Target::new((4, 7))).len());
    assert!(text.len() < 10_000, "{}", text.len());
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
    assert!(payload.check_against(&Target::new((4, 17))).iter().any(Finding::hurts_xen));
}
