//! Payloads read and checked without Xen.
#![cfg(test)]

#[path = "../corpus/payload.rs"]
mod any;
mod arm;
mod built;
mod contents;
mod debug;
mod editor;
#[path = "../common/elf.rs"]
mod elf;
mod findings;
mod harm;
mod layout;
mod possible;
mod properties;
mod reading;
mod rules;

/// The names that most of these modules use.
mod prelude {
    pub(crate) use xen_livepatch::payload::*;
    pub(crate) use xen_livepatch::sim::*;
    pub(crate) use xen_livepatch::*;

    pub(crate) use crate::editor::*;
    pub(crate) use crate::findings::*;
}
