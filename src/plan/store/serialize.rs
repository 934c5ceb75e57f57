//! A store for programs to read, with feature `serde`. Paths are text, escaped where they are not valid text.

use std::path::Path;

use serde::ser::{Serialize, SerializeStruct, Serializer};

use super::ambiguity::shown;
use super::{Ambiguity, PayloadStore, StoredPayload};
use crate::error::Error;

struct Problem<'s>(&'s Path, &'s Error);

impl Serialize for Problem<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("Problem", 2)?;
        fields.serialize_field("path", &shown(self.0))?;
        fields.serialize_field("error", self.1)?;
        fields.end()
    }
}

impl Serialize for StoredPayload {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("StoredPayload", 4)?;
        fields.serialize_field("path", &shown(&self.path))?;
        fields.serialize_field("name", &self.name)?;
        fields.serialize_field("chosen", &self.chosen)?;
        fields.serialize_field("payload", &self.payload)?;
        fields.end()
    }
}

impl Serialize for PayloadStore {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let problems: Vec<_> = self.problems.iter().map(|(path, error)| Problem(path, error)).collect();
        let mut fields = serializer.serialize_struct("PayloadStore", 2)?;
        fields.serialize_field("payloads", &self.payloads)?;
        fields.serialize_field("problems", &problems)?;
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
