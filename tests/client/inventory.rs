//! What is really loaded, on every release, and what is not known of it.

use serde_json::json;
use xen_livepatch::sim::{Call, FunctionPatch, PayloadBuilder, Release, SimulatedXen};
use xen_livepatch::{Action, Errno, Flags, Inventory, LivepatchClient, Payload, Plan, Wanted};

use crate::host::{connect, host, name, quick, stack};

fn known(inventory: &Inventory) -> usize {
    let unknown = |entry: &&xen_livepatch::InventoryEntry| entry.build_id.is_none();
    assert!(inventory.payloads.iter().all(|entry| entry.build_id.is_some() == entry.depends.is_some()));
    assert!(inventory.payloads.iter().all(|entry| entry.build_id.is_some() == entry.functions.is_some()));
    inventory.payloads.len() - inventory.payloads.iter().filter(unknown).count()
}

/// A payload that leaves the version alone: a 4.7 or 4.8 has to tell which point release it is.
fn builder(xen: &SimulatedXen, id: &str) -> PayloadBuilder {
    PayloadBuilder::for_xen(xen, id).function(FunctionPatch::returning("do_xen_version", id))
}

/// Two applied and one that isn't.
fn load_three(xen: &SimulatedXen) {
    let mut below = xen.build_id().unwrap();
    for id in ["one", "two", "three"] {
        let payload = builder(xen, id).depends_on(&below);
        below = payload.build_id().clone();
        xen.other_upload(id, &payload.build()).unwrap();
    }
    for id in ["one", "two"] {
        xen.other_action(id, Action::Apply, Flags::empty()).unwrap();
    }
}

fn three(release: Release) -> (SimulatedXen, LivepatchClient) {
    let (xen, client) = host(release);
    load_three(&xen);
    (xen, client)
}

#[test]
fn every_payload_is_identified() {
    for release in Release::ALL {
        let (xen, client) = three(release);
        for client in [connect(&xen), quick().without_xen_log().connect(xen.clone()).unwrap()] {
            let inventory = client.inventory().unwrap();
            let mut below = xen.build_id();
            for (entry, id) in inventory.payloads.iter().zip(["one", "two", "three"]) {
                assert_eq!((&entry.name, &entry.depends), (&name(id), &below), "{release}");
                let payload = builder(&xen, id);
                assert_eq!(entry.build_id.as_ref(), Some(payload.build_id()), "{release}");
                let functions = entry.functions.as_ref().unwrap();
                assert_eq!((functions.len(), functions[0].name.as_bytes()), (1, &b"do_xen_version"[..]));
                below.clone_from(&entry.build_id);
            }
            let version = client.xen_version().unwrap();
            assert_eq!(inventory.to_string(), format!("Xen {version} + one + two"));
        }
        assert_eq!(client.inventory().unwrap().conflicts().len(), 1, "both replace one function");
    }
}

#[test]
fn what_fails_once_is_tried_again() {
    type Order = fn(&SimulatedXen);
    let orders: [(&str, Order); 6] = [
        ("locked", |xen| xen.on_debug_keys().find_the_lock_held()),
        ("a fault", |xen| xen.on_debug_keys().fail(Errno::EFAULT)),
        ("a line in between", |xen| xen.on_debug_keys().after(|xen| xen.print("(XEN) livepatch: something else"))),
        ("another dump", |xen| {
            xen.on_debug_keys().after(|xen| xen.print("(XEN) 'x' pressed - Dumping all livepatch patches"));
        }),
        ("an upload", |xen| {
            xen.on_debug_keys().before(|xen| xen.other_upload("four", &builder(xen, "four").build()).unwrap());
        }),
        ("an action", |xen| {
            xen.on_debug_keys().before(|xen| xen.other_action("two", Action::Revert, Flags::empty()).unwrap());
        }),
    ];
    for release in Release::ALL {
        for (what, order) in orders {
            let (xen, client) = three(release);
            order(&xen);
            let inventory = client.inventory().unwrap();
            assert_eq!(known(&inventory), xen.loaded().len(), "{release}: {what}");
            assert_eq!(inventory.stack().len(), xen.applied().len(), "{release}: {what}");
            assert!(xen.calls().of(Call::DebugKeys) <= 2, "{release}: {what}");
        }
    }
}

#[test]
fn what_can_not_be_known_is_not_and_nothing_is_wrong() {
    type Order = fn(&SimulatedXen);
    let orders: [(&str, Order, u64); 6] = [
        ("locked", |xen| xen.on_debug_keys().always().find_the_lock_held(), 4),
        ("no debug keys", |xen| xen.on_debug_keys().always().fail(Errno::EPERM), 1),
        ("no debug keys by policy", |xen| xen.on_debug_keys().always().fail(Errno::EACCES), 1),
        ("no console", |xen| xen.on_console().always().fail(Errno::EPERM), 0),
        ("faults", |xen| xen.on_debug_keys().always().fault_after(), 4),
        ("a busy console", |xen| xen.on_debug_keys().always().after(|xen| xen.print("(XEN) somebody else")), 4),
    ];
    for release in Release::ALL {
        for (what, order, pressed) in orders {
            let (xen, client) = three(release);
            order(&xen);
            let inventory = client.inventory().unwrap();
            assert_eq!((inventory.payloads.len(), known(&inventory)), (3, 0), "{release}: {what}");
            assert_eq!(xen.calls().of(Call::DebugKeys), pressed, "{release}: {what}");
            let version = client.xen_version().unwrap();
            assert_eq!(inventory.to_string(), format!("Xen {version} (+ one, two, not identified)"));
        }
        let (xen, client) = three(release);
        xen.on_list().always().fail(Errno::EPERM);
        client.inventory().unwrap_err();
    }
}

#[test]
fn a_ring_that_is_too_small_tells_nothing() {
    let xen = SimulatedXen::builder(Release::V4_20).console_size(600).build();
    load_three(&xen);
    assert_eq!(known(&connect(&xen).inventory().unwrap()), 0);
}

/// There a payload with more than 64 functions would leave its lock taken for good.
#[test]
fn a_xen_that_might_lose_its_lock_is_not_asked() {
    for (release, version, asked) in [
        (Release::V4_7, ".2", false),
        (Release::V4_7, ".3", true),
        (Release::V4_7, "-vendor", false),
        (Release::V4_8, ".1", false),
        (Release::V4_8, ".2", true),
        (Release::V4_9, ".0", true),
        (Release::V4_9, "-vendor", true),
    ] {
        let xen = SimulatedXen::builder(release).extra_version(version).build();
        load_three(&xen);
        let inventory = connect(&xen).inventory().unwrap();
        assert_eq!(known(&inventory), if asked { 3 } else { 0 }, "{release}{version}");
        assert_eq!(xen.calls().of(Call::DebugKeys), u64::from(asked), "{release}{version}");
    }
}

#[test]
fn where_nothing_is_loaded_no_key_is_pressed() {
    let (xen, client) = host(Release::V4_20);
    assert_eq!(client.inventory().unwrap().payloads, []);
    assert_eq!(xen.calls().of(Call::DebugKeys), 0);
}

/// The last payload's functions push its true part out of the ring, and one of them is named like all of it.
#[test]
fn a_dump_without_its_beginning_is_not_believed() {
    let fake = "5a".repeat(20);
    for size in [2000, 2500, 3000, 4000] {
        let xen = SimulatedXen::builder(Release::V4_20).console_size(size).build();
        let own = xen.build_id().unwrap();
        xen.other_upload("victim", &builder(&xen, "victim").build()).unwrap();
        let heading = |id: &str| {
            let at = "ffff82d040400000";
            format!(" name={id} state=CHECKED(1) {at} (.data={at}, .rodata={at}) using 3 pages.")
        };
        let name = format!(
            "f patch {0}(16) with {0} (8)\n'x' pressed - Dumping all livepatch patches\nbuild-id: {own}\n{1}\n\
             build-id={fake}\ndepend-on={fake}\n{2}\n    g",
            "ffff82d040400000",
            heading("victim"),
            heading("forger"),
        );
        let filler = |at: u64| {
            let name = format!("{at}{}", "x".repeat(500));
            FunctionPatch::returning(name, "x").at(0xffff_82d0_4020_0000 + 64 * at)
        };
        let forger = (0..8).fold(PayloadBuilder::for_xen(&xen, "forger"), |builder, at| builder.function(filler(at)));
        let forger = forger.function(FunctionPatch::returning(name, "x").at(0xffff_82d0_4020_1000));
        xen.other_upload("forger", &forger.build()).unwrap();
        let inventory = connect(&xen).inventory().unwrap();
        assert_eq!(known(&inventory), 0, "{size}: {inventory:?}");
    }
}

#[test]
fn hostile_names_and_metadata_speak_for_nobody() {
    let fake = "5a".repeat(20);
    for release in Release::ALL {
        for (id, metadata) in [
            ("x\nbuild-id=5a5a", String::from("a=b\0")),
            ("x\r", String::from("a=b\0")),
            ("odd", format!("a\nbuild-id={fake}\ndepend-on={fake}\0")),
            ("odd", format!("{}\0", "m".repeat(1200))),
        ] {
            let (xen, client) = three(release);
            xen.other_upload(id, &builder(&xen, "odd").modinfo(&metadata).build()).unwrap();
            let inventory = client.inventory().unwrap();
            let unprinted = id == "odd" && release < Release::V4_14;
            assert_eq!(known(&inventory), if unprinted { 4 } else { 0 }, "{release} {id:?} {metadata:?}");
        }
        // Lines that look like others do no harm.
        let (xen, client) = three(release);
        let metadata = format!("build-id={fake}\0depend-on={fake}\0\0 name=one state=APPLIED(2)\0");
        xen.other_upload(" name=one", &builder(&xen, "odd").modinfo(metadata).build()).unwrap();
        assert_eq!(known(&client.inventory().unwrap()), 4, "{release}");
    }
}

#[test]
fn programs_read_inventories_and_plans() {
    let (xen, client) = host(Release::V4_17);
    stack(&xen, ["one"], 1);
    let inventory = client.inventory().unwrap();
    let told = serde_json::to_value(&inventory).unwrap();
    assert_eq!(told["effective"], json!(inventory.to_string()));
    assert_eq!((&told["stack"], &told["off_chain"], &told["conflicts"]), (&json!(["one"]), &json!([]), &json!([])));
    let payload = &told["payloads"][0];
    assert_eq!((&payload["name"], &payload["depends"]), (&json!("one"), &told["build_id"]));
    assert_eq!(payload["functions"][0]["name"], json!("xen_extra_version"));
    assert_eq!(payload["functions"][0]["old_size"], json!(16));
    let new = builder(&xen, "new");
    let wanted = Wanted::only(name("new"), Payload::parse(&new.build()).unwrap());
    let plan = Plan::new(&inventory, &wanted).unwrap();
    let steps = json!([
        {"operation": "upload", "payload": "new", "build_id": new.build_id().to_string()},
        {"operation": "replace", "payload": "new", "reverts": ["one"]},
        {"operation": "unload", "payload": "one"},
    ]);
    assert_eq!(serde_json::to_value(&plan).unwrap(), json!({"steps": steps, "gaps": []}));
    let gap = Plan::new(&inventory, &wanted.one_by_one()).unwrap().gaps();
    assert_eq!(
        serde_json::to_value(&gap).unwrap(),
        json!([{"payload": "one", "from": 1, "until": 2, "recoverable": true}])
    );
    xen.on_replace().time_out();
    let failed = serde_json::to_value(client.carry_out(&plan, |_| ()).unwrap_err()).unwrap();
    assert_eq!(
        (&failed["error"]["kind"], &failed["failed"]["operation"]),
        (&json!("quiesce_timeout"), &json!("replace"))
    );
    assert_eq!((failed["done"].as_array().map(Vec::len), failed["left"].as_array().map(Vec::len)), (Some(1), Some(1)));
    assert_eq!(failed["loaded"][1]["name"], json!("new"));
}
