# The steps of the gate that boot a Xen: step_NAME, with _ for each hyphen. Sourced by run.
# shellcheck shell=bash
# shellcheck disable=SC2154  # seed is run's

# Unoptimised, because `minimum-rust` has built that. Few operations, since the processor is slow.
step_aarch64() {
    local config=(--config .cargo/real-xen.toml --locked)
    export XEN=arm64
    cargo real-xen --locked
    cargo shapes --locked
    REAL_XEN_VERSION_TEXT=.5-1.xs8 cargo shapes --locked
    cargo in-xen --locked --quiet --example quickstart -- --real
    tests/real-xen/static-test "$STATIC/aarch64/xen-livepatch"
    XEN=arm64-stock cargo real-xen --locked -- --exact opening::opening_fails_without_live_patching
    XEN_LIVEPATCH_SEED=$seed XEN_LIVEPATCH_OPERATIONS=1024 cargo test "${config[@]}" --test fidelity -- --nocapture
    XEN_LIVEPATCH_SEED=$seed XEN_LIVEPATCH_HUNT_SECONDS=30 cargo test "${config[@]}" --test hunt
    unset XEN
}

step_boots() {
    XEN=4.17 tests/real-xen/output-test
    XEN=4.20 tests/real-xen/units-test "$TOOL"
}

step_guard() { XEN=4.17 tests/real-xen/guard-test "$TOOL"; }

# At the same time, as the clock counts instructions.
step_bench() {
    beside target/ci/bench-4.20.log bench_of 4.20
    bench_of 4.17
    join
}

# bench_of VERSION
bench_of() { XEN=$1 REAL_XEN_TOOL=$TOOL cargo real-xen-bench --locked -- --check; }

# tests_in_dom0 NAME: one of the two programs of `cargo real-xen`.
tests_in_dom0() { cargo test --locked --config .cargo/real-xen.toml --test "$1"; }

# Boots with the clock of instructions, or with one processor, keep one of this machine's processors busy, and run in pairs. The races
# and the comparison need both.
step_xen() {
    local version=$1 directory=target/real-xen/$1
    export XEN=$version
    REAL_XEN_CONSOLE=$directory/dom0.log beside "$directory/dom0-tests.log" tests_in_dom0 dom0
    cargo shapes --locked
    cargo in-xen --locked --quiet --example quickstart -- --real
    join
    check_console "$directory/dom0.log"
    tests_in_dom0 races
    XEN_LIVEPATCH_SEED=$seed XEN_LIVEPATCH_OPERATIONS=5120 cargo fidelity --locked -- --nocapture
    # The tools mostly wait.
    beside "$directory/beside-c-tool.log" tests/real-xen/beside-c-tool "$version" "$TOOL" "$seed"
    XEN_LIVEPATCH_HUNT_SECONDS=20 cargo hunt --locked
    join
    unset XEN
}

# check_console FILE: payloads that the check refuses do not reach Xen, which would have logged their names.
check_console() {
    grep -a -q 'livepatch: arrives-unchecked: ' "$1"
    ! grep -a 'never-arrives' "$1" || die 1 "a refused payload reached Xen"
}

# `cargo test` has checked the shapes under all vendors' texts; here are one without a point release and one with.
step_vendor_texts() {
    export XEN=4.17
    REAL_XEN_CONSOLE=target/real-xen/4.17/custom.log REAL_XEN_VERSION_TEXT=-custom beside target/ci/custom.log cargo shapes --locked
    export REAL_XEN_VERSION_TEXT=.7-1.xs8
    cargo real-xen --locked -- checked::
    join
    REAL_XEN_CONSOLE=target/real-xen/4.17/vendor-shapes.log beside target/ci/vendor-shapes.log cargo shapes --locked
    XEN_LIVEPATCH_HUNT_SECONDS=30 cargo hunt --locked
    join
    XEN_LIVEPATCH_OPERATIONS=2048 XEN_LIVEPATCH_SEED=$seed cargo fidelity --locked -- --nocapture
    unset XEN REAL_XEN_VERSION_TEXT
}
