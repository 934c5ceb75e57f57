//! The client on a simulated Xen of each release: its results are compared with the state of Xen.
#![cfg(test)]
#![allow(unreachable_pub, reason = "the modules of one test")]

mod arm;
mod costs;
mod errors;
mod files;
mod flags;
mod hooks;
mod inventory;
mod listing;
mod load;
mod open;
mod prelude;
mod serialized;
mod stories;
#[path = "../common/story/mod.rs"]
mod story;
mod target;
mod turns;
mod watching;
