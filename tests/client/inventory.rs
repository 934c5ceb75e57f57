//! Inventories on every release, and unidentified payloads.

use std::time::Instant;

use serde_json::{from_value, json, to_value};
use xen_livepatch::{Gap, Inventory, InventoryEntry, KnownIdentities, PlanError, Unidentified};

use crate::prelude::*;

fn known(inventory: &Inventory) -> usize {
    for entry in &inventory.payloads {
        assert_eq!(entry.build_id.is_some(), entry.depends.is_some());
        assert!(entry.build_id.is_some() || entry.functions.is_none());
        assert_eq!(entry.build_id.is_none(), entry.unidentified.is_some());
    }
    inventory.payloads.iter().filter(|entry| entry.build_id.is_some()).count()
}

/// A payload that leaves the version alone: a 4.7 or 4.8 has to tell which point release it is.
fn builder(xen: &SimulatedXen, id: &str) -> PayloadBuilder {
    PayloadBuilder::for_xen(xen, id).function(FunctionPatch::returning("do_xen_version", id))
}

/// Two applied and one that isn't.
fn load_three(xen: &SimulatedXen) {
    stack(xen, ["one", "two", "three"], 2, builder);
}

/// The number of keys that were pressed.
fn keys(xen: &SimulatedXen) -> u64 {
    xen.calls().of(Call::DebugKeys)
}

/// A host of each release with these three, and a client.
fn threes() -> impl Iterator<Item = (SimulatedXen, LivepatchClient)> {
    each(Release::ALL).map(three)
}

fn three(release: Release) -> (SimulatedXen, LivepatchClient) {
    let (xen, client) = host(release);
    load_three(&xen);
    (xen, client)
}

#[test]
fn every_payload_is_identified() {
    for (xen, client) in threes() {
        for client in [connect(&xen), without_log(&xen)] {
            let inventory = client.inventory().unwrap();
            let mut below = xen.build_id();
            for (entry, id) in inventory.payloads.iter().zip(["one", "two", "three"]) {
                assert_eq!((&entry.name, &entry.depends), (&name(id), &below));
                assert_eq!(entry.build_id.as_ref(), Some(builder(&xen, id).build_id()));
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

/// The last payload's functions push its true part out of the ring, and one of them is named like all of it.
#[test]
fn a_dump_without_its_beginning_is_not_believed() {
    let (fake, at) = ("5a".repeat(20), "ffff82d040400000");
    let heading = |id: &str| format!(" name={id} state=CHECKED(1) {at} (.data={at}, .rodata={at}) using 3 pages.");
    for size in each([2000, 2500, 3000, 4000]) {
        let xen = SimulatedXen::builder(Release::V4_20).console_size(size).build();
        xen.other_upload("victim", &builder(&xen, "victim").build()).unwrap();
        let name = format!(
            "f patch {at}(16) with {at} (8)\n'x' pressed - Dumping all livepatch patches\nbuild-id: {}\n{}\n\
             build-id={fake}\ndepend-on={fake}\n{}\n    g",
            xen.build_id().unwrap(),
            heading("victim"),
            heading("forger"),
        );
        let function = |name, at: u64| FunctionPatch::returning(name, "x").at(0xffff_82d0_4020_0000 + at);
        let forger = (0..8).fold(PayloadBuilder::for_xen(&xen, "forger"), |builder, at| {
            builder.function(function(format!("{at}{}", "x".repeat(500)), 64 * at))
        });
        xen.other_upload("forger", &forger.function(function(name, 0x1000)).build()).unwrap();
        let inventory = connect(&xen).inventory().unwrap();
        assert_eq!(known(&inventory), 0, "{inventory:?}");
    }
}

#[test]
fn hostile_names_and_metadata_speak_for_nobody() {
    let fake = "5a".repeat(20);
    let payloads = [
        ("x\nbuild-id=5a5a", String::from("a=b\0")),
        ("x\r", String::from("a=b\0")),
        ("odd", format!("a\nbuild-id={fake}\ndepend-on={fake}\0")),
        ("odd", format!("{}\0", "m".repeat(1200))),
        // Lines that look like others do no harm.
        (" name=one", format!("build-id={fake}\0depend-on={fake}\0\0 name=one state=APPLIED(2)\0")),
    ];
    for (release, (id, metadata)) in each(pairs(Release::ALL, payloads)) {
        let (xen, client) = host(release);
        load_three(&xen);
        xen.other_upload(id, &builder(&xen, "odd").modinfo(metadata).build()).unwrap();
        assert_eq!(known(&client.inventory().unwrap()), 4);
    }
}

/// It hides itself alone, and no key is pressed for it again and again.
#[test]
fn a_payload_that_can_not_be_read_back_is_known_before_and_not_asked_for_twice() {
    let fake = "5a".repeat(20);
    for release in each(Release::ALL) {
        let function = format!("x\nbuild-id={fake}\ndepend-on={fake}");
        let xen = SimulatedXen::builder(release).symbol(&*function, [0x90; 32]).build();
        load_three(&xen);
        let client = connect(&xen);
        let payload = PayloadBuilder::for_xen(&xen, "odd").function(FunctionPatch::returning(function, "x")).build();
        assert_eq!(Payload::parse(&payload).unwrap().check_identifiable(&name("odd")), Err(Unidentified::Unreadable));
        xen.other_upload("odd", &payload).unwrap();
        for _ in 0..3 {
            let inventory = client.inventory().unwrap();
            assert_eq!((known(&inventory), inventory.payloads[3].unidentified), (3, Some(Unidentified::Unreadable)));
        }
        assert_eq!(keys(&xen), 2);
    }
}

#[test]
fn programs_read_inventories_and_plans() {
    let (xen, client) = host(Release::V4_17);
    stack(&xen, ["one"], 1, crate::prelude::builder);
    let inventory = client.inventory().unwrap();
    let told = to_value(&inventory).unwrap();
    assert_eq!(told["effective"], json!(inventory.to_string()));
    assert_eq!((&told["stack"], &told["off_chain"], &told["conflicts"]), (&json!(["one"]), &json!([]), &json!([])));
    let payload = &told["payloads"][0];
    assert_eq!((&payload["name"], &payload["depends"]), (&json!("one"), &told["build_id"]));
    assert_eq!(payload["functions"][0]["name"], json!("xen_extra_version"));
    assert_eq!(payload["functions"][0]["old_size"], json!(16));
    let entry: InventoryEntry = from_value(payload.clone()).unwrap();
    assert_eq!(Some(&entry), (&inventory).into_iter().next());
    let new = builder(&xen, "new");
    let wanted = Wanted::only(name("new"), parse(&new));
    let plan = Plan::new(&inventory, &wanted).unwrap();
    let steps = json!([
        {"operation": "upload", "payload": "new", "build_id": new.build_id().to_string()},
        {"operation": "replace", "payload": "new", "reverts": ["one"]},
        {"operation": "unload", "payload": "one"},
    ]);
    assert_eq!(
        to_value(&plan).unwrap(),
        json!({"steps": steps, "gaps": [], "leftovers": [], "problems": [], "unproven": [], "unidentifiable": []})
    );
    assert_eq!(Plan::new(&inventory, &wanted).unwrap(), plan);
    let gap = Plan::new(&inventory, &wanted.one_by_one()).unwrap().gaps().to_vec();
    let told = to_value(&gap).unwrap();
    assert_eq!(told, json!([{"payload": "one", "from": 1, "until": 2, "recoverable": true}]));
    assert_eq!(from_value::<Vec<Gap>>(told).unwrap(), gap);
    xen.on_replace().time_out();
    let failed = to_value(client.carry_out(&plan, |_| ()).unwrap_err()).unwrap();
    assert_eq!(failed["error"]["kind"], json!("quiesce_timeout"));
    assert_eq!(failed["failed"]["operation"], json!("replace"));
    assert_eq!((failed["done"].as_array().map(Vec::len), failed["left"].as_array().map(Vec::len)), (Some(1), Some(1)));
    assert_eq!(failed["loaded"][1]["name"], json!("new"));
}

/// After this client's own uploads the rest stays known. Only the dump has the addresses of functions.
#[test]
fn own_uploads_and_unloads_leave_the_rest_known() {
    for (xen, client) in threes() {
        client.inventory().unwrap();
        let four = builder(&xen, "four");
        upload(&client, "four", &four);
        client.unload(&name("three"), Flags::empty()).unwrap();
        // The upload needs no inventory: another client with the same knowledge has none to make either.
        let given: KnownIdentities = client.known_identities().unwrap().to_string().parse().unwrap();
        let ids: Vec<_> = given.payloads().map(|(_, id)| id.cloned()).collect();
        assert_eq!((ids.len(), ids.iter().flatten().count()), (3, 3));
        assert!(ids.contains(&Some(four.build_id().clone())));
        let before = keys(&xen);
        let inventory = client.inventory().unwrap();
        assert_eq!((known(&inventory), keys(&xen) - before), (3, 1), "for the functions of one");
        assert!(inventory.payloads.iter().all(|entry| entry.functions.is_some()));
        client.unload(&name("four"), Flags::empty()).unwrap();
        assert_eq!((known(&client.inventory().unwrap()), keys(&xen) - before), (2, 1));
    }
}

#[test]
fn identities_are_taken_over_into_another_process() {
    for (xen, client) in threes() {
        let first = client.inventory().unwrap();
        let known_there = client.known_identities().unwrap();
        let other = || quick().known_identities(known_there.clone()).connect(xen.clone()).unwrap();
        assert_eq!(other().inventory().unwrap(), first);
        assert_eq!(keys(&xen), 1);
        // They are still known after an upload by the other process.
        let client = other();
        upload(&client, "four", &builder(&xen, "four"));
        assert_eq!(client.known_identities().unwrap().payloads().count(), 4);
        // Not under another version of the list, nor for another Xen.
        let before = keys(&xen);
        other().inventory().unwrap();
        assert_eq!(keys(&xen) - before, 1);
        let elsewhere = SimulatedXen::builder(xen.release()).build_id(Some("5a5a".parse().unwrap())).build();
        load_three(&elsewhere);
        quick().known_identities(known_there.clone()).connect(elsewhere.clone()).unwrap().inventory().unwrap();
        assert_eq!(keys(&elsewhere), 1);
    }
}

/// A guest may write what it likes to the console.
#[test]
fn guests_do_not_keep_payloads_from_being_identified() {
    for line in ["(d1) 'x' pressed - Dumping all livepatch patches", "(d1) (XEN) build-id=5a5a", "(d1) depend-on=5a5a"]
    {
        let (xen, client) = three(Release::V4_17);
        // After a line of Xen's own.
        xen.on_debug_keys().always().before(move |xen| xen.print(&format!("\n{line}")));
        xen.on_debug_keys().always().after(move |xen| xen.print(&format!("\n{line}")));
        assert_eq!((known(&client.inventory().unwrap()), keys(&xen)), (3, 1), "{line}");
    }
}

#[test]
fn a_build_id_of_xen_that_is_refused_is_not_called_missing() {
    for errno in each([Errno::EPERM, Errno::EACCES, Errno::EFAULT]) {
        let (xen, client) = three(Release::V4_20);
        let wanted = Wanted::only(name("new"), parse(&builder(&xen, "new")));
        if errno == Errno::EFAULT {
            xen.on_build_id().fail(errno);
            assert_eq!(client.inventory().unwrap().build_id, xen.build_id(), "a fault that passes");
        }
        xen.on_build_id().always().fail(errno);
        let inventory = client.inventory().unwrap();
        assert_eq!((&inventory.build_id, inventory.no_build_id, known(&inventory)), (&None, Some(errno), 3));
        let error = Plan::new(&inventory, &wanted).unwrap_err();
        assert!(matches!(error, PlanError::XenUnknown { why, .. } if why == Some(errno)), "{error:?}");
        assert!(!error.to_string().contains("linked without"), "{error}");
    }
    let xen = SimulatedXen::builder(Release::V4_13).build_id(None).build();
    let inventory = connect(&xen).inventory().unwrap();
    assert_eq!((inventory.build_id, inventory.no_build_id), (None, Some(Errno::ENODATA)));
}

/// The observer of a plan looks at the host between two steps.
#[test]
fn an_observer_of_a_plan_takes_inventories_and_does_not_act() {
    let (xen, client) = host(Release::V4_20);
    let wanted = Wanted::only(name("new"), parse(&builder(&xen, "new")));
    let mut events = 0;
    let start = Instant::now();
    let observer = |_: xen_livepatch::StepEvent| {
        assert_eq!(client.inventory().unwrap().payloads.len(), client.list().unwrap().len());
        assert_eq!(kind(client.apply(&name("new"), Flags::empty())), ErrorKind::InsideOperation);
        let error = error(client.upload(&name("x"), &builder(&xen, "x").build()));
        assert_eq!(error.kind(), &ErrorKind::InsideOperation, "{error}");
        assert!(!error.is_retryable() && !error.may_have_happened());
        events += 1;
    };
    client.ensure(&wanted, observer).unwrap();
    let took = start.elapsed();
    assert_eq!((events, xen.applied()), (4, names(["new"])));
    assert!(took < Duration::from_secs(10), "nobody waits for a deadline");
}

/// In the middle of an action no key is pressed.
#[test]
fn an_observer_of_hypercalls_does_not_disturb_an_action() {
    use std::sync::{Arc, Mutex, OnceLock};
    let xen = SimulatedXen::new(Release::V4_20);
    let (there, seen) = (Arc::new(OnceLock::<LivepatchClient>::new()), Arc::new(Mutex::new(Vec::new())));
    let (client, kinds) = (there.clone(), seen.clone());
    let observed = quick().on_hypercall(move |event| {
        if event.to_string().contains("ACTION") || event.to_string().contains("UPLOAD") {
            let Some(client) = client.get() else { return };
            client.list().unwrap();
            kinds.lock().unwrap().push(client.inventory().map(|_| ()).map_err(|error| error.kind().clone()));
        }
    });
    let client = observed.connect(xen.clone()).unwrap();
    let client = there.get_or_init(|| client);
    upload_and_apply(client, "one", &builder(&xen, "one"));
    let seen = seen.lock().unwrap();
    assert!(seen.len() >= 2 && seen.iter().all(|kind| *kind == Err(ErrorKind::InsideOperation)), "{seen:?}");
    drop(seen);
    assert_eq!(keys(&xen), 0);
}

/// Wanted once, wanted again: by the client that uploaded it, by one that knows nothing, and by one that was given what is
/// known.
#[test]
fn a_host_with_odd_payloads_is_as_wanted_when_it_is_asked_again() {
    let entry = |text: &str| format!("{text}\0");
    let long = "x".repeat(1000);
    for (id, metadata, functions, readable) in each([
        ("fix", entry("a\tb"), 1, true),
        ("fix", entry("a\nb"), 1, true),
        ("fix", entry(&long), 1, true),
        ("f\tx", entry("a"), 1, true),
        ("f\nx", entry("a"), 1, true),
        ("fix", entry("a"), 220, false),
    ]) {
        let symbols = (0..functions).map(|at| format!("a_function_with_a_rather_long_name_{at}")).collect::<Vec<_>>();
        let host = SimulatedXen::builder(Release::V4_20);
        let xen = symbols.iter().fold(host, |host, symbol| host.symbol(symbol, [0x90; 32])).build();
        let payload = symbols.iter().fold(PayloadBuilder::for_xen(&xen, "odd"), |payload, symbol| {
            payload.function(FunctionPatch::returning(symbol, "x"))
        });
        let wanted = Wanted::only(name(id), parse(&payload.modinfo(metadata)));
        let client = connect(&xen);
        assert_eq!(client.ensure(&wanted, |_| ()).unwrap().plan.steps().len(), 2);
        assert!(client.ensure(&wanted, |_| ()).unwrap().plan.is_empty());
        let given = quick().known_identities(client.known_identities().unwrap()).connect(xen.clone()).unwrap();
        assert!(given.ensure(&wanted, |_| ()).unwrap().plan.is_empty());
        match connect(&xen).ensure(&wanted, |_| ()) {
            Ok(ensured) => assert!(readable && ensured.plan.is_empty()),
            // What is there can't be known, and Xen refuses to load it twice.
            Err(error) => assert!(!readable, "{error}"),
        }
        let reason = connect(&xen).inventory().unwrap().payloads[0].unidentified;
        assert_eq!(reason, if readable { None } else { Some(Unidentified::RingTooSmall) });
    }
}
