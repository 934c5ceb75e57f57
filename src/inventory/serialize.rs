//! An inventory for programs to read, with feature `serde`: names are text and addresses are numbers.

use serde::ser::{Serialize, SerializeStruct, Serializer};

use super::{Conflict, Inventory, InventoryEntry, ReplacedFunction, Unidentified};
use crate::fields::by_field;

impl Serialize for Inventory {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let names =
            |entries: Vec<&InventoryEntry>| entries.into_iter().map(|entry| entry.name.clone()).collect::<Vec<_>>();
        let mut fields = serializer.serialize_struct("Inventory", 8)?;
        fields.serialize_field("xen", &self.xen.to_string())?;
        fields.serialize_field("build_id", &self.build_id)?;
        fields.serialize_field("no_build_id", &self.no_build_id)?;
        fields.serialize_field("effective", &self.to_string())?;
        fields.serialize_field("stack", &names(self.stack()))?;
        fields.serialize_field("off_chain", &names(self.off_chain()))?;
        fields.serialize_field("conflicts", &self.conflicts())?;
        fields.serialize_field("payloads", &self.payloads)?;
        fields.end()
    }
}

/// The reason in one word, such as `disturbed`.
impl Serialize for Unidentified {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.word())
    }
}

by_field! {
    InventoryEntry { name, status, metadata, build_id, depends, functions, unidentified }
    ReplacedFunction { name, old_address, old_size, new_address, new_size }
    Conflict { function, old_address, payloads }
}
