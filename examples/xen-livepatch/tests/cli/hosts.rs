//! Hosts that no transcript shows: changed by another tool, or with payloads that `simulate` does not make.

use std::fs;

use serde_json::json;
use xen_livepatch::payload::HookKind;
use xen_livepatch::sim::{FunctionPatch, HookCode, Pace, PayloadBuilder, SimulatedXen};
use xen_livepatch::{Action, Flags};

use crate::demo::Demo;

/// A host with payload files: `a`, which is also the only one in the directory `fixes`, `b` on `a`, and the cumulative `v1`.
fn host() -> Demo {
    let host = Demo::new(&[("a", None), ("b", Some("a")), ("v1", None)]);
    directory(&host, "fixes", &["a.livepatch"]);
    host
}

/// Makes a directory with these files.
fn directory(host: &Demo, name: &str, files: &[&str]) {
    fs::create_dir(host.path(name)).unwrap();
    for file in files {
        fs::copy(host.path(file), host.path(name).join(file)).unwrap();
    }
}

/// Begins to replace everything with `v1`, as another tool would, and leaves that pending.
fn begin_replace(host: &Demo) {
    host.ends(0, "upload v1 v1.livepatch");
    host.change(|xen| {
        xen.set_pace(Pace::Held);
        xen.other_start("v1", Action::Replace, Flags::empty()).unwrap();
        xen.set_pace(Pace::Polls(0));
    });
}

#[track_caller]
fn assert_has(metrics: &str, lines: &[&str]) {
    for line in lines {
        assert!(metrics.lines().any(|other| other == format!("xen_livepatch_{line}")), "{line}: {metrics}");
    }
}

/// Another tool's action that outlasts the deadline is no reason to withhold the verdict.
#[test]
fn a_host_that_stays_busy_is_judged_nevertheless() {
    let host = host();
    host.ends(0, "simulate new other --release 4.20");
    host.ends(0, "--simulate other simulate payload foreign.livepatch");
    directory(&host, "foreign", &["foreign.livepatch"]);
    directory(&host, "empty", &[]);
    directory(&host, "damaged", &["a.livepatch"]);
    fs::write(host.path("damaged/b.livepatch"), "").unwrap();
    host.ends(0, "ensure --boot a.livepatch");
    begin_replace(&host);
    // As in the C tool.
    let row = "v1                                      | CHECKED (11, Resource temporarily unavailable)    | \n";
    assert!(host.ends(0, "list").ends_with(&format!("{row}using the simulated Xen in demo\n")));
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
    let metrics = host.ends(0, "metrics fixes");
    assert_has(&metrics, &["up 1", "payload_pending{name=\"a\"} 0", "payload_pending{name=\"v1\"} 1"]);
    assert_has(&metrics, &["last_ensure_status{kind=\"operation_in_progress\"} 2"]);
    host.change(SimulatedXen::finish_action);
    host.ends(0, "ensure v1.livepatch");
    assert_eq!(host.applied(), ["v1"]);
}

#[test]
fn a_refused_payload_leaves_the_host_restored() {
    let host = host();
    host.ends(0, "ensure a.livepatch");
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
fn commands_on_an_unchanged_host_press_no_key() {
    let host = host();
    host.ends(0, "load a.livepatch");
    host.change(|xen| {
        xen.other_upload("v1", &fs::read(host.path("v1.livepatch")).unwrap()).unwrap();
    });
    let presses = |line: &str| {
        let text = host.ends(0, &format!("-v {line}"));
        assert!(text.contains("LIVEPATCH_LIST"), "{line}: {text}");
        text.matches("debug_keys").count()
    };
    assert_eq!(presses("metrics fixes"), 1);
    let ensure = "ensure --keep-unapplied fixes";
    for line in ["metrics fixes", "status", "status a", ensure, &format!("{ensure} --dry-run")] {
        assert_eq!(presses(line), 0, "{line}");
    }
}

/// Names that are the same text for people, and a name and a path with quotation marks.
#[test]
fn labels_of_metrics_distinguish_all_names() {
    let host = host();
    host.ends(0, "upload hex:ff a.livepatch");
    host.ends(0, "upload \\xff v1.livepatch");
    fs::write(host.path("fixes/\".livepatch"), "").unwrap();
    let lines = [
        "payload_pending{name=\"hex:ff\"} 0",
        "payload_pending{name=\"\\\\xff\"} 0",
        "store_problem{kind=\"empty\",path=\"fixes/\\\".livepatch\"} 1",
    ];
    assert_has(&host.ends(0, "metrics fixes"), &lines);
}
