//! A payload from its file into effect, and nothing left behind where that fails.

use std::path::Path;

use super::LivepatchClient;
use super::options::LoadOptions;
use crate::error::{Action, Cleanup, Error, ErrorKind, Result};
use crate::name::PayloadName;
use crate::payload::Payload;

/// The name that a file's payload is loaded under: the file's own, less its last suffix.
pub(super) fn name_of(path: &Path) -> Result<PayloadName> {
    use std::os::unix::ffi::OsStrExt;
    let file = path.file_name().map(OsStrExt::as_bytes).unwrap_or_default();
    let stem = file.iter().rposition(|byte| *byte == b'.').and_then(|dot| file.get(..dot)).unwrap_or(file);
    Ok(PayloadName::new(stem)?)
}

/// Uploads and applies; unloads again if it was not applied.
pub(super) fn load(
    client: &LivepatchClient,
    name: &PayloadName,
    payload: &Payload,
    options: LoadOptions,
) -> Result<()> {
    client.upload_with(name, payload.bytes(), options.upload)?;
    let apply = client.action(Action::Apply, name).flags(options.flags).options(options.action).run();
    apply.map_err(|error| clean_up(client, name, options, error))
}

fn clean_up(client: &LivepatchClient, name: &PayloadName, options: LoadOptions, error: Error) -> Error {
    if matches!(error.kind(), ErrorKind::Overtaken { state: None, .. }) {
        return error.with_cleanup(Cleanup::Gone);
    }
    let busy = *error.kind() == ErrorKind::OperationInProgress;
    if busy || error.may_have_happened() {
        return error.with_cleanup(Cleanup::Left);
    }
    let unload = client.action(Action::Unload, name).options(options.action).run();
    error.with_cleanup(match unload {
        Ok(()) => Cleanup::Unloaded,
        Err(error) if *error.kind() == ErrorKind::NoSuchPayload => Cleanup::Gone,
        Err(error) => Cleanup::Failed(error),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_is_the_files_without_its_last_suffix() {
        let name = |path: &str| name_of(Path::new(path)).map(|name| name.to_string()).ok();
        for (path, expected) in [
            ("/x/a.b.c", Some("a.b")),
            ("xsa-500.livepatch", Some("xsa-500")),
            ("plain", Some("plain")),
            ("dir.d/plain", Some("plain")),
            ("a.", Some("a")),
            // The C tool loads these under the empty name.
            (".hidden", None),
            ("..", None),
            ("/", None),
            ("", None),
        ] {
            assert_eq!(name(path).as_deref(), expected, "{path}");
        }
        assert!(name(&format!("{}.livepatch", "n".repeat(127))).is_some());
        assert!(name(&format!("{}.livepatch", "n".repeat(128))).is_none());
    }
}
