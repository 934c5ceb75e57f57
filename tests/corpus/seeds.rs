//! The seeds of fuzzing: payloads of all shapes, good and bad, and lists in all layouts.

use xen_livepatch::BuildId;
use xen_livepatch::payload::{HookKind, PayloadVersion};
use xen_livepatch::sim::{Defect, FunctionPatch, HookCode, PayloadBuilder};

type Seeds = Vec<(String, Vec<u8>)>;

/// The name and the metadata of a loaded payload.
type Row<'a> = (&'a [u8], &'a [u8]);

/// The sections to damage.
const SECTIONS: [&str; 14] = [
    ".text",
    ".livepatch.funcs",
    ".rela.livepatch.funcs",
    ".livepatch.hooks.load",
    ".rela.livepatch.hooks.load",
    ".livepatch.depends",
    ".livepatch.xen_depends",
    ".note.gnu.build-id",
    ".modinfo",
    ".data",
    ".bss",
    ".symtab",
    ".strtab",
    ".shstrtab",
];

/// Payloads by name.
pub(crate) fn payloads() -> Seeds {
    let real = [
        ("gcc-extra-version", &include_bytes!("../gcc-payloads/extra-version.livepatch")[..]),
        ("gcc-hooked", include_bytes!("../gcc-payloads/hooked.livepatch")),
        ("gcc-stacked", include_bytes!("../gcc-payloads/stacked.livepatch")),
    ];
    let real = real.into_iter().map(|(name, bytes)| (name.into(), bytes.to_vec()));
    let built = shapes().into_iter().chain(defective()).map(|(name, builder)| (name, builder.build()));
    let aarch64 = |(name, builder): (&str, PayloadBuilder)| {
        let mut bytes = builder.build();
        bytes[18..20].copy_from_slice(&183_u16.to_le_bytes());
        (format!("aarch64-{name}"), bytes)
    };
    let aarch64 = [("v1", everything().payload_version(PayloadVersion::V1)), ("v2", everything())].map(aarch64);
    real.chain(built).chain(aarch64).chain([("overlapping".into(), overlapping())]).collect()
}

/// A file of which every section of relocations claims the whole.
fn overlapping() -> Vec<u8> {
    const RELA: u8 = 4;
    let mut bytes = everything().build();
    let table = usize::try_from(u64::from_le_bytes(bytes[40..48].try_into().unwrap())).unwrap();
    let size = u64::try_from((bytes.len() - 64) / 24 * 24).unwrap();
    for header in bytes[table..].chunks_exact_mut(64).filter(|header| header[4] == RELA) {
        header[24..32].copy_from_slice(&64_u64.to_le_bytes());
        header[32..40].copy_from_slice(&size.to_le_bytes());
    }
    bytes
}

fn xen() -> BuildId {
    BuildId::new([0xab; 20])
}

fn named(name: &str) -> PayloadBuilder {
    PayloadBuilder::named(name, &xen())
}

fn hello() -> PayloadBuilder {
    named("hello").function(FunctionPatch::returning("xen_extra_version", "-hello"))
}

fn everything() -> PayloadBuilder {
    HookKind::ALL
        .into_iter()
        .fold(hello(), |builder, kind| builder.hook(kind, HookCode::returns(0)))
        .function(FunctionPatch::nop("mmio_write", 7).expecting(b"\x55\x48\x89\xe5"))
        .metadata("author", Some("we"))
        .writable_data([1, 2, 3])
        .bss(64)
        .needs("printk")
        .defines("hello_data")
}

fn shapes() -> Vec<(String, PayloadBuilder)> {
    let address = 0xffff_82d0_4020_0000;
    let shapes = [
        ("hello", hello()),
        ("everything", everything()),
        ("nothing", named("nothing")),
        ("two-functions", hello().function(FunctionPatch::returning("xen_changeset", "none"))),
        ("at-an-address", named("at").function(FunctionPatch::returning("f", "t").at(address).old_size(64))),
        ("unnamed", named("unnamed").function(FunctionPatch::returning("f", "t").unnamed().at(address))),
        ("nameless", named("nameless").function(FunctionPatch::returning("f", "t").unnamed())),
        ("not-in-xen", named("not-in-xen").function(FunctionPatch::returning("f", "t").at(0x1000))),
        ("nop", named("nop").function(FunctionPatch::nop("f", 5))),
        ("nop-too-long", named("nop").function(FunctionPatch::nop("f", 40))),
        ("no-old-size", named("none").function(FunctionPatch::returning("f", "t").old_size(0))),
        ("expecting", named("expecting").function(FunctionPatch::returning("f", "t").expecting(&[0x90; 31]))),
        (
            "expecting-past-end",
            named("past").function(FunctionPatch::nop("f", 2).old_size(2).expecting(b"\x55\x48\x89")),
        ),
        ("read-only-functions", hello().read_only_funcs()),
        (
            "two-load-hooks",
            named("two").hook(HookKind::Load, HookCode::returns(0)).hook(HookKind::Load, HookCode::returns(1)),
        ),
        (
            "two-apply-hooks",
            named("two").hook(HookKind::Apply, HookCode::returns(0)).hook(HookKind::Apply, HookCode::returns(1)),
        ),
        ("metadata", hello().metadata("author", Some("we")).metadata("urgent", None).metadata("author", Some("you"))),
        ("metadata-open", hello().modinfo(b"=v\0\0\xffkey")),
        ("metadata-empty", hello().modinfo(b"")),
        ("data", hello().writable_data([0; 16])),
        ("bss", hello().bss(1 << 20)),
        ("bss-too-large", hello().bss(1 << 22)),
        ("symbols", hello().defines("one").defines("two").needs("printk").needs("one")),
        ("further-section", hello().section(".rodata.\u{1b}[31m", *b"text\0")),
        (
            "long-names",
            named("long").function(FunctionPatch::returning("n".repeat(200), "t")).section("s".repeat(130), [1]),
        ),
        ("padded", hello().padded_to(4096)),
    ];
    let stacked = hello().depends_on(named("below").build_id());
    let short_ids = PayloadBuilder::new(&BuildId::new([1]), &BuildId::new([2]), &BuildId::new([3]));
    let odd = [("stacked", stacked), ("short-build-ids", short_ids.function(FunctionPatch::nop("f", 1)))];
    let versions = |(name, builder): (&str, PayloadBuilder)| {
        let v1 = builder.clone().payload_version(PayloadVersion::V1);
        [(format!("v1-{name}"), v1), (format!("v2-{name}"), builder)]
    };
    shapes.into_iter().chain(odd).flat_map(versions).collect()
}

fn defective() -> Vec<(String, PayloadBuilder)> {
    let defects = [
        Defect::Missing,
        Defect::NotAllocated,
        Defect::Flags(7),
        Defect::Alignment(0),
        Defect::Alignment(3),
        Defect::Contents(Vec::new()),
        Defect::Contents(vec![0xff; 48]),
        Defect::Truncated(9),
        Defect::Patched(0, vec![0xff; 16]),
        Defect::NullSymbol,
    ];
    let small = || hello().hook(HookKind::Load, HookCode::returns(0)).metadata("a", None).writable_data([1]).bss(8);
    SECTIONS
        .into_iter()
        .flat_map(|section| defects.iter().enumerate().map(move |(index, defect)| (section, index, defect)))
        .map(|(section, index, defect)| (format!("defect{section}-{index}"), small().defect(section, defect.clone())))
        .collect()
}

/// Lists, as the target `list` takes them apart.
pub(crate) fn lists() -> Seeds {
    let name = [b'n'; 127];
    let every_length: Vec<Row> = (0..128).map(|len| (&name[..len], &name[len..])).collect();
    let rows: [(&str, &[Row]); 7] = [
        ("none", &[]),
        ("one", &[(b"xsa-500", b"author=we\0")]),
        ("two", &[(b"a", b""), (b"longer-name", b"k=v\0urgent\0")]),
        ("empty-name", &[(b"", b"")]),
        ("longest-name", &[(&name, b"x\0"), (b"b", b"")]),
        ("six", &[(b"1", b""), (b"22", b"a\0"), (b"333", b""), (b"4444", b""), (b"55555", b"\xff"), (b"6", b"")]),
        ("every-length", &every_length),
    ];
    rows.iter()
        .flat_map(|(name, rows)| [0, 1, 2].map(|layout| (format!("{name}-{layout}"), list(layout, rows))))
        .collect()
}

/// Names of functions that go on as Xen would: about the payload that has it, about the next one, and from the beginning.
pub(crate) fn dumps() -> Seeds {
    let id = "5a".repeat(20);
    let place = "ffff82d040400000";
    let function = format!("f patch {place}(16) with {place} (8)");
    let ids = format!("build-id={id}\ndepend-on={id}\ndepend-on-xen={}", "11".repeat(20));
    let heading =
        |name: &str| format!(" name={name} state=CHECKED(1) {place} (.data={place}, .rodata={place}) using 3 pages.");
    let start = format!("'x' pressed - Dumping all livepatch patches\nbuild-id: {}", "11".repeat(20));
    let next = format!("{function}\n{ids}\n{}\n    {function}", heading("b"));
    let seeds = [
        ("plain", "xen_extra_version".to_owned()),
        ("own", format!("{function}\n{ids}\n    g")),
        ("next", next.clone()),
        ("next-and-rest", format!("{next}\n{ids}\n    g")),
        ("again", format!("{function}\n{ids}\n{start}\n{}\n    g", heading("a"))),
        ("metadata", "livepatch: module metadata:\nlivepatch:   a=b".to_owned()),
    ];
    seeds.map(|(name, text)| (name.to_owned(), text.into_bytes())).into()
}

fn list(layout: u8, rows: &[Row]) -> Vec<u8> {
    let words = |words: Vec<usize>| words.iter().flat_map(|word| u32::try_from(*word).unwrap().to_ne_bytes()).collect();
    let status: Vec<u8> = words((0..rows.len()).flat_map(|row| [1 + row % 2, 11 * row]).collect());
    let len: Vec<u8> = words(rows.iter().map(|(name, _)| name.len() + 1).collect());
    let metadata_len: Vec<u8> = words(rows.iter().map(|(_, metadata)| metadata.len()).collect());
    let stride = |name: &[u8]| if layout == 0 { 128 } else { name.len() + 1 };
    let names: Vec<u8> =
        rows.iter().flat_map(|(name, _)| name.iter().copied().chain([0; 128]).take(stride(name))).collect();
    let metadata: Vec<u8> = rows.iter().flat_map(|(_, metadata)| metadata.iter().copied()).collect();

    let columns = [&status, &len, &metadata_len, &names];
    let sizes = columns.iter().flat_map(|column| u16::try_from(column.len()).unwrap().to_le_bytes());
    let count = u32::try_from(rows.len()).unwrap().to_le_bytes();
    let head = [layout].into_iter().chain(count).chain(sizes);
    head.chain(columns.into_iter().flatten().copied()).chain(metadata).collect()
}
