//! Payload files that are installed and removed, as a whole or not at all; and `status`, which compares them with the host.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::demo::Demo;
use serde_json::json;
use xen_livepatch::sim::{FunctionPatch, PayloadBuilder};

fn host() -> Demo {
    Demo::new(&[("a", None), ("b", Some("a")), ("v1", None)])
}

/// The files of the directory with their contents; none of a directory in it.
fn files(host: &Demo) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
    let entries = fs::read_dir(host.path("fixes")).unwrap().map(|entry| entry.unwrap().path());
    entries.map(|path| (path.clone(), fs::read(path).ok())).collect()
}

#[test]
fn a_failure_halfway_leaves_the_files_as_they_were() {
    let host = host();
    host.ends(0, "install --directory fixes a.livepatch");
    fs::copy(host.path("v1.livepatch"), host.path("fixes/a.livepatch")).unwrap();
    fs::create_dir_all(host.path("fixes/b.livepatch/inner")).unwrap();
    fs::write(host.path("fixes/.a.livepatch.old"), "left by a crash").unwrap();
    let before = files(&host);
    host.ends(1, "install --directory fixes a.livepatch b.livepatch");
    fs::write(host.path("fixes/.a.livepatch.old"), "left by a crash").unwrap();
    assert_eq!(files(&host), before);

    fs::remove_dir_all(host.path("fixes/b.livepatch")).unwrap();
    let before = files(&host);
    for line in
        ["install --directory fixes b.livepatch", "install --directory fixes other.ko", "uninstall --directory fixes b"]
    {
        host.ends(1, line);
        assert_eq!(files(&host), before, "{line}");
    }
    let result = host.json("install --directory fixes a.livepatch b.livepatch");
    assert_eq!(result["result"]["files"], json!(["fixes/a.livepatch", "fixes/b.livepatch"]));
    assert_eq!(files(&host).len(), 2);
    // The simulated Xen's own directory is not that of this machine.
    host.ends(1, "install a.livepatch");
    host.ends(1, "install --directory new v1.livepatch b.livepatch");
    assert!(!host.path("new").exists());
}

#[test]
fn files_for_another_xen_need_no_xen() {
    let host = host();
    host.ends(0, "--simulate missing install --directory fixes --for-xen 4.17 a.livepatch b.livepatch");
    host.ends(1, "--simulate missing install --directory fixes --for-xen 4.17 v1.livepatch");
    host.ends(1, "--simulate missing install --directory fixes --for-xen 4.13 a.livepatch");
    let id = host.json("status")["result"]["inventory"]["build_id"].as_str().unwrap().to_owned();
    let line = |name| format!("--simulate missing uninstall --directory fixes --for-xen 4.17 --build-id {id} {name}");
    host.ends(1, &line("a"));
    host.ends(0, &line("b"));
    assert_eq!(files(&host).len(), 1);
}

#[test]
fn a_signature_goes_with_its_file() {
    let host = host();
    fs::write(host.path("a.livepatch.minisig"), "signed").unwrap();
    host.ends(0, "install --directory fixes a.livepatch");
    assert_eq!(fs::read(host.path("fixes/a.livepatch.minisig")).unwrap(), b"signed");
    host.ends(0, "uninstall --directory fixes a");
    assert_eq!(files(&host).len(), 0);
}

#[test]
fn a_damaged_file_can_be_removed() {
    let host = host();
    host.ends(0, "install --directory fixes a.livepatch");
    fs::write(host.path("fixes/b.livepatch"), "").unwrap();
    host.ends(0, "uninstall --directory fixes b");
    assert_eq!(files(&host).len(), 1);
}

#[test]
fn status_shows_fixes_and_files() {
    let host = host();
    host.change(|xen| {
        let payload = PayloadBuilder::for_xen(xen, "fix").function(FunctionPatch::returning("xen_extra_version", "-1"));
        fs::write(host.path("fix.livepatch"), payload.metadata("xsa", Some("500, 501")).build()).unwrap();
    });
    host.ends(0, "install --directory fixes fix.livepatch");
    let on_disk = || host.json("status --directory fixes")["result"]["on_disk"].clone();
    let state = |on_disk: &serde_json::Value| on_disk["files"][0]["state"].clone();
    assert_eq!(state(&on_disk()), json!("not_applied"));
    host.ends(0, "upload fix fix.livepatch");
    assert_eq!(state(&on_disk()), json!("loaded"));
    host.ends(0, "apply fix");
    assert_eq!(state(&on_disk()), json!("applied"));
    host.ends(0, "uninstall --directory fixes fix");
    assert_eq!(on_disk()["applied_without_file"], json!(["fix"]));
    assert_eq!(host.json("status")["result"]["fixes"], json!({ "fix": ["XSA-500", "XSA-501"] }));
    assert!(host.ends(0, "status").contains("xsa=500, 501  fixes XSA-500, XSA-501\n"));
    assert!(host.ends(0, "status fix").contains("  fixes      XSA-500, XSA-501\n"));
}

#[test]
fn hints_name_the_command_as_it_was_called_and_a_goal_that_works() {
    let host = host();
    let tool = host.path("xen-livepatch-tool");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_xen-livepatch"), &tool).unwrap();
    let hint = |line: &str| {
        let output = Command::new(&tool).args(line.split(' ')).current_dir(host.path("")).output().unwrap();
        let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        text.split_once("xen-livepatch-tool ").unwrap().1.lines().next().unwrap().to_owned()
    };
    let ensure = hint("--simulate demo install --directory fixes a.livepatch");
    assert_eq!(ensure, "ensure fixes");
    host.ends(0, &ensure);
    let nothing = hint("--simulate demo uninstall --directory fixes a");
    assert_eq!(nothing, "ensure --nothing");
    host.ends(0, &nothing);
    assert_eq!(hint("--simulate missing list"), "simulate new missing");
    assert_eq!(hint("lisst"), "help'");
}
