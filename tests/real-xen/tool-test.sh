# Shared by the tests that boot a real Xen with the tool, most of them several times with the same disk. Sourced by bash,
# with $test the name of the test and its arguments: a TOOL, which is statically linked for the machine of that Xen.
#
#   XEN                  the Xen: 4.17 (default), 4.20, 4.14; guard-test also takes arm64
#   REAL_XEN_TIMEOUT     limit of each boot in seconds, as for run
# shellcheck shell=bash disable=SC2034,SC2154
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

[[ $# -eq 1 && -x $1 ]] || die 2 "usage: $test TOOL"
tool=$(realpath -- "$1")
# The tests send signals at any moment and wait for minutes, for which time must not stand still.
export XEN=${XEN:-4.17} REAL_XEN_CLOCK=${REAL_XEN_CLOCK:-real}
check_version "$XEN" 2
use_machine "$(machine_of "$XEN")"
"$here/fetch" "$XEN"
tmp=$(mktemp -d "$store/$test.XXXXXX")
trap 'rm -rf "$tmp"' EXIT
quietly make_payloads gcc-payloads "$tmp" "$(build_id "$store/$XEN/xen")" 2 crashing extra-version stacked hooked ||
    die 1 "the payloads could not be made (needs gcc and binutils)"
what=
# The root of a system that a test puts together.
tree=$tmp/tree

fail() {
    say "$test, Xen $XEN: $what: $1"
    sed 's/^/    /' "$tmp/output" >&2 || true
    exit 1
}

# boot_once WHAT STATUS FILES SCRIPT: runs a script of dom0's shell in a new machine with the same disk, and expects the status.
boot_once() {
    local status=0
    what=$1
    # Quiescing a single processor succeeds however busy this machine is.
    REAL_XEN_CPUS=1 REAL_XEN_STATE=$tmp/disk REAL_XEN_CONSOLE=$tmp/console REAL_XEN_DOM0=${dom0:-} REAL_XEN_FILES=$3 \
        "$here/run" sh -c "$4" >"$tmp/output" 2>&1 || status=$?
    ((status == $2)) || fail "the exit status is $status, not $2"
    say "$test, Xen $XEN: $what"
}

# lacks REGEX: the output has no line that matches it.
lacks() { ! grep -q -E -e "$1" "$tmp/output" || fail "the output has '$1'"; }

# in_order REGEX...: the output has lines that match these, one after the other.
in_order() {
    local line number rest=$tmp/rest
    cp "$tmp/output" "$rest"
    for line; do
        number=$(grep -n -E -m1 -e "$line" "$rest" | cut -d: -f1) || true
        [[ -n $number ]] || fail "the output does not have '$line', or too early"
        sed -i "1,${number}d" "$rest"
    done
}

# write PATH LINE...: into the tree.
write() {
    mkdir -p "$(dirname "$tree/$1")"
    printf '%s\n' "${@:2}" >"$tree/$1"
}
