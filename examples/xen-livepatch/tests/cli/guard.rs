//! The crash-loop guard of the tool over several boots.
//!
//! The tool takes the boot id of this machine. To simulate the end of a boot, that id is replaced in the guard's state, and
//! the simulated Xen is made anew.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use crate::demo::Demo;
use crate::looks::syncs;
use crate::tool;
use serde_json::json;

const COPIES: [&str; 2] = ["demo/boot/attempts.json", "demo/boot/attempts.copy.json"];

/// The id of ended boots.
const ENDED: &str = "5bdf46eb-3955-4c3b-9d6e-1c1b2a3d4e5f";

/// A host with payload files: `b` depends on `a`, `c` on `b`; `v1` and `v2` are cumulative.
fn host() -> Demo {
    Demo::new(&[("a", None), ("b", Some("a")), ("c", Some("b")), ("v1", None), ("v2", None)])
}

/// Ends the boot, and with it all payloads.
fn reboot(host: &Demo) {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    for copy in COPIES.map(|copy| host.path(copy)) {
        if let Ok(text) = fs::read_to_string(&copy) {
            fs::write(copy, text.replace(id.trim(), ENDED)).unwrap();
        }
    }
    lose_payloads(host);
}

fn lose_payloads(host: &Demo) {
    fs::remove_file(host.path("demo/xen.state")).unwrap();
    host.ends(0, "simulate new demo --release 4.17");
}

#[test]
fn a_payload_that_the_host_went_down_with_is_skipped_at_boot() {
    let host = host();
    host.ends(0, "ensure --boot a.livepatch");
    reboot(&host);
    for _ in 0..2 {
        let text = host.ends(3, "ensure --boot a.livepatch");
        assert!(text.contains("\"a\" (build-id "), "{text}");
        // The form that systemd expects: 32 digits.
        assert!(text.contains("(see journalctl --boot=5bdf46eb39554c3b9d6e1c1b2a3d4e5f)"), "{text}");
        assert!(text.contains("--retry") && text.contains("nothing was done"), "{text}");
        assert!(host.applied().is_empty());
        host.ends(0, "confirm --shutdown");
        reboot(&host);
    }
    host.ends(0, "ensure --boot v1.livepatch");
    assert_eq!(host.applied(), ["v1"]);
}

#[test]
fn a_payload_that_survived_is_applied_after_power_cuts_and_below_a_crasher() {
    let host = host();
    host.ends(0, "ensure --boot a.livepatch");
    let text = host.ends(0, "confirm --after 0s");
    assert!(text.contains("confirmed by this boot: payload "), "{text}");
    for _ in 0..2 {
        reboot(&host);
        host.ends(0, "ensure --boot a.livepatch");
    }
    reboot(&host);
    host.ends(0, "ensure --boot a.livepatch b.livepatch");
    reboot(&host);
    let text = host.ends(3, "ensure --boot a.livepatch b.livepatch c.livepatch");
    assert!(text.contains("Not applied unattended: \"b\", \"c\""), "{text}");
    assert_eq!(host.applied(), ["a"]);
    host.ends(0, "revert a");
    let object = host.json("ensure --boot a.livepatch b.livepatch c.livepatch");
    assert_eq!(host.applied(), ["a"]);
    assert_eq!((&object["ok"], &object["error"]["kind"]), (&json!(false), &json!("not_survived")));
    let result = &object["result"];
    assert_eq!((&result["inventory"]["stack"], &result["level"]), (&json!(["a"]), &json!("not_as_wanted")));
}

#[test]
fn the_level_that_survived_last_replaces_a_cumulative_suspect() {
    let host = host();
    fs::create_dir(host.path("fixes")).unwrap();
    for name in ["v1.livepatch", "v2.livepatch"] {
        fs::copy(host.path(name), host.path("fixes").join(name)).unwrap();
    }
    let link = host.path("fixes/livepatch.livepatch");
    symlink("v1.livepatch", &link).unwrap();
    host.ends(0, "ensure --boot fixes");
    host.ends(0, "confirm --shutdown");
    reboot(&host);
    fs::remove_file(&link).unwrap();
    symlink("v2.livepatch", &link).unwrap();
    host.ends(0, "ensure --boot fixes");
    assert_eq!(host.applied(), ["v2"]);
    reboot(&host);
    host.ends(3, "ensure --boot --dry-run fixes");
    let text = host.ends(3, "ensure --boot fixes");
    assert!(text.contains("applied instead, since it survived last: \"v1\""), "{text}");
    assert_eq!(host.applied(), ["v1"]);
    // Without its file no level is applied.
    reboot(&host);
    fs::remove_file(host.path("fixes/v1.livepatch")).unwrap();
    host.ends(3, "ensure --boot fixes");
    assert!(host.applied().is_empty());
}

#[test]
fn no_running_payload_is_removed_because_of_a_suspect() {
    let host = host();
    host.ends(0, "ensure --boot v2.livepatch");
    reboot(&host);
    host.ends(0, "load v1.livepatch");
    let text = host.ends(3, "ensure --boot v2.livepatch");
    assert!(text.contains("nothing was done"), "{text}");
    assert_eq!(host.applied(), ["v1"]);
    // A suspect that was applied by hand stays too.
    host.ends(0, "ensure --retry v2.livepatch");
    host.ends(0, "ensure --boot v2.livepatch");
    assert_eq!(host.applied(), ["v2"]);
}

#[test]
fn an_ensure_by_hand_is_recorded() {
    let host = host();
    host.ends(0, "ensure a.livepatch");
    assert!(host.ends(0, "status").contains("applied by hand; if the host goes down now, it is suspect"));
    reboot(&host);
    host.ends(3, "ensure --boot a.livepatch");
    // By hand it is applied with a warning.
    let text = host.ends(0, "ensure a.livepatch");
    assert!(text.contains("warning: \"a\" (build-id ") && text.contains("applied nevertheless"), "{text}");
    assert_eq!(host.applied(), ["a"]);
}

#[test]
fn payloads_removed_before_a_crash_are_not_suspect() {
    let host = host();
    host.ends(0, "ensure v1.livepatch");
    host.ends(0, "ensure v2.livepatch");
    host.ends(0, "ensure --nothing");
    assert!(!host.ends(0, "status").contains("not confirmed yet"));
    for taken_out in ["revert v1", "revert --all", "replace v2"] {
        host.ends(0, "ensure --keep-unapplied v1.livepatch");
        if taken_out == "replace v2" {
            host.ends(0, "upload v2 v2.livepatch");
        }
        host.ends(0, taken_out);
        assert!(!host.ends(0, "status").contains("not confirmed yet"), "{taken_out}");
    }
    host.ends(0, "ensure v2.livepatch");
    host.ends(0, "ensure --nothing");
    host.ends(0, "ensure v2.livepatch");
    reboot(&host);
    host.ends(0, "ensure --boot v1.livepatch");
    host.ends(3, "ensure --boot v2.livepatch");
}

#[test]
fn a_dry_run_records_nothing() {
    let host = host();
    host.ends(8, "ensure --dry-run a.livepatch");
    host.ends(8, "ensure --dry-run --boot a.livepatch");
    assert!(!host.path("demo/boot").exists());
}

#[test]
fn a_state_that_can_not_be_written_has_an_exit_status_of_its_own() {
    let host = host();
    fs::write(host.path("file"), "").unwrap();
    for (line, stack) in [
        ("ensure --boot --state file a.livepatch", &["a"][..]),
        ("ensure --state file/state a.livepatch b.livepatch", &["a", "b"]),
        ("ensure --retry --state /proc/self/state v1.livepatch", &["v1"]),
    ] {
        let text = host.ends(4, line);
        assert!(text.contains("these payloads are not guarded"), "{text}");
        assert_eq!(host.applied(), stack);
    }
    let object = host.json("ensure --state file a.livepatch");
    assert_eq!((&object["error"]["kind"], &object["error"]["retryable"]), (&json!("not_guarded"), &json!(false)));
    assert_eq!(object["result"]["inventory"]["stack"], json!(["a"]));
}

#[test]
fn the_directory_of_the_state_may_be_relative() {
    let host = host();
    for (state, payload) in [("new", "a"), ("deep/er/state", "v1")] {
        let text = host.ends(0, &format!("ensure --boot --state {state} {payload}.livepatch"));
        assert!(!text.contains("warning"), "{text}");
        assert!(
            host.path(state).join("attempts.json").exists() && host.path(state).join("attempts.copy.json").exists()
        );
    }
}

#[test]
fn only_applied_payloads_survive() {
    let host = host();
    // Neither can be applied: the second does not depend on the first.
    host.ends(1, "ensure --boot a.livepatch c.livepatch");
    assert!(!host.ends(0, "confirm --shutdown").contains("confirmed by"));
    host.ends(0, "ensure --boot a.livepatch b.livepatch");
    host.ends(0, "revert b");
    let text = host.ends(0, "confirm --shutdown");
    assert_eq!(text.matches("confirmed by this boot: payload ").count(), 1, "{text}");
    // The other one is not suspect.
    reboot(&host);
    host.ends(0, "ensure --boot a.livepatch b.livepatch");
    assert_eq!(host.applied(), ["a", "b"]);
}

#[test]
fn damaged_copies_forget_no_crash_and_stop_no_boot() {
    let host = host();
    host.ends(0, "ensure --boot a.livepatch");
    reboot(&host);
    fs::write(host.path(COPIES[0]), "").unwrap();
    let text = host.ends(3, "ensure --boot a.livepatch");
    assert!(text.contains("it is empty"), "{text}");
    host.ends(0, "ensure --boot v1.livepatch");
    assert!(Path::new(&host.path("demo/boot/attempts.json.damaged")).exists());
    assert!(host.ends(0, "status").contains("put aside"));
    host.ends(0, "confirm --shutdown");
    reboot(&host);
    host.ends(3, "ensure --boot a.livepatch");
}

/// Knowledge that is kept until the next boot is in /run, without a disk, and payloads may be large.
#[test]
fn only_the_state_of_the_guard_is_synced() {
    let host = host();
    let synced = syncs(tool(), "--simulate demo ensure a.livepatch", host.directory());
    let state = ["demo", "demo/boot", "demo/boot/attempts.copy.new", "demo/boot/attempts.new"];
    assert_eq!(synced, state.map(PathBuf::from));
    assert_eq!(host.applied(), ["a"]);
    for kept in ["demo/payloads", "demo/identities.json"] {
        assert!(host.path(kept).exists(), "{kept}");
    }
}
