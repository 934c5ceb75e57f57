//! Live-patch a running Xen hypervisor: upload, apply, revert, replace and unload payloads, on every Xen from 4.7 to 4.22.
//!
//! [`LivepatchClient`] speaks to Xen through `/dev/xen/privcmd`, without libxc. Calls block until Xen has finished.
//! Errors are to be matched on ([`ErrorKind`]) and say in one line what failed, why, and what to do about it.
//!
//! With feature `sim` comes what tests need instead of a real Xen.

mod build_id;
mod client;
mod errno;
mod error;
mod flags;
pub mod hypercall;
mod name;
pub mod payload;
#[cfg(feature = "sim")]
pub mod sim;
mod status;
mod sys;
mod version;

pub use build_id::BuildId;
pub use client::{ActionOptions, ClientBuilder, LivepatchClient, QuiesceTimeout, UploadOptions};
pub use errno::Errno;
pub use error::{Action, Duplicate, Error, ErrorKind, Operation, Result};
pub use flags::Flags;
pub use name::PayloadName;
pub use payload::{Finding, Payload, Severity, Target};
pub use status::{LoadedPayload, Metadata, State, Status};
pub use version::XenVersion;

/// The README's example compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
