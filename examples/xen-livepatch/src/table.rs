//! The table of loaded payloads, as the C tool prints it.

use std::fmt::Write as _;
use std::io;

use xen_livepatch::{LoadedPayload, State, Status};

const HEADING: &str = " ID                                     | status     | metadata\n\
                       ----------------------------------------+------------+---------------\n";

/// A heading of two lines and a row for each payload, byte for byte as the C tool prints them, except that characters which
/// would break a line or act on a terminal are escaped.
pub(crate) fn table(rows: &[LoadedPayload]) -> String {
    if rows.is_empty() {
        return "Nothing to list\n".into();
    }
    let mut table = HEADING.to_owned();
    for LoadedPayload { name, status, metadata, .. } in rows {
        let name = name.to_string();
        // The C tool counts bytes.
        let blanks = " ".repeat(40_usize.saturating_sub(name.len()));
        let _ = writeln!(table, "{name}{blanks}| {}{}    | {metadata}", word(status.state), result(status));
    }
    table
}

fn word(state: State) -> &'static str {
    match state {
        State::Checked => "CHECKED",
        State::Applied => "APPLIED",
        _ => "unknown",
    }
}

/// The last result unless it is 0, as its number and the text of the C library.
pub(crate) fn result(status: &Status) -> String {
    match status.rc.wrapping_neg() {
        0 => String::new(),
        number => {
            let text = io::Error::from_raw_os_error(number).to_string();
            format!(" ({number}, {})", text.split(" (os error").next().expect("a split text has a first part"))
        }
    }
}

#[cfg(test)]
mod tests {
    use xen_livepatch::sim::{FunctionPatch, PayloadBuilder, SimulatedXen};
    use xen_livepatch::{Action, Flags, LivepatchClient, PayloadName, Release};

    use super::*;

    fn payload(xen: &SimulatedXen, name: &str) -> PayloadBuilder {
        PayloadBuilder::for_xen(xen, name).function(FunctionPatch::returning("xen_extra_version", "x"))
    }

    #[test]
    fn the_table_equals_that_of_the_c_tool() {
        let xen = SimulatedXen::new(Release::V4_20);
        let client = LivepatchClient::connect(xen.clone()).unwrap();
        assert_eq!(table(&client.list().unwrap()), "Nothing to list\n");

        let long = "n".repeat(41);
        let hello = payload(&xen, "hello").metadata("a", Some("1")).metadata("urgent", None);
        xen.other_upload("hello", &hello.build()).unwrap();
        xen.other_action("hello", Action::Apply, Flags::empty()).unwrap();
        let broken = payload(&xen, "broken").writable_data([1]).metadata("b", Some("2")).build();
        xen.other_upload("broken", &broken).unwrap();
        // It was reverted, and can't be applied again.
        let name = PayloadName::new("broken").unwrap();
        client.apply(&name, Flags::NODEPS).unwrap();
        client.revert(&name, Flags::empty()).unwrap();
        client.apply(&name, Flags::NODEPS).unwrap_err();
        xen.other_upload(&long, &payload(&xen, &long).build()).unwrap();
        xen.other_upload("é", &payload(&xen, "é").build()).unwrap();
        let rows = table(&client.list().unwrap());
        let expected = format!(
            "{HEADING}hello                                   | APPLIED    | a=1;urgent\n\
             broken                                  | CHECKED (22, Invalid argument)    | b=2\n\
             {long}| CHECKED    | \n\
             é                                      | CHECKED    | \n"
        );
        assert_eq!(rows, expected);
    }

    #[test]
    fn no_character_breaks_a_line_or_acts_on_a_terminal() {
        let xen = SimulatedXen::new(Release::V4_17);
        let client = LivepatchClient::connect(xen.clone()).unwrap();
        let hostile = payload(&xen, "x").modinfo(b"a=\x1b[2J\nfake | APPLIED\0");
        xen.other_upload(b"one\n\x1b]0;two\x07\xff", &hostile.build()).unwrap();
        let rows = table(&client.list().unwrap());
        assert_eq!(rows.lines().count(), 3, "{rows}");
        assert!(rows.chars().all(|c| c == '\n' || !c.is_control()), "{rows:?}");
    }
}
