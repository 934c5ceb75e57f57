//! The payload files on disk beside the loaded payloads, and the fixes of each payload.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};
use xen_livepatch::{BuildId, Inventory, Metadata, PayloadName, PayloadStore, Target, escaped};

use crate::failure::{Failure, as_json, as_word};
use crate::options::CommonOptions;
use crate::terminal::shown;
use crate::trust::Trust;

pub(super) const DIRECTORY: &str = "/usr/lib/xen-livepatch";

/// The given directory of payloads, or this machine's. That of a simulated Xen has to be given, as `argument`.
pub(super) fn directory(options: &CommonOptions, given: Option<&Path>, argument: &str) -> Result<PathBuf, Failure> {
    match given {
        Some(given) => Ok(given.to_owned()),
        None if options.simulate.is_some() => {
            Err(Failure::new("usage", format_args!("with --simulate, {argument} has to be given")))
        }
        None => Ok(DIRECTORY.into()),
    }
}

/// The keys of metadata under which builders note fixes, with the prefix of values that are only numbers. Xen gives the keys no
/// meaning.
const KEYS: [(&str, &str); 3] = [("fixes", ""), ("xsa", "XSA-"), ("cve", "CVE-")];

/// The fixes that the metadata of a payload names, such as `XSA-500` and `CVE-2026-1234`.
pub(super) fn fixes(metadata: &Metadata) -> Vec<String> {
    let mut fixes = Vec::new();
    for (key, value) in metadata.pairs() {
        let known = KEYS.iter().find(|(known, _)| known.as_bytes().eq_ignore_ascii_case(key));
        let Some((_, prefix)) = known else { continue };
        for word in escaped(value.unwrap_or_default()).split([' ', ',']).filter(|word| !word.is_empty()) {
            let prefix = if word.starts_with(|c: char| c.is_ascii_digit()) { prefix } else { &"" };
            fixes.push(format!("{prefix}{word}"));
        }
    }
    fixes
}

/// The fixes of the loaded payloads that name any, by payload.
pub(super) fn fixes_as_json(inventory: &Inventory) -> Value {
    let entries = inventory.payloads.iter().map(|entry| (&entry.name, fixes(&entry.metadata)));
    let fixes = entries.filter(|(_, fixes)| !fixes.is_empty());
    fixes.map(|(name, fixes)| (as_word(name), json!(fixes))).collect::<Map<_, _>>().into()
}

/// Compares the payloads of a directory with the loaded ones. Returns a text, and JSON.
pub(super) fn compare(
    directory: &Path,
    target: &Target,
    inventory: &Inventory,
    trust: Option<Trust>,
) -> Result<(String, Value), Failure> {
    let store = match trust {
        Some(trust) => trust.read_directory(directory)?,
        None => PayloadStore::read(directory)?,
    };
    let wanted = store.wanted_for(target).ok();
    let problems = wanted.as_ref().map_or(store.problems(), |wanted| wanted.problems());
    let loaded =
        |id: Option<&BuildId>| inventory.payloads.iter().find(|entry| id.is_some() && entry.build_id.as_ref() == id);
    let foreign = store.for_another(target);
    let mut text = format!("\nfiles in {}:\n", shown(directory));
    let mut rows = Vec::new();
    for stored in store.payloads() {
        let id = stored.payload().build_id();
        let state = match loaded(id) {
            Some(entry) if entry.is_applied() => "applied",
            Some(_) => "loaded",
            None if foreign.iter().any(|other| other.path() == stored.path()) => "for_another_xen",
            None => "not_applied",
        };
        let words = state.replace('_', " ").replace("loaded", "loaded, not applied");
        let fixes = fixes(stored.payload().metadata());
        let path = stored.path().strip_prefix(directory).unwrap_or(stored.path());
        let _ = writeln!(text, "  {:<30} {words}{}", shown(path), listed(&fixes));
        let file = shown(stored.path());
        rows.push(json!({ "file": file, "build_id": as_json(&id), "state": state, "fixes": fixes }));
    }
    for problem in problems {
        let _ = writeln!(text, "  {problem}");
    }
    let on_disk = |id: &BuildId| store.payloads().iter().any(|stored| stored.payload().build_id() == Some(id));
    let absent =
        inventory.payloads.iter().filter(|entry| entry.is_applied() && !entry.build_id.as_ref().is_some_and(on_disk));
    let absent: Vec<&PayloadName> = absent.map(|entry| &entry.name).collect();
    for name in &absent {
        let _ = writeln!(text, "  {:<30} applied, not in this directory", name.to_string());
    }
    if rows.is_empty() && problems.is_empty() && absent.is_empty() {
        text.push_str("  none\n");
    }
    let result = json!({
        "directory": shown(directory), "files": rows, "problems": problems, "applied_without_file": as_json(&absent),
    });
    Ok((text, result))
}

/// Fixes at the end of a line.
pub(super) fn listed(fixes: &[String]) -> String {
    if fixes.is_empty() { String::new() } else { format!("  fixes {}", fixes.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fixes_are_read_from_three_keys() {
        let of = |text: &[u8]| fixes(&Metadata::new(text)).join(" ");
        assert_eq!(of(b"fixes=XSA-500,XSA-501\0author=we\0xsa=502 503\0"), "XSA-500 XSA-501 XSA-502 XSA-503");
        assert_eq!(of(b"CVE=2026-1234, CVE-2026-5\0fixes\0fixes=\0"), "CVE-2026-1234 CVE-2026-5");
        assert_eq!(of(b"fix=XSA-1\0fixes=a\x1b[2J\0"), "a\\u{1b}[2J");
    }
}
