# The needs of steps: programs, Xens and builds, each made once, by the first step that needs it. Sourced by run.
# shellcheck shell=bash

# shellcheck disable=SC2034  # for the steps
readonly STATIC=target/static PACKAGES=target/packages TOOL=target/static/x86_64/xen-livepatch

# Besides the tools, which all need.
declare -A needs_of=(
    [test]=minisign
    [static]=tool
    [packages]='xen-4.17 tool packages'
    [headers]=headers
    [metrics]=tool
    [fleet]=tool
    [aarch64]='xen-arm64 tool'
    [boots]='xen-4.17 xen-4.20 tool minisign'
    [guard]='xen-4.17 tool'
    [bench]='xen-4.17 xen-4.20 tool bench'
    ['xen 4.14']='xen-4.14 tool tests'
    ['xen 4.17']='xen-4.17 tool tests'
    ['xen 4.20']='xen-4.20 tool tests'
    [vendor-texts]='xen-4.17 tests'
)

# Whether a need could be met: yes or no.
declare -A there=()

# need_all_of STEP: sets missing to a need that could not be met, or to nothing. Not a condition, in which bash would ignore errors.
need_all_of() {
    local need
    missing=''
    for need in tools ${needs_of[$1]:-}; do
        if [[ -z ${there[$need]:-} ]]; then
            there[$need]=yes
            case $need in
                xen-*) fetch_xen "$need" "${need#xen-}" ;;
                *) "need_$need" ;;
            esac
        fi
        # shellcheck disable=SC2034  # for lib.sh
        [[ ${there[$need]} == yes ]] || missing=$need
    done
}

need_tools() {
    local libclang
    libclang=$(compgen -G '/usr/lib/llvm-*/lib/libclang[.-]*so*' | head -n 1) || true
    install_missing cc=gcc c++=g++ clang=clang /usr/include/stdio.h=libc6-dev ld=binutils "${libclang:-libclang}=libclang-dev" \
        python3=python3
    retry cargo fetch --locked --quiet
}

# fetch_or_skip NEED DESCRIPTION ARGS...: skips a release that is no longer in Debian. Those of 4.17 and 4.20 may not be skipped.
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

# need_headers: sets headers to the directories.
need_headers() {
    local version directory=target/real-xen
    headers=()
    for version in 4.17 4.20; do
        retry tests/real-xen/fetch --headers "$version"
        headers+=("$directory/$version/headers/usr/include")
    done
    fetch_or_skip headers-4.14 'The header of Xen 4.14' --headers 4.14
    [[ ${there[headers-4.14]:-} == no ]] || headers+=("$directory/4.14/headers/usr/include")
}

# As it is shipped, for both architectures at once: optimising it keeps one processor busy for each.
need_tool() { examples/xen-livepatch/build-static --out "$STATIC" x86_64 aarch64; }

# Signs payloads.
need_minisign() { install_missing minisign=minisign; }

# Another version is for upgrades. Debian's tree comes from its mirror meanwhile.
need_packages() {
    install_missing mmdebstrap=mmdebstrap
    beside target/ci/debian.log tests/real-xen/fetch --debian
    rm -rf "$PACKAGES"
    examples/xen-livepatch/build-packages --out "$PACKAGES" x86_64 aarch64
    examples/xen-livepatch/build-packages --out "$PACKAGES/next" --version 999 x86_64
    join
}

need_tests() {
    cargo real-xen --locked --test shapes --no-run
    cargo fidelity --locked --test hunt --test c_tool --no-run
}

need_bench() { cargo real-xen-bench --locked --no-run; }
