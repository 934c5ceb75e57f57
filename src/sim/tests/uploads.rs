use super::*;

type Answer = Result<u32, Errno>;

const OK: Answer = Ok(0);
const EINVAL: Answer = Err(Errno::EINVAL);
const ENOENT: Answer = Err(Errno::ENOENT);
const EEXIST: Answer = Err(Errno::EEXIST);
const EOPNOTSUPP: Answer = Err(Errno::EOPNOTSUPP);

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

/// No parser takes these.
#[test]
fn files_of_other_kinds_are_refused() {
    for release in [Release::V4_7, Release::V4_13, Release::V4_17, Release::V4_22] {
        let xen = SimulatedXen::new(release);
        let file = builder(&xen, "p").build();
        for (offset, byte, expected) in [(3, b'G', EINVAL), (4, 1, EOPNOTSUPP), (5, 2, EOPNOTSUPP)] {
            let mut file = file.clone();
            file[offset] = byte;
            assert_eq!(upload(&xen, "p", &file), expected, "{release} at {offset}");
        }
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
fn the_console_is_silent_before_4_13() {
    for (xen, loud) in since(Release::V4_13) {
        assert_eq!(upload(&xen, "p", b"not ELF"), EINVAL);
        assert_eq!(xen.console().contains("livepatch: p: "), loud, "{}", xen.release());
    }
}
