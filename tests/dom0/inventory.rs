//! Inventories agree with the uploaded payloads, and can't be forged.

use crate::checked::made_by_gcc;
use crate::prelude::*;

/// The lowest address of Xen: on x86 the upper half of all addresses is the kernels', on AArch64 each has its own.
const XEN: u64 = if cfg!(target_arch = "aarch64") { 2 << 20 } else { 0xffff_8000_0000_0000 };

const FAKE: &str = "5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a";
const FUNCTION: &str = "f patch ffff82d040000000(16) with ffff82d040000000 (8)";

/// The line of a payload in Xen's dump.
fn heading(id: &str) -> String {
    let address = "ffff82d040000000";
    format!(" name={id} state=CHECKED(1) {address} (.data={address}, .rodata={address}) using 3 pages.")
}

/// A dump by a forger, from its function on: the end of its own lines, and a dump with these ids of the victim.
fn forged_dump(xen: &BuildId, ids: &str) -> String {
    let (victim, forger) = (heading("victim"), heading("forger"));
    format!(
        "'x' pressed - Dumping all livepatch patches\nbuild-id: {xen}\n{victim}\n    {FUNCTION}\n{ids}\n{forger}\n    g"
    )
}

fn entry<'a>(inventory: &'a Inventory, id: &str) -> &'a InventoryEntry {
    inventory.payloads.iter().find(|entry| entry.name == name(id)).unwrap()
}

/// Asserts that an entry is a description of this payload.
fn agrees(entry: &InventoryEntry, payload: &Payload) {
    assert_eq!((entry.build_id.as_ref(), entry.depends.as_ref()), (payload.build_id(), payload.depends()));
    let functions = entry.functions.as_ref().unwrap();
    assert_eq!(functions.len(), payload.functions().len());
    for (there, function) in functions.iter().zip(payload.functions()) {
        assert_eq!(Some(&there.name), function.name.as_ref());
        assert_eq!((there.old_size, there.new_size), (function.old_size, function.new_size));
        assert_eq!(there.new_address == 0, function.is_nop());
        assert!(there.old_address > XEN, "{there:?}");
    }
}

/// A payload that leaves the version alone, which reveals the point release of a 4.7 or 4.8.
fn payload(host: &Host, id: &str) -> PayloadBuilder {
    bare(&host.client, id).function(FunctionPatch::returning("xen_compile_date", id))
}

#[test]
#[ignore = "needs a real Xen"]
fn an_inventory_is_what_was_uploaded() {
    let host = host();
    let nop = FunctionPatch::nop("xen_changeset", 8);
    let fix = payload(&host, "fix").metadata("author", Some("we")).metadata("urgent", None);
    let top = bare(&host.client, "top").depends_on(fix.build_id());
    let top =
        if host.since(8) { top.function(nop) } else { top.function(FunctionPatch::returning("xen_changeset", "x")) };
    for (id, payload) in [("fix", &fix), ("top", &top)] {
        let name = host.upload(id, payload);
        host.apply(&name);
    }
    let debug = payload(&host, "debug").depends_on(&BuildId::new([0x5a; 20]));
    let loaded = host.upload("debug", &debug);
    let nodeps = host.since(14);
    if nodeps {
        host.client.apply(&loaded, Flags::NODEPS).unwrap();
    }
    // A client that has uploaded nothing, and one that leaves Xen's log alone.
    for client in [connect().unwrap(), patient().without_xen_log().open().unwrap()] {
        let inventory = client.inventory().unwrap();
        // From memory, and in another process.
        assert_eq!(client.inventory().unwrap(), inventory);
        let known = client.known_identities().unwrap();
        let other = patient().known_identities(known.clone()).open().unwrap();
        assert_eq!(other.inventory().unwrap().payloads, inventory.payloads);
        assert_eq!(other.known_identities(), Some(known));
        assert_eq!(inventory.build_id.as_ref(), Some(&host.xen));
        for (id, payload) in [("fix", &fix), ("top", &top), ("debug", &debug)] {
            agrees(entry(&inventory, id), &Payload::parse(&payload.build()).unwrap());
        }
        let rows = client.list().unwrap();
        assert_eq!(inventory.payloads.len(), rows.len());
        for (entry, row) in inventory.payloads.iter().zip(rows) {
            assert_eq!((&entry.name, entry.status, &entry.metadata), (&row.name, row.status, &row.metadata));
        }
        let version = client.xen_version().unwrap();
        let debug = if nodeps { " (+ debug, off the chain)" } else { "" };
        assert_eq!(inventory.to_string(), format!("Xen {version} + fix + top{debug}"));
        // Both replace one function.
        let conflicts = inventory.conflicts();
        assert_eq!(conflicts.len(), usize::from(nodeps), "{conflicts:?}");
        if let [both] = &conflicts[..] {
            assert_eq!(both.payloads, [name("fix"), name("debug")]);
        }
    }
    if nodeps {
        host.revert(&loaded);
    }
    for id in ["top", "fix"] {
        host.revert(&name(id));
    }
    for id in ["debug", "top", "fix"] {
        host.unload(&name(id));
    }
}

#[test]
#[ignore = "needs a real Xen"]
fn an_inventory_of_payloads_made_by_gcc() {
    let host = host();
    let payloads = ["extra-version", "stacked", "hooked"].map(|file| (file, made_by_gcc(&host, file)));
    for (id, payload) in &payloads {
        host.client.upload(&name(id), payload.bytes()).unwrap();
    }
    let inventory = host.client.inventory().unwrap();
    for (id, payload) in &payloads {
        agrees(entry(&inventory, id), payload);
    }
    for (id, _) in payloads.iter().rev() {
        host.unload(&name(id));
    }
}

/// A replacement of a function by its address, so that Xen does not look up its name.
fn placed(host: &Host, function: &str) -> FunctionPatch {
    let plain = bare(&host.client, "plain").function(FunctionPatch::returning("xen_changeset", "x"));
    let plain = host.upload("plain", &plain);
    let inventory = host.client.inventory().unwrap();
    let at = entry(&inventory, "plain").functions.as_ref().unwrap()[0].old_address;
    host.unload(&plain);
    FunctionPatch::returning(function, "x").at(at)
}

/// A payload whose function has this name, which Xen prints in its dump.
fn forger(host: &Host, function: &str) -> PayloadBuilder {
    bare(&host.client, "forger").function(placed(host, function))
}

#[test]
#[ignore = "needs a real Xen"]
fn a_function_without_a_name_is_what_xen_prints_for_null() {
    let host = host();
    let nameless = bare(&host.client, "nameless").function(placed(&host, "f").unnamed());
    let nameless = host.upload("nameless", &nameless);
    let inventory = host.client.inventory().unwrap();
    assert_eq!(entry(&inventory, "nameless").functions.as_ref().unwrap()[0].name.to_string(), "<NULL>");
    host.unload(&nameless);
}

#[test]
#[ignore = "needs a real Xen"]
fn nobody_can_forge_another_payload() {
    let host = host();
    let fake: BuildId = FAKE.parse().unwrap();
    let xen = &host.xen;
    let victim = payload(&host, "victim");
    let honest = victim.build_id();
    let ids = format!("build-id={FAKE}\ndepend-on={FAKE}\ndepend-on-xen={xen}");
    let own = format!("{FUNCTION}\n{ids}\n");
    let (victim_line, forger_line) = (heading("victim"), heading("forger"));
    for (what, text) in [
        ("ids of its own", format!("{own}    g")),
        ("a payload after it", format!("{own}{victim_line}\n    {FUNCTION}\n{ids}")),
        ("everything up to here", format!("{own}{victim_line}\n    {FUNCTION}\n{ids}\n{forger_line}\n    g")),
        ("another dump", own.clone() + &forged_dump(xen, &ids)),
    ] {
        for forger_first in [false, true] {
            let forged = forger(&host, &text);
            let mut order = [("victim", &victim), ("forger", &forged)];
            if forger_first {
                order.reverse();
            }
            for (id, payload) in order {
                host.upload(id, payload);
            }
            let inventory = connect().unwrap().inventory().unwrap();
            for (id, payload) in order {
                let entry = entry(&inventory, id);
                let ids = [&entry.build_id, &entry.depends].map(Option::as_ref);
                assert!(!ids.contains(&Some(&fake)), "{what}: {entry:?}");
                assert!(ids[0].is_none_or(|own| own == payload.build_id()), "{what}: {entry:?}");
            }
            for (id, _) in order {
                host.unload(&name(id));
            }
        }
    }
    // Names and metadata are compared with the list.
    let odd = format!("x\nbuild-id={FAKE}");
    for (id, metadata) in [(&odd[..], "a=b\0".to_owned()), ("odd", format!("a\nbuild-id={FAKE}\ndepend-on={FAKE}\0"))] {
        host.upload("victim", &victim);
        let odd = bare(&host.client, "odd").function(FunctionPatch::returning("xen_changeset", "x")).modinfo(metadata);
        host.upload(id, &odd);
        let inventory = connect().unwrap().inventory().unwrap();
        assert_eq!(entry(&inventory, "victim").build_id.as_ref(), Some(honest));
        assert_eq!(entry(&inventory, id).build_id.as_ref(), Some(odd.build_id()));
        host.unload(&name(id));
        host.unload(&name("victim"));
    }
}

/// A processor continues a line that it has not ended. Then the dump's own first line is in the middle of another, and that in
/// a function's name is the only one at the beginning of a line.
#[test]
#[ignore = "needs a real Xen"]
fn a_dump_inside_a_line_is_not_replaced_by_another() {
    let host = host();
    if !host.logs_reasons() {
        return;
    }
    let victim = payload(&host, "victim");
    let ids = format!("build-id={FAKE}\ndepend-on={FAKE}");
    let text = format!("{FUNCTION}\n{}", forged_dump(&host.xen, &ids));
    let forged = forger(&host, &text);
    host.upload("victim", &victim);
    // Xen cuts its message about this one, with the end of the line.
    let bad = bare(&host.client, "bad").function(FunctionPatch::returning("x".repeat(1100), "x")).build();
    let id_after_a_cut_line = || {
        host.client.upload_with(&name("bad"), &bad, UploadOptions::new().unchecked()).unwrap_err();
        entry(&host.client.inventory().unwrap(), "victim").build_id.clone()
    };
    // Without a forger the next attempt succeeds.
    assert_eq!(id_after_a_cut_line().as_ref(), Some(victim.build_id()));
    host.upload("forger", &forged);
    for _ in 0..10 {
        let id = id_after_a_cut_line();
        assert!(id.as_ref().is_none_or(|id| id == victim.build_id()), "{id:?}");
    }
    for id in ["forger", "victim"] {
        host.unload(&name(id));
    }
}
