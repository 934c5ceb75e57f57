# The steps of the gate that need no Xen: step_NAME, with _ for each hyphen. Sourced by run.
# shellcheck shell=bash
# shellcheck disable=SC2154  # headers is of needs.sh

step_lint() {
    cargo fmt --all --check
    cargo clippy --locked --all-targets -- -D warnings
    cargo clippy --locked --all-targets --all-features -- -D warnings
    cargo clippy --locked --lib -- -D warnings
    RUSTDOCFLAGS='-D warnings' cargo doc --locked --no-deps --all-features
}

step_test() {
    cargo run --locked --quiet --example quickstart
    cargo test --locked
}

step_minimum_rust() { .ci/minimum-rust; }

step_units() { .ci/units; }

# Cargo builds the library from the package. The tests that are in it have to compile too.
step_package() {
    local package
    cargo package --locked --offline
    package=target/package/xen-livepatch-$(sed -n '0,/^version = /s/^version = "\(.*\)"/\1/p' Cargo.toml)
    cargo check --manifest-path "$package/Cargo.toml" --offline --all-targets --features sim,serde --target-dir target
}

step_bindings() { cargo test --locked --features bindgen --test bindings; }

# Those of the releases that Debian has.
step_headers() { tests/xen-headers/check "${headers[@]}"; }

step_fuzz() { .ci/fuzz 30; }
