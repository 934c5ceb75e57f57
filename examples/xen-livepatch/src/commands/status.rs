//! `status`: the running payloads, and the effective version of Xen.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::{Value, json};
use xen_livepatch::{BuildId, Capabilities, Errno, Flags, Inventory, InventoryEntry, State};

use super::guarded::guard;
use super::{Context, loaded_name, on_disk};
use crate::arguments::ShowStatus;
use crate::failure::{Failure, as_json};
use crate::host::{Access, with_client};
use crate::output::Done;
use crate::table;
use crate::terminal;
use crate::trust::{self, Trust};

pub(super) fn status(Context { options, .. }: Context<'_>, arguments: &ShowStatus) -> Result<Done, Failure> {
    let read = with_client(options, Access::Reads, |client| {
        let name = arguments.name.as_deref().map(|name| loaded_name(name, client)).transpose()?;
        Ok((name, client.inventory()?, client.capabilities()?, client.target()?))
    });
    let report = guard(options, arguments.state.as_deref()).report();
    let verdicts = report.to_string();
    // The verdicts are printed without a Xen too.
    let with_verdicts = |mut failure: Failure| {
        failure.details.extend(verdicts.lines().map(str::to_owned));
        failure
    };
    let (name, inventory, capabilities, target) = read.map_err(with_verdicts)?;
    let Some(name) = name else {
        let trusted = arguments.trusted.as_deref();
        let (signatures, trust) = match Trust::for_uploads(options, trusted) {
            Ok(trust) => (trust.summary(), trust.as_json()),
            Err(failure) => (failure.message.clone(), trust::failure_as_json(options, trusted, &failure)),
        };
        let read =
            |directory: &Path| on_disk::compare(directory, &target, &inventory, Trust::read(options, trusted).ok());
        let (listing, on_disk) = match &arguments.directory {
            Some(directory) => read(directory)?,
            None if options.simulate.is_some() || !Path::new(on_disk::DIRECTORY).is_dir() => {
                (String::new(), Value::Null)
            }
            None => read(Path::new(on_disk::DIRECTORY)).unwrap_or_else(|failure| {
                terminal::note(&failure.message);
                (String::new(), Value::Null)
            }),
        };
        let fixes = on_disk::fixes_as_json(&inventory);
        let blank = if verdicts.is_empty() { "" } else { "\n" };
        let text = format!("{}{listing}{blank}{verdicts}", host(&inventory, &capabilities, &signatures));
        let result = json!({
            "inventory": inventory,
            "capabilities": capabilities,
            "trust": trust,
            "boot": report.entries,
            "fixes": fixes,
            "on_disk": on_disk,
        });
        return Ok(Done::new(text, result));
    };
    let Some(entry) = inventory.payloads.iter().find(|entry| entry.name == name) else {
        return Err(Failure::new("no_such_payload", format_args!("no payload is loaded under the name {name:?}")));
    };
    Ok(Done::new(payload(&inventory, entry), json!({ "payload": as_json(entry) })))
}

/// The host as text.
fn host(inventory: &Inventory, capabilities: &Capabilities, signatures: &str) -> String {
    let mut text = format!("{inventory}\n\n");
    let own = match (&inventory.build_id, inventory.no_build_id) {
        (None, Some(Errno::ENODATA)) => "none: this Xen was linked without one".to_owned(),
        (None, Some(errno)) => format!("unknown: {errno}"),
        (own, _) => id(own.as_ref()),
    };
    let _ = writeln!(text, "build-id   {own}");
    let applies = Flags::KNOWN.iter().filter(|known| capabilities.apply_flags.contains(known.flag));
    let mut options: Vec<String> = applies.map(|known| format!("--{} on apply", known.option)).collect();
    if options.is_empty() {
        options.push("no flags".to_owned());
    }
    if capabilities.force {
        options.push("--force on uploads".to_owned());
    }
    let _ = writeln!(text, "interface  {:#x}; accepts {}", capabilities.interface_version, options.join(", "));
    let _ = writeln!(text, "signatures {signatures}");
    let off = inventory.off_chain();
    let loaded: Vec<_> = inventory.payloads.iter().filter(|entry| !entry.is_applied()).collect();
    for (heading, entries) in [
        ("applied, bottom first", inventory.stack()),
        ("applied, not in the stack", off),
        ("loaded, not applied", loaded),
    ] {
        if entries.is_empty() {
            continue;
        }
        let _ = writeln!(text, "\n{heading}:");
        for entry in entries {
            let result = table::result(&entry.status);
            let metadata = if entry.metadata.is_empty() { String::new() } else { format!("  {}", entry.metadata) };
            let fixes = on_disk::listed(&on_disk::fixes(&entry.metadata));
            let _ = writeln!(text, "  {:<20} {}{result}{metadata}{fixes}", entry.name, id(entry.build_id.as_ref()));
        }
    }
    let reasons = inventory.payloads.iter().filter_map(|entry| Some((&entry.name, entry.unidentified?)));
    for (name, reason) in reasons {
        let _ = writeln!(text, "\n{name} is not identified: {reason}");
    }
    for conflict in inventory.conflicts() {
        let names: Vec<String> = conflict.payloads.iter().map(ToString::to_string).collect();
        let _ = writeln!(text, "\n{} is replaced by several payloads: {}", conflict.function, names.join(", "));
    }
    text
}

/// One payload with all details, as text.
fn payload(inventory: &Inventory, entry: &InventoryEntry) -> String {
    let mut text = format!("{}\n", entry.name);
    let state = match entry.status.state {
        State::Applied => "applied",
        State::Checked => "loaded, not applied",
        _ => "unknown",
    };
    let mut line = |heading: &str, value: &str| {
        let _ = writeln!(text, "  {heading:<10} {value}");
    };
    line("state", &format!("{state}{}", table::result(&entry.status)));
    if let Some(at) = inventory.stack().iter().position(|known| known.name == entry.name) {
        line("stack", &format!("{} from the bottom", at + 1));
    } else if entry.is_applied() {
        line("stack", "not in it");
    }
    let own = match entry.unidentified {
        Some(reason) => format!("unknown: {reason}"),
        None => id(entry.build_id.as_ref()),
    };
    line("build-id", &own);
    line("depends on", &depends_on(inventory, entry));
    if !entry.metadata.is_empty() {
        line("metadata", &entry.metadata.to_string());
    }
    let fixes = on_disk::fixes(&entry.metadata);
    if !fixes.is_empty() {
        line("fixes", &fixes.join(", "));
    }
    for function in entry.functions.iter().flatten() {
        let fate = if function.new_address == 0 { "filled with no-ops" } else { "replaced" };
        let (name, at, old, new) = (&function.name, function.old_address, function.old_size, function.new_size);
        line("function", &format!("{name} at {at:#x}: {old} bytes, {fate} ({new} bytes)"));
    }
    text
}

fn depends_on(inventory: &Inventory, entry: &InventoryEntry) -> String {
    let Some(depends) = &entry.depends else { return "unknown".into() };
    if inventory.build_id.as_ref() == Some(depends) {
        return format!("{depends} (this Xen)");
    }
    match inventory.payloads.iter().find(|other| other.build_id.as_ref() == Some(depends)) {
        Some(other) => format!("{depends} ({})", other.name),
        None => format!("{depends} (not loaded)"),
    }
}

fn id(id: Option<&BuildId>) -> String {
    id.map_or_else(|| "unknown".into(), ToString::to_string)
}
