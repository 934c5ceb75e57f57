//! Facts about Xen: its releases and their behaviour, the format of payloads, and its log.

pub(crate) mod architecture;
pub(crate) mod elf;
pub(crate) mod format;
pub(crate) mod log;
pub(crate) mod release;
pub(crate) mod rules;
pub(crate) mod symbol_name;
pub(crate) mod target;

pub use architecture::Architecture;
pub(crate) use release::KnownSeries;
pub use release::{Release, UnknownRelease};
pub(crate) use rules::{Certainty, Rule};
pub use symbol_name::SymbolName;
pub use target::Target;
