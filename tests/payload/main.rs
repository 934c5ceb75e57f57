//! Payloads read and checked without Xen.
#![cfg(test)]

mod arm;
mod built;
mod contents;
mod debug;
mod editor;
#[allow(dead_code, unreachable_pub, reason = "shared with the hunt, which needs all of it")]
#[path = "../common/elf.rs"]
mod elf;
mod findings;
mod harm;
mod layout;
mod possible;
mod properties;
mod reading;
mod rules;
mod scratch;
