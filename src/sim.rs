//! A whole Xen in memory, and a builder of loadable payloads.

mod payload_builder;

pub use payload_builder::{Defect, Function, Hook, HookCode, PayloadBuilder, PayloadVersion};
