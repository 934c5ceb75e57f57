//! Built payloads, read back by a reader that shares nothing with the writer.

use object::elf::{
    EM_386, R_AARCH64_ABS64, R_AARCH64_ADD_ABS_LO12_NC, R_AARCH64_ADR_PREL_PG_HI21, R_X86_64_64, R_X86_64_PC32,
};
use object::{Object, ObjectSection, ObjectSymbol, RelocationFlags, RelocationTarget, SectionFlags, SectionKind};

use super::*;
use crate::xen::Release;

const ALLOC: u64 = 2;
const WRITE_ALLOC: u64 = 3;
const ALLOC_EXEC: u64 = 6;
const INFO_LINK: u64 = 0x40;
const EVERYTHING: u64 = 7;

fn xen() -> BuildId {
    BuildId::new([0xab; 20])
}

fn hello() -> PayloadBuilder {
    PayloadBuilder::named("hello", &xen()).function(FunctionPatch::returning("xen_extra_version", "-hello"))
}

fn parse(bytes: &[u8]) -> object::File<'_> {
    object::File::parse(bytes).unwrap()
}

fn flags(section: &object::Section<'_, '_>) -> u64 {
    match section.flags() {
        SectionFlags::Elf { sh_flags, .. } => sh_flags.0,
        other => panic!("{other:?}"),
    }
}

/// Name, flags, alignment and size of each section in the file.
fn sections(file: &object::File<'_>) -> Vec<(String, u64, u64, u64)> {
    let row = |s: object::Section<'_, '_>| (s.name().unwrap().to_owned(), flags(&s), s.align(), s.size());
    file.sections().map(row).collect()
}

fn contents(bytes: &[u8], section: &str) -> Vec<u8> {
    parse(bytes).section_by_name(section).unwrap().data().unwrap().to_vec()
}

/// Offset, type, what it refers to (a section's or a symbol's name), and addend of each relocation.
fn relocations(bytes: &[u8], section: &str) -> Vec<(u64, u32, String, i64)> {
    let file = parse(bytes);
    let section = file.section_by_name(section).unwrap();
    let row = |(offset, relocation): (u64, object::Relocation)| {
        let name = match relocation.target() {
            RelocationTarget::Symbol(index) => {
                let symbol = file.symbol_by_index(index).unwrap();
                match symbol.section_index().filter(|_| symbol.name().unwrap().is_empty()) {
                    Some(index) => file.section_by_index(index).unwrap().name().unwrap(),
                    None => symbol.name().unwrap(),
                }
            }
            // The reader's word for symbol 0.
            RelocationTarget::Absolute => "",
            other => panic!("{other:?}"),
        };
        let RelocationFlags::Elf { r_type } = relocation.flags() else { panic!("{relocation:?}") };
        (offset, r_type.0, name.to_owned(), relocation.addend())
    };
    section.relocations().map(row).collect()
}

#[test]
fn a_payload_has_what_xen_demands() {
    let bytes = hello().metadata("a", Some("b")).build();
    let file = parse(&bytes);
    assert_eq!((file.architecture(), file.kind()), (object::Architecture::X86_64, object::ObjectKind::Relocatable));
    assert!(file.is_little_endian() && file.is_64());
    let expected = [
        (".text", ALLOC_EXEC, 16, 8),
        (".rodata.str", ALLOC, 1, 25),
        (".livepatch.funcs", WRITE_ALLOC, 8, 104),
        (".livepatch.depends", ALLOC, 4, 36),
        (".livepatch.xen_depends", ALLOC, 4, 36),
        (".note.gnu.build-id", ALLOC, 4, 36),
        (".modinfo", ALLOC, 1, 4),
        (".rela.text", INFO_LINK, 8, 24),
        (".rela.livepatch.funcs", INFO_LINK, 8, 48),
        (".symtab", 0, 8, 24 * 9),
        (".strtab", 0, 1, 19),
        (".shstrtab", 0, 1, 165),
    ];
    assert_eq!(sections(&file), expected.map(|(name, flags, align, size)| (name.to_owned(), flags, align, size)));
    for section in file.sections() {
        let (offset, _) = section.file_range().unwrap();
        assert!(offset >= 64 && offset % section.align() == 0 && section.data().is_ok());
    }
}

#[test]
fn only_the_functions_are_writable_unless_asked_for() {
    let writable = |builder: &PayloadBuilder| -> Vec<String> {
        let bytes = builder.build();
        sections(&parse(&bytes)).into_iter().filter(|row| row.1 & 1 != 0).map(|row| row.0).collect()
    };
    let busy = hello()
        .hook(HookKind::Load, HookCode::returns(0))
        .metadata("a", None)
        .defines("new")
        .needs("printk")
        .section(".ex_table", [0; 8]);
    assert_eq!(writable(&busy), [".livepatch.funcs"]);
    assert_eq!(writable(&busy.clone().read_only_funcs()), [""; 0]);
    assert_eq!(writable(&busy.writable_data("x").bss(9)), [".livepatch.funcs", ".data", ".bss"]);
}

#[test]
fn notes_name_the_three_build_ids() {
    let (own, below, xen) = (BuildId::new([1, 2, 3]), BuildId::new([4; 16]), BuildId::new([]));
    let bytes = PayloadBuilder::new(&own, &below, &xen).build();
    let note = |section| contents(&bytes, section);
    assert_eq!(note(".note.gnu.build-id"), *b"\x04\0\0\0\x03\0\0\0\x03\0\0\0GNU\0\x01\x02\x03\0");
    assert_eq!(note(".livepatch.depends"), [&b"\x04\0\0\0\x10\0\0\0\x03\0\0\0GNU\0"[..], &[4; 16]].concat());
    assert_eq!(note(".livepatch.xen_depends"), *b"\x04\0\0\0\0\0\0\0\x03\0\0\0GNU\0");
    let file = parse(&bytes);
    let kind = |section: &str| file.section_by_name(section).unwrap().kind();
    assert_eq!(kind(".note.gnu.build-id"), SectionKind::Note);
    assert_eq!(kind(".livepatch.depends"), SectionKind::Note);
}

#[test]
fn names_become_build_ids() {
    let one = PayloadBuilder::named("one", &xen());
    assert_eq!(one.build_id().to_string(), "73f0e677b80d61b0a29ee68fc53d8b4f8ab6fa89");
    assert_eq!(contents(&one.build(), ".livepatch.depends")[16..], [0xab; 20]);
    let two = PayloadBuilder::named("two", &xen()).depends_on(one.build_id());
    assert_ne!(two.build_id(), one.build_id());
    assert_eq!(contents(&two.build(), ".livepatch.depends")[16..], *one.build_id().as_bytes());
    assert_eq!(contents(&two.build(), ".livepatch.xen_depends")[16..], [0xab; 20]);
}

#[test]
fn an_entry_of_version_2() {
    let bytes = hello().function(FunctionPatch::nop("b", 9).at(0xffff_82d0_4020_0000).expecting(b"\x55\x48")).build();
    let funcs = contents(&bytes, ".livepatch.funcs");
    let mut first = [0; 104];
    first[24] = 8; // new_size
    first[28] = 16; // old_size
    first[32] = 2;
    let mut second = [0; 104];
    second[16..24].copy_from_slice(b"\0\0\x20\x40\xd0\x82\xff\xff");
    second[24] = 9;
    second[28] = 16;
    second[32] = 2;
    second[72..75].copy_from_slice(b"\x05\x55\x48"); // enabled, two bytes
    assert_eq!(funcs, [first, second].concat());
    // "-hello" comes first, for it is placed with the code.
    assert_eq!(contents(&bytes, ".rodata.str"), b"-hello\0xen_extra_version\0b\0");
    let pointer = |offset, section: &str, addend| (offset, R_X86_64_64.0, section.to_owned(), addend);
    assert_eq!(
        relocations(&bytes, ".livepatch.funcs"),
        [pointer(0, ".rodata.str", 7), pointer(8, ".text", 0), pointer(104, ".rodata.str", 25)]
    );
}

#[test]
fn an_entry_of_version_1() {
    let one = FunctionPatch::with_code("f", [0x90; 6]).old_size(0x1_0203).expecting(b"\x55");
    let bytes = PayloadBuilder::named("p", &xen()).payload_version(PayloadVersion::V1).function(one).build();
    let mut entry = [0; 64];
    entry[24] = 6;
    entry[28..31].copy_from_slice(&[3, 2, 1]);
    entry[32] = 1;
    assert_eq!(contents(&bytes, ".livepatch.funcs"), entry);
    assert_eq!(contents(&bytes, ".text"), [0x90; 6]);
}

#[test]
fn the_longest_expectation() {
    let bytes = PayloadBuilder::named("p", &xen()).function(FunctionPatch::nop("f", 1).expecting(&[0xaa; 31])).build();
    assert_eq!(contents(&bytes, ".livepatch.funcs")[72..], [&[0x3f][..], &[0xaa; 31]].concat());
}

#[test]
fn the_layout_of_a_function_follows_from_the_release() {
    let size = |builder: PayloadBuilder| contents(&builder.build(), ".livepatch.funcs").len();
    let for_release = |minor| hello().for_release((4, minor));
    assert_eq!([7, 13, 14, 22].map(|minor| size(for_release(minor))), [64, 64, 104, 104]);
    let unknown = hello().payload_version(PayloadVersion::Unknown(9)).build();
    let entry = contents(&unknown, ".livepatch.funcs");
    assert_eq!((entry.len(), entry[32]), (104, 9));

    for release in [Release::V4_13, Release::V4_14] {
        let xen = SimulatedXen::new(release);
        let by_hand = PayloadBuilder::named("p", &xen.build_id().unwrap()).for_release((4, release.minor()));
        assert_eq!(PayloadBuilder::for_xen(&xen, "p").build(), by_hand.build());
    }
}

#[test]
fn nops_leave_room_for_endbr64() {
    let old_size = |size| {
        let bytes = PayloadBuilder::named("p", &xen()).function(FunctionPatch::nop("f", size)).build();
        contents(&bytes, ".livepatch.funcs")[24..32].to_vec()
    };
    assert_eq!(old_size(12), [12, 0, 0, 0, 16, 0, 0, 0]);
    assert_eq!(old_size(13), [13, 0, 0, 0, 17, 0, 0, 0]);
    assert_eq!(old_size(u32::MAX), [0xff; 8]);
}

#[test]
fn new_code_returns_its_text() {
    let bytes = hello().function(FunctionPatch::returning("g", "two")).build();
    let code = b"\x48\x8d\x05\0\0\0\0\xc3";
    assert_eq!(contents(&bytes, ".text"), [&code[..], &[0xcc; 8], code].concat());
    let relative = |offset, addend| (offset, R_X86_64_PC32.0, ".rodata.str".to_owned(), addend);
    // Four less than where the text is: the distance counts from the end of the four bytes.
    assert_eq!(relocations(&bytes, ".text"), [relative(3, -4), relative(19, 25 - 4)]);
    assert_eq!(contents(&bytes, ".rodata.str"), b"-hello\0xen_extra_version\0two\0g\0");
}

#[test]
fn a_function_is_a_local_symbol_where_its_code_is() {
    let bytes = hello().function(FunctionPatch::nop("n", 5)).function(FunctionPatch::with_code("c", [0xc3])).build();
    let file = parse(&bytes);
    let text = file.section_by_name(".text").unwrap().index();
    let named: Vec<_> = file
        .symbols()
        .filter(|symbol| !symbol.name().unwrap().is_empty())
        .map(|s| (s.name().unwrap(), s.section_index(), s.address(), s.size(), s.is_local()))
        .collect();
    assert_eq!(named, [("xen_extra_version", Some(text), 0, 8, true), ("c", Some(text), 16, 1, true)]);
}

#[test]
fn hooks_are_arrays_of_pointers_to_code() {
    let refuse = HookCode::returns(-16);
    let mut builder = PayloadBuilder::named("hooks", &xen());
    for kind in HookKind::ALL {
        builder = builder.hook(kind, refuse.clone());
    }
    let bytes = builder.hook(HookKind::Load, HookCode::from_code([0xc3])).build();
    let code = b"\xf3\x0f\x1e\xfa\xb8\xf0\xff\xff\xff\xc3";
    assert_eq!(contents(&bytes, ".text")[..17], [&code[..], &[0xcc; 6], &[0xc3]].concat());
    let names = ["load", "unload", "preapply", "apply", "postapply", "prerevert", "revert", "postrevert"];
    for (index, name) in (0_i64..).zip(names) {
        let section = format!(".livepatch.hooks.{name}");
        let pointer = |slot: u64, place: i64| (slot * 8, R_X86_64_64.0, ".text".to_owned(), place * 16);
        let expected =
            if index == 0 { vec![pointer(0, 0), (8, 1, ".text".into(), 16)] } else { vec![pointer(0, index + 1)] };
        assert_eq!(relocations(&bytes, &section), expected, "{name}");
        assert_eq!(contents(&bytes, &section), vec![0; 8 * expected.len()]);
        let file = parse(&bytes);
        let section = file.section_by_name(&section).unwrap();
        assert_eq!((section.align(), flags(&section)), (8, ALLOC));
    }
    assert!(parse(&bytes).section_by_name(".livepatch.funcs").is_none(), "no function, no section");
    assert!(parse(&bytes).symbols().all(|symbol| symbol.name().unwrap().is_empty()), "hooks have no names");
}

#[test]
fn metadata_is_strings() {
    let modinfo = |builder: PayloadBuilder| contents(&builder.build(), ".modinfo");
    assert_eq!(modinfo(hello().metadata("k", Some("v=w")).metadata("alone", None)), b"k=v=w\0alone\0");
    assert_eq!(modinfo(hello().metadata("k", None).modinfo(b"\xff")), b"k\0\xff");
    assert_eq!(modinfo(hello().modinfo("")), b"");
    assert!(parse(&hello().build()).section_by_name(".modinfo").is_none());
}

#[test]
fn symbols_are_defined_and_needed() {
    let bytes = hello().defines("one").defines("two").needs("printk").needs("one").build();
    let file = parse(&bytes);
    let defined = file.section_by_name(".rodata.defined").unwrap();
    assert_eq!((defined.size(), flags(&defined)), (16, ALLOC));
    let globals: Vec<_> = file
        .symbols()
        .filter(ObjectSymbol::is_global)
        .map(|s| (s.name().unwrap(), s.section_index(), s.address(), s.size()))
        .collect();
    let at = Some(defined.index());
    assert_eq!(globals, [("one", at, 0, 8), ("two", at, 8, 8), ("printk", None, 0, 0), ("one", None, 0, 0)]);
    let pointer = |offset, name: &str| (offset, R_X86_64_64.0, name.to_owned(), 0);
    assert_eq!(relocations(&bytes, ".rodata.needed"), [pointer(0, "printk"), pointer(8, "one")]);
    // What comes before the first global symbol, the table says, is local.
    let symtab = file.section_by_name(".symtab").unwrap();
    let header = file.symbols().take_while(|symbol| !symbol.is_global()).count() + 1;
    assert_eq!(section_header(&bytes, symtab.index().0)[44..48], u32::try_from(header).unwrap().to_le_bytes());
}

fn section_header(bytes: &[u8], index: usize) -> &[u8] {
    let table = usize::try_from(u64::from_le_bytes(bytes[40..48].try_into().unwrap())).unwrap();
    &bytes[table + 64 * index..][..64]
}

#[test]
fn bss_takes_no_room_in_the_file() {
    let bytes = hello().bss(64 << 20).build();
    assert!(bytes.len() < 4096);
    let file = parse(&bytes);
    let bss = file.section_by_name(".bss").unwrap();
    assert_eq!((bss.size(), bss.kind(), flags(&bss)), (64 << 20, SectionKind::UninitializedData, WRITE_ALLOC));
}

#[test]
fn padding_is_exact_and_never_cuts() {
    let plain = hello().build();
    for len in [plain.len() + 1, 2 << 20, (2 << 20) + 1] {
        let padded = hello().padded_to(len).build();
        assert_eq!(padded.len(), len);
        assert!(padded.starts_with(&plain));
        assert_eq!(sections(&parse(&padded)), sections(&parse(&plain)));
    }
    assert_eq!(hello().padded_to(plain.len() - 1).build(), plain);
}

#[test]
fn equal_builders_build_equal_bytes() {
    let builder =
        || hello().defines("d").needs("n").hook(HookKind::Unload, HookCode::returns(1)).metadata("k", Some("v"));
    assert_eq!(builder().build(), builder().build());
    let twice = builder();
    assert_eq!(twice.build(), twice.build());
}

#[test]
fn missing_sections_leave_the_rest_readable() {
    let whole: Vec<String> = sections(&parse(&hello().build())).into_iter().map(|row| row.0).collect();
    for name in &whole {
        let bytes = hello().defect(name, Defect::Missing).build();
        if name == ".shstrtab" {
            assert_eq!(bytes[62..64], [0, 0], "e_shstrndx");
            continue;
        }
        // A section takes its relocations with it.
        let expected: Vec<&String> = whole.iter().filter(|n| *n != name && **n != format!(".rela{name}")).collect();
        let left = sections(&parse(&bytes));
        assert_eq!(left.iter().map(|row| &row.0).collect::<Vec<_>>(), expected);
    }
    let unlinked = hello().defect(".rodata.str", Defect::Missing).build();
    assert_eq!(relocations(&unlinked, ".text"), [(3, R_X86_64_PC32.0, String::new(), -4)]);
}

#[test]
fn defects_of_headers() {
    let header_of = |defect| {
        let bytes = hello().defect(".livepatch.depends", defect).build();
        sections(&parse(&bytes)).into_iter().find(|row| row.0 == ".livepatch.depends").unwrap()
    };
    let row = |flags, align| (".livepatch.depends".to_owned(), flags, align, 36);
    assert_eq!(header_of(Defect::NotAllocated), row(0, 4));
    assert_eq!(header_of(Defect::Flags(EVERYTHING)), row(EVERYTHING, 4));
    assert_eq!(header_of(Defect::Alignment(0)), row(ALLOC, 0));
    assert_eq!(header_of(Defect::Alignment(3)), row(ALLOC, 3));
    assert_eq!(header_of(Defect::Alignment(u64::MAX)), row(ALLOC, u64::MAX));
}

#[test]
fn defects_of_contents() {
    let funcs = |defect| hello().defect(".livepatch.funcs", defect).build();
    assert_eq!(contents(&funcs(Defect::Contents(b"x".to_vec())), ".livepatch.funcs"), b"x");
    let offsets = |bytes: &[u8]| relocations(bytes, ".livepatch.funcs").iter().map(|row| row.0).collect::<Vec<_>>();
    let cut = funcs(Defect::Truncated(15));
    assert_eq!((contents(&cut, ".livepatch.funcs").len(), offsets(&cut)), (15, vec![0]));
    let patched = funcs(Defect::Patched(32, vec![3]));
    assert_eq!((contents(&patched, ".livepatch.funcs")[32], offsets(&patched)), (3, vec![0, 8]));
    assert_eq!(contents(&funcs(Defect::Patched(103, vec![1, 2])), ".livepatch.funcs")[102..], [0, 1]);
    let both = hello()
        .defect(".livepatch.funcs", Defect::Truncated(40))
        .defect(".livepatch.funcs", Defect::Patched(39, vec![7, 7]));
    assert_eq!(contents(&both.build(), ".livepatch.funcs")[38..], [0, 7]);
    let tables = hello().defect(".strtab", Defect::Patched(1, b"XEN".to_vec())).build();
    assert!(parse(&tables).symbols().any(|symbol| symbol.name() == Ok("XEN_extra_version")));
}

#[test]
fn relocations_against_symbol_0() {
    let bytes = hello().defect(".livepatch.funcs", Defect::NullSymbol).build();
    let null = |offset, addend| (offset, R_X86_64_64.0, String::new(), addend);
    assert_eq!(relocations(&bytes, ".livepatch.funcs"), [null(0, 7), null(8, 0)]);
    let info = contents(&bytes, ".rela.livepatch.funcs")[8..16].to_vec();
    assert_eq!(info, (u64::from(R_X86_64_64.0)).to_le_bytes(), "symbol 0 in the upper half");
}

#[test]
fn a_function_without_a_name_has_none() {
    let bytes = PayloadBuilder::named("p", &xen()).function(FunctionPatch::returning("f", "t").unnamed()).build();
    assert_eq!(relocations(&bytes, ".livepatch.funcs"), [(8, R_X86_64_64.0, ".text".to_owned(), 0)]);
    assert_eq!(contents(&bytes, ".rodata.str"), b"t\0");
}

#[test]
fn further_sections_are_loaded_and_read_only() {
    let bytes = hello().section(".bug_frames.0", [1, 2, 3]).build();
    assert!(sections(&parse(&bytes)).contains(&(".bug_frames.0".to_owned(), ALLOC, 8, 3)));
    assert_eq!(contents(&bytes, ".bug_frames.0"), [1, 2, 3]);
}

fn arm() -> PayloadBuilder {
    hello().architecture(Architecture::AArch64)
}

#[test]
fn a_payload_for_arm_differs_in_its_code_and_relocations_alone() {
    let (x86, arm) = (hello().build(), arm().build());
    assert_eq!(parse(&arm).architecture(), object::Architecture::Aarch64);
    let names = |bytes| sections(&parse(bytes)).into_iter().map(|row| row.0).collect::<Vec<_>>();
    assert_eq!(names(&arm), names(&x86));
    assert_eq!(
        relocations(&arm, ".livepatch.funcs"),
        [(0, R_AARCH64_ABS64.0, ".rodata.str".to_owned(), 7), (8, R_AARCH64_ABS64.0, ".text".to_owned(), 0)]
    );
    let mut entry = contents(&x86, ".livepatch.funcs");
    assert_eq!((entry[24], entry[28]), (8, 16));
    entry[24] = 12;
    assert_eq!(contents(&arm, ".livepatch.funcs"), entry);
}

#[test]
fn new_code_on_arm_returns_its_text() {
    let bytes = arm().function(FunctionPatch::returning("g", "two")).build();
    let code = b"\0\0\0\x90\0\0\0\x91\xc0\x03\x5f\xd6";
    assert_eq!(contents(&bytes, ".text"), [&code[..], &[0; 4], code].concat());
    let both = |offset: u64, addend| {
        [(0, R_AARCH64_ADR_PREL_PG_HI21), (4, R_AARCH64_ADD_ABS_LO12_NC)]
            .map(|(at, kind)| (offset + at, kind.0, ".rodata.str".to_owned(), addend))
    };
    assert_eq!(relocations(&bytes, ".text"), [both(0, 0), both(16, 25)].concat());
}

#[test]
fn another_processor_is_named_in_the_header_alone() {
    let mut expected = hello().build();
    expected[18..20].copy_from_slice(&EM_386.0.to_le_bytes());
    assert_eq!(hello().architecture(Architecture::Other(EM_386.0)).build(), expected);
}
