//! Payloads and findings for programs to read, with feature `serde`.
//!
//! Build-ids are hexadecimal. Names and metadata are text, escaped as `Display` does where they are not valid text; addresses are
//! as `Display` writes them.

use serde::ser::{Serialize, SerializeMap, SerializeSeq, SerializeStruct, Serializer};

use super::{Address, Architecture, Expectation, Finding, Function, Hook, HookKind, Payload, PayloadVersion};
use super::{ProblemKind, Reapply, Severity, SymbolName};
use crate::fields::as_text;
use crate::types::build_id::BuildId;
use crate::types::name::escaped;
use crate::types::status::Metadata;
use crate::xen::release::Release;

as_text!(BuildId, SymbolName, Address, Architecture, HookKind, ProblemKind, Release, Severity);

impl Serialize for PayloadVersion {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(self.number())
    }
}

/// Pairs of key and value in their order, for a key may occur twice.
impl Serialize for Metadata {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut entries = serializer.serialize_seq(None)?;
        for (key, value) in self.pairs() {
            entries.serialize_element(&(escaped(key), value.map(escaped)))?;
        }
        entries.end()
    }
}

/// The bytes in hexadecimal.
impl Serialize for Expectation {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&BuildId::new(&self.bytes))
    }
}

impl Serialize for Function {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("Function", 7)?;
        fields.serialize_field("name", &self.name)?;
        fields.serialize_field("old_address", &self.old_address)?;
        fields.serialize_field("old_size", &self.old_size)?;
        fields.serialize_field("new_address", &self.new_address)?;
        fields.serialize_field("new_size", &self.new_size)?;
        fields.serialize_field("nop", &self.is_nop())?;
        fields.serialize_field("expectation", &self.expectation)?;
        fields.end()
    }
}

/// The hooks of a payload: their addresses by kind.
struct Hooks<'p>(&'p [Hook]);

impl Serialize for Hooks<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut kinds = serializer.serialize_map(None)?;
        for hooks in self.0.chunk_by(|one, other| one.kind == other.kind) {
            if let Some(first) = hooks.first() {
                let addresses: Vec<_> = hooks.iter().map(|hook| &hook.address).collect();
                kinds.serialize_entry(&first.kind, &addresses)?;
            }
        }
        kinds.end()
    }
}

impl Serialize for Payload {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let fit = self.releases();
        let mut series: Vec<String> = fit.iter().map(|release| format!("4.{}", release.minor())).collect();
        series.dedup();
        let mut fields = serializer.serialize_struct("Payload", 15)?;
        fields.serialize_field("size", &self.bytes.len())?;
        fields.serialize_field("size_without_debug", &self.size_without_debug())?;
        fields.serialize_field("architecture", &self.architecture())?;
        fields.serialize_field("build_id", &self.build_id)?;
        fields.serialize_field("depends", &self.depends)?;
        fields.serialize_field("xen_depends", &self.xen_depends)?;
        fields.serialize_field("version", &self.version)?;
        fields.serialize_field("releases", &series)?;
        fields.serialize_field("point_releases", &fit)?;
        fields.serialize_field("functions", &self.functions)?;
        fields.serialize_field("hooks", &Hooks(&self.hooks))?;
        fields.serialize_field("metadata", &self.metadata)?;
        fields.serialize_field("writable_sections", &self.writable)?;
        fields.serialize_field("reapply", &(self.reapply((4, 10)) == Reapply::Allowed))?;
        fields.serialize_field("replaceable", &self.is_replaceable())?;
        fields.end()
    }
}

impl Serialize for Finding {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("Finding", 4)?;
        fields.serialize_field("problem", &self.kind())?;
        fields.serialize_field("severity", &self.severity)?;
        fields.serialize_field("releases", &self.releases)?;
        fields.serialize_field("text", &self.to_string())?;
        fields.end()
    }
}
