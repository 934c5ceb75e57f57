//! The command-line tool, built like the tests.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Returns the path of the tool, which the first call builds in the directory and the profile of this test, so that its
/// dependencies are there already. (In its place `cargo test` has built the tests of the example.)
pub(crate) fn tool() -> &'static Path {
    static TOOL: OnceLock<PathBuf> = OnceLock::new();
    TOOL.get_or_init(build)
}

fn build() -> PathBuf {
    // TARGET/[TRIPLE/]PROFILE/deps/TEST
    let test = std::env::current_exe().unwrap();
    let profile = test.ancestors().nth(2).unwrap();
    let above = profile.parent().unwrap();
    let triple = above.file_name().and_then(|name| name.to_str()).filter(|name| name.matches('-').count() >= 2);
    let target = if triple.is_some() { above.parent().unwrap() } else { above };
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
