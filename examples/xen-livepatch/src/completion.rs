//! Completions for shells: scripts that call the tool again, and the words that it answers with.

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap_complete::Shell;
use clap_complete::engine::{ArgValueCandidates, CompletionCandidate};
use clap_complete::env::{CompleteEnv, Shells};
use xen_livepatch::{BuildId, PayloadName, State};

use crate::arguments::{self, CommonOptions};
use crate::host::{Access, with_client};
use crate::manual::printed;
use crate::output::Done;

const TOOL: &str = "xen-livepatch";

/// The longest time to wait for the lock of a simulated Xen while someone waits for names.
const PATIENCE: Duration = Duration::from_millis(200);

/// Answers a script, which sets `COMPLETE`, and ends the process.
pub(crate) fn answer() {
    CompleteEnv::with_factory(arguments::command).complete();
}

/// The script that makes a shell call the tool for completions.
pub(crate) fn script(shell: Shell) -> Done {
    let shells = Shells::builtins();
    let adapter = shells.completer(&shell.to_string()).expect("there is one for each shell");
    let mut text = Vec::new();
    adapter.write_registration("COMPLETE", TOOL, TOOL, TOOL, &mut text).expect("memory can be written");
    let mut text = String::from_utf8_lossy(&text).into_owned();
    if shell == Shell::Zsh {
        // A script in fpath is first run for an answer.
        text += "\n[[ $funcstack[1] == _xen-livepatch ]] && _clap_dynamic_completer_xen_livepatch\n";
    }
    printed(&text)
}

/// The names of the loaded payloads that are in this state, or in any.
pub(crate) fn loaded(state: Option<State>) -> ArgValueCandidates {
    ArgValueCandidates::new(move || {
        let list = with_client(&options(), Access::Lists, |client| Ok(client.list()?));
        let rows =
            list.unwrap_or_default().into_iter().filter(|row| state.is_none_or(|state| row.status.state == state));
        rows.map(|row| CompletionCandidate::new(typed(&row.name))).collect()
    })
}

/// The options of the line to complete that select a Xen.
fn options() -> CommonOptions {
    let words: Vec<OsString> = env::args_os().collect();
    let value = |option| words.iter().skip_while(|word| *word != option).nth(1).map(PathBuf::from);
    let (simulate, device) = (value("--simulate"), value("--device"));
    CommonOptions { simulate, device, deadline: Some(PATIENCE), ..CommonOptions::default() }
}

/// A name that is accepted on the command line, and that no shell takes for anything else.
fn typed(name: &PayloadName) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._+-@=,".contains(c);
    match name.to_str().filter(|text| text.chars().all(is_plain) && !text.starts_with('-')) {
        Some(text) => text.to_owned(),
        None => format!("hex:{}", BuildId::new(name.as_bytes())),
    }
}
