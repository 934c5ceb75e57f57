//! A Xen on 64-bit Arm.

use xen_livepatch::payload::{Architecture, Problem};

use crate::prelude::*;

fn arm(release: Release) -> SimulatedXen {
    SimulatedXen::builder(release).architecture(Architecture::AArch64).build()
}

#[test]
fn there_is_no_live_patching_on_4_7() {
    let error = LivepatchClient::builder().connect(arm(Release::V4_7)).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::NotBuiltIn), "{error:?}");
}

#[test]
fn payloads_for_x86_never_arrive() {
    let xen = arm(Release::V4_20);
    let x86 = builder(&xen, "p").architecture(Architecture::X86_64).build();
    let error = connect(&xen).upload(&name("p"), &x86).unwrap_err();
    let ErrorKind::UnfitPayload { findings, .. } = error.kind() else { panic!("{error:?}") };
    let (expected, found) = (Some(Architecture::AArch64), Architecture::X86_64);
    assert_eq!(findings[0].problem, Problem::Architecture { expected, found });
    assert_eq!(xen.calls().of(Call::Upload), 0);
}

/// Xen does not look at it there, and would load what is wrong otherwise.
#[test]
fn another_byte_order_is_no_way_around_the_check() {
    let xen = arm(Release::V4_17);
    let (client, options) = (connect(&xen), UploadOptions::new().leave_refusals_to_xen());
    let harmful = builder(&xen, "p").defect(".livepatch.funcs", Defect::NotAllocated);
    for mut file in [builder(&xen, "p"), harmful].map(|payload| payload.build()) {
        file[5] = 2;
        for result in [client.upload(&name("p"), &file), client.upload_with(&name("p"), &file, options)] {
            assert!(matches!(result.unwrap_err().kind(), ErrorKind::UnfitPayload { .. }));
        }
    }
    assert_eq!(xen.calls().of(Call::Upload), 0);
}
