# What the scripts here share. Sourced by bash.
# shellcheck shell=bash disable=SC2034

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
case ${CARGO_TARGET_DIR:=target} in
    /*) store=$CARGO_TARGET_DIR/real-xen ;;
    *) store=$root/$CARGO_TARGET_DIR/real-xen ;;
esac

# The Xens that can be booted, and the Debian suite that has each: releases for x86-64, and for AArch64 that of the suite,
# built from its source with live patching (arm64), and as Debian has it, without (arm64-stock).
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

# check_version VERSION STATUS: is it in the table above?
check_version() {
    [[ -n $1 && -n ${suite_of[$1]:-} ]] && return
    local known
    known=$(printf '%s\n' "${!suite_of[@]}" | sort -V | paste -sd' ')
    die "$2" "no Xen '$1' here, only: $known, or the path of a hypervisor file (with a slash)"
}

# machine_of VERSION: what it runs on, in Debian's words.
machine_of() {
    case $1 in
        arm64*) echo arm64 ;;
        *) echo amd64 ;;
    esac
}

# use_machine MACHINE: what differs between the machines is in a file for each.
use_machine() {
    machine=$1
    # shellcheck source-path=SCRIPTDIR source=machine-amd64.sh
    . "$here/machine-$machine.sh"
}

# make_payloads DIRECTORY ARGS...: what the script make in a directory of tests/ makes, for the machine in use.
make_payloads() {
    local tools=()
    # shellcheck disable=SC2154  # of the machine's file
    [[ -z $cross ]] || tools=(CC="${cross}gcc" LD="${cross}ld" OBJCOPY="${cross}objcopy" READELF="${cross}readelf"
        STRIP="${cross}strip")
    env "${tools[@]}" "$here/../$1/make" "${@:2}"
}

gcc_payloads() { make_payloads gcc-payloads "$@"; }
vendor_payloads() { make_payloads vendor-payloads "$@"; }

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
