//! The output of `--json` and its schema, errors included.

use std::fs;
use std::path::Path;
use std::process::Command;

use jsonschema::Validator;
use serde_json::{Value, json};

use crate::place::place;

/// A transcript of outcomes that no other transcript shows.
const OTHERS: &str = "
$ xen-livepatch simulate new demo
$ xen-livepatch --simulate demo simulate payload a.livepatch
$ xen-livepatch --simulate demo load a.livepatch
$ xen-livepatch --simulate demo --deadline 0s ensure --nothing
? 2
$ xen-livepatch completions bash
$ xen-livepatch man
$ xen-livepatch man --install share/man
$ xen-livepatch schema
";

/// Runs the commands of a transcript, and returns what the tool prints with `--json`.
fn objects(transcript: &str) -> Vec<Value> {
    let (place, path) = place();
    let mut lines = transcript.lines().peekable();
    let mut objects = Vec::new();
    while let Some(line) = lines.next() {
        let Some(line) = line.strip_prefix("$ ") else { continue };
        let status = lines.peek().and_then(|line| line.strip_prefix("? ")).map_or(0, |status| status.parse().unwrap());
        let (program, words) = line.split_once(' ').unwrap_or((line, ""));
        let is_tool = program.starts_with("xen-livepatch");
        let json = if is_tool && !words.contains("--json") { "--json" } else { "" };
        let script = format!("{program} {json} {words}");
        let mut command = Command::new("/bin/sh");
        let output = command.args(["-c", &script]).env("PATH", &path).current_dir(&place).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(status), "{line}: {text}");
        if !is_tool {
            continue;
        }
        assert_eq!(text.matches('\n').count(), 1, "{line}: {text}");
        let object: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(object["ok"], json!(status == 0), "{line}");
        if let Some(error) = object.get("error") {
            assert_eq!(error["retryable"], json!(status == 2), "{line}");
        }
        objects.push(object);
    }
    objects
}

#[test]
fn every_command_of_the_transcripts_conforms_to_the_schema() {
    let schema = schema();
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("transcripts");
    let mut seen = objects(OTHERS);
    for transcript in fs::read_dir(directory).unwrap() {
        let path = transcript.unwrap().path();
        // Help is never JSON.
        if !path.ends_with("help.md") {
            seen.extend(objects(&fs::read_to_string(path).unwrap()));
        }
    }
    assert!(seen.len() > 300, "{}", seen.len());
    for object in &seen {
        let problems: Vec<String> = schema.iter_errors(object).map(|error| error.to_string()).collect();
        assert!(problems.is_empty(), "{problems:?} in {object}");
        // A schema that accepts everything would prove nothing.
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
