//! Completions for shells: scripts that call the tool again, and the words that it answers with.

use clap_complete::Shell;
use clap_complete::env::{CompleteEnv, Shells};

use crate::command_line;
use crate::manual::printed;
use crate::output::Done;

const TOOL: &str = "xen-livepatch";

/// Answers a script, which sets `COMPLETE`, and ends the process.
pub(crate) fn answer() {
    CompleteEnv::with_factory(command_line::command).complete();
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
