//! The command line tool, built as the tests are.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Builds the tool beside this test, out of what it was built of, and returns its path.
///
/// `cargo test` has built an example's own tests in its place.
pub(crate) fn tool() -> PathBuf {
    // TARGET/[TRIPLE/]PROFILE/deps/TEST
    let test = std::env::current_exe().unwrap();
    let profile = test.ancestors().nth(2).unwrap();
    let above = profile.parent().unwrap();
    let triple = above.file_name().and_then(|name| name.to_str()).filter(|name| name.matches('-').count() >= 2);
    let target: &Path = if triple.is_some() { above.parent().unwrap() } else { above };
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--quiet", "--locked", "--offline", "--example", "xen-livepatch", "--target-dir"]).arg(target);
    cargo.args(["--manifest-path", concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")]);
    if !cfg!(debug_assertions) {
        cargo.arg("--release");
    }
    cargo.args(triple.iter().flat_map(|triple| ["--target", triple]));
    assert!(cargo.status().unwrap().success(), "the tool can't be built");
    profile.join("examples/xen-livepatch")
}
