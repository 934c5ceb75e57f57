//! An inventory for programs to read, with feature `serde`: names and addresses are text. No address is a number,
//! since many readers of JSON keep 53 bits of one.

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
}

/// An address in hexadecimal, such as `0xffff82d040200010`.
struct Address(u64);

impl Serialize for Address {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:#x}", self.0))
    }
}

impl Serialize for ReplacedFunction {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("ReplacedFunction", 5)?;
        fields.serialize_field("name", &self.name)?;
        fields.serialize_field("old_address", &Address(self.old_address))?;
        fields.serialize_field("old_size", &self.old_size)?;
        fields.serialize_field("new_address", &Address(self.new_address))?;
        fields.serialize_field("new_size", &self.new_size)?;
        fields.end()
    }
}

impl Serialize for Conflict {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("Conflict", 3)?;
        fields.serialize_field("function", &self.function)?;
        fields.serialize_field("old_address", &Address(self.old_address))?;
        fields.serialize_field("payloads", &self.payloads)?;
        fields.end()
    }
}
