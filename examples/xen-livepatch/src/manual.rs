//! The manual page and completions, generated from the command line.

use std::io::{self, Write};

use clap::Command;
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};
use serde_json::json;

use crate::arguments;
use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::output::Done;

/// Sections that are not generated: headings with entries.
const EXTRA: &[(&str, &[(&str, &str)])] = &[
    (
        "FILES",
        &[
            ("/dev/xen/privcmd", "Xen's privileged command device, through which every request goes."),
            ("/usr/lib/xen-livepatch", "Payloads to apply at boot, flat or in a directory for each build of Xen."),
            ("/etc/xen-livepatch/off", "While it exists, ensure --boot does nothing."),
            ("/var/lib/xen-livepatch", "The state of the guard: the payloads that boots survived, and the suspects."),
            ("/run/xen-livepatch/lock", "Locked (flock) by every command that changes the loaded payloads."),
            (
                "/run/xen-livepatch",
                "Until the next boot: bounds on the point release of the running Xen, the build-ids of loaded payloads, their \
                 files, with which ensure can put back a payload, and the outcome of the last ensure.",
            ),
        ],
    ),
    (
        "EXAMPLES",
        &[
            ("xen-livepatch load /tmp/xsa-500.livepatch", "Upload the file as xsa-500, and apply it."),
            ("xen-livepatch load --nodeps trace.livepatch", "Load a debug patch on top of whatever is applied."),
            (
                "xen-livepatch ensure --dry-run /usr/lib/xen-livepatch",
                "Print the steps that would bring this host to the payloads of that directory.",
            ),
            ("xen-livepatch check --for-xen 4.17.7 *.livepatch", "Check payloads without a Xen."),
            (
                "xen-livepatch metrics --output /var/lib/prometheus/node-exporter/xen-livepatch.prom",
                "Write the metrics of this host for Prometheus.",
            ),
            (
                "xen-livepatch --json status | jq -r .result.inventory.effective",
                "Print the effective version, for a script.",
            ),
        ],
    ),
    ("SEE ALSO", &[("xl(1)", "In particular xl dmesg, which prints Xen's log.")]),
];

pub(crate) fn completions(shell: Shell) -> Done {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut arguments::command(), "xen-livepatch", &mut text);
    let text = String::from_utf8_lossy(&text);
    // The script for bash names its states in two ways if the program's name has a hyphen (clap-rs/clap#6421).
    printed(&text.replace("xen__subcmd__livepatch", "xen__livepatch"))
}

/// One page for all commands.
pub(crate) fn page() -> Result<Done, Failure> {
    let mut page = Vec::new();
    write_page(&mut page).map_err(|error| Failure::new("internal", error))?;
    Ok(printed(&String::from_utf8_lossy(&page)))
}

fn printed(text: &str) -> Done {
    Done::new(text, json!({ "text": text }))
}

fn write_page(page: &mut Vec<u8>) -> io::Result<()> {
    let mut command = arguments::command().disable_help_subcommand(true);
    command.build();
    let man = Man::new(command.clone()).section("8").manual("System Administration");
    man.render_title(page)?;
    man.render_name_section(page)?;
    man.render_synopsis_section(page)?;
    man.render_description_section(page)?;
    man.render_options_section(page)?;
    let mut heading = Roff::new();
    heading.control("SH", ["COMMANDS"]);
    heading.to_writer(page)?;
    for sub in command.get_subcommands_mut() {
        if sub.has_subcommands() {
            for inner in sub.get_subcommands_mut().filter(|inner| inner.get_name() != "help") {
                write_command(inner, page)?;
            }
        } else {
            write_command(sub, page)?;
        }
    }
    section("EXIT STATUS", &ExitStatus::ALL.map(|(status, meaning)| (status.number(), meaning))).to_writer(page)?;
    EXTRA.iter().try_for_each(|(heading, entries)| section(heading, entries).to_writer(page))
}

/// A section with its entries.
fn section(heading: &str, entries: &[(impl ToString, &str)]) -> Roff {
    let mut section = Roff::new();
    section.control("SH", [heading]);
    for (subject, about) in entries {
        section.control("TP", []);
        section.text([bold(subject.to_string())]);
        section.text([roman(*about)]);
    }
    section
}

fn write_command(command: &mut Command, page: &mut Vec<u8>) -> io::Result<()> {
    let mut roff = Roff::new();
    let usage = command.render_usage().to_string();
    let usage =
        usage.trim_start_matches("Usage: ").replace("xen-livepatch ", "").replace("[OPTIONS]", "").replace("  ", " ");
    roff.control("SS", [usage.trim()]);
    let about = command.get_long_about().or_else(|| command.get_about());
    for (at, part) in about.map(ToString::to_string).unwrap_or_default().split("\n\n").enumerate() {
        if at > 0 {
            roff.control("PP", []);
        }
        roff.text([roman(part)]);
    }
    for argument in command.get_arguments().filter(|argument| !argument.is_global_set() && argument.get_id() != "help")
    {
        roff.control("TP", []);
        let takes = argument.get_action().takes_values();
        let names = argument.get_value_names().filter(|_| takes).unwrap_or_default();
        let value = names.iter().fold(String::new(), |value, name| format!("{value} {name}"));
        let name = argument.get_long().map_or_else(|| value.trim().to_owned(), |long| format!("--{long}{value}"));
        roff.text([bold(name)]);
        roff.text([roman(argument.get_help().map(ToString::to_string).unwrap_or_default())]);
    }
    roff.to_writer(page)?;
    page.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_for_bash_has_every_state_that_it_enters() {
        let script = completions(Shell::Bash).text;
        let states: Vec<&str> =
            script.lines().filter_map(|line| line.trim().strip_prefix("cmd=\"")?.strip_suffix('"')).collect();
        assert!(states.len() > 15, "{states:?}");
        for state in states.iter().filter(|state| !state.is_empty()) {
            assert!(script.lines().any(|line| line.trim().strip_suffix(')') == Some(state)), "{state}");
        }
    }
}
