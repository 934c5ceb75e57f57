//! A Xen on 64-bit Arm.

use xen_livepatch::payload::{Architecture, Problem};

use crate::prelude::*;

fn arm(release: Release) -> SimulatedXen {
    SimulatedXen::builder(release).architecture(Architecture::AArch64).build()
}

#[test]
fn payloads_go_on_and_off() {
    // None before 4.8.
    for release in each(Release::ALL.into_iter().skip(1)) {
        let xen = arm(release);
        let client = connect(&xen);
        let one = upload_and_apply(&client, "one", &builder(&xen, "one"));
        assert_eq!(client.xen_version().unwrap().extra, "-one");
        let found = client.inventory().unwrap();
        assert_eq!(found.payloads[0].build_id.as_ref(), Some(builder(&xen, "one").build_id()));
        client.revert(&one, Flags::empty()).unwrap();
        client.unload(&one, Flags::empty()).unwrap();
        assert_eq!(xen.crashed(), None);
    }
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
