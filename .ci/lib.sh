# Runs the steps of the gate, and reports their times and the skipped ones. Sourced by run.
# shellcheck shell=bash disable=SC2154

skipped=()
# skip REASON: it is repeated in the last line.
skip() {
    echo "!!! SKIPPED: $1" >&2
    skipped+=("$1")
}

times=()
# took STEP SECONDS
took() {
    printf -- '--- %s: %d s\n' "$1" "$2"
    times+=("$(printf '%6d s  %s' "$2" "$1")")
}

# headline TEXT
headline() { printf '\n=== %s (after %d s)\n' "$1" $((SECONDS - ${started:-0})); }

# step NAME [ARGUMENT], as one word: runs it, unless one of its needs is missing.
step() {
    local begun=$SECONDS
    current=$1
    headline "$1"
    need_all_of "$1"
    if [[ ! $missing ]]; then
        run_step "$1"
        took "$1" $((SECONDS - begun))
    fi
    current=''
}

# run_step NAME [ARGUMENT], as one word.
run_step() {
    local words
    read -r -a words <<<"$1"
    "step_${words[0]//-/_}" "${words[@]:1}"
}

# beside LOG COMMAND...: runs a command in the background, as a process group that can be ended. `join` shows its output.
beside() {
    beside_log=$1
    mkdir -p "${beside_log%/*}"
    set -m
    ("${@:2}") >"$beside_log" 2>&1 </dev/null &
    set +m
    beside_pid=$!
}

# join: waits for the command of `beside`, and shows its output. Returns its exit status.
join() {
    local status=0
    wait "$beside_pid" || status=$?
    beside_pid=''
    cat "$beside_log"
    return "$status"
}

# timed_steps NAME...: writes the time of each to a file.
timed_steps() {
    local name begun
    for name; do
        begun=$SECONDS
        headline "$name"
        run_step "$name"
        echo $((SECONDS - begun)) >"target/ci/$name.seconds"
    done
}

# steps_at_once NAME...: those after the first run one after the other, at the same time as the first, as far as their needs are there.
steps_at_once() {
    local begun=$SECONDS name names=()
    for name; do
        need_all_of "$name"
        [[ $missing ]] || names+=("$name")
    done
    if ((${#names[@]} < 2)); then
        for name in "${names[@]}"; do
            step "$name"
        done
        return
    fi
    current="${names[0]}, or beside it ${names[*]:1}"
    headline "${names[0]}, and beside it ${names[*]:1}"
    beside target/ci/steps-beside.log timed_steps "${names[@]:1}"
    run_step "${names[0]}"
    took "${names[0]}" $((SECONDS - begun))
    join
    for name in "${names[@]:1}"; do
        took "$name" "$(cat "target/ci/$name.seconds")"
    done
    current=''
}

# end STATUS: prints the table of times and the result, and ends the command of `beside`.
end() {
    if [[ -n ${beside_pid:-} ]] && kill -TERM -- "-$beside_pid" 2>/dev/null; then
        echo "The end of the output of the command beside it:"
        tail -n 40 "$beside_log"
    fi
    printf '\nTimes:\n'
    ((${#times[@]} == 0)) || printf '%s\n' "${times[@]}"
    printf '%6d s  %s\n' $((SECONDS - started)) 'all'
    echo
    # After a signal the status may be that of a command which went well.
    if (($1)) || [[ -n ${current:-} ]]; then
        echo "=== FAILED: ${current:-the gate} (exit status $1)"
    elif ((${#skipped[@]})); then
        echo "=== all is well as far as it was tried, but SKIPPED: $(printf '%s; ' "${skipped[@]}")"
    else
        echo '=== all is well'
    fi
}
