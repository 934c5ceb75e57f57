//! Any bytes as a payload file.

#![no_main]

#[path = "../../tests/corpus/payload.rs"]
mod payload;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| payload::check(bytes));
