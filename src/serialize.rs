//! The reports of a client for programs to read, with feature `serde`.
//!
//! Names are text, or `hex:` and their bytes where they are not UTF-8; states and flags are as `Display` writes them.

use serde::ser::{Serialize, SerializeStruct, Serializer};

use crate::client::Capabilities;
use crate::error::{Action, Cleanup, Error, ErrorKind, Operation};
use crate::fields::{as_text, by_field};
use crate::types::build_id::BuildId;
use crate::types::name::PayloadName;
use crate::types::status::{LoadedPayload, State, Status};

as_text!(State, Action, Operation);

/// The name itself where it is UTF-8, and `hex:` with its bytes in hexadecimal where it is not. So that no two names are
/// the same text, those that begin with `hex:` themselves are written in the second form.
impl Serialize for PayloadName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.to_str().filter(|text| !text.starts_with("hex:")) {
            Some(text) => serializer.serialize_str(text),
            None => serializer.collect_str(&format_args!("hex:{}", BuildId::new(self.as_bytes()))),
        }
    }
}

by_field! {
    Status { state, rc }
    LoadedPayload { name, status, metadata }
    Capabilities { interface_version, apply_flags, force, metadata, action_hooks }
}

/// The kind in one word, such as `not_on_top`, which stays as it is from version to version.
impl Serialize for ErrorKind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.meaning().word)
    }
}

impl Serialize for Cleanup {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(match self {
            Self::Unloaded => "unloaded",
            Self::Gone => "gone",
            Self::Left => "left",
            Self::Applied => "applied",
            Self::Failed(_) => "failed",
        })
    }
}

impl Serialize for Error {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("Error", 9)?;
        fields.serialize_field("operation", &self.operation())?;
        fields.serialize_field("payload", &self.payload())?;
        fields.serialize_field("kind", self.kind())?;
        fields.serialize_field("errno", &self.raw_errno())?;
        fields.serialize_field("message", &self.to_string())?;
        fields.serialize_field("retryable", &self.is_retryable())?;
        fields.serialize_field("may_have_happened", &self.may_have_happened())?;
        fields.serialize_field("cleanup", &self.cleanup())?;
        fields.serialize_field("log", self.xen_log())?;
        fields.end()
    }
}
