//! The Xen project's own sequence of tests.

use xen_livepatch::State;

use super::host::{self, Host};
use super::script::Script;
use super::tool::Tool;

const CHECKED: State = State::Checked;
const APPLIED: State = State::Applied;

/// A row of the list: name, state and result.
type ListRow<'a> = (&'a str, State, i32);

/// A command, its exit status, the end of Xen's version after it (empty: the original), and the list.
type SequenceStep<'a> = (&'a [&'a str], i32, &'a str, &'a [ListRow<'a>]);

const HELLO: ListRow<'_> = ("hello", APPLIED, 0);

const STEPS: [SequenceStep<'_>; 26] = [
    (&["list"], 0, "", &[]),
    (&["revert", "hello"], 1, "", &[]),
    (&["load", "hello.livepatch"], 0, "-hello", &[HELLO]),
    (&["load", "hello.livepatch"], 1, "-hello", &[HELLO]),
    (&["list"], 0, "-hello", &[HELLO]),
    (&["revert", "hello"], 0, "", &[("hello", CHECKED, 0)]),
    (&["unload", "hello"], 0, "", &[]),
    (&["unload", "hello"], 1, "", &[]),
    (&["load", "hello.livepatch"], 0, "-hello", &[HELLO]),
    (&["load", "bye.livepatch"], 0, "-bye", &[HELLO, ("bye", APPLIED, 0)]),
    (&["upload", "replace", "replace.livepatch"], 0, "-bye", &[HELLO, ("bye", APPLIED, 0), ("replace", CHECKED, 0)]),
    (&["replace", "replace"], 0, "-replace", &[("hello", CHECKED, 0), ("bye", CHECKED, 0), ("replace", APPLIED, 0)]),
    // It was reverted, and has writable data.
    (&["apply", "hello"], 1, "-replace", &[("hello", CHECKED, -22), ("bye", CHECKED, 0), ("replace", APPLIED, 0)]),
    // It depends on another payload.
    (&["apply", "bye"], 1, "-replace", &[("hello", CHECKED, -22), ("bye", CHECKED, 0), ("replace", APPLIED, 0)]),
    (&["apply", "replace"], 0, "-replace", &[("hello", CHECKED, -22), ("bye", CHECKED, 0), ("replace", APPLIED, 0)]),
    (&["revert", "replace"], 0, "", &[("hello", CHECKED, -22), ("bye", CHECKED, 0), ("replace", CHECKED, 0)]),
    (&["unload", "hello"], 0, "", &[("bye", CHECKED, 0), ("replace", CHECKED, 0)]),
    (&["unload", "bye"], 0, "", &[("replace", CHECKED, 0)]),
    (&["unload", "replace"], 0, "", &[]),
    (&["list"], 0, "", &[]),
    (&["load", "nop.livepatch"], 0, "-nop", &[("nop", APPLIED, 0)]),
    (&["revert", "nop"], 0, "", &[("nop", CHECKED, 0)]),
    (&["apply", "nop"], 0, "-nop", &[("nop", APPLIED, 0)]),
    (&["unload", "nop"], 1, "-nop", &[("nop", APPLIED, 0)]),
    (&["revert", "nop"], 0, "", &[("nop", CHECKED, 0)]),
    (&["unload", "nop"], 0, "", &[]),
];

fn expect_rows(host: &Host, tool: &Tool, wanted: &[ListRow<'_>], after: &[&str]) {
    let rows = host.client.list().unwrap();
    let rows: Vec<_> = rows.iter().map(|row| (row.name.to_string(), row.status.state, row.status.rc)).collect();
    let wanted_rows: Vec<_> = wanted.iter().map(|(name, state, rc)| ((*name).to_owned(), *state, *rc)).collect();
    assert_eq!(rows, wanted_rows, "after {after:?}");

    let list = String::from_utf8(tool.list()).unwrap();
    let shown: Vec<_> = list.lines().skip(2).collect();
    assert_eq!(shown.len(), wanted.len(), "{list}");
    for (line, (name, state, rc)) in shown.iter().zip(wanted) {
        let result = if *rc == 0 { "    | " } else { " (22, Invalid argument)    | " };
        let begins = format!("{name:<40}| {state}{result}");
        assert!(line.starts_with(&begins), "{line:?} does not begin with {begins:?}");
    }
    assert!(!wanted.is_empty() || list == "Nothing to list\n", "{list}");
}

#[test]
#[ignore = "needs a real Xen"]
fn the_xen_projects_own_sequence() {
    let host = host::host();
    let tool = Tool::of_the_environment();
    Script::new(0, 0, &host.client).files.write();
    for (arguments, exit, extra, rows) in STEPS {
        tool.expect(exit, arguments);
        let shown = if extra.is_empty() { &host.original } else { extra };
        assert_eq!(host::shown(), shown, "after {arguments:?}");
        expect_rows(&host, &tool, rows, arguments);
    }
}
