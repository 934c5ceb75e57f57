use super::*;

const OK: Result<u32, Errno> = Ok(0);
const EINVAL: Result<u32, Errno> = Err(Errno::EINVAL);
const EOPNOTSUPP: Result<u32, Errno> = Err(Errno::EOPNOTSUPP);

/// A payload with a defect, in a host of its own.
#[allow(clippy::needless_pass_by_value, reason = "what it is called with is made on the spot")]
fn defective(release: Release, section: &str, defect: Defect) -> Result<u32, Errno> {
    with(release, |xen| builder(xen, "p").metadata("k", Some("v")).defect(section, defect.clone()))
}

fn with(release: Release, make: impl Fn(&SimulatedXen) -> PayloadBuilder) -> Result<u32, Errno> {
    let xen = SimulatedXen::new(release);
    let result = upload(&xen, "p", &make(&xen).build());
    assert_eq!(result.is_ok(), xen.loaded().len() == 1);
    assert_eq!(xen.crashed().is_some(), result == Err(Errno::EIO), "{:?}", xen.crashed());
    result
}

/// A good payload with other bytes in its header.
fn patched(release: Release, offset: usize, bytes: &[u8]) -> Result<u32, Errno> {
    let xen = SimulatedXen::new(release);
    let mut file = builder(&xen, "p").build();
    file[offset..offset + bytes.len()].copy_from_slice(bytes);
    upload(&xen, "p", &file)
}

#[test]
fn a_good_payload_loads_everywhere() {
    for release in Release::ALL {
        let busy = |xen: &SimulatedXen| {
            builder(xen, "p")
                .function(FunctionPatch::returning("printk", "x"))
                .hook(HookKind::Load, HookCode::returns(0))
                .hook(HookKind::PreApply, HookCode::returns(0))
                .metadata("k", Some("v"))
                .writable_data([1; 9])
                .bss(100)
                .defines("brand_new")
                .needs("printk")
        };
        assert_eq!(with(release, busy), OK, "{release}");
    }
}

#[test]
fn sizes_and_memory_come_before_the_file() {
    let xen = SimulatedXen::new(Release::V4_17);
    let send =
        |size: u64, handle: u64| Request::livepatch(&xen, 0).name("p").long(32, size).long(40, handle).send(&xen);
    assert_eq!(send(0, 1 << 47), EINVAL);
    assert_eq!(send((2 << 20) + 1, 1 << 47), EINVAL, "not E2BIG");
    assert_eq!(send(1, 1 << 47), Err(Errno::EFAULT));
    assert_eq!(send(1, 4096), Err(Errno::EFAULT));
    let largest = builder(&xen, "p").padded_to(2 << 20).build();
    assert_eq!(upload(&xen, "p", &largest), OK);
    assert_eq!(send(1, 4096), Err(Errno::EEXIST), "before it is read");
}

#[test]
fn the_header_is_checked_in_order() {
    let file = builder(&SimulatedXen::new(Release::V4_17), "p").build();
    let count = u16::from_le_bytes([file[60], file[61]]);
    for release in [Release::V4_7, Release::V4_13, Release::V4_17, Release::V4_22] {
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
            assert_eq!(patched(release, offset, bytes), expected, "{release} at {offset}");
        }
        assert_eq!(patched(release, 60, &(count + 1).to_le_bytes()), EINVAL, "one more than there are");
        let xen = SimulatedXen::new(release);
        assert_eq!(upload(&xen, "p", &file[..63]), EINVAL);
    }
}

#[test]
fn sections_are_checked_by_release() {
    for release in Release::ALL {
        let of = |section: &str, defect| defective(release, section, defect);
        let aligned = release >= Release::V4_10;
        assert_eq!(of(".rodata.str", Defect::Alignment(3)), if aligned { EOPNOTSUPP } else { OK }, "{release}");
        assert_eq!(of(".text", Defect::Flags(7)), EOPNOTSUPP);
        assert_eq!(of(".symtab", Defect::Missing), EINVAL);
        assert_eq!(of(".shstrtab", Defect::Missing), EINVAL);
        let large = with(release, |xen| builder(xen, "p").bss((2 << 20) + 1));
        assert_eq!(large, if release >= Release::V4_8 { EINVAL } else { OK });
    }
}

#[test]
fn required_sections_are_required() {
    for release in Release::ALL {
        let hooks = release >= Release::V4_14;
        for section in [".livepatch.depends", ".note.gnu.build-id"] {
            assert_eq!(defective(release, section, Defect::Missing), EINVAL, "{release} {section}");
            assert_eq!(defective(release, section, Defect::Truncated(0)), EINVAL, "{release} {section}");
            assert_eq!(defective(release, section, Defect::Truncated(12)), EINVAL, "{release} {section}");
        }
        let xen_depends = defective(release, ".livepatch.xen_depends", Defect::Missing);
        assert_eq!(xen_depends, if hooks { EINVAL } else { OK });
        assert_eq!(with(release, |xen| bare(xen, "p")), EINVAL, "nothing to do");
        let hook_alone = with(release, |xen| bare(xen, "p").hook(HookKind::Load, HookCode::returns(0)));
        assert_eq!(hook_alone, if hooks { OK } else { EINVAL });
    }
}

#[test]
fn a_note_of_another_type_has_its_own_number_from_4_18_on() {
    for release in Release::ALL {
        let expected = if release >= Release::V4_18 { Err(Errno::ENODATA) } else { EINVAL };
        for section in [".note.gnu.build-id", ".livepatch.depends"] {
            assert_eq!(defective(release, section, Defect::Patched(8, vec![1])), expected, "{release}");
        }
    }
}

#[test]
fn functions_are_checked_by_release() {
    let of = |release, function: FunctionPatch| with(release, |xen| bare(xen, "p").function(function.clone()));
    for release in Release::ALL {
        let modern = release >= Release::V4_8;
        let version = defective(release, ".livepatch.funcs", Defect::Patched(32, vec![3]));
        assert_eq!(version, EOPNOTSUPP, "{release}");
        let other = if release >= Release::V4_14 { PayloadVersion::V1 } else { PayloadVersion::V2 };
        assert_eq!(with(release, |xen| builder(xen, "p").payload_version(other)), EINVAL, "by its size");
        assert_eq!(of(release, FunctionPatch::nop("printk", 5)), if modern { OK } else { EINVAL });
        assert_eq!(of(release, FunctionPatch::nop("printk", 32)), if modern { EOPNOTSUPP } else { EINVAL });
        assert_eq!(of(release, FunctionPatch::nop("printk", 8).old_size(7)), EINVAL);
        assert_eq!(of(release, FunctionPatch::returning("printk", "x").old_size(5)), OK);
        assert_eq!(of(release, FunctionPatch::returning("printk", "x").old_size(4)), EINVAL);
        assert_eq!(of(release, FunctionPatch::returning("nowhere", "x")), Err(Errno::ENOENT));
        let far = of(release, FunctionPatch::returning("printk", "x").at(0xffff_8300_0000_0000));
        // Those that look for ENDBR64, and the one that does not look how far it is, reach for it.
        let looks = modern && release < Release::V4_14;
        assert_eq!(far, Err(if looks { Errno::EOVERFLOW } else { Errno::EIO }), "{release}");
        assert_eq!(of(release, FunctionPatch::returning("printk", "x").unnamed()), Err(Errno::EIO), "crash");
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
fn hook_sections_have_fixed_sizes() {
    for release in Release::ALL {
        let of = |hook: HookKind, len| {
            with(release, |xen| {
                builder(xen, "p").hook(hook, HookCode::returns(0)).defect(hook.section(), Defect::Truncated(len))
            })
        };
        assert_eq!(of(HookKind::Load, 7), if release >= Release::V4_8 { EINVAL } else { OK }, "{release}");
        assert_eq!(of(HookKind::PostApply, 7), if release >= Release::V4_14 { EINVAL } else { OK }, "{release}");
        let two = with(release, |xen| {
            let hook = |builder: PayloadBuilder| builder.hook(HookKind::PreApply, HookCode::returns(0));
            hook(hook(builder(xen, "p")))
        });
        assert_eq!(two, if release >= Release::V4_14 { EINVAL } else { OK });
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
        let expected = if release >= Release::V4_18 { EINVAL } else { Err(Errno::ENOENT) };
        assert_eq!(upload(&xen, "both", &both), expected);
    }
}

#[test]
fn symbols_come_from_xen_and_from_loaded_payloads() {
    for release in Release::ALL {
        let xen = SimulatedXen::builder(release).symbol("known", [0; 8]).build();
        let load = |name: &str, payload: PayloadBuilder| upload(&xen, name, &payload.build());
        assert_eq!(load("xens", builder(&xen, "xens").needs("known")), OK);
        assert_eq!(load("early", builder(&xen, "early").needs("gift")), Err(Errno::ENOENT));
        assert_eq!(load("giver", builder(&xen, "giver").defines("gift")), OK);
        assert_eq!(load("taker", builder(&xen, "taker").needs("gift")), OK, "{release}");
        assert_eq!(load("again", builder(&xen, "again").defines("gift")), Err(Errno::EEXIST));
        assert_eq!(load("again", builder(&xen, "again").defines("printk")), Err(Errno::EEXIST));
        // A mark of Arm's is a symbol like any other here.
        assert_eq!(load("mark", builder(&xen, "mark").defines("$d")), OK);
        assert_eq!(load("again", builder(&xen, "again").defines("$d")), Err(Errno::EEXIST));
        assert_eq!(load("twin", builder(&xen, "giver")), Err(Errno::EEXIST), "by its build-id");
        assert_eq!(action(&xen, "giver", UNLOAD), OK);
        assert_eq!(load("late", builder(&xen, "late").needs("gift")), Err(Errno::ENOENT));
        assert_eq!(names(&xen.loaded()), ["xens", "taker", "mark"]);
    }
}

#[test]
fn relocations_are_checked() {
    for release in Release::ALL {
        let of = |defect| defective(release, ".rela.text", defect);
        assert_eq!(defective(release, ".text", Defect::NullSymbol), EOPNOTSUPP, "{release}");
        assert_eq!(of(Defect::Truncated(23)), EINVAL);
        assert_eq!(of(Defect::Patched(12, vec![0xff; 4])), EINVAL, "symbol");
        assert_eq!(of(Defect::Patched(8, vec![99])), EOPNOTSUPP, "type");
        assert_eq!(of(Defect::Patched(0, vec![5])), EINVAL, "offset: 5 + 4 of 8 bytes");
        assert_eq!(of(Defect::Patched(0, vec![4])), OK);
        assert_eq!(of(Defect::Patched(16, vec![0, 0, 0, 0, 1])), Err(Errno::EOVERFLOW), "addend");
    }
}

#[test]
fn optional_sections_are_checked_by_release() {
    let extra = |release, name: &str, len| with(release, |xen| builder(xen, "p").section(name, vec![0; len]));
    for release in Release::ALL {
        for name in [".bug_frames.0", ".bug_frames.3", ".ex_table"] {
            assert_eq!((extra(release, name, 16), extra(release, name, 12)), (OK, EINVAL), "{release} {name}");
        }
        let modinfo = defective(release, ".modinfo", Defect::Contents(b"k=v".to_vec()));
        assert_eq!(modinfo, if release >= Release::V4_14 { EINVAL } else { OK }, "{release}");
        let sites = extra(release, ".alt_call_sites", 4);
        assert_eq!(sites, if release >= Release::V4_21 { EINVAL } else { OK }, "pointing at itself");
        assert_eq!(extra(release, ".altinstructions", 13), EINVAL);
    }
}

#[test]
fn what_would_hurt_a_real_host_ends_the_simulation() {
    for release in Release::ALL {
        let crash = Err(Errno::EIO);
        for section in [".livepatch.funcs", ".livepatch.depends", ".note.gnu.build-id"] {
            assert_eq!(defective(release, section, Defect::NotAllocated), crash, "{release} {section}");
        }
        let early = release >= Release::V4_18;
        let xen_depends = defective(release, ".livepatch.xen_depends", Defect::NotAllocated);
        assert_eq!(xen_depends, if early || release < Release::V4_14 { OK } else { crash }, "{release}");
        assert_eq!(defective(release, ".livepatch.depends", Defect::Alignment(0)), crash, "{release}");
        assert_eq!(defective(release, ".text", Defect::Alignment(0)), OK, "it comes first of its kind");
        assert_eq!(defective(release, ".strtab", Defect::Missing), crash, "{release}");
        let nowhere = with(release, |xen| bare(xen, "p").function(FunctionPatch::returning("printk", "x").at(0x1000)));
        let looks = (Release::V4_8..Release::V4_14).contains(&release);
        assert_eq!(nowhere, if looks { Err(Errno::EOVERFLOW) } else { crash }, "{release}");
        let modinfo = defective(release, ".modinfo", Defect::Contents(Vec::new()));
        assert_eq!(modinfo, if release >= Release::V4_14 { crash } else { OK }, "{release}");
    }
    let xen = SimulatedXen::new(Release::V4_17);
    assert_eq!(
        xen.other_upload("p", &builder(&xen, "p").defect(".livepatch.depends", Defect::Alignment(0)).build()),
        Err(Errno::EIO)
    );
    assert!(xen.crashed().unwrap().contains("alignment 0"));
    assert_eq!((get(&xen, "p"), xen.xen_version(0, None)), (Err(Errno::EIO), Err(Errno::EIO)));
}

#[test]
fn the_console_is_silent_before_4_13() {
    for (xen, loud) in since(Release::V4_13) {
        assert_eq!(upload(&xen, "p", b"not ELF"), EINVAL);
        assert_eq!(xen.console().contains("livepatch: p: "), loud, "{}", xen.release());
    }
}

/// The answers of real Xens 4.14.6, 4.17.7 and 4.20.4 to these payloads.
#[test]
fn judged_as_by_real_ones() {
    let f = || FunctionPatch::returning("xen_extra_version", "x");
    let eexist = Err(Errno::EEXIST);
    let enoent = Err(Errno::ENOENT);
    for release in [Release::V4_14, Release::V4_17, Release::V4_20] {
        let xen = SimulatedXen::builder(release).symbol("shared", [0; 8]).build();
        let id = xen.build_id().unwrap();
        let base = |name: &str| PayloadBuilder::named(name, &id);
        let named = |function| base("p").function(function);
        let defect = |section: &str, defect| named(f()).metadata("a", None).defect(section, defect);
        let missing = |section: &str| defect(section, Defect::Missing);
        let note_type = if release >= Release::V4_20 { Err(Errno::ENODATA) } else { EINVAL };
        for (payload, expected) in [
            (named(f()).bss(1 << 20), OK),
            (named(f()).bss((2 << 20) + 1), EINVAL),
            (named(f()).padded_to((2 << 20) + 1), EINVAL),
            (named(FunctionPatch::nop("xen_extra_version", 32)), EOPNOTSUPP),
            (named(FunctionPatch::nop("xen_extra_version", 31)), OK),
            (named(f().old_size(4)), EINVAL),
            (named(FunctionPatch::returning("no_such_function", "x")), enoent),
            (named(f()).needs("no_such_symbol"), enoent),
            (named(f()).defines("printk"), eexist),
            (named(f()).defines("shared"), eexist),
            (named(f()).payload_version(PayloadVersion::V1), EINVAL),
            (PayloadBuilder::named("p", &BuildId::new([9; 20])).function(f()), EINVAL),
            (base("p"), EINVAL),
            (base("p").hook(HookKind::PreApply, HookCode::returns(0)), OK),
            (named(f()).modinfo("k=v"), EINVAL),
            (missing(".text"), EOPNOTSUPP),
            (missing(".rodata.str"), EOPNOTSUPP),
            (missing(".livepatch.funcs"), EINVAL),
            (missing(".livepatch.depends"), EINVAL),
            (missing(".livepatch.xen_depends"), EINVAL),
            (missing(".note.gnu.build-id"), EINVAL),
            (missing(".symtab"), EINVAL),
            (missing(".shstrtab"), EINVAL),
            (missing(".rela.text"), OK),
            (defect(".modinfo", Defect::Flags(7)), EOPNOTSUPP),
            (defect(".modinfo", Defect::Alignment(3)), EOPNOTSUPP),
            (defect(".livepatch.funcs", Defect::NullSymbol), EOPNOTSUPP),
            (defect(".livepatch.funcs", Defect::Truncated(50)), EINVAL),
            (defect(".livepatch.funcs", Defect::Truncated(0)), EINVAL),
            (defect(".livepatch.depends", Defect::Contents(Vec::new())), EINVAL),
            (defect(".livepatch.depends", Defect::Patched(8, vec![4])), note_type),
            (defect(".livepatch.funcs", Defect::Patched(32, vec![3])), EOPNOTSUPP),
        ] {
            let result = upload(&xen, "p", &payload.build());
            assert_eq!(result, expected, "{release} {payload:?}");
            assert_eq!(action(&xen, "p", UNLOAD).is_ok(), expected.is_ok());
        }
        // Its first three bytes are an ENDBR64 in 4.14.
        let expecting = named(f().expecting(b"\x48\x8d\x05")).build();
        assert_eq!(upload(&xen, "p", &expecting), OK);
        assert_eq!(action(&xen, "p", APPLY), if release == Release::V4_14 { EINVAL } else { OK });
    }
}
