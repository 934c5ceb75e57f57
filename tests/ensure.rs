//! A host becomes what is wanted, whatever it was, and whatever goes wrong meanwhile.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test stops at the first surprise")]
#![allow(unreachable_pub, reason = "the modules of one test")]

#[path = "ensure/directory.rs"]
mod directory;
#[path = "ensure/host.rs"]
mod host;
#[path = "ensure/observed.rs"]
mod observed;
#[path = "ensure/properties.rs"]
mod properties;
#[path = "ensure/transaction.rs"]
mod transaction;
#[path = "ensure/xapi.rs"]
mod xapi;
