//! Payloads made by `PayloadBuilder`.

use std::fmt::Display;

use object::elf::{EM_386, SHT_NOTE, SHT_PROGBITS};
use object::read::elf::{ElfFile64, FileHeader as _, SectionHeader as _};
use object::{LittleEndian as LE, Object as _, ObjectSection as _, ObjectSymbol as _};
use object::{RelocationFlags, RelocationTarget, SectionIndex};

use crate::prelude::*;

fn xen() -> BuildId {
    BuildId::new([0xab; 20])
}

fn hello() -> PayloadBuilder {
    PayloadBuilder::named("hello", &xen()).function(FunctionPatch::returning("xen_extra_version", "-hello"))
}

fn check(builder: &PayloadBuilder, release: (u16, u16)) -> Vec<Finding> {
    Payload::parse(&builder.build()).unwrap().check_against(&Target::new(release).build_id(xen()))
}

/// The parts of a file, as a reader that shares nothing with the writer finds them: one in each line.
fn parts(bytes: &[u8]) -> Vec<String> {
    let file = ElfFile64::<LE>::parse(bytes).unwrap();
    let name = |index| file.section_by_index(index).map_or(Ok("none"), |section| section.name()).unwrap_or("unnamed");
    let header = file.elf_header();
    let names = name(SectionIndex(usize::from(header.e_shstrndx(LE).0)));
    let mut parts = vec![format!("machine {}, type {}, names in {names}", header.e_machine(LE).0, header.e_type(LE).0)];
    for section in file.sections() {
        let (own, raw) = (name(section.index()), section.elf_section_header());
        let (kind, flags, alignment, size) = (raw.sh_type(LE), raw.sh_flags(LE).0, section.align(), section.size());
        let table = match (name(raw.link(LE)), raw.sh_info(LE), raw.sh_entsize(LE)) {
            ("none", 0, 0) => String::new(),
            (link, info, entry) => format!(", link {link}, info {info}, entries of {entry} bytes"),
        };
        parts.push(format!("{own}: type {}, flags {flags:#x}, alignment {alignment}, {size} bytes{table}", kind.0));
        assert!(raw.sh_offset(LE) >= 64 && raw.sh_offset(LE) % 16 == 0, "as aligned as any section needs");
        let contents = if [SHT_PROGBITS, SHT_NOTE].contains(&kind) { section.data().unwrap() } else { &[] };
        let rows = contents.chunks(16).zip((0..).step_by(16)).filter(|(row, _)| row.iter().any(|byte| *byte != 0));
        parts.extend(rows.map(|(row, at)| format!("{own}, byte {at}: {}", row.escape_ascii())));
        for (at, relocation) in section.relocations() {
            let symbol = match relocation.target() {
                RelocationTarget::Symbol(index) => file.symbol_by_index(index).ok(),
                _ => None,
            };
            let of = symbol.map_or("symbol 0", |symbol| match symbol.name() {
                Ok("") => name(symbol.section_index().unwrap()),
                text => text.unwrap_or("unnamed"),
            });
            let RelocationFlags::Elf { r_type } = relocation.flags() else { panic!("{relocation:?}") };
            parts.push(format!("{own}, byte {at}, relocated: type {}, {of} {:+}", r_type.0, relocation.addend()));
        }
    }
    for symbol in file.symbols() {
        let (info, section) = (symbol.elf_symbol().st_info.0, symbol.section_index().map_or("none", name));
        let place = format!("in {section} at {}, {} bytes", symbol.address(), symbol.size());
        parts.push(format!("symbol {:?}, info {info:#x}: {place}", symbol.name().unwrap_or("unnamed")));
    }
    parts
}

/// Compares files with a text in `tests/payload/built`: the differences of their parts from those of `hello`.
#[track_caller]
fn expect_built(name: &str, builders: impl IntoIterator<Item = (impl Display, PayloadBuilder)>) {
    let hello = parts(&hello().build());
    let mut found = String::new();
    for (what, builder) in builders {
        let parts = parts(&builder.build());
        let less = hello.iter().filter(|part| !parts.contains(part)).map(|part| format!("- {part}\n"));
        let more = parts.iter().filter(|part| !hello.contains(part)).map(|part| format!("+ {part}\n"));
        found.extend([format!("{what}\n")].into_iter().chain(less).chain(more));
    }
    expect_text(&format!("built/{name}.txt"), &found);
}

#[test]
fn a_payload_consists_of_what_xen_demands() {
    expect_text("built/hello.txt", &(parts(&hello().build()).join("\n") + "\n"));
}

#[test]
fn build_ids_and_versions_are_those_asked_for() {
    let [own, below, xen] = [&[1, 2, 3][..], &[4; 16], &[]].map(BuildId::new);
    let other = PayloadBuilder::new(&own, &below, &xen);
    let on_top = hello().depends_on(PayloadBuilder::named("one", &xen).build_id());
    let made = [("other build-ids, and no function", other), ("on top of another", on_top)];
    let for_release = [7, 13, 14, 22].map(|minor| (format!("for 4.{minor}"), hello().for_release((4, minor))));
    let unknown = ("version 9".to_owned(), hello().payload_version(PayloadVersion::Unknown(9)));
    let made = made.map(|(what, builder)| (what.to_owned(), builder));
    expect_built("identities", made.into_iter().chain(for_release).chain([unknown]));

    for release in [Release::V4_13, Release::V4_14] {
        let xen = SimulatedXen::new(release);
        let by_hand = PayloadBuilder::named("p", &xen.build_id().unwrap()).for_release((4, release.minor()));
        assert_eq!(PayloadBuilder::for_xen(&xen, "p").build(), by_hand.build());
    }
}

#[test]
fn functions_are_entries_with_code_and_symbols() {
    let nop = |size| FunctionPatch::nop("f", size);
    let [short, long] = [FunctionPatch::with_code("f", [0x90; 6]), FunctionPatch::with_code("f", [0xc3])];
    let short = hello().function(short.old_size(0x1_0203).expecting(b"\x55"));
    expect_built(
        "functions",
        [
            ("no-operations at an address", hello().function(nop(9).at(0xffff_82d0_4020_0000).expecting(b"\x55\x48"))),
            ("the longest expectation", hello().function(nop(1).expecting(&[0xaa; 31]))),
            ("no-operations with room for ENDBR64", hello().function(nop(12))),
            ("more no-operations", hello().function(nop(13))),
            ("the most no-operations", hello().function(nop(u32::MAX))),
            ("code of its own", short.clone()),
            ("code of its own in version 1, without expectation", short.payload_version(PayloadVersion::V1)),
            ("two that return a text", hello().function(FunctionPatch::returning("g", "two"))),
            ("no-operations, and code after the first", hello().function(nop(5)).function(long)),
            ("one without a name", hello().function(FunctionPatch::returning("f", "t").unnamed())),
            ("functions that are only read", hello().read_only_funcs()),
        ],
    );
}

#[test]
fn hooks_are_arrays_of_pointers_to_code() {
    let all = HookKind::ALL.into_iter().fold(hello(), |builder, kind| builder.hook(kind, HookCode::returns(-16)));
    let all = all.hook(HookKind::Load, HookCode::from_code([0xc3]));
    let alone = PayloadBuilder::named("hello", &xen()).hook(HookKind::Unload, HookCode::returns(1));
    expect_built("hooks", [("one of each kind, and a second", all), ("one alone", alone)]);
}

#[test]
fn further_parts_are_added() {
    let symbols = hello().defines("one").defines("two").needs("printk").needs("one");
    expect_built(
        "parts",
        [
            ("metadata", hello().metadata("k", Some("v=w")).metadata("alone", None)),
            ("metadata that do not end", hello().metadata("k", None).modinfo(b"\xff")),
            ("no metadata, in a section", hello().modinfo("")),
            ("symbols", symbols),
            ("data", hello().writable_data("x").bss(9)),
            ("64 MiB of zeros", hello().bss(64 << 20)),
            ("a further section", hello().section(".bug_frames.0", [1, 2, 3])),
        ],
    );
    assert!(hello().bss(64 << 20).build().len() < 4096, "zeros take no room in the file");
}

#[test]
fn defects_change_what_they_are_for_alone() {
    let whole = parts(&hello().build());
    let names = whole.iter().filter_map(|part| part.split_once(": type ")).map(|(name, _)| name);
    // Without names no reader takes the file.
    let missing = names
        .filter(|name| *name != ".shstrtab")
        .map(|name| (format!("no {name}"), hello().defect(name, Defect::Missing)));
    let (depends, funcs) = (".livepatch.depends", ".livepatch.funcs");
    let both = hello().defect(funcs, Defect::Truncated(40)).defect(funcs, Defect::Patched(39, vec![7, 7]));
    let changed = [
        (depends, Defect::NotAllocated),
        (depends, Defect::Flags(7)),
        (depends, Defect::Alignment(0)),
        (depends, Defect::Alignment(3)),
        (depends, Defect::Alignment(u64::MAX)),
        (funcs, Defect::Contents(b"x".to_vec())),
        (funcs, Defect::Truncated(15)),
        (funcs, Defect::Patched(32, vec![3])),
        (funcs, Defect::Patched(103, vec![1, 2])),
        (funcs, Defect::NullSymbol),
        (".strtab", Defect::Patched(1, b"XEN".to_vec())),
    ];
    let changed = changed.map(|(name, defect)| (format!("{name} with {defect:?}"), hello().defect(name, defect)));
    expect_built("defects", missing.chain(changed).chain([("two of one section".to_owned(), both)]));
    let nameless = hello().defect(".shstrtab", Defect::Missing).build();
    assert_eq!(nameless[62..64], [0, 0], "e_shstrndx");
}

#[test]
fn other_architectures_have_other_code_and_relocations() {
    let arm = || hello().architecture(Architecture::AArch64);
    expect_built(
        "architectures",
        [
            ("for Arm", arm()),
            ("for Arm, two functions", arm().function(FunctionPatch::returning("g", "two"))),
            ("for Arm, a hook", arm().hook(HookKind::Load, HookCode::returns(-16))),
            ("for another processor", hello().architecture(Architecture::Other(EM_386.0))),
        ],
    );
}

#[test]
fn padding_is_exact_and_never_cuts() {
    let plain = hello().build();
    for len in [plain.len() + 1, 2 << 20, (2 << 20) + 1] {
        let padded = hello().padded_to(len).build();
        assert_eq!(padded.len(), len);
        assert!(padded.starts_with(&plain));
    }
    assert_eq!(hello().padded_to(plain.len() - 1).build(), plain);
}

#[test]
fn equal_builders_build_equal_bytes() {
    let builder =
        || hello().defines("d").needs("n").hook(HookKind::Unload, HookCode::returns(1)).metadata("k", Some("v"));
    let twice = builder();
    assert_eq!((twice.build(), twice.build()), (builder().build(), builder().build()));
}

#[test]
fn contents_are_read_back() {
    let below = PayloadBuilder::named("below", &xen());
    let builder = hello()
        .depends_on(below.build_id())
        .function(FunctionPatch::nop("mmio_write", 7).expecting(b"\x55\x48\x89\xe5"))
        .function(FunctionPatch::returning("unused", "x").unnamed().at(0xffff_82d0_4020_0000).old_size(64))
        .hook(HookKind::Load, HookCode::returns(0))
        .hook(HookKind::Load, HookCode::returns(0))
        .hook(HookKind::PreApply, HookCode::returns(-1))
        .metadata("author", Some("we"))
        .writable_data([1, 2, 3])
        .bss(1 << 20);
    let payload = Payload::parse(&builder.build()).unwrap();
    assert_eq!(payload.build_id(), Some(builder.build_id()));
    assert_eq!((payload.depends(), payload.xen_depends()), (Some(below.build_id()), Some(&xen())));
    let functions: Vec<_> =
        payload.functions().iter().map(|f| (f.to_string(), f.old_size, f.is_nop(), f.expectation.is_some())).collect();
    assert_eq!(
        functions,
        [
            ("xen_extra_version".into(), 16, false, false),
            ("mmio_write".into(), 16, true, true),
            ("0xffff82d040200000".into(), 64, false, false)
        ]
    );
    assert_eq!(&*payload.functions()[1].expectation.as_ref().unwrap().bytes, b"\x55\x48\x89\xe5");
    let kinds: Vec<_> = payload.hooks().iter().map(|hook| hook.kind).collect();
    assert_eq!(kinds, [HookKind::Load, HookKind::Load, HookKind::PreApply]);
    assert_eq!(payload.metadata().get("author"), Some(&b"we"[..]));
    assert_eq!(payload.writable_sections().len(), 3);
    assert_eq!(check(&builder, (4, 17)), []);
}

/// With the addresses of Xen, distances to its symbols are known.
#[test]
fn a_distance_to_a_symbol_of_xen_fits_where_that_is_near() {
    let xen = SimulatedXen::new(Release::V4_20);
    let client = LivepatchClient::connect(xen.clone()).unwrap();
    let builder = PayloadBuilder::for_xen(&xen, "p").function(FunctionPatch::returning("xen_extra_version", "x"));
    let near = Editor::new(&builder.needs("printk").build()).entry(".rela.rodata.needed", 0, relocation::TYPE, 2);
    client.upload(&PayloadName::new("p").unwrap(), &near.bytes).unwrap();
}
