//! An inventory for programs to read, with feature `serde`: names are text and addresses are numbers.

use serde::ser::{Serialize, SerializeStruct, Serializer};

use super::{Conflict, Inventory, InventoryEntry, ReplacedFunction};

impl Serialize for Inventory {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let names =
            |entries: Vec<&InventoryEntry>| entries.into_iter().map(|entry| entry.name.clone()).collect::<Vec<_>>();
        let mut fields = serializer.serialize_struct("Inventory", 7)?;
        fields.serialize_field("xen", &self.xen.to_string())?;
        fields.serialize_field("build_id", &self.build_id)?;
        fields.serialize_field("effective", &self.to_string())?;
        fields.serialize_field("stack", &names(self.stack()))?;
        fields.serialize_field("off_chain", &names(self.off_chain()))?;
        fields.serialize_field("conflicts", &self.conflicts())?;
        fields.serialize_field("payloads", &self.payloads)?;
        fields.end()
    }
}

impl Serialize for InventoryEntry {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("InventoryEntry", 6)?;
        fields.serialize_field("name", &self.name)?;
        fields.serialize_field("status", &self.status)?;
        fields.serialize_field("metadata", &self.metadata)?;
        fields.serialize_field("build_id", &self.build_id)?;
        fields.serialize_field("depends", &self.depends)?;
        fields.serialize_field("functions", &self.functions)?;
        fields.end()
    }
}

impl Serialize for ReplacedFunction {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("ReplacedFunction", 5)?;
        fields.serialize_field("name", &self.name)?;
        fields.serialize_field("old_address", &self.old_address)?;
        fields.serialize_field("old_size", &self.old_size)?;
        fields.serialize_field("new_address", &self.new_address)?;
        fields.serialize_field("new_size", &self.new_size)?;
        fields.end()
    }
}

impl Serialize for Conflict {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("Conflict", 3)?;
        fields.serialize_field("function", &self.function)?;
        fields.serialize_field("old_address", &self.old_address)?;
        fields.serialize_field("payloads", &self.payloads)?;
        fields.end()
    }
}
