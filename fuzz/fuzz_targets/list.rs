//! Any bytes as what Xen writes when it lists its payloads.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| xen_livepatch::fuzzing::list(bytes));
