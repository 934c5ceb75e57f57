//! Differences on Arm.

use super::*;
use crate::xen::Architecture;

fn arm(release: Release) -> SimulatedXen {
    SimulatedXen::builder(release).architecture(Architecture::AArch64).build()
}

/// Takes the payload away if there is one, whatever it is doing.
fn clear(xen: &SimulatedXen) {
    xen.finish_action();
    for command in [REVERT, UNLOAD] {
        if action(xen, "p", command).is_ok() {
            xen.finish_action();
        }
    }
    assert!(xen.loaded().is_empty());
}

#[test]
fn there_is_none_in_4_7() {
    let xen = arm(Release::V4_7);
    let hello = builder(&xen, "p").build();
    assert_eq!(upload(&xen, "p", &hello), Err(Errno::ENOSYS));
    assert_eq!(upload(&SimulatedXen::new(Release::V4_7), "p", &hello), Err(Errno::EOPNOTSUPP));
}

#[test]
fn each_takes_payloads_of_its_own() {
    let xens = [arm(Release::V4_20), SimulatedXen::new(Release::V4_20)];
    let files = xens.each_ref().map(|xen| builder(xen, "p").build());
    for (xen, own) in xens.iter().zip(0..) {
        for (file, index) in files.iter().zip(0..) {
            let expected = if own == index { Ok(0) } else { Err(Errno::EOPNOTSUPP) };
            assert_eq!(upload(xen, &format!("{index}"), file), expected);
        }
    }
    let other = SimulatedXen::builder(Release::V4_20).architecture(Architecture::Other(243)).build();
    assert_eq!(other.architecture(), Architecture::X86_64);
}

#[test]
fn the_byte_order_that_a_file_claims_is_not_looked_at() {
    for (xen, expected) in [(arm(Release::V4_20), Ok(0)), (SimulatedXen::new(Release::V4_20), Err(Errno::EOPNOTSUPP))] {
        let mut file = builder(&xen, "p").build();
        file[5] = 2;
        assert_eq!(upload(&xen, "p", &file), expected);
    }
    let xen = arm(Release::V4_20);
    for (offset, byte) in [(4, 1), (18, 40)] {
        let mut file = builder(&xen, "p").build();
        file[offset] = byte;
        assert_eq!(upload(&xen, "p", &file), Err(Errno::EOPNOTSUPP), "of 32 bits");
    }
}

#[test]
fn hooks_return_what_their_code_says() {
    let xen = arm(Release::V4_20);
    for result in [0, -5, -16, i32::MIN, 7] {
        let payload = builder(&xen, "p").hook(HookKind::PreApply, HookCode::returns(result));
        assert_eq!(upload(&xen, "p", &payload.build()), Ok(0));
        let expected = if result >= 0 { Ok(result.unsigned_abs()) } else { Err(Errno::new(result.wrapping_neg())) };
        assert_eq!(action(&xen, "p", APPLY), expected);
        clear(&xen);
    }
}

#[test]
fn expectations_are_of_arms_code() {
    const NOP: [u8; 4] = [0x1f, 0x20, 0x03, 0xd5];
    let xen = arm(Release::V4_20);
    for (code, expected) in [(NOP, Ok(0)), ([0x90; 4], Err(Errno::EINVAL))] {
        let payload = bare(&xen, "p").function(FunctionPatch::nop("printk", 8).expecting(&code));
        assert_eq!(upload(&xen, "p", &payload.build()), Ok(0));
        assert_eq!(action(&xen, "p", APPLY), expected);
        clear(&xen);
    }
}

/// Relocations of other types in a section of data.
fn relocated(xen: &SimulatedXen, kind: u8) -> Result<u32, Errno> {
    let kind = [kind, 1];
    let payload = builder(xen, "p").needs("printk").defect(".rela.rodata.needed", Defect::Patched(8, kind.to_vec()));
    let result = upload(xen, "p", &payload.build());
    clear(xen);
    result
}

#[test]
fn addresses_fit_into_less_before_4_18() {
    // ABS64, ABS32, ABS16; MOVW_UABS_G0 to G3; of a symbol in the third MiB, or far beyond 4 GiB.
    for (xen, far) in [(arm(Release::V4_17), false), (arm(Release::V4_18), true)] {
        let fits = |far: bool| if far { Err(Errno::EOVERFLOW) } else { Ok(0) };
        assert_eq!([1, 2, 3].map(|kind| relocated(&xen, kind)), [Ok(0), fits(far), fits(true)]);
        assert_eq!([7, 9, 11, 13].map(|kind| relocated(&xen, kind)), [fits(true), fits(far), Ok(0), Ok(0)]);
        // NONE is 256 here, which is no type, and 273 is for loads.
        assert_eq!([0, 17].map(|kind| relocated(&xen, kind)), [Err(Errno::EOPNOTSUPP); 2]);
    }
}

#[test]
fn what_another_payload_defines_is_out_of_reach() {
    let xen = arm(Release::V4_20);
    assert_eq!(upload(&xen, "below", &builder(&xen, "below").defines("new_function").build()), Ok(0));
    let above = bare(&xen, "above").function(FunctionPatch::returning("new_function", "x"));
    assert_eq!(upload(&xen, "above", &above.build()), Err(Errno::EIO));
    assert!(xen.crashed().unwrap().contains("another payload"), "{:?}", xen.crashed());
    let x86 = SimulatedXen::new(Release::V4_20);
    assert_eq!(upload(&x86, "below", &builder(&x86, "below").defines("new_function").build()), Ok(0));
    let above = bare(&x86, "above").function(FunctionPatch::returning("new_function", "x"));
    assert_eq!(upload(&x86, "above", &above.build()), Ok(0));
}

#[test]
fn no_address_is_refused_before_it_is_used() {
    let xen = arm(Release::V4_17);
    let send = |handle: u64| named(&xen, 0, "p").long(32, 1).long(40, handle).result(&xen);
    assert_eq!(send(1 << 47), Err(Errno::EFAULT));
    assert_eq!(upload(&xen, "p", &builder(&xen, "p").build()), Ok(0));
    assert_eq!(send(1 << 47), Err(Errno::EEXIST), "before it is read");
    let list = |handle: u64| livepatch(&xen, 2).word(24, 1).long(40, handle).result(&xen);
    assert_eq!(list(1 << 47), Err(Errno::EFAULT), "x86 has EINVAL");
}

#[test]
fn there_are_128_mib_for_payloads() {
    let xen = arm(Release::V4_17);
    let zeros = |count: usize| {
        (0..count).fold(bare(&xen, "p").bss(2 << 20), |builder, index| {
            let name = format!(".bss{index}");
            builder.section(&name, vec![0; 8]).defect(name, Defect::Alignment(1 << 21))
        })
    };
    assert_eq!(upload(&xen, "p", &zeros(20).hook(HookKind::Load, HookCode::returns(0)).build()), Ok(0));
    assert_eq!(action(&xen, "p", UNLOAD), Ok(0));
    assert_eq!(upload(&xen, "p", &zeros(64).hook(HookKind::Load, HookCode::returns(0)).build()), Err(Errno::ENOMEM));
}
