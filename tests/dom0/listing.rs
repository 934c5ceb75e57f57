//! Lists with many payloads.

use crate::prelude::*;

#[test]
#[ignore = "needs a real Xen"]
fn a_hundred_payloads_with_up_to_4000_bytes_of_metadata() {
    let host = host();
    let mut expected = Vec::new();
    for i in 0..100_usize {
        // 1 … 4000 bytes, and names of 1 to 127.
        let id = format!("{i}{}", "x".repeat(i * 37 % 125));
        let modinfo = if i == 0 { vec![0] } else { metadata(&id, 1 + i * 3999 / 99) };
        let payload = host.payload(&id, "-many").modinfo(&modinfo);
        expected.push((host.upload(&id, &payload), listed(&host.client, modinfo)));
    }
    host.apply(&expected[57].0);
    for _ in 0..3 {
        let rows = host.client.list().unwrap();
        assert_eq!(rows.len(), 100);
        for (i, (row, (name, modinfo))) in rows.iter().zip(&expected).enumerate() {
            let LoadedPayload { status, metadata, .. } = row;
            assert_eq!(&row.name, name);
            assert_eq!(metadata.as_bytes(), modinfo);
            let state = if i == 57 { State::Applied } else { State::Checked };
            assert_eq!((status.state, status.rc), (state, 0));
        }
    }
    host.revert(&expected[57].0);
    for (name, _) in &expected {
        host.unload(name);
    }
}
