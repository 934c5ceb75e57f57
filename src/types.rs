//! The vocabulary of callers: names, build-ids, error numbers, flags, actions, states and versions.

pub(crate) mod action;
pub(crate) mod build_id;
pub(crate) mod errno;
pub(crate) mod flags;
pub(crate) mod name;
pub(crate) mod shared_bytes;
pub(crate) mod status;
pub(crate) mod text;
pub(crate) mod version;
pub(crate) mod widen;
