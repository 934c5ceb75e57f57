//! An inventory for programs to read, with feature `serde`: names and addresses are text. No address is a number,
//! since many readers of JSON keep 53 bits of one.

use serde::ser::{Serialize, SerializeStruct, Serializer};

use super::{Inventory, InventoryEntry};

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
