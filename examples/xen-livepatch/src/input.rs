//! Payload files, read before the lock is taken.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use xen_livepatch::{Operation, Payload, PayloadName};

use crate::failure::{Failure, as_json};
use crate::terminal::shown;
use crate::widen::to_u64;

/// Reads the bytes to upload under a name, from a file or a pipe.
pub(crate) fn bytes(path: &Path, name: &PayloadName) -> Result<Vec<u8>, Failure> {
    let read = || {
        let mut file = File::open(path)?;
        let about = file.metadata()?;
        let mut bytes = Vec::new();
        let most = to_u64(Payload::MAX_FILE) + 1;
        file.by_ref().take(most).read_to_end(&mut bytes)?;
        let has_changed = about.is_file() && to_u64(bytes.len()) != about.len().min(most);
        if has_changed { Err(io::Error::other("it changed while it was read")) } else { Ok(bytes) }
    };
    read().map_err(|error| {
        let failure = match Payload::read(path) {
            Err(of_library) => of_library.into(),
            Ok(_) => Failure::new("file", format_args!("{} can't be read: {error}", shown(path))),
        };
        of_upload(failure, Some(name))
    })
}

/// Reads the payload in a file, and derives its name from the file's.
pub(crate) fn payload(path: &Path) -> Result<(PayloadName, Payload), Failure> {
    let name = PayloadName::of_file(path).map_err(|error| of_upload(error.into(), None))?;
    let payload = Payload::read(path).map_err(|error| of_upload(error.into(), Some(&name)))?;
    Ok((name, payload))
}

/// Makes a failure that of an upload which was not begun.
fn of_upload(failure: Failure, name: Option<&PayloadName>) -> Failure {
    let text = match name {
        Some(name) => format!("{} {name:?}: {}", Operation::Upload, failure.message),
        None => format!("{}: {}", Operation::Upload, failure.message),
    };
    let failure = failure.with_message(text).with_field("operation", Operation::Upload.to_string());
    failure.with_field("payload", as_json(&name))
}
