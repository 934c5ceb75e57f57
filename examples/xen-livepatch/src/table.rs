//! The table of loaded payloads, as the C tool prints it.

use std::fmt::Write as _;

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

/// The last result unless it is 0, as its number and its text.
pub(crate) fn result(status: &Status) -> String {
    match status.rc.wrapping_neg() {
        0 => String::new(),
        number => format!(" ({number}, {})", error_text(number)),
    }
}

/// The text of an error number in glibc, with which the C tool is linked. The C library of this program may have other texts.
fn error_text(number: i32) -> String {
    let line = usize::try_from(number).ok().and_then(|number| include_str!("errno.txt").lines().nth(number));
    line.filter(|text| !text.is_empty()).map_or_else(|| format!("Unknown error {number}"), str::to_owned)
}

#[cfg(test)]
mod tests {
    use xen_livepatch::sim::{FunctionPatch, PayloadBuilder, SimulatedXen};
    use xen_livepatch::{LivepatchClient, Release};

    use super::*;

    #[cfg(target_env = "gnu")]
    #[test]
    fn error_texts_are_those_of_glibc() {
        for number in -2..200 {
            let text = std::io::Error::from_raw_os_error(number).to_string();
            assert_eq!(format!("{} (os error {number})", error_text(number)), text);
        }
    }

    #[test]
    fn no_character_breaks_a_line_or_acts_on_a_terminal() {
        let xen = SimulatedXen::new(Release::V4_17);
        let client = LivepatchClient::connect(xen.clone()).unwrap();
        let hostile = PayloadBuilder::for_xen(&xen, "x").function(FunctionPatch::returning("xen_extra_version", "x"));
        let hostile = hostile.modinfo(b"a=\x1b[2J\nfake | APPLIED\0");
        xen.other_upload(b"one\n\x1b]0;two\x07\xff", &hostile.build()).unwrap();
        let rows = table(&client.list().unwrap());
        assert_eq!(rows.lines().count(), 3, "{rows}");
        assert!(rows.chars().all(|c| c == '\n' || !c.is_control()), "{rows:?}");
    }
}
