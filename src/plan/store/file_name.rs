//! Names of payloads, derived from their files.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::types::name::{InvalidName, PayloadName};

/// The end of a payload file's name.
pub(super) const SUFFIX: &[u8] = b".livepatch";

/// The name of a link that chooses a payload.
pub(super) const CHOOSING: &[u8] = b"livepatch.livepatch";

/// The name under which the payload of a file is loaded.
///
/// XAPI looks for `lp_VERSION__RELEASE__VERSION__RELEASE.livepatch`, with the booted version, the patched version, and an
/// underscore for each dot. It loads that file as `lp_VERSION-RELEASE-VERSION-RELEASE`, with dots, and recognises payloads
/// only by names of this form (`ocaml/xapi/livepatch.ml`).
pub(super) fn name_of(file: &Path) -> Result<PayloadName, InvalidName> {
    let name = PayloadName::of_file(file)?;
    match of_xapi(name.as_bytes()) {
        Some(of_xapi) => PayloadName::new(of_xapi),
        None => Ok(name),
    }
}

/// The name that XAPI gives the payload of a file. `stem` is the file's name without its suffix.
fn of_xapi(stem: &[u8]) -> Option<String> {
    let parts: Vec<&str> = core::str::from_utf8(stem).ok()?.strip_prefix("lp_")?.split("__").collect();
    // XAPI's pattern has none of these in a part, and a part that began with a dot would be ambiguous.
    let is_part = |part: &&str| {
        !part.is_empty() && !part.starts_with('_') && !part.ends_with('_') && !part.contains(['-', '.', ' '])
    };
    let is_of_form = parts.len() == 4 && parts.iter().all(is_part);
    is_of_form.then(|| format!("lp_{}", parts.join("-").replace('_', ".")))
}

/// The file that a link `livepatch.livepatch` leads to, for its name; any other path as it is.
pub(super) fn chosen_by(path: &Path) -> PathBuf {
    if path.file_name().map(OsStr::as_bytes) != Some(CHOOSING) {
        return path.into();
    }
    std::fs::canonicalize(path).unwrap_or_else(|_| path.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_xapi_knows_have_the_names_that_it_gives_them() {
        for (file, name) in [
            // XAPI's own example: "lp_4.13.4-10.20.xs8-4.13.4-10.21.xs8".
            ("lp_4_13_4__10_20_xs8__4_13_4__10_21_xs8", "lp_4.13.4-10.20.xs8-4.13.4-10.21.xs8"),
            ("lp_4_17_4__1_xs8__4_17_4__6_xs8", "lp_4.17.4-1.xs8-4.17.4-6.xs8"),
            ("lp_4__1__4__2", "lp_4-1-4-2"),
            // The last comes from other tools; the others are not of the form.
            ("lp_4_17_4__1_xs8__4_17_4", "lp_4_17_4__1_xs8__4_17_4"),
            ("lp_4_17_4__1__4_17_4__6__7", "lp_4_17_4__1__4_17_4__6__7"),
            ("lp_4_17_4___1__4_17_4__6", "lp_4_17_4___1__4_17_4__6"),
            ("lp_4_17_4____4_17_4__6", "lp_4_17_4____4_17_4__6"),
            ("lp___1__4_17_4__6", "lp___1__4_17_4__6"),
            ("lp_4_17_4__1_xs8__4_17_4__6_xs8_", "lp_4_17_4__1_xs8__4_17_4__6_xs8_"),
            ("lp_4.17.4__1_xs8__4_17_4__6_xs8", "lp_4.17.4__1_xs8__4_17_4__6_xs8"),
            ("lp_4_17_4__1-xs8__4_17_4__6_xs8", "lp_4_17_4__1-xs8__4_17_4__6_xs8"),
            ("livepatch_4_19_19__8_0_20__4_19_19__8_0_22", "livepatch_4_19_19__8_0_20__4_19_19__8_0_22"),
            ("lp_4_17_3__1-4_17_3__3", "lp_4_17_3__1-4_17_3__3"),
            ("lp_", "lp_"),
            ("xsa-500", "xsa-500"),
        ] {
            let path = Path::new("/x").join(format!("{file}.livepatch"));
            assert_eq!(name_of(&path).map(|name| name.to_string()).as_deref(), Ok(name), "{file}");
        }
    }

    #[test]
    fn names_stay_within_xens_limit() {
        let long = format!("{}.livepatch", "n".repeat(128));
        assert!(name_of(Path::new(&long)).is_err() && name_of(Path::new(".livepatch")).is_err());
    }
}
