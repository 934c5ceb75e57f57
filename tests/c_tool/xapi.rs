//! The sequence in which xapi brings a host to a patch level.

use super::host::{self, Host};
use super::script::Script;
use super::tool::Tool;

/// The rows as xapi reads them: a name at the beginning of a line, followed anywhere by the word for the state.
fn rows(list: &str) -> Vec<(String, &'static str)> {
    let row = |line: &str| {
        let (name, rest) = line.split_once(char::is_whitespace)?;
        let state = ["APPLIED", "CHECKED"].into_iter().find(|state| rest.contains(state))?;
        (!name.is_empty()).then(|| (name.to_owned(), state))
    };
    list.lines().filter_map(row).collect()
}

/// Takes xapi's steps to one level. xapi itself finds the payload by a link in a directory named after Xen's build-id.
fn bring_to(host: &Host, tool: &Tool, name: &str, is_there: bool) {
    let file = format!("{name}.livepatch");
    // xapi ignores the failure, which is expected unless the payload is loaded and not applied.
    tool.expect(1, &["unload", name]);
    if is_there {
        tool.expect(1, &["upload", name, &file]);
        return;
    }
    tool.expect(0, &["upload", name, &file]);
    tool.expect(0, &["replace", name]);
    let list = String::from_utf8(tool.list()).unwrap();
    for (checked, _) in rows(&list).into_iter().filter(|(_, state)| *state == "CHECKED") {
        tool.expect(0, &["unload", &checked]);
    }
    let list = String::from_utf8(tool.list()).unwrap();
    assert_eq!(rows(&list), [(name.to_owned(), "APPLIED")], "{list}");
    assert_eq!(host::shown(), format!("-{name}"));
    assert_eq!(host.names(), [name]);
}

#[test]
#[ignore = "needs a real Xen"]
fn the_sequence_of_xapi() {
    let host = host::host();
    let tool = Tool::of_the_environment();
    Script::new(0, 0, &host.client).files.write();
    assert_eq!(rows(&String::from_utf8(tool.list()).unwrap()), []);

    bring_to(&host, &tool, "replace", false);
    bring_to(&host, &tool, "debug", false);
    // Two payloads of another origin are replaced by the next one.
    tool.expect(0, &["load", "hello.livepatch", "--nodeps"]);
    tool.expect(0, &["upload", "data", "data.livepatch"]);
    bring_to(&host, &tool, "nop", false);
    bring_to(&host, &tool, "nop", true);

    tool.expect(0, &["revert", "nop"]);
    tool.expect(0, &["unload", "nop"]);
}

#[test]
fn rows_are_distinguished_from_the_heading() {
    let list = " ID                                     | status     | metadata\n\
                ----------------------------------------+------------+---------------\n\
                fix                                     | APPLIED    | a=CHECKED\n\
                old.one                                 | CHECKED (22, Invalid argument)    | \n";
    assert_eq!(rows(list), [("fix".to_owned(), "APPLIED"), ("old.one".to_owned(), "CHECKED")]);
}
