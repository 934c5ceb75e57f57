//! Facts about Xen: its releases, what each does, the format of its payloads, and its log.

pub(crate) mod architecture;
pub(crate) mod elf;
pub(crate) mod format;
pub(crate) mod log;
pub(crate) mod release;
pub(crate) mod rules;
pub(crate) mod symbol_name;
pub(crate) mod target;
