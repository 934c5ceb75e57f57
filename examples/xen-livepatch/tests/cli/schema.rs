//! The output of `--json` and its schema, errors included.

use std::fs;
use std::path::Path;
use std::process::Command;

use jsonschema::Validator;
use serde_json::{Value, json};

/// Command lines with their exit statuses: every command, succeeding and failing.
const LINES: [(&str, i32); 46] = [
    ("simulate new demo --release 4.17", 0),
    ("simulate new demo", 1),
    ("simulate new other --release 4.20", 0),
    ("--simulate demo simulate payload a.livepatch", 0),
    ("--simulate demo simulate payload b.livepatch --on a.livepatch", 0),
    ("--simulate demo simulate payload debug.livepatch", 0),
    ("--simulate other simulate payload foreign.livepatch", 0),
    ("--simulate demo list", 0),
    ("--simulate demo status", 0),
    ("--simulate demo load a.livepatch", 0),
    ("--simulate demo load a.livepatch", 1),
    ("--simulate demo load foreign.livepatch", 1),
    ("--simulate demo load debug.livepatch", 1),
    ("--simulate demo load --nodeps debug.livepatch", 0),
    ("--simulate demo upload b b.livepatch", 0),
    ("--simulate demo upload b missing.livepatch", 1),
    ("--simulate demo list", 0),
    ("--simulate demo status", 0),
    ("--simulate demo status debug", 0),
    ("--simulate demo status missing", 1),
    ("--simulate demo apply a", 0),
    ("--simulate demo apply missing", 1),
    ("--simulate demo revert a", 1),
    ("--simulate demo revert debug", 0),
    ("--simulate demo replace debug", 0),
    ("--simulate demo --deadline 0s revert debug", 2),
    ("--simulate demo unload debug", 1),
    ("--simulate demo unload b", 0),
    ("--simulate demo revert --all", 0),
    ("--simulate demo unload --all", 0),
    // Of three payloads two depend on Xen, and one is for another.
    ("--simulate demo ensure --dry-run .", 7),
    ("--simulate demo ensure --dry-run a.livepatch b.livepatch", 8),
    ("--simulate demo ensure --boot a.livepatch b.livepatch", 0),
    ("--simulate demo status", 0),
    ("--simulate demo confirm --after 1000weeks", 2),
    ("--simulate demo confirm --shutdown", 0),
    ("--simulate demo ensure --state a.livepatch a.livepatch", 4),
    ("--simulate demo --deadline 0s ensure --nothing", 2),
    ("--simulate demo ensure b.livepatch", 1),
    ("inspect a.livepatch demo/xen.state", 1),
    ("check --for-xen 4.13 a.livepatch missing.livepatch", 1),
    ("--simulate demo check a.livepatch b.livepatch", 0),
    ("--device /dev/null list", 1),
    ("completions bash", 0),
    ("man", 0),
    ("remove a", 1),
];

#[test]
fn everything_printed_conforms_to_the_schema() {
    let tool = crate::tool();
    let schema = schema();
    let place = tempfile::tempdir().unwrap();
    let mut seen = Vec::new();
    for (line, status) in LINES {
        let output = Command::new(tool).arg("--json").args(line.split(' ')).current_dir(&place).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(status), "{line}: {text}");
        assert_eq!(text.matches('\n').count(), 1, "{line}: {text}");
        let object: Value = serde_json::from_str(&text).unwrap();
        let problems: Vec<String> = schema.iter_errors(&object).map(|error| error.to_string()).collect();
        assert!(problems.is_empty(), "{line}: {problems:?} in {text}");
        assert_eq!(object["ok"], json!(status == 0), "{line}");
        if let Some(error) = object.get("error") {
            assert_eq!(error["retryable"], json!(status == 2), "{line}");
        }
        seen.push(object);
    }
    // A schema that accepts everything would prove nothing.
    for object in &seen {
        for (changed, fault) in mangled(object) {
            assert!(!schema.is_valid(&changed), "{fault} is not noticed in {object}");
        }
    }
}

fn schema() -> Validator {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("schema.json");
    jsonschema::draft202012::new(&serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap()).unwrap()
}

/// Forms of the object that the schema must refuse, with the fault in each.
fn mangled(object: &Value) -> Vec<(Value, &'static str)> {
    let with = |path: &str, key: &str, value: Value| {
        let mut changed = object.clone();
        changed.pointer_mut(path).and_then(Value::as_object_mut)?.insert(key.into(), value);
        Some(changed)
    };
    let without = |key: &str| {
        let mut changed = object.clone();
        changed.as_object_mut()?.remove(key);
        Some(changed)
    };
    let cases = [
        (with("", "schema", json!(2)), "another version"),
        (with("", "more", json!(1)), "something more"),
        (with("/result", "more", json!(1)), "something more in the result"),
        (with("/error", "kind", json!("Two Words")), "a kind of two words"),
        (with("/error", "retryable", json!("no")), "a text that should be true or false"),
        (with("/result/payloads/0", "name", json!(7)), "a name that is a number"),
        (with("/result/inventory", "stack", json!("a")), "a stack that is a name"),
        (with("/result/payload/functions/0", "old_address", json!(18_u64 << 60)), "an address that is a number"),
        (with("/result/files/0", "ok", json!(0)), "a number that should be true or false"),
        (
            with("", "ok", json!(object["ok"] != json!(true))).filter(|_| object.get("result").is_none()),
            "a success without a result",
        ),
        (without("schema"), "no version"),
        (without("ok"), "no outcome"),
    ];
    cases.into_iter().filter_map(|(changed, fault)| Some((changed?, fault))).collect()
}
