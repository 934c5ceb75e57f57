# What fetch and run share. Sourced by bash.
# shellcheck shell=bash disable=SC2034

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
case ${CARGO_TARGET_DIR:=target} in
    /*) store=$CARGO_TARGET_DIR/real-xen ;;
    *) store=$root/$CARGO_TARGET_DIR/real-xen ;;
esac

# The releases that can be booted, and the Debian suite that has each.
declare -A suite_of=(
    [4.14]=bullseye
    [4.17]=bookworm
    [4.20]=trixie
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
