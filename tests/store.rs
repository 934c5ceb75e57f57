//! Directories of payloads: which files are for a Xen, which are problems, and what to have applied.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test stops at the first surprise")]

#[path = "store/choice.rs"]
mod choice;
#[path = "store/damage.rs"]
mod damage;
#[path = "store/directory.rs"]
mod directory;
#[path = "store/membership.rs"]
mod membership;
#[path = "store/reading.rs"]
mod reading;
