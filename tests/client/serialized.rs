//! The serialised form of lists, errors and values.

use std::fmt::Debug;
use std::fs;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{from_value, json, to_value};
use xen_livepatch::{LoadedPayload, Metadata, Outcome, PayloadStore, Status};

use crate::prelude::*;

#[test]
fn the_rows_of_a_list() {
    let (xen, client) = host(Release::V4_17);
    upload_and_apply(&client, "one", &builder(&xen, "one").metadata("id", Some("1")).metadata("urgent", None));
    let rows = json!([{
        "name": "one", "status": {"state": "APPLIED", "rc": 0}, "metadata": [["id", "1"], ["urgent", null]],
    }]);
    assert_eq!(to_value(client.list().unwrap()).unwrap(), rows);
    assert_eq!(from_value::<Vec<LoadedPayload>>(rows).unwrap(), client.list().unwrap());
    assert_eq!(to_value(PayloadName::new(b"a\n\xff").unwrap()).unwrap(), json!("hex:610aff"));
    assert_eq!(to_value(PayloadName::new("hex:ff").unwrap()).unwrap(), json!("hex:6865783a6666"));
    assert_eq!(to_value(PayloadName::new(b"a\n\\").unwrap()).unwrap(), json!("a\n\\"));
    assert_eq!(to_value(Flags::from_bits_retain(3)).unwrap(), json!("NODEPS | 0x2"));
}

fn assert_read_back<T: Serialize + DeserializeOwned + PartialEq + Debug>(values: impl IntoIterator<Item = T>) {
    for value in values {
        let text = to_value(&value).unwrap();
        assert_eq!(from_value::<T>(text.clone()).unwrap(), value, "{text}");
    }
}

#[test]
fn values_with_one_natural_form_are_read_back() {
    let (_, client) = host(Release::V4_17);
    let names = [&b"fix"[..], b"\xff", b"a\n\xff", b"hex:ff", b"hex:", b"hex:xyz", "h\u{e9}".as_bytes(), &[0xfe; 127]];
    assert_read_back(names.map(|name| PayloadName::new(name).unwrap()));
    assert!(from_value::<PayloadName>(json!("")).is_err() && from_value::<PayloadName>(json!("a\0")).is_err());
    assert_read_back([client.build_id().unwrap(), BuildId::new([0xab])]);
    assert_read_back([client.xen_version().unwrap()]);
    assert_read_back([State::Checked, State::Applied, State::Unknown(9)]);
    assert_read_back([Status::new(State::Checked, -16)]);
    assert_read_back([0, 1, 2, u32::MAX].map(Flags::from_bits_retain));
    assert_read_back([Errno::EBUSY, Errno::new(-4242)]);
    assert_read_back(Release::ALL);
    assert_read_back(Action::ALL);
    assert_read_back([Operation::Open, Operation::Wait, Operation::Action(Action::Apply)]);
    assert_read_back([Outcome::Reached, Outcome::Worse]);
    assert_read_back([client.capabilities().unwrap()]);
    assert_read_back([Metadata::new(b"a=b=c\0urgent\0=x\0"), Metadata::default()]);
}

#[test]
fn an_error() {
    let (xen, client) = host(Release::V4_17);
    let [one, _] = stack(&xen, ["one", "top"], 2, builder);
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
            "details": {"top": "top"},
            "cleanup": null,
            "log": ["livepatch: one: can't unload. Top is top"],
        })
    );
    xen.on_apply().time_out();
    let payload = parse(&builder(&xen, "new"));
    let options = LoadOptions::new().flags(Flags::NODEPS);
    let late = to_value(error(client.load_as(&name("new"), &payload, options))).unwrap();
    assert_eq!((&late["cleanup"], &late["retryable"]), (&json!("unloaded"), &json!(true)));
}

#[test]
fn the_details_of_an_error() {
    let (xen, client) = host(Release::V4_17);
    let fix = builder(&xen, "fix");
    client.upload(&name("fix"), &fix.build()).unwrap();
    let details = |error: Error| to_value(error).unwrap()["details"].clone();
    let again = error(client.revert(&name("fix"), Flags::empty()));
    assert_eq!(details(again), json!({"found": "CHECKED", "needed": "APPLIED"}));
    let duplicate = error(client.upload(&name("fix"), &builder(&xen, "other").build()));
    assert_eq!(details(duplicate), json!({"by": "name"}));
    assert_eq!(details(error(client.status(&name("missing")))), json!(null));
    assert_eq!(details(PayloadName::new("").unwrap_err().into()), json!({"problem": "it is empty"}));
    let timeout = error(QuiesceTimeout::new(Duration::MAX));
    assert_eq!(details(timeout), json!({"nanoseconds": Duration::MAX.as_nanos().to_string()}));

    let unfit = error(client.upload(&name("old"), &builder(&xen, "old").for_release((4, 13)).build()));
    assert_eq!(details(unfit)["findings"][0]["problem"], json!("payload-version"));

    let upper = parse(&builder(&xen, "upper").depends_on(&BuildId::new([1; 20])));
    let no_plan = client.ensure(&Wanted::only(name("upper"), upper), |_| ()).unwrap_err();
    let expected = json!({
        "name": "upper", "expected": "01".repeat(20), "below": null, "found": client.build_id().unwrap().to_string(),
    });
    assert_eq!(to_value(no_plan).unwrap()["details"], expected);
}

#[test]
fn the_details_of_a_problem_in_a_directory() {
    let (xen, client) = host(Release::V4_17);
    let directory = tempfile::tempdir().unwrap();
    for id in ["one", "two"] {
        fs::write(directory.path().join(format!("{id}.livepatch")), builder(&xen, id).build()).unwrap();
    }
    fs::write(directory.path().join("empty.livepatch"), "").unwrap();
    let wanted = PayloadStore::read(directory.path()).unwrap().wanted_for(&client.target().unwrap()).unwrap();
    let details: Vec<_> =
        wanted.problems().iter().map(|problem| to_value(problem).unwrap()["details"].take()).collect();
    assert_eq!(details[0], json!(null));
    let (kind, id) = (&details[1]["ambiguity"], &details[1]["build_id"]);
    assert_eq!((kind, id), (&json!("same_base"), &to_value(client.build_id().unwrap()).unwrap()));
    let error = to_value(client.ensure(&wanted, |_| ()).unwrap_err()).unwrap();
    assert_eq!(error["details"]["problems"], to_value(wanted.problems()).unwrap());
}
