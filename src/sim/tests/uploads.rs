use super::*;

type Answer = Result<u32, Errno>;
/// A payload, the answer of 4.7, and other answers from a release on.
type Judged = (PayloadBuilder, Answer, Vec<(Release, Answer)>);

const OK: Answer = Ok(0);
const EINVAL: Answer = Err(Errno::EINVAL);
const ENOENT: Answer = Err(Errno::ENOENT);
const EEXIST: Answer = Err(Errno::EEXIST);
const EOPNOTSUPP: Answer = Err(Errno::EOPNOTSUPP);
const EOVERFLOW: Answer = Err(Errno::EOVERFLOW);
const CRASH: Answer = Err(Errno::EIO);

/// To most of these, real Xens 4.14.6, 4.17.7 and 4.20.4 gave the same answers.
fn judged(xen: &SimulatedXen) -> Vec<Judged> {
    use Release as R;
    let whole = || builder(xen, "p").metadata("k", Some("v"));
    let defect = |section: &str, defect| whole().defect(section, defect);
    let of = |function| bare(xen, "p").function(function);
    let printk = || FunctionPatch::returning("printk", "x");
    let hook = |payload: PayloadBuilder, kind| payload.hook(kind, HookCode::returns(0));
    let short = |kind: HookKind| hook(whole(), kind).defect(kind.section(), Defect::Truncated(7));
    let extra = |name: &str, len| whole().section(name, vec![0; len]);
    let busy = hook(hook(whole().function(printk()), HookKind::Load), HookKind::PreApply);
    let other = if xen.release() >= R::V4_14 { PayloadVersion::V1 } else { PayloadVersion::V2 };
    let enodata = Err(Errno::ENODATA);
    vec![
        (busy.writable_data([1; 9]).bss(100).defines("brand_new").needs("printk"), OK, vec![]),
        (whole().bss(1 << 20), OK, vec![]),
        (whole().bss((2 << 20) + 1), OK, vec![(R::V4_8, EINVAL)]),
        (whole().padded_to((2 << 20) + 1), EINVAL, vec![]),
        (whole().needs("xen_banner"), ENOENT, vec![]),
        // Sections that have to be there.
        (defect(".text", Defect::Missing), EOPNOTSUPP, vec![]),
        (defect(".rodata.str", Defect::Missing), EOPNOTSUPP, vec![]),
        (defect(".rela.text", Defect::Missing), OK, vec![]),
        (defect(".symtab", Defect::Missing), EINVAL, vec![]),
        (defect(".strtab", Defect::Missing), CRASH, vec![]),
        (defect(".shstrtab", Defect::Missing), EINVAL, vec![]),
        (defect(".livepatch.funcs", Defect::Missing), EINVAL, vec![]),
        (bare(xen, "p"), EINVAL, vec![]),
        (hook(bare(xen, "p"), HookKind::Load), EINVAL, vec![(R::V4_14, OK)]),
        (hook(bare(xen, "p"), HookKind::PreApply), EINVAL, vec![(R::V4_14, OK)]),
        (defect(".livepatch.xen_depends", Defect::Missing), OK, vec![(R::V4_14, EINVAL)]),
        (defect(".livepatch.depends", Defect::Missing), EINVAL, vec![]),
        (defect(".note.gnu.build-id", Defect::Missing), EINVAL, vec![]),
        // Notes that are too short, or of another type.
        (defect(".livepatch.depends", Defect::Truncated(0)), EINVAL, vec![]),
        (defect(".note.gnu.build-id", Defect::Truncated(0)), EINVAL, vec![]),
        (defect(".livepatch.depends", Defect::Truncated(12)), EINVAL, vec![]),
        (defect(".note.gnu.build-id", Defect::Truncated(12)), EINVAL, vec![]),
        (defect(".livepatch.depends", Defect::Patched(8, vec![1])), EINVAL, vec![(R::V4_18, enodata)]),
        (defect(".note.gnu.build-id", Defect::Patched(8, vec![4])), EINVAL, vec![(R::V4_18, enodata)]),
        // Alignments and flags. A section without memory is written to, or read, where there is none.
        (defect(".rodata.str", Defect::Alignment(3)), OK, vec![(R::V4_10, EOPNOTSUPP)]),
        (defect(".modinfo", Defect::Alignment(3)), OK, vec![(R::V4_10, EOPNOTSUPP)]),
        (defect(".livepatch.depends", Defect::Alignment(0)), CRASH, vec![]),
        // The first of its kind.
        (defect(".text", Defect::Alignment(0)), OK, vec![]),
        (defect(".text", Defect::Flags(7)), EOPNOTSUPP, vec![]),
        (defect(".modinfo", Defect::Flags(7)), EOPNOTSUPP, vec![]),
        (defect(".livepatch.funcs", Defect::NotAllocated), CRASH, vec![]),
        (defect(".livepatch.depends", Defect::NotAllocated), CRASH, vec![]),
        (defect(".note.gnu.build-id", Defect::NotAllocated), CRASH, vec![]),
        (defect(".livepatch.xen_depends", Defect::NotAllocated), OK, vec![(R::V4_14, CRASH), (R::V4_18, OK)]),
        // Functions, and addresses that some releases read, and others compare first.
        (defect(".livepatch.funcs", Defect::Patched(32, vec![3])), EOPNOTSUPP, vec![]),
        (defect(".livepatch.funcs", Defect::Truncated(50)), EINVAL, vec![]),
        (defect(".livepatch.funcs", Defect::Truncated(0)), EINVAL, vec![]),
        (whole().payload_version(other), EINVAL, vec![]),
        (of(FunctionPatch::nop("printk", 5)), EINVAL, vec![(R::V4_8, OK)]),
        (of(FunctionPatch::nop("printk", 31)), EINVAL, vec![(R::V4_8, OK)]),
        (of(FunctionPatch::nop("printk", 32)), EINVAL, vec![(R::V4_8, EOPNOTSUPP)]),
        (of(FunctionPatch::nop("printk", 8).old_size(7)), EINVAL, vec![]),
        (of(printk().old_size(5)), OK, vec![]),
        (of(printk().old_size(4)), EINVAL, vec![]),
        (of(FunctionPatch::returning("nowhere", "x")), ENOENT, vec![]),
        (of(printk().at(0xffff_8300_0000_0000)), CRASH, vec![(R::V4_8, EOVERFLOW), (R::V4_14, CRASH)]),
        (of(printk().at(0x1000)), CRASH, vec![(R::V4_8, EOVERFLOW), (R::V4_14, CRASH)]),
        (of(printk().unnamed()), CRASH, vec![]),
        // Hooks.
        (short(HookKind::Load), OK, vec![(R::V4_8, EINVAL)]),
        (short(HookKind::PostApply), OK, vec![(R::V4_14, EINVAL)]),
        (hook(hook(whole(), HookKind::PreApply), HookKind::PreApply), OK, vec![(R::V4_14, EINVAL)]),
        // Relocations: symbol, type, offset (of four of eight bytes), addend.
        (defect(".text", Defect::NullSymbol), EOPNOTSUPP, vec![]),
        (defect(".livepatch.funcs", Defect::NullSymbol), EOPNOTSUPP, vec![]),
        (defect(".rela.text", Defect::Truncated(23)), EINVAL, vec![]),
        (defect(".rela.text", Defect::Patched(12, vec![0xff; 4])), EINVAL, vec![]),
        (defect(".rela.text", Defect::Patched(8, vec![99])), EOPNOTSUPP, vec![]),
        (defect(".rela.text", Defect::Patched(0, vec![5])), EINVAL, vec![]),
        (defect(".rela.text", Defect::Patched(0, vec![4])), OK, vec![]),
        (defect(".rela.text", Defect::Patched(16, vec![0, 0, 0, 0, 1])), EOVERFLOW, vec![]),
        // Optional sections.
        (extra(".bug_frames.0", 16), OK, vec![]),
        (extra(".bug_frames.0", 12), EINVAL, vec![]),
        (extra(".bug_frames.3", 16), OK, vec![]),
        (extra(".bug_frames.3", 12), EINVAL, vec![]),
        (extra(".ex_table", 16), OK, vec![]),
        (extra(".ex_table", 12), EINVAL, vec![]),
        (extra(".altinstructions", 13), EINVAL, vec![]),
        // It points at itself.
        (extra(".alt_call_sites", 4), OK, vec![(R::V4_21, EINVAL)]),
        (defect(".modinfo", Defect::Contents(b"k=v".to_vec())), OK, vec![(R::V4_14, EINVAL)]),
        (defect(".modinfo", Defect::Contents(vec![])), OK, vec![(R::V4_14, CRASH)]),
    ]
}

#[test]
fn payloads_are_judged_as_by_each_release() {
    for release in Release::ALL {
        for (payload, first, later) in judged(&SimulatedXen::new(release)) {
            let expected = later.iter().rfind(|(from, _)| release >= *from).map_or(first, |(_, answer)| *answer);
            let xen = SimulatedXen::new(release);
            let result = upload(&xen, "p", &payload.build());
            assert_eq!(result, expected, "{release} {payload:?}");
            assert_eq!(result.is_ok(), xen.loaded().len() == 1);
            assert_eq!(action(&xen, "p", UNLOAD).is_ok(), result.is_ok());
            assert_eq!(xen.crashed().is_some(), result == CRASH, "{:?}", xen.crashed());
        }
    }
}

#[test]
fn a_host_that_crashed_gives_its_reason_and_no_more_answers() {
    let xen = SimulatedXen::new(Release::V4_17);
    let misaligned = builder(&xen, "p").defect(".livepatch.depends", Defect::Alignment(0));
    assert_eq!(xen.other_upload("p", &misaligned.build()), Err(Errno::EIO));
    assert!(xen.crashed().unwrap().contains("alignment 0"));
    assert_eq!((get(&xen, "p"), xen.xen_version(0, None)), (Err(Errno::EIO), Err(Errno::EIO)));
}

/// The function's first three bytes are an ENDBR64 in 4.14.
#[test]
fn real_ones_expect_code_as_their_compilers_made_it() {
    for release in [Release::V4_14, Release::V4_17, Release::V4_20] {
        let xen = SimulatedXen::new(release);
        let function = FunctionPatch::returning("xen_extra_version", "x").expecting(b"\x48\x8d\x05");
        assert_eq!(upload(&xen, "p", &bare(&xen, "p").function(function).build()), OK);
        assert_eq!(action(&xen, "p", APPLY), if release == Release::V4_14 { EINVAL } else { OK });
    }
}

#[test]
fn sizes_and_memory_come_before_the_file() {
    let xen = SimulatedXen::new(Release::V4_17);
    let send = |size: u64, handle: u64| named(&xen, 0, "p").long(32, size).long(40, handle).result(&xen);
    assert_eq!(send(0, 1 << 47), EINVAL);
    assert_eq!(send((2 << 20) + 1, 1 << 47), EINVAL, "not E2BIG");
    assert_eq!(send(1, 1 << 47), Err(Errno::EFAULT));
    assert_eq!(send(1, 4096), Err(Errno::EFAULT));
    let largest = builder(&xen, "p").padded_to(2 << 20).build();
    assert_eq!(upload(&xen, "p", &largest), OK);
    assert_eq!(send(1, 4096), EEXIST, "before it is read");
}

#[test]
fn the_header_is_checked_in_order() {
    let file = builder(&SimulatedXen::new(Release::V4_17), "p").build();
    let count = u16::from_le_bytes([file[60], file[61]]);
    for release in [Release::V4_7, Release::V4_13, Release::V4_17, Release::V4_22] {
        let patched = |offset: usize, bytes: &[u8]| {
            let xen = SimulatedXen::new(release);
            let mut file = builder(&xen, "p").build();
            file[offset..offset + bytes.len()].copy_from_slice(bytes);
            upload(&xen, "p", &file)
        };
        for (offset, bytes, expected) in [
            (0, &b"\x7fELG"[..], EINVAL),
            (4, &[1], EOPNOTSUPP),
            (5, &[2], EOPNOTSUPP),
            (6, &[0], EOPNOTSUPP),
            (7, &[9], OK),
            (7, &[3], EOPNOTSUPP),
            (8, &[1], EOPNOTSUPP),
            (16, &[2], EOPNOTSUPP),
            (18, &[183, 0], EOPNOTSUPP),
            (20, &[2], EOPNOTSUPP),
            (56, &[1], EOPNOTSUPP),
            (62, &[0, 0], EINVAL),
            (60, &[0, 4], EOPNOTSUPP),
            (62, &[0xff, 3], EINVAL),
            (58, &[63, 0], EINVAL),
            (40, &[0xff; 8], EINVAL),
        ] {
            assert_eq!(patched(offset, bytes), expected, "{release} at {offset}");
        }
        assert_eq!(patched(60, &(count + 1).to_le_bytes()), EINVAL, "one more than there are");
        let xen = SimulatedXen::new(release);
        assert_eq!(upload(&xen, "p", &file[..63]), EINVAL);
    }
}

#[test]
fn endbr_takes_room_from_4_14_on() {
    for (release, aware) in Release::ALL.map(|release| (release, release >= Release::V4_14)) {
        let xen = SimulatedXen::builder(release).symbol("entry", *b"\xf3\x0f\x1e\xfa0123456789ab").build();
        let small = bare(&xen, "p").function(FunctionPatch::returning("entry", "x").old_size(8)).build();
        // Before, the size is checked without a look at the code.
        assert_eq!(upload(&xen, "p", &small), if aware { EINVAL } else { OK }, "{release}");
        let large = bare(&xen, "q").function(FunctionPatch::returning("entry", "x").old_size(9)).build();
        assert_eq!(upload(&xen, "q", &large), OK);
    }
}

#[test]
fn payloads_for_another_xen_are_refused_from_4_14_on() {
    for release in Release::ALL {
        let xen = SimulatedXen::new(release);
        let other = BuildId::new([9; 20]);
        let version = if release >= Release::V4_14 { PayloadVersion::V2 } else { PayloadVersion::V1 };
        let payload = PayloadBuilder::named("p", &other)
            .payload_version(version)
            .function(FunctionPatch::returning("xen_extra_version", "x"));
        let expected = if release >= Release::V4_14 { EINVAL } else { OK };
        assert_eq!(upload(&xen, "p", &payload.build()), expected, "{release}");
        let console = xen.console();
        if release >= Release::V4_18 {
            let lines = ["(XEN) livepatch: p: build-id mismatch:".into(), format!("(XEN) \u{a0} livepatch: {other}")];
            let xens = format!("(XEN) {} xen: {}", "\u{a0}".repeat(7), xen.build_id().unwrap());
            assert!(console.lines().eq([&lines[..], &[xens]].concat()), "{console}");
        } else if release >= Release::V4_14 {
            assert_eq!(console, "(XEN) livepatch: p: check against hypervisor build-id failed\n");
        }
        let without_id = SimulatedXen::builder(release).build_id(None).build();
        let expected = if release >= Release::V4_14 { Err(Errno::ENODATA) } else { OK };
        assert_eq!(upload(&without_id, "p", &payload.build()), expected);
        // An unknown symbol is met before that, or after.
        let both = payload.clone().needs("nowhere").build();
        let expected = if release >= Release::V4_18 { EINVAL } else { ENOENT };
        assert_eq!(upload(&xen, "both", &both), expected);
    }
}

#[test]
fn symbols_come_from_xen_and_from_loaded_payloads() {
    for release in Release::ALL {
        let xen = SimulatedXen::builder(release).symbol("known", [0; 8]).build();
        let load = |name: &str, payload: PayloadBuilder| upload(&xen, name, &payload.build());
        assert_eq!(load("xens", builder(&xen, "xens").needs("known")), OK);
        assert_eq!(load("early", builder(&xen, "early").needs("gift")), ENOENT);
        assert_eq!(load("giver", builder(&xen, "giver").defines("gift")), OK);
        assert_eq!(load("taker", builder(&xen, "taker").needs("gift")), OK, "{release}");
        assert_eq!(load("again", builder(&xen, "again").defines("gift")), EEXIST);
        assert_eq!(load("again", builder(&xen, "again").defines("printk")), EEXIST);
        // A mark of Arm's is a symbol like any other here.
        assert_eq!(load("mark", builder(&xen, "mark").defines("$d")), OK);
        assert_eq!(load("again", builder(&xen, "again").defines("$d")), EEXIST);
        assert_eq!(load("twin", builder(&xen, "giver")), EEXIST, "by its build-id");
        assert_eq!(action(&xen, "giver", UNLOAD), OK);
        assert_eq!(load("late", builder(&xen, "late").needs("gift")), ENOENT);
        assert_eq!(names(&xen.loaded()), ["xens", "taker", "mark"]);
    }
}

#[test]
fn the_console_is_silent_before_4_13() {
    for (xen, loud) in since(Release::V4_13) {
        assert_eq!(upload(&xen, "p", b"not ELF"), EINVAL);
        assert_eq!(xen.console().contains("livepatch: p: "), loud, "{}", xen.release());
    }
}
