//! Facts about Xen: its releases and their behaviour, the format of payloads, and its log.

pub(crate) mod architecture;
pub(crate) mod elf;
pub(crate) mod format;
pub(crate) mod log;
pub(crate) mod release;
pub(crate) mod rules;
pub(crate) mod symbol_name;
pub(crate) mod target;
