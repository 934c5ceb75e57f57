//! Signatures, trusted keys, and files that other users can change.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::demo::Demo;
use crate::schema::schema;
use crate::tool;

const FILES: [&str; 2] = ["extra-version.livepatch", "stacked.livepatch"];

/// A host with one trusted key, and files without signatures: two in the directory `fixes`.
fn host() -> Demo {
    let host = Demo::new(&[]);
    host.ends(0, "simulate new signed --build-id 101112131415161718191a1b1c1d1e1f20212223");
    for directory in ["fixes", "signed/trusted.d"] {
        fs::create_dir(host.path(directory)).unwrap();
    }
    copy("signatures/release.pub", &host.path("signed/trusted.d/release.pub"));
    for file in FILES {
        copy(&format!("../../../tests/gcc-payloads/{file}"), &host.path("fixes").join(file));
    }
    host
}

fn copy(from: &str, to: &Path) {
    fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(from), to).unwrap();
}

fn sign(host: &Demo, file: &str) {
    copy(&format!("signatures/{file}.minisig"), &host.path(&format!("fixes/{file}.minisig")));
}

#[track_caller]
fn ends(host: &Demo, status: i32, line: &str) -> String {
    host.ends(status, &format!("--simulate signed {line}"))
}

#[test]
fn with_keys_every_way_into_xen_needs_a_signature() {
    let host = host();
    let reason = "it is not trusted: fixes/extra-version.livepatch.minisig is missing";
    for line in [
        "upload fix fixes/extra-version.livepatch",
        "load fixes/extra-version.livepatch",
        "ensure fixes/extra-version.livepatch",
        "ensure --name fix fixes/extra-version.livepatch",
        "ensure --dry-run fixes/extra-version.livepatch",
        "check fixes/extra-version.livepatch",
    ] {
        let text = ends(&host, 1, line);
        let reason = if line.starts_with("check") { &reason[18..] } else { reason };
        assert!(text.contains(reason), "{line}: {text}");
    }
    let text = ends(&host, 7, "ensure fixes");
    assert!(text.contains(&format!("fixes/extra-version.livepatch: {reason}")), "{text}");
    sign(&host, FILES[0]);
    ends(&host, 7, "ensure fixes");
    assert_eq!(ends(&host, 0, "list").matches("APPLIED").count(), 1);
    sign(&host, FILES[1]);
    ends(&host, 0, "ensure fixes");
    // Keys elsewhere, none of which signed these.
    fs::create_dir(host.path("others")).unwrap();
    ends(&host, 1, "ensure --trusted others fixes");
    copy("signatures/other.pub", &host.path("others/other.pub"));
    let text = ends(&host, 7, "ensure --trusted others fixes");
    assert!(
        text.contains("is by key B386380F591365EB; trusted are signatures by key 29611D42CBE9BE54 (other.pub)"),
        "{text}"
    );
    ends(&host, 0, "ensure --nothing");
    for line in ["upload fix fixes/extra-version.livepatch", "apply fix", "load fixes/stacked.livepatch"] {
        ends(&host, 0, line);
    }
    // Nothing is uploaded while a key can't be read.
    fs::write(host.path("signed/trusted.d/bad.pub"), b"no key").unwrap();
    let text = ends(&host, 1, "ensure fixes");
    assert!(
        text.contains("signed/trusted.d/bad.pub: it is not a public key of minisign; nothing is trusted"),
        "{text}"
    );
    assert!(ends(&host, 0, "status").contains("nothing is trusted"));
}

#[test]
fn a_debug_patch_may_be_unsigned_if_that_is_said() {
    let host = host();
    for line in
        ["upload --unsigned fix fixes/extra-version.livepatch", "load --unsigned fixes/stacked.livepatch --nodeps"]
    {
        let text = ends(&host, 0, line);
        assert!(text.contains(".livepatch: its signature is not verified, because of --unsigned\n"), "{text}");
    }
    ends(&host, 1, "ensure --unsigned fixes");
}

#[test]
fn signers_are_shown_in_json_too() {
    let host = host();
    sign(&host, FILES[0]);
    let schema = schema();
    for (line, at, value) in [
        ("status", "/result/trust/keys", json!([{ "file": "release.pub", "id": "B386380F591365EB" }])),
        ("inspect fixes/extra-version.livepatch", "/result/files/0/signature/key", json!("release.pub")),
        ("check fixes/extra-version.livepatch", "/result/files/0/signature/comment", json!("the first fix")),
        ("inspect fixes/stacked.livepatch", "/result/files/0/ok", json!(true)),
        ("check fixes/stacked.livepatch", "/result/files/0/ok", json!(false)),
        ("ensure fixes", "/result/problems/0/kind", json!("untrusted")),
        ("load fixes/stacked.livepatch", "/error/kind", json!("untrusted")),
        ("ensure --trusted missing fixes", "/error/kind", json!("keys")),
        ("status --trusted missing", "/result/trust/keys", json!([])),
    ] {
        let output = host.run(&format!("--simulate signed --json {line}")).stdout;
        let object: Value = serde_json::from_slice(&output).unwrap();
        assert_eq!(object.pointer(at), Some(&value), "{line}: {object}");
        assert!(schema.is_valid(&object), "{line}: {object}");
    }
}

#[test]
fn the_stock_minisign_makes_keys_and_signatures() {
    if Command::new("minisign").arg("-v").stdout(Stdio::null()).status().is_err() {
        return;
    }
    let host = host();
    let minisign = |line: &str| {
        let mut command = Command::new("minisign");
        let output = command.args(line.split(' ')).current_dir(host.directory()).stdin(Stdio::null()).output().unwrap();
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    };
    minisign("-G -W -p signed/trusted.d/mine.pub -s mine.key");
    minisign("-S -s mine.key -m fixes/extra-version.livepatch -t reviewed");
    minisign("-S -l -s mine.key -m fixes/stacked.livepatch");
    ends(&host, 0, "ensure fixes");
    let text = ends(&host, 0, "check fixes/extra-version.livepatch");
    assert!(text.contains(" (mine.pub): reviewed\n"), "{text}");
}

/// Before the device is opened, so that no Xen is needed; and without a change, so that no file of this machine is written.
#[test]
fn on_a_real_xen_only_root_may_be_able_to_change_files_and_keys() {
    let host = host();
    let kind = |line: &str| {
        let mut command = Command::new(tool());
        let output = command.arg("--json").args(line.split(' ')).current_dir(host.directory()).output().unwrap();
        serde_json::from_slice::<Value>(&output.stdout).unwrap()["error"]["kind"].clone()
    };
    let file = "--device missing ensure --dry-run fixes/extra-version.livepatch";
    let key = "--device missing load --trusted signed/trusted.d fixes/extra-version.livepatch";
    assert_eq!((kind(file), kind(key)), (json!("device_missing"), json!("untrusted")));
    for (name, line) in [
        ("fixes", file),
        ("fixes/extra-version.livepatch", file),
        ("signed/trusted.d", key),
        ("signed/trusted.d/release.pub", key),
    ] {
        let mode = |mode| fs::set_permissions(host.path(name), fs::Permissions::from_mode(mode)).unwrap();
        mode(0o777);
        assert_eq!(kind(line), "exposed", "{name}");
        mode(0o755);
    }
}
