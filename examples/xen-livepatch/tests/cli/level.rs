//! The level of a host: exit statuses, JSON, and announced gaps.

use std::fs;

use crate::demo::Demo;
use serde_json::{Value, json};
use xen_livepatch::payload::HookKind;
use xen_livepatch::sim::{FunctionPatch, HookCode, Pace, PayloadBuilder, SimulatedXen};
use xen_livepatch::{Action, Flags};

/// A host with payload files: `a`, `b` on `a`, the cumulative `v1` and `v2`, and one for another Xen.
fn host() -> Demo {
    let host = Demo::new(&[("a", None), ("b", Some("a")), ("v1", None), ("v2", None)]);
    host.ends(0, "simulate new other --release 4.20");
    host.ends(0, "--simulate other simulate payload foreign.livepatch");
    host
}

/// Makes a directory with these files.
fn directory(host: &Demo, name: &str, files: &[&str]) {
    let directory = host.path(name);
    fs::create_dir_all(&directory).unwrap();
    for file in files {
        fs::copy(host.path(file), directory.join(file)).unwrap();
    }
}

/// Cuts a file in half.
fn cut(host: &Demo, file: &str) {
    let path = host.path(file);
    let bytes = fs::read(&path).unwrap();
    fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
}

#[test]
fn a_dry_run_distinguishes_four_levels() {
    let host = host();
    directory(&host, "fixes", &["a.livepatch", "b.livepatch"]);
    directory(&host, "foreign", &["foreign.livepatch"]);
    directory(&host, "empty", &[]);
    for (place, status, level) in
        [("fixes", 8, "not_as_wanted"), ("foreign", 9, "nothing_for_this_xen"), ("empty", 10, "nothing_there")]
    {
        host.ends(status, &format!("ensure --dry-run {place}"));
        assert_eq!(host.json(&format!("ensure --dry-run {place}"))["result"]["level"], json!(level));
    }
    host.ends(0, "ensure --boot foreign");
    host.ends(9, "ensure foreign");
    host.ends(10, "ensure empty");
    host.ends(0, "ensure --boot empty");
    host.ends(0, "ensure fixes");
    host.ends(9, "ensure foreign");
    host.ends(10, "ensure --boot empty");
    assert_eq!(host.applied(), ["a", "b"]);
    host.ends(0, "ensure --dry-run fixes");
    let result = &host.json("ensure --dry-run fixes")["result"];
    assert_eq!((&result["level"], &result["wanted"]), (&json!("as_wanted"), &json!(["a", "b"])));
    // Payloads for another Xen are named.
    directory(&host, "fixes", &["foreign.livepatch"]);
    assert_eq!(host.json("ensure fixes")["result"]["ignored"], json!(["fixes/foreign.livepatch"]));
}

#[test]
fn a_damaged_file_is_named_and_removes_nothing() {
    let host = host();
    directory(&host, "fixes", &["a.livepatch", "b.livepatch"]);
    host.ends(0, "ensure fixes");
    for damaged in ["b.livepatch", "a.livepatch"] {
        cut(&host, &format!("fixes/{damaged}"));
        let text = host.ends(7, "ensure fixes");
        assert!(text.contains(&format!("fixes/{damaged}: ")), "{text}");
        assert!(
            text.contains("error: nothing is removed or replaced while some files could not be used: fixes/"),
            "{text}"
        );
        host.ends(7, "ensure --boot fixes");
        let object = host.json("ensure fixes");
        assert_eq!((&object["error"]["kind"], &object["result"]["plan"]), (&json!("incomplete"), &Value::Null));
        assert_eq!(host.applied(), ["a", "b"]);
        fs::copy(host.path(damaged), host.path(&format!("fixes/{damaged}"))).unwrap();
    }
    host.ends(0, "ensure fixes");
}

#[test]
fn a_boot_applies_the_stack_below_a_damaged_file() {
    let host = host();
    directory(&host, "fixes", &["a.livepatch", "b.livepatch"]);
    cut(&host, "fixes/b.livepatch");
    let text = host.ends(7, "ensure --boot fixes");
    assert!(text.contains("fixes/b.livepatch: "), "{text}");
    assert_eq!(host.applied(), ["a"]);
    // The next run adds nothing, and still reports an incomplete level.
    let result = host.json("ensure fixes");
    assert_eq!((&result["error"]["kind"], &result["result"]["level"]), (&json!("incomplete"), &json!("not_as_wanted")));
}

/// Another tool's action that outlasts the deadline is no reason to withhold the verdict.
#[test]
fn a_host_that_stays_busy_is_judged_nevertheless() {
    let host = host();
    directory(&host, "foreign", &["foreign.livepatch"]);
    directory(&host, "empty", &[]);
    directory(&host, "damaged", &["a.livepatch", "b.livepatch"]);
    cut(&host, "damaged/b.livepatch");
    host.ends(0, "ensure --boot a.livepatch");
    host.ends(0, "upload v1 v1.livepatch");
    host.change(|xen| {
        xen.set_pace(Pace::Held);
        xen.other_start("v1", Action::Replace, Flags::empty()).unwrap();
        xen.set_pace(Pace::Polls(0));
    });
    let ensure = |status, arguments: &str| host.ends(status, &format!("--deadline 100ms ensure {arguments}"));
    let text = ensure(0, "--keep-unapplied a.livepatch");
    assert!(text.contains("no action needed"), "{text}");
    ensure(7, "--keep-unapplied damaged");
    ensure(9, "foreign");
    ensure(10, "empty");
    // What there is to do can't be done yet.
    ensure(2, "--keep-unapplied a.livepatch b.livepatch");
    let object = host.json("--deadline 100ms ensure --keep-unapplied a.livepatch b.livepatch");
    assert_eq!((&object["error"]["retryable"], &object["result"]["outcome"]), (&json!(true), &json!("unchanged")));
    host.change(SimulatedXen::finish_action);
    host.ends(0, "ensure v1.livepatch");
    assert_eq!(host.applied(), ["v1"]);
}

#[test]
fn json_shows_if_anything_was_changed() {
    let host = host();
    let changed = |line: &str| host.json(line)["result"]["changed"].clone();
    assert_eq!(changed("ensure --dry-run a.livepatch"), json!(false));
    assert_eq!(changed("ensure a.livepatch"), json!(true));
    assert_eq!(changed("ensure a.livepatch"), json!(false));
    host.change(|xen| {
        let refusing = PayloadBuilder::for_xen(xen, "refusing").hook(HookKind::PreApply, HookCode::returns(-22));
        let refusing = refusing.function(FunctionPatch::returning("xen_extra_version", "-refusing"));
        fs::write(host.path("refusing.livepatch"), refusing.build()).unwrap();
    });
    let object = host.json("ensure refusing.livepatch");
    assert_eq!((&object["result"]["changed"], &object["error"]["outcome"]), (&json!(true), &json!("restored")));
    let details = json!({ "code": { "number": 22, "name": "EINVAL" } });
    assert_eq!(object["error"]["details"], details);
    assert_eq!(host.applied(), ["a"]);
}

#[test]
fn the_name_of_one_file_can_be_chosen() {
    let host = host();
    host.ends(0, "ensure --name lp_4.17.4-1-4.17.4-6 v1.livepatch");
    assert_eq!(host.applied(), ["lp_4.17.4-1-4.17.4-6"]);
    // It is the same payload under any name.
    host.ends(0, "ensure --dry-run v1.livepatch");
    let text = host.ends(0, "ensure --name other v1.livepatch");
    assert!(text.contains("other: it is loaded already, and keeps its name: lp_4.17.4-1-4.17.4-6"), "{text}");
    host.ends(1, "ensure --name fix a.livepatch b.livepatch");
    host.ends(1, "ensure --name fix .");
}

#[test]
fn commands_on_an_unchanged_host_press_no_key() {
    let host = host();
    host.ends(0, "ensure a.livepatch b.livepatch");
    host.ends(0, "status");
    for line in ["status", "status a", "ensure a.livepatch b.livepatch", "ensure --dry-run a.livepatch b.livepatch"] {
        let text = host.ends(0, &format!("-v {line}"));
        assert!(text.contains("LIVEPATCH_LIST") && !text.to_lowercase().contains("debug"), "{line}: {text}");
    }
}

/// The kept files show which payloads share symbols, and make it possible to put them back.
#[test]
fn the_files_of_loaded_payloads_are_kept() {
    let host = host();
    host.ends(0, "ensure a.livepatch b.livepatch");
    let kept = || fs::read_dir(host.path("demo/payloads")).unwrap().count();
    assert_eq!(kept(), 2);
    host.ends(0, "ensure v1.livepatch");
    assert_eq!(kept(), 1);
    host.ends(0, "ensure --nothing");
    assert_eq!(kept(), 0);
}
