//! The cost of operations, in hypercalls.

use crate::prelude::*;

fn cost(xen: &SimulatedXen, operation: impl FnOnce() -> Result<()>) -> u64 {
    let before = xen.calls().total();
    operation().unwrap();
    xen.calls().total() - before
}

/// Upload, `upload_file`, status, list, apply, revert, replace, unload, unload.
fn costs(release: Release, builder_of_client: ClientBuilder) -> Vec<u64> {
    let xen = SimulatedXen::new(release);
    xen.set_pace(Pace::Polls(0));
    let client = builder_of_client.connect(xen.clone()).unwrap();
    let payload = builder(&xen, "one").build();
    let file = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("costs-{release}"));
    std::fs::write(&file, builder(&xen, "two").build()).unwrap();
    let (one, two) = (name("one"), name("two"));
    // The first reads the whole log.
    client.upload(&one, &payload).unwrap();
    client.unload(&one, Flags::empty()).unwrap();
    (0..62).for_each(|other| drop(load(&xen, &format!("other{other}"))));
    // The first after an empty one asks how long it is.
    client.list().unwrap();
    let of = |operation: &dyn Fn() -> Result<()>| cost(&xen, operation);
    vec![
        of(&|| client.upload(&one, &payload)),
        of(&|| client.upload_file(&two, &file)),
        of(&|| client.status(&one).map(drop)),
        of(&|| client.list().map(|rows| assert_eq!(rows.len(), 64))),
        of(&|| client.apply(&one, Flags::empty())),
        of(&|| client.revert(&one, Flags::empty())),
        of(&|| client.replace(&two, Flags::empty())),
        of(&|| client.unload(&one, Flags::empty())),
    ]
}

/// The look at the list before an upload, on releases whose UNLOAD does not wait for hooks: by it the client recognises its
/// own payloads.
fn look_before_upload(release: Release) -> u64 {
    u64::from((Release::V4_14..Release::V4_17).contains(&release))
}

#[test]
fn operations_cost_what_is_promised_on_every_release() {
    for release in each(Release::ALL) {
        let upload = 1 + look_before_upload(release);
        assert_eq!(costs(release, quick().without_xen_log()), [upload, upload, 1, 1, 3, 3, 3, 2]);
        assert_eq!(costs(release, quick()), [upload + 1, upload + 1, 1, 1, 4, 4, 4, 3]);
    }
}

#[test]
fn failures_cost_little_more() {
    for (xen, _) in hosts(Release::ALL) {
        let client = without_log(&xen);
        let one = load(&xen, "one");
        client.list().unwrap();
        let costs = |operation: &dyn Fn() -> Result<()>| cost(&xen, || Err(error(operation())).or(Ok(())));
        let nobody: PayloadName = name("nobody");
        assert_eq!(cost(&xen, || client.target().map(drop)), 4, "the Xen that payloads must fit");
        assert_eq!(costs(&|| client.status(&nobody).map(drop)), 1);
        assert_eq!(costs(&|| client.revert(&one, Flags::empty())), 1, "a wrong state is seen before");
        assert_eq!(costs(&|| client.apply(&nobody, Flags::empty())), 1);
        assert_eq!(costs(&|| client.upload(&nobody, b"no ELF")), 0, "Xen isn't asked");
        let look = look_before_upload(xen.release());
        assert_eq!(costs(&|| unchecked(&client, &one, b"no ELF")), 2 + look, "by name, or not");
        assert_eq!(costs(&|| unchecked(&client, &nobody, b"no ELF")), 1 + look);
    }
}
