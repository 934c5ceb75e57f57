//! What programs read: a list, and an error.

use serde_json::{json, to_value};
use xen_livepatch::{Flags, LoadOptions, Payload, PayloadName, Release};

use crate::host::{builder, error, host, name, stack};

#[test]
fn the_rows_of_a_list() {
    let (xen, client) = host(Release::V4_17);
    let payload = builder(&xen, "one").metadata("id", Some("1")).metadata("urgent", None);
    client.upload(&name("one"), &payload.build()).unwrap();
    client.apply(&name("one"), Flags::empty()).unwrap();
    let rows = json!([{
        "name": "one", "status": {"state": "APPLIED", "rc": 0}, "metadata": [["id", "1"], ["urgent", null]],
    }]);
    assert_eq!(to_value(client.list().unwrap()).unwrap(), rows);
    assert_eq!(to_value(PayloadName::new(b"a\n\xff").unwrap()).unwrap(), json!("hex:610aff"));
    assert_eq!(to_value(PayloadName::new("hex:ff").unwrap()).unwrap(), json!("hex:6865783a6666"));
    assert_eq!(to_value(PayloadName::new(b"a\n\\").unwrap()).unwrap(), json!("a\n\\"));
    assert_eq!(to_value(Flags::from_bits_retain(3)).unwrap(), json!("NODEPS | 0x2"));
}

#[test]
fn an_error() {
    let (xen, client) = host(Release::V4_17);
    let one = stack(&xen, ["one", "top"], 2).swap_remove(0);
    let refused = error(client.revert(&one, Flags::empty()));
    let message = "revert \"one\": it is not the payload applied last (\"top\" is); revert what was applied after it \
                   first [EBUSY (16, busy)]";
    assert_eq!(
        to_value(&refused).unwrap(),
        json!({
            "operation": "revert",
            "payload": "one",
            "kind": "not_on_top",
            "errno": {"number": 16, "name": "EBUSY"},
            "message": message,
            "retryable": false,
            "may_have_happened": false,
            "cleanup": null,
            "log": ["livepatch: one: can't unload. Top is top"],
        })
    );
    xen.on_apply().time_out();
    let payload = Payload::parse(&builder(&xen, "new").build()).unwrap();
    let options = LoadOptions::new().flags(Flags::NODEPS);
    let late = to_value(error(client.load_as(&name("new"), &payload, options))).unwrap();
    assert_eq!((&late["cleanup"], &late["retryable"]), (&json!("unloaded"), &json!(true)));
}
