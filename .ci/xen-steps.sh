# The steps of the gate that boot a Xen: step_NAME, with _ for each hyphen. Sourced by run.
# shellcheck shell=bash
# shellcheck disable=SC2154  # seed is run's

step_aarch64() { XEN_LIVEPATCH_SEED=$seed .ci/aarch64; }

step_boots() {
    XEN=4.17 tests/real-xen/output-test
    XEN=4.20 tests/real-xen/units-test "$TOOL"
}

step_guard() { XEN=4.17 tests/real-xen/guard-test "$TOOL"; }

# With instructions as the clock, what runs beside costs no operation anything.
step_bench() {
    beside target/ci/bench-4.20.log bench_of 4.20
    bench_of 4.17
    join
}

# bench_of VERSION
bench_of() { XEN=$1 cargo real-xen-bench --locked -- --check; }

# tests_in_dom0 NAME: one of the two programs of `cargo real-xen`.
tests_in_dom0() { cargo test --locked --config .cargo/real-xen-tests.toml --target "$TARGET" --test "$1"; }

# What is beside another has instructions for a clock, or one processor, so that each keeps one of the machine's busy. The races
# and the comparison need both.
step_xen() {
    local version=$1 folder=target/real-xen/$1
    export XEN=$version
    REAL_XEN_CONSOLE=$folder/dom0.log beside "$folder/dom0-tests.log" tests_in_dom0 dom0
    cargo shapes --locked
    cargo in-xen --locked --quiet --example quickstart -- --real
    join
    check_console "$folder/dom0.log"
    tests_in_dom0 races
    XEN_LIVEPATCH_SEED=$seed cargo fidelity --locked -- --nocapture
    # The tools mostly wait.
    beside "$folder/beside-c-tool.log" tests/real-xen/beside-c-tool "$version" "$TOOL" "$seed"
    # Other payloads in each run: its seed is printed.
    XEN_LIVEPATCH_HUNT_SECONDS=45 cargo hunt --locked
    join
    unset XEN
}

# check_console FILE: what the check before an upload refuses never reaches Xen, which would have logged its name.
check_console() {
    grep -a -q 'livepatch: arrives-unchecked: ' "$1"
    if grep -a 'never-arrives' "$1"; then
        echo "a payload reached a Xen that must not" >&2
        return 1
    fi
}

# The same hypervisors under the texts of vendors, who build from the source of that point release or of the one before it.
# `cargo test` has checked the shapes under all of their texts; this is one that gives no point release, and one that does.
step_vendor_texts() {
    export XEN=4.17
    REAL_XEN_CONSOLE=target/real-xen/4.17/custom.log REAL_XEN_VERSION_TEXT=-custom beside target/ci/custom.log cargo shapes --locked
    export REAL_XEN_VERSION_TEXT=.7-1.xs8
    cargo real-xen --locked -- story checked:: ensure::
    join
    REAL_XEN_CONSOLE=target/real-xen/4.17/vendor-shapes.log beside target/ci/vendor-shapes.log cargo shapes --locked
    XEN_LIVEPATCH_HUNT_SECONDS=30 cargo hunt --locked
    join
    XEN_LIVEPATCH_OPERATIONS=2048 XEN_LIVEPATCH_SEED=$seed cargo fidelity --locked -- --nocapture
    unset XEN REAL_XEN_VERSION_TEXT
}
