# What steps need from the machine and from each other. Each is made once, by the first step that needs it. Sourced by run.
# shellcheck shell=bash

readonly TARGET=x86_64-unknown-linux-gnu
# shellcheck disable=SC2034  # for the steps
readonly TOOL=target/$TARGET/release/examples/xen-livepatch

declare -A needs_of=(
    [lint]=tools
    [test]=tools
    [minimum-rust]=tools
    [units]=tools
    [package]=tools
    [bindings]=tools
    [headers]='tools headers'
    [fuzz]=tools
    [aarch64]='tools xen-arm64'
    [boots]='tools xen-4.17 xen-4.20 tool'
    [guard]='tools xen-4.17 tool'
    [bench]='tools xen-4.17 xen-4.20 bench'
    ['xen 4.14']='tools xen-4.14 tool tests'
    ['xen 4.17']='tools xen-4.17 tool tests'
    ['xen 4.20']='tools xen-4.20 tool tests'
    [vendor-texts]='tools xen-4.17 tests'
)

# Each need that was seen to, with yes or no: is it there?
declare -A there=()

# need_all_of STEP: sets missing to what can't be had, if anything. Not a condition, in which bash would go on after an error.
need_all_of() {
    local need
    # shellcheck disable=SC2034  # for lib.sh
    missing=''
    for need in ${needs_of[$1]}; do
        if [[ -z ${there[$need]:-} ]]; then
            there[$need]=yes
            case $need in
                xen-*) fetch_xen "$need" "${need#xen-}" ;;
                *) "need_$need" ;;
            esac
        fi
        [[ ${there[$need]} == yes ]] || missing=$need
    done
}

need_tools() {
    if ! ls /usr/lib/llvm-*/lib/libclang[.-]*so* >/dev/null 2>&1 || ! command -v cc >/dev/null || ! command -v clang >/dev/null ||
        ! command -v python3 >/dev/null; then
        retry apt-get update -qq
        retry apt-get install -y -qq --no-install-recommends gcc g++ clang libc6-dev binutils libclang-dev python3 >/dev/null
    fi
    retry cargo fetch --locked --quiet
}

# fetch_or_skip NEED WHAT ARGS...: where Debian has no longer what is to be fetched, fetch ends with 3, and that is no fault of
# the project's. The suites of 4.17 and 4.20 are not to be skipped.
fetch_or_skip() {
    local status=0
    tests/real-xen/fetch "${@:3}" || status=$?
    case $status in
        0) ;;
        3)
            there[$1]=no
            skip "$2 can not be fetched, so nothing is tested on it"
            ;;
        *) exit "$status" ;;
    esac
}

# fetch_xen NEED VERSION
fetch_xen() {
    case $2 in
        4.14) fetch_or_skip "$1" 'Xen 4.14' 4.14 ;;
        arm64) fetch_or_skip "$1" 'Xen for AArch64' arm64 arm64-stock ;;
        *) retry tests/real-xen/fetch "$2" ;;
    esac
}

# Sets headers to the directories.
need_headers() {
    local version
    headers=()
    there[headers-4.14]=yes
    fetch_or_skip headers-4.14 'The header of Xen 4.14' --headers 4.14
    for version in 4.17 4.20; do
        retry tests/real-xen/fetch --headers "$version"
    done
    for version in 4.17 4.20 4.14; do
        [[ $version == 4.14 && ${there[headers-4.14]} == no ]] || headers+=("target/real-xen/$version/headers/usr/include")
    done
}

# Dom0 has no libraries.
need_tool() {
    cargo build --locked --release --config .cargo/real-xen.toml --target "$TARGET" --example xen-livepatch
}

need_tests() {
    cargo test --locked --config .cargo/real-xen-tests.toml --target "$TARGET" --test dom0 --test races --test shapes --no-run
    cargo test --locked --release --config .cargo/real-xen-tests.toml --target "$TARGET" --test c_tool --test fidelity --test hunt \
        --no-run
}

need_bench() {
    cargo bench --locked --config .cargo/real-xen-bench.toml --target "$TARGET" --bench dom0 --no-run
}
