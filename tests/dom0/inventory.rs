//! Inventories, which can't be forged.

use crate::prelude::*;

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

/// A payload that leaves the version alone, which reveals the point release of a 4.7 or 4.8.
fn payload(host: &Host, id: &str) -> PayloadBuilder {
    bare(&host.client, id).function(FunctionPatch::returning("xen_compile_date", id))
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
