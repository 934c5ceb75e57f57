//! Any bytes as the name of a function that Xen prints among its payloads, and as all that it prints.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| xen_livepatch::fuzzing::dump(bytes));
