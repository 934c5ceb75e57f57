//! The reports of a client for programs to read, with feature `serde`.
//!
//! Names are text, or `hex:` and their bytes where they are not UTF-8; states and flags are as `Display` writes them.

use serde::ser::{Serialize, SerializeStruct, Serializer};

use crate::client::{Interrupted, Outcome};
use crate::fields::as_text;
use crate::types::name::PayloadName;

as_text!(Outcome);

/// Field by field; of the payloads that could not be identified, their names.
impl Serialize for Interrupted {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let unidentified: Vec<&PayloadName> = self.unidentified.iter().map(|(name, _)| name).collect();
        let mut fields = serializer.serialize_struct("Interrupted", 9)?;
        fields.serialize_field("error", &self.error)?;
        fields.serialize_field("outcome", &self.outcome)?;
        fields.serialize_field("done", &self.done)?;
        fields.serialize_field("failed", &self.failed)?;
        fields.serialize_field("left", &self.left)?;
        fields.serialize_field("back", &self.back)?;
        fields.serialize_field("back_error", &self.back_error)?;
        fields.serialize_field("loaded", &self.loaded)?;
        fields.serialize_field("unidentified", &unidentified)?;
        fields.end()
    }
}
