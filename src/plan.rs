//! What to have applied on a Xen.

mod store;

pub use store::{Ambiguity, PayloadStore, StoredPayload};
