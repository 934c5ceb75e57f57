//! Payloads made by `PayloadBuilder`.

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

#[test]
fn good_ones_have_no_findings_in_their_releases() {
    let version_1 = hello().payload_version(PayloadVersion::V1);
    assert_eq!(Payload::parse(&version_1.build()).unwrap().version(), Some(PayloadVersion::V1));
    for minor in 7..=22 {
        let fits = if minor < 14 { &version_1 } else { &hello() };
        assert_eq!(check(fits, (4, minor)), [], "4.{minor}");
        let other = if minor < 14 { &hello() } else { &version_1 };
        let problems: Vec<Problem> = check(other, (4, minor)).into_iter().map(|finding| finding.problem).collect();
        assert!(matches!(&*problems, [Problem::Version { .. }]), "4.{minor}");
    }
    for builder in [
        hello().needs("printk").defines("hello_data"),
        PayloadBuilder::named("hook", &xen()).hook(HookKind::Unload, HookCode::returns(0)),
        hello().padded_to(Payload::MAX_SIZE),
    ] {
        assert_eq!(check(&builder, (4, 17)), []);
    }
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
