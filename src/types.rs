//! The vocabulary of callers: names, build-ids, error numbers, flags, actions, states and versions.

pub(crate) mod action;
pub(crate) mod build_id;
pub(crate) mod errno;
#[cfg(feature = "serde")]
pub(crate) mod fields;
pub(crate) mod flags;
pub(crate) mod name;
pub(crate) mod shared_bytes;
pub(crate) mod status;
pub(crate) mod text;
pub(crate) mod version;
pub(crate) mod widen;

pub use action::Action;
pub(crate) use build_id::Identity;
pub use build_id::{BuildId, InvalidBuildId};
pub use errno::Errno;
pub use flags::{Flags, KnownFlag};
pub use name::{InvalidName, PayloadName, escaped};
pub(crate) use shared_bytes::SharedBytes;
pub use status::{LoadedPayload, Metadata, State, Status};
pub use text::InvalidText;
pub use version::XenVersion;
pub(crate) use widen::{to_u64, to_usize};
