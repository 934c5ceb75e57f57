//! Live-patch a running Xen hypervisor.

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
