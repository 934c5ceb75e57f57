//! The manual page, generated from the command line.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use clap::{Arg, Command};
use clap_mangen::Man;
use clap_mangen::roff::{Inline, Roff, bold, italic, roman};
use serde_json::json;

use crate::command_line;
use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::files;
use crate::output::Done;
use crate::terminal::shown;

/// Sections that are not generated: headings with entries.
const EXTRA: &[(&str, &[(&str, &str)])] = &[
    (
        "FILES",
        &[
            ("/dev/xen/privcmd", "Xen's privileged command device, through which every request goes."),
            ("/usr/lib/xen-livepatch", "Payloads to apply at boot, flat or in a directory for each build of Xen."),
            ("/etc/xen-livepatch/off", "While it exists, ensure --boot does nothing."),
            (
                "/etc/xen-livepatch/trusted.d/*.pub",
                "Public keys of minisign. If there are any, a payload is uploaded only with a valid signature FILE.minisig by one of \
                 them, except with --unsigned. Only root may be able to change them.",
            ),
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
            ("minisign -S -s KEY -m xsa-500.livepatch", "Sign a payload, as xsa-500.livepatch.minisig."),
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
    (
        "SEE ALSO",
        &[("xl(1)", "In particular xl dmesg, which prints Xen's log."), ("minisign(1)", "Makes keys and signatures.")],
    ),
];

/// Prints the page of all commands, or writes it below a directory of manual pages.
pub(crate) fn page(directory: Option<&Path>) -> Result<Done, Failure> {
    let mut page = Vec::new();
    write_page(&mut page).map_err(|error| Failure::new("internal", error))?;
    let Some(directory) = directory else { return Ok(printed(&String::from_utf8_lossy(&page))) };
    let file = directory.join("man8/xen-livepatch.8");
    let written = fs::create_dir_all(directory.join("man8"))
        .and_then(|()| files::replace(&file, &file.with_extension("new"), 0o644, &page));
    written.map_err(|error| Failure::file(&file, &error))?;
    Ok(Done::new(format!("{}\n", shown(&file)), json!({ "file": file.to_string_lossy() })))
}

pub(crate) fn printed(text: &str) -> Done {
    Done::new(text, json!({ "text": text }))
}

fn write_page(page: &mut Vec<u8>) -> io::Result<()> {
    let mut command = command_line::command().disable_help_subcommand(true);
    command.build();
    let man = Man::new(command.clone()).section("8").manual("System Administration");
    man.render_title(page)?;
    man.render_name_section(page)?;
    let mut synopsis = Roff::new();
    synopsis.control("SH", ["SYNOPSIS"]);
    let options = command.get_arguments().filter(|option| !["help", "version"].contains(&option.get_id().as_str()));
    let mut line = vec![bold("xen-livepatch")];
    for option in options {
        line.extend([roman(" [")].into_iter().chain(form(option)).chain([roman("]")]));
    }
    line.extend([roman(" "), italic("COMMAND"), roman(" ...")]);
    synopsis.text(line);
    synopsis.control("SH", ["DESCRIPTION"]);
    paragraphs(&mut synopsis, command.get_long_about());
    synopsis.to_writer(page)?;
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
    paragraphs(&mut roff, command.get_about());
    if command.get_after_help().is_some() {
        roff.control("PP", []);
    }
    paragraphs(&mut roff, command.get_after_help());
    for argument in command.get_arguments().filter(|argument| !argument.is_global_set() && argument.get_id() != "help")
    {
        roff.control("TP", []);
        roff.text(form(argument));
        paragraphs(&mut roff, argument.get_help());
    }
    roff.to_writer(page)?;
    page.flush()
}

/// An argument as it is typed: `--simulate DIR`, or `FILE`.
fn form(argument: &Arg) -> Vec<Inline> {
    let takes = argument.get_action().takes_values();
    let names = argument.get_value_names().filter(|_| takes).unwrap_or_default();
    let long = argument.get_long().map(|long| bold(format!("--{long}")));
    let parts: Vec<Inline> = long.into_iter().chain(names.iter().map(|name| italic(name.as_str()))).collect();
    let mut form = Vec::new();
    for part in parts {
        if !form.is_empty() {
            form.push(roman(" "));
        }
        form.push(part);
    }
    form
}

/// Paragraphs, with text between backticks in bold.
fn paragraphs(roff: &mut Roff, text: Option<&impl ToString>) {
    let text = text.map(ToString::to_string).unwrap_or_default();
    for (at, paragraph) in text.split("\n\n").enumerate() {
        if at > 0 {
            roff.control("PP", []);
        }
        let parts = paragraph.split('`').enumerate();
        roff.text(parts.map(|(at, part)| if at % 2 == 0 { roman(part) } else { bold(part) }).collect::<Vec<_>>());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_no_backticks_and_shows_values() {
        let page = page(None).unwrap().text;
        assert!(!page.contains('`') && page.contains("\\-\\-simulate\\fR \\fIDIR\\fR]"), "{page}");
    }
}
