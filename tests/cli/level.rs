//! The level of a host: exit statuses, JSON, and announced gaps.

use std::fs;
use std::ops::Deref;

use crate::demo::Demo;
use serde_json::{Value, json};

/// A host with payload files: `a`, `b` on `a`, the cumulative `v1` and `v2`, and one for another Xen.
struct Host(Demo);

impl Deref for Host {
    type Target = Demo;

    fn deref(&self) -> &Demo {
        &self.0
    }
}

impl Host {
    fn new() -> Self {
        let host = Self(Demo::new(&[("a", None), ("b", Some("a")), ("v1", None), ("v2", None)]));
        host.ends(0, "simulate new other --release 4.20");
        host.ends(0, "--simulate other simulate payload foreign.livepatch");
        host
    }

    #[track_caller]
    fn ensure(&self, status: i32, line: &str) -> String {
        self.ends(status, &format!("ensure {line}"))
    }

    fn applied(&self) -> Vec<String> {
        let rows = self.json("list");
        let rows = rows["result"]["payloads"].as_array().unwrap().iter();
        let applied = rows.filter(|row| row["status"]["state"] == "APPLIED");
        applied.map(|row| row["name"].as_str().unwrap().to_owned()).collect()
    }

    /// Makes a directory with these files.
    fn directory(&self, name: &str, files: &[&str]) {
        let directory = self.path(name);
        fs::create_dir_all(&directory).unwrap();
        for file in files {
            fs::copy(self.path(file), directory.join(file)).unwrap();
        }
    }

    fn cut(&self, file: &str) {
        let path = self.path(file);
        let bytes = fs::read(&path).unwrap();
        fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
    }
}

#[test]
fn a_dry_run_distinguishes_four_levels() {
    let host = Host::new();
    host.directory("fixes", &["a.livepatch", "b.livepatch"]);
    host.directory("foreign", &["foreign.livepatch"]);
    host.directory("empty", &[]);
    for (place, status, level) in
        [("fixes", 8, "not_as_wanted"), ("foreign", 9, "nothing_for_this_xen"), ("empty", 10, "nothing_there")]
    {
        host.ensure(status, &format!("--dry-run {place}"));
        assert_eq!(host.json(&format!("ensure --dry-run {place}"))["result"]["level"], json!(level));
    }
    host.ensure(0, "--boot foreign");
    host.ensure(9, "foreign");
    host.ensure(10, "empty");
    host.ensure(0, "--boot empty");
    host.ensure(0, "fixes");
    host.ensure(9, "foreign");
    host.ensure(10, "--boot empty");
    assert_eq!(host.applied(), ["a", "b"]);
    host.ensure(0, "--dry-run fixes");
    let result = &host.json("ensure --dry-run fixes")["result"];
    assert_eq!((&result["level"], &result["wanted"]), (&json!("as_wanted"), &json!(["a", "b"])));
    // Payloads for another Xen are named.
    host.directory("fixes", &["foreign.livepatch"]);
    let text = host.ensure(0, "fixes");
    assert!(text.contains("fixes/foreign.livepatch: ignored, since it is for another Xen"), "{text}");
    assert_eq!(host.json("ensure fixes")["result"]["ignored"], json!(["fixes/foreign.livepatch"]));
}

#[test]
fn a_damaged_file_is_named_and_removes_nothing() {
    let host = Host::new();
    host.directory("fixes", &["a.livepatch", "b.livepatch"]);
    host.ensure(0, "fixes");
    for damaged in ["b.livepatch", "a.livepatch"] {
        host.cut(&format!("fixes/{damaged}"));
        let text = host.ensure(7, "fixes");
        assert!(text.contains(&format!("fixes/{damaged}: ")), "{text}");
        assert!(
            text.contains("error: nothing is removed or replaced while some files could not be used: fixes/"),
            "{text}"
        );
        assert_eq!(host.applied(), ["a", "b"]);
        host.ensure(7, "--boot fixes");
        let object = host.json("ensure fixes");
        assert_eq!((&object["error"]["kind"], &object["result"]["plan"]), (&json!("incomplete"), &Value::Null));
        assert_eq!(host.applied(), ["a", "b"]);
        fs::copy(host.path(damaged), host.path(&format!("fixes/{damaged}"))).unwrap();
    }
    host.ensure(0, "fixes");
}

#[test]
fn a_boot_applies_the_stack_below_a_damaged_file() {
    let host = Host::new();
    host.directory("fixes", &["a.livepatch", "b.livepatch"]);
    host.cut("fixes/b.livepatch");
    let text = host.ensure(7, "--boot fixes");
    assert!(text.contains("fixes/b.livepatch: "), "{text}");
    assert_eq!(host.applied(), ["a"]);
    // The next run adds nothing, and still reports an incomplete level.
    let result = host.json("ensure fixes");
    assert_eq!((&result["error"]["kind"], &result["result"]["level"]), (&json!("incomplete"), &json!("not_as_wanted")));
}

#[test]
fn a_new_file_of_the_same_name_leaves_no_gap() {
    let host = Host::new();
    host.directory("fixes", &[]);
    for version in ["v1", "v2", "v1"] {
        let file = host.path("fixes/fix.livepatch");
        fs::copy(host.path(&format!("{version}.livepatch")), file).unwrap();
        let text = host.ensure(0, "fixes");
        assert!(!text.contains("the host runs without"), "{text}");
        assert_eq!(host.applied().len(), 1);
        assert_eq!(host.json("list")["result"]["payloads"].as_array().unwrap().len(), 1);
    }
}

#[test]
fn a_gap_is_printed_before_it_is_entered_and_can_be_refused() {
    let host = Host::new();
    host.ensure(0, "v1.livepatch");
    let text = host.ensure(1, "--one-by-one --no-gap v2.livepatch");
    assert!(text.contains("from step 2 to step 3 the host runs without v1"), "{text}");
    assert_eq!(host.applied(), ["v1"]);
    let text = host.ensure(0, "--one-by-one v2.livepatch");
    let gap = text.find("from step 2 to step 3 the host runs without v1").unwrap();
    assert!(gap < text.find("revert v1: done").unwrap(), "{text}");
    assert_eq!(host.applied(), ["v2"]);
}

#[test]
fn the_name_of_one_file_can_be_chosen() {
    let host = Host::new();
    host.ensure(0, "--name lp_4.17.4-1-4.17.4-6 v1.livepatch");
    assert_eq!(host.applied(), ["lp_4.17.4-1-4.17.4-6"]);
    // It is the same payload under any name.
    host.ensure(0, "--dry-run v1.livepatch");
    let text = host.ensure(0, "--name other v1.livepatch");
    assert!(text.contains("other: it is loaded already, and keeps its name: lp_4.17.4-1-4.17.4-6"), "{text}");
    host.ensure(1, "--name fix a.livepatch b.livepatch");
    host.ensure(1, "--name fix .");
}

#[test]
fn another_choice_by_link_leaves_no_gap() {
    let host = Host::new();
    host.directory("fixes", &["v1.livepatch", "v2.livepatch"]);
    let link = host.path("fixes/livepatch.livepatch");
    for version in ["v1", "v2"] {
        let _ = fs::remove_file(&link);
        std::os::unix::fs::symlink(format!("{version}.livepatch"), &link).unwrap();
        let text = host.ensure(0, "fixes/livepatch.livepatch");
        assert!(!text.contains("the host runs without"), "{text}");
        assert_eq!(host.applied(), [version]);
    }
    // A link to a damaged file changes nothing.
    host.cut("fixes/v2.livepatch");
    host.ensure(7, "fixes");
    assert_eq!(host.applied(), ["v2"]);
}

#[test]
fn commands_on_an_unchanged_host_press_no_key() {
    let host = Host::new();
    host.ensure(0, "a.livepatch b.livepatch");
    host.ends(0, "status");
    for line in ["status", "status a", "ensure a.livepatch b.livepatch", "ensure --dry-run a.livepatch b.livepatch"] {
        let text = host.ends(0, &format!("-v {line}"));
        assert!(text.contains("LIVEPATCH_LIST") && !text.to_lowercase().contains("debug"), "{line}: {text}");
    }
}

/// The kept files show which payloads share symbols, and make it possible to put them back.
#[test]
fn the_files_of_loaded_payloads_are_kept() {
    let host = Host::new();
    host.ensure(0, "a.livepatch b.livepatch");
    let kept = || fs::read_dir(host.path("demo/payloads")).unwrap().count();
    assert_eq!(kept(), 2);
    host.ensure(0, "v1.livepatch");
    assert_eq!(kept(), 1);
    host.ensure(0, "--nothing");
    assert_eq!(kept(), 0);
}
