//! Compares the checked-in bindings with those that build.rs generates from the header.

use std::{env, fs, path::Path};

const RENEW: &str = "UPDATE_BINDINGS=1 cargo test --features bindgen --test bindings";

#[test]
fn checked_in_bindings_are_those_of_the_header() {
    let generated = fs::read_to_string(concat!(env!("OUT_DIR"), "/bindings.rs")).expect("build.rs wrote the bindings");
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/sys/bindings.rs");
    if env::var_os("UPDATE_BINDINGS").is_some() {
        fs::write(&file, &generated).expect("src/sys can be written");
        return;
    }

    let checked_in = fs::read_to_string(&file).expect("src/sys/bindings.rs is checked in");
    if let Some(line) = first_difference(&checked_in, &generated) {
        panic!(
            "src/sys/bindings.rs is not what build.rs makes of xen-headers/xen-livepatch.h. Line {line}:\n  \
             checked in: {}\n  generated:  {}\nIf the header is as it should be, renew the file with\n  {RENEW}\n\
             and read the difference before you commit it.",
            checked_in.lines().nth(line - 1).unwrap_or("(nothing)"),
            generated.lines().nth(line - 1).unwrap_or("(nothing)"),
        );
    }
}

/// Returns the number of the first line in which two texts differ.
fn first_difference(one: &str, other: &str) -> Option<usize> {
    if one == other {
        return None;
    }
    let same = one.split('\n').zip(other.split('\n')).take_while(|(a, b)| a == b).count();
    Some(same + 1)
}
