//! The client on a simulated Xen of each release: its results are compared with the state of Xen.
#![cfg(test)]
#![allow(unreachable_pub, reason = "the modules of one test")]

mod arm;
mod console;
mod costs;
mod errors;
mod faulted;
mod files;
mod flags;
mod hooks;
mod inventory;
mod listing;
mod load;
mod open;
mod outcomes;
mod prelude;
mod replacing;
mod serialized;
mod story;
mod target;
mod turns;
mod waiting;
mod watching;
