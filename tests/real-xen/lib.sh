# Functions that the scripts here share, and the table of Xen releases. Sourced by bash.
# shellcheck shell=bash disable=SC2034

export LC_ALL=C
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
case ${CARGO_TARGET_DIR:=target} in
    /*) target=$CARGO_TARGET_DIR ;;
    *) target=$root/$CARGO_TARGET_DIR ;;
esac
store=$target/real-xen

# Exit statuses of run: a time limit passed; Xen or dom0 died; nothing could be run.
readonly TIMED_OUT=124 DIED=125 NOT_RUN=126

# The Xens that can be booted, each with its Debian suite: releases for x86-64; for AArch64 the suite's, built from its source
# with live patching (arm64), and Debian's own without (arm64-stock).
declare -A suite_of=(
    [4.14]=bullseye
    [4.17]=bookworm
    [4.20]=trixie
    [arm64]=bookworm
    [arm64-stock]=bookworm
)

say() { printf 'real-xen: %s\n' "$*" >&2; }

# die STATUS MESSAGE...
die() {
    local status=$1
    shift
    say "$@"
    exit "$status"
}

# exit_on_signals: by exit, so that the trap of EXIT cleans up.
exit_on_signals() {
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
}

# retry COMMAND...: for network access.
retry() {
    local attempt
    for attempt in 1 2 3; do
        "$@" && return
        echo "attempt $attempt failed: $*" >&2
        sleep 5
    done
    return 1
}

# quietly COMMAND...: shows the output only on failure.
quietly() {
    local log
    log=$(mktemp)
    if "$@" >"$log" 2>&1; then
        rm "$log"
    else
        cat "$log" >&2
        rm "$log"
        return 1
    fi
}

# install_missing PROGRAM=PACKAGE...: PROGRAM may also be the path of a file.
install_missing() {
    local tool missing=()
    for tool; do
        command -v "${tool%=*}" >/dev/null || [[ -e ${tool%=*} ]] || missing+=("${tool#*=}")
    done
    ((${#missing[@]})) || return 0
    ((EUID == 0)) || die 1 "packages are missing: install ${missing[*]}"
    say "installing ${missing[*]}"
    quietly retry apt-get update || die 1 "apt-get update failed"
    DEBIAN_FRONTEND=noninteractive quietly retry apt-get install -y --no-install-recommends "${missing[@]}" ||
        die 1 "${missing[*]} could not be installed"
}

# check_version VERSION STATUS: exits with STATUS unless VERSION is in the table above.
check_version() {
    [[ -n $1 && -n ${suite_of[$1]:-} ]] && return
    local known
    known=$(printf '%s\n' "${!suite_of[@]}" | sort -V | paste -sd' ')
    die "$2" "no Xen '$1' here, only: $known, or the path of a hypervisor file (with a slash)"
}

# machine_of VERSION: the architecture, in Debian's words.
machine_of() {
    case $1 in
        arm64*) echo arm64 ;;
        *) echo amd64 ;;
    esac
}

# use_machine MACHINE
use_machine() {
    machine=$1
    # shellcheck source-path=SCRIPTDIR source=machine-amd64.sh
    . "$here/machine-$machine.sh"
}

# libraries_of PROGRAM: the paths of its loader and libraries; nothing when it is static.
libraries_of() { ldd "$1" 2>/dev/null | grep -o '/[^ ]*' || true; }

# built_program: the path of the program in cargo's messages, which are read in JSON.
built_program() { sed -n 's/.*"executable":"\([^"]*\)".*/\1/p' | tail -n 1; }

# make_payloads DIRECTORY ARGS...: runs tests/DIRECTORY/make for the machine in use. Fails without gcc and binutils.
make_payloads() {
    local tools=()
    # shellcheck disable=SC2154  # of the machine's file
    [[ -z $cross ]] || tools=(CC="${cross}gcc" LD="${cross}ld" OBJCOPY="${cross}objcopy" READELF="${cross}readelf"
        STRIP="${cross}strip")
    env "${tools[@]}" "$here/../$1/make" "${@:2}"
}

# build_id HYPERVISOR: in hexadecimal; nothing when it has none. An image that is not an ELF file is searched for the note.
build_id() {
    local id at
    id=$(readelf -n "$1" 2>/dev/null | sed -n 's/.*Build ID: //p')
    if [[ -z $id ]]; then
        at=$(grep -obUaP '\x04\0\0\0\x14\0\0\0\x03\0\0\0GNU\0' "$1" | head -n1 | cut -d: -f1) || true
        [[ -z $at ]] || id=$(od -An -v -tx1 -j $((at + 16)) -N20 "$1" | tr -d ' \n')
    fi
    echo "$id"
}
