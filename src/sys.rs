//! Xen's binary interface as Rust types: the bindings of xen-headers/xen-livepatch.h.
//!
//! The source of constants, sizes and offsets. No value is built or read through the unions, since that would be unsafe
//! code, and would leave the bytes outside the chosen member undefined.
#![allow(
    dead_code,
    non_camel_case_types,
    non_upper_case_globals,
    unreachable_pub,
    clippy::allow_attributes_without_reason,
    clippy::unreadable_literal,
    reason = "generated: Xen's names, and more of the interface than any one caller needs"
)]

include!("sys/bindings.rs");

mod layout;
