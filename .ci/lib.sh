# What the scripts of the gate share. Sourced by bash.
# shellcheck shell=bash

# retry COMMAND...: for what goes over the network.
retry() {
    local attempt
    for attempt in 1 2 3; do
        "$@" && return
        echo "attempt $attempt failed: $*" >&2
        sleep 5
    done
    echo "The network or a mirror is failing: gave up on: $*" >&2
    return 1
}
