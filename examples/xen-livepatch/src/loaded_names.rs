//! Completions of the names of loaded payloads.

use std::env;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;
use std::time::Duration;

use clap_complete::engine::{ArgValueCandidates, CompletionCandidate};
use xen_livepatch::{BuildId, PayloadName, State};

use crate::host::{Access, with_client};
use crate::options::CommonOptions;

/// The names of the loaded payloads that are in this state, or in any.
pub(crate) fn loaded(state: Option<State>) -> ArgValueCandidates {
    ArgValueCandidates::new(move || {
        let list = with_client(&options(), Access::Lists, |client| Ok(client.list()?));
        let rows =
            list.unwrap_or_default().into_iter().filter(|row| state.is_none_or(|state| row.status.state == state));
        rows.map(|row| CompletionCandidate::new(typed(&row.name))).collect()
    })
}

/// The options of the line to complete that select a Xen. While its lock is held there are no names, since someone waits for
/// them.
fn options() -> CommonOptions {
    let words: Vec<OsString> = env::args_os().collect();
    let (simulate, device) = (value(&words, "--simulate"), value(&words, "--device"));
    CommonOptions { simulate, device, deadline: Some(Duration::ZERO), ..CommonOptions::default() }
}

/// The value of an option, as `--option VALUE` or `--option=VALUE`.
fn value(words: &[OsString], option: &str) -> Option<PathBuf> {
    let joined = format!("{option}=");
    words.iter().enumerate().find_map(|(at, word)| match word.as_bytes().strip_prefix(joined.as_bytes()) {
        Some(value) => Some(OsStr::from_bytes(value).into()),
        None if word == option => words.get(at + 1).map(PathBuf::from),
        None => None,
    })
}

/// A name that is accepted on the command line, and that no shell takes for anything else.
fn typed(name: &PayloadName) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._+-@=,".contains(c);
    match name.to_str().filter(|text| text.chars().all(is_plain) && !text.starts_with('-')) {
        Some(text) => text.to_owned(),
        None => format!("hex:{}", BuildId::new(name.as_bytes())),
    }
}
