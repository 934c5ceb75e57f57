//! Metrics of hosts that no transcript shows.

use std::fs;

use xen_livepatch::sim::Pace;
use xen_livepatch::{Action, Flags};

use crate::demo::Demo;

/// A host with the wanted payload `a` in `fixes`, and without other knowledge of it.
fn host() -> Demo {
    let host = Demo::new(&[("a", None), ("b", None)]);
    fs::create_dir(host.path("fixes")).unwrap();
    fs::copy(host.path("a.livepatch"), host.path("fixes/a.livepatch")).unwrap();
    host
}

#[track_caller]
fn assert_has(text: &str, lines: &[&str]) {
    for line in lines {
        assert!(text.lines().any(|other| other == format!("xen_livepatch_{line}")), "{line}: {text}");
    }
}

#[test]
fn metrics_of_an_unchanged_host_press_no_key() {
    let host = host();
    host.ends(0, "load a.livepatch");
    host.change(|xen| {
        xen.other_upload("b", &fs::read(host.path("b.livepatch")).unwrap()).unwrap();
    });
    let presses = || host.ends(0, "-v metrics fixes").to_lowercase().matches("debug").count();
    assert!(presses() > 0);
    assert_eq!([presses(), presses()], [0, 0]);
}

#[test]
fn metrics_while_an_action_is_pending_show_what_is_known() {
    let host = host();
    host.ends(0, "ensure fixes");
    host.ends(0, "upload b b.livepatch");
    host.change(|xen| {
        xen.set_pace(Pace::Held);
        xen.other_start("b", Action::Replace, Flags::empty()).unwrap();
    });
    let text = host.ends(0, "metrics fixes");
    assert_has(&text, &["up 1", "payload_pending{name=\"a\"} 0", "payload_pending{name=\"b\"} 1"]);
    host.ends(2, "--deadline 50ms ensure b.livepatch");
    assert_has(&host.ends(0, "metrics fixes"), &["last_ensure_status{kind=\"operation_in_progress\"} 2"]);
}

#[test]
fn a_file_is_replaced_as_a_whole_or_not_at_all() {
    let host = host();
    fs::create_dir(host.path("out")).unwrap();
    for _ in 0..2 {
        assert_eq!(host.run("metrics fixes --output out/host.prom").stdout, b"");
    }
    let text = fs::read_to_string(host.path("out/host.prom")).unwrap();
    assert_has(&text, &["up 1", "level{level=\"not_as_wanted\"} 1"]);
    assert_eq!(fs::read_dir(host.path("out")).unwrap().count(), 1);
    host.ends(1, "metrics fixes --output nowhere/host.prom");
    // A device, too, keeps its place.
    std::os::unix::fs::symlink("/dev/null", host.path("out/null")).unwrap();
    for other in ["out", "out/null"] {
        let text = host.ends(1, &format!("metrics fixes --output {other}"));
        assert!(text.contains(&format!("error: {other}: it is not a regular file")), "{text}");
    }
}

#[test]
fn a_dry_run_is_not_the_last_ensure() {
    let host = host();
    host.ends(8, "ensure --dry-run fixes");
    assert!(!host.ends(0, "metrics fixes").contains("last_ensure"));
    host.ends(1, "ensure nowhere");
    assert_has(&host.ends(0, "metrics fixes"), &["last_ensure_status{kind=\"file\"} 1"]);
}

/// Names that are the same text for people, and a name and a path with quotation marks.
#[test]
fn labels_distinguish_all_names() {
    let host = host();
    host.ends(0, "upload hex:ff a.livepatch");
    host.ends(0, "upload \\xff b.livepatch");
    fs::write(host.path("fixes/\".livepatch"), "").unwrap();
    let text = host.ends(0, "metrics fixes");
    assert_has(
        &text,
        &[
            "payload_pending{name=\"hex:ff\"} 0",
            "payload_pending{name=\"\\\\xff\"} 0",
            "store_problem{kind=\"empty\",path=\"fixes/\\\".livepatch\"} 1",
        ],
    );
}
