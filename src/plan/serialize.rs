//! Plans for programs to read, with feature `serde`.

use serde::ser::{Serialize, SerializeStruct, Serializer};

use super::{Gap, Plan, Step};
use crate::fields::by_field;
use crate::types::name::PayloadName;

/// The operation in one word, the payload, and of an upload its build-id, of a replacement what it reverts.
impl Serialize for Step {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("Step", 4)?;
        fields.serialize_field("operation", self.word())?;
        fields.serialize_field("payload", self.name())?;
        match self {
            Self::Upload { build_id, .. } => fields.serialize_field("build_id", build_id)?,
            Self::Apply { nodeps: true, .. } => fields.serialize_field("nodeps", &true)?,
            Self::Replace { reverts, .. } => fields.serialize_field("reverts", reverts)?,
            _ => {}
        }
        fields.end()
    }
}

impl Serialize for Plan {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("Plan", 6)?;
        fields.serialize_field("steps", self.steps())?;
        fields.serialize_field("gaps", &self.gaps())?;
        fields.serialize_field("leftovers", self.leftovers())?;
        fields.serialize_field("problems", self.problems())?;
        fields.serialize_field("unproven", &self.unproven())?;
        let unidentifiable: Vec<PayloadName> = self.unidentifiable().into_iter().map(|(name, _)| name).collect();
        fields.serialize_field("unidentifiable", &unidentifiable)?;
        fields.end()
    }
}

by_field! { Gap { payload, from, until, recoverable } }
