# The steps of the gate that need no Xen: step_NAME, with _ for each hyphen. Sourced by run.
# shellcheck shell=bash
# shellcheck disable=SC2154  # headers is of needs.sh

step_lint() {
    cargo fmt --all --check
    # Without features, tests and examples are the same: they enable all but bindgen.
    cargo clippy --locked --all-targets --all-features -- -D warnings
    cargo clippy --locked --package xen-livepatch --lib -- -D warnings
    RUSTDOCFLAGS='-D warnings' cargo doc --locked --no-deps --all-features
}

step_test() {
    # For the completions.
    install_missing zsh=zsh fish=fish
    cargo run --locked --quiet --example quickstart
    cargo test --locked
}

# Built and linked for AArch64, where `aarch64` runs some of it. The library has no code for one architecture alone, so x86-64 needs
# no build of its own; the check is of the library without features. `static` builds the tool with this Rust.
step_minimum_rust() {
    local minimum
    tests/real-xen/fetch --rust
    minimum=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
    "$RUST/bin/rustc" --version | grep -F "rustc $minimum." || die 1 "$("$RUST/bin/rustc" --version) is not the minimum, $minimum"
    cargo_with_rust build --locked --target="$AARCH64" --package xen-livepatch --all-targets
    cargo_with_rust check --locked --package xen-livepatch
}

step_units() { .ci/units; }

step_static() { .ci/static "$STATIC"; }

step_metrics() { .ci/metrics "$TOOL"; }

step_packages() {
    XEN=4.17 beside target/ci/package-test.log tests/real-xen/package-test "$PACKAGES"
    .ci/packages "$PACKAGES"
    join
}

# Cargo builds the library from the package, but not its tests.
step_package() {
    local package
    cargo package --locked --offline --package xen-livepatch
    package=target/package/xen-livepatch-$(sed -n '0,/^version = /s/^version = "\(.*\)"/\1/p' Cargo.toml)
    cargo check --manifest-path "$package/Cargo.toml" --offline --all-targets --features sim,serde --target-dir target
}

step_bindings() { cargo test --locked --features bindgen --test bindings; }

step_api() { .ci/api; }

step_headers() { tests/xen-headers/check "${headers[@]}"; }

step_fuzz() { .ci/fuzz 30; }

step_fleet() {
    install_missing ansible-playbook=ansible-core
    examples/fleet/test "$TOOL"
}
