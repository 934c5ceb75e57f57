//! Directories of payloads, plans, and hosts that become what is wanted, on the simulated Xen.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test stops at the first surprise")]
#![allow(unreachable_pub, reason = "the modules of one test")]

mod ensure;
mod store;
