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

/// The sections after those that are generated.
const LAST_SECTIONS: &str = include_str!("manual.roff");

/// Prints the page of all commands, or writes it below a directory of manual pages.
pub(crate) fn page(directory: Option<&Path>) -> Result<Done, Failure> {
    let mut page = Vec::new();
    write_page(&mut page).map_err(|error| Failure::new("internal", error))?;
    let Some(directory) = directory else { return Ok(printed(&String::from_utf8_lossy(&page))) };
    let file = directory.join("man8/xen-livepatch.8");
    let written = fs::create_dir_all(directory.join("man8")).and_then(|()| files::replace(&file, 0o644, &page));
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
    let mut statuses = Roff::new();
    statuses.control("SH", ["EXIT STATUS"]);
    for (status, meaning) in ExitStatus::ALL {
        statuses.control("TP", []);
        statuses.text([bold(status.number().to_string())]);
        statuses.text([roman(meaning)]);
    }
    statuses.to_writer(page)?;
    page.write_all(LAST_SECTIONS.as_bytes())
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
