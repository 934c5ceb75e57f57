//! Lists of payloads with odd names.

use crate::prelude::*;

#[test]
fn the_payload_without_a_name_is_listed_and_can_be_unloaded() {
    for (xen, client) in hosts(Release::ALL) {
        xen.other_upload("", &builder(&xen, "nameless").modinfo("id=\0").build()).unwrap();
        xen.other_upload("named", &builder(&xen, "named").metadata("id", Some("named")).build()).unwrap();
        let packed = xen.release() >= Release::V4_14;
        let rows = client.list().unwrap();
        assert_eq!(rows.iter().map(|row| row.name.clone()).collect::<Vec<_>>(), xen.loaded());
        for row in &rows {
            assert_eq!(row.metadata.get("id"), packed.then_some(row.name.as_bytes()));
            assert_eq!(Some(row.status), xen.status(&row.name));
        }
        let nameless = rows[0].name.clone();
        assert_eq!(nameless.as_bytes(), b"");
        apply_and_revert(&client, &nameless);
        client.unload(&nameless, Flags::empty()).unwrap();
        assert_eq!(xen.loaded(), names(["named"]));
    }
}

#[test]
fn names_of_every_length_and_byte() {
    for (xen, client) in hosts(Release::ALL) {
        let ids = [vec![b'x'; 127], vec![0xff, b'\n', b' '], vec![b'x'; 126], vec![1]].map(name);
        for (id, at) in ids.iter().zip(0..) {
            client.upload(id, &builder(&xen, &format!("p{at}")).build()).unwrap();
        }
        assert_eq!(client.list().unwrap().into_iter().map(|row| row.name).collect::<Vec<_>>(), ids);
        for id in &ids {
            client.unload(id, Flags::empty()).unwrap();
        }
    }
}
