//! A store for programs to read, with feature `serde`. Paths are text, escaped where they are not valid text.

use serde::ser::{Serialize, SerializeStruct, Serializer};

use super::ambiguity::shown;
use super::{Ambiguity, PayloadStore, StoreProblem, StoredPayload};

/// The [word](super::StoreFault::word) of the reason, the text of `Display`, and the files.
impl Serialize for StoreProblem {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let paths: Vec<_> = self.paths().iter().map(|path| shown(path)).collect();
        let mut fields = serializer.serialize_struct("StoreProblem", 3)?;
        fields.serialize_field("kind", self.fault().word())?;
        fields.serialize_field("message", &self.to_string())?;
        fields.serialize_field("paths", &paths)?;
        fields.end()
    }
}

impl Serialize for StoredPayload {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("StoredPayload", 4)?;
        fields.serialize_field("path", &shown(&self.path))?;
        fields.serialize_field("name", &self.name)?;
        fields.serialize_field("chosen", &self.is_chosen())?;
        fields.serialize_field("payload", &**self.payload())?;
        fields.end()
    }
}

impl Serialize for PayloadStore {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("PayloadStore", 2)?;
        fields.serialize_field("payloads", &self.payloads)?;
        fields.serialize_field("problems", &self.problems)?;
        fields.end()
    }
}

/// The text of `Display`, and the files.
impl Serialize for Ambiguity {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let paths: Vec<_> = self.paths().iter().map(|path| shown(path)).collect();
        let mut fields = serializer.serialize_struct("Ambiguity", 2)?;
        fields.serialize_field("message", &self.to_string())?;
        fields.serialize_field("paths", &paths)?;
        fields.end()
    }
}
