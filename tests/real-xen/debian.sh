# Packages of any Debian suite, downloaded and unpacked, whatever suite the machine runs. Sourced by bash, with `say` and
# `die` of lib.sh, and with $work a directory of the caller's to work in. $architecture, amd64 unless set, is theirs.
# shellcheck shell=bash disable=SC2154

# debian_archives [APT-OPTION...]: "SUITE URI" of each Debian archive in the lists of the machine's apt.
debian_archives() {
    # shellcheck disable=SC2016  # the fields are apt's to fill in
    apt-get indextargets "$@" --format '$(ORIGIN) $(RELEASE) $(REPO_URI)' | sed -n 's/^Debian //p'
}

# find_mirrors: sets mirror, and security_mirror, which is empty when the machine has none.
find_mirrors() {
    [[ -z ${mirror:-} ]] || return 0
    local archives lists=$work/lists
    archives=$(debian_archives)
    if [[ -z $archives ]]; then
        # A fresh container has no lists yet, and a lasting update is not for this script to make.
        mkdir -p "$lists/partial"
        quietly retry apt-get -o Dir::State::Lists="$lists" -o APT::Sandbox::User= update || die 1 "apt-get update failed"
        archives=$(debian_archives -o Dir::State::Lists="$lists")
    fi
    mirror=$(awk '$1 !~ /-/ { print $2; exit }' <<<"$archives")
    security_mirror=$(awk '$1 ~ /-security$/ { print $2; exit }' <<<"$archives")
    [[ -n $mirror ]] || die 1 "apt on this machine is not set up for a Debian archive"
    for keyring in /usr/share/keyrings/debian-archive-keyring.{gpg,pgp}; do
        [[ ! -e $keyring ]] || return 0
    done
    die 1 "Debian's archive keyring is missing: install the package debian-archive-keyring"
}

# in_suite SUITE TOOL ARGS...: apt-get or apt-cache, seeing SUITE alone.
in_suite() {
    local suite=$1 tool=$2 state=$work/$1-${architecture:=amd64}
    shift 2
    "$tool" \
        -o APT::Architecture="$architecture" -o APT::Architectures="$architecture" \
        -o Dir::Etc::sourcelist="$state/sources.list" -o Dir::Etc::sourceparts=/dev/null \
        -o Dir::Etc::preferences=/dev/null -o Dir::Etc::preferencesparts=/dev/null -o APT::Default-Release= \
        -o Dir::State::Lists="$state/lists" -o Dir::State::status="$state/status" -o Dir::Cache="$state/cache" \
        -o Acquire::Check-Valid-Until=false -o Acquire::Languages=none \
        -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false -o APT::Sandbox::User= "$@"
}

# open_suite SUITE: downloads its package lists, once.
open_suite() {
    local suite=$1 state=$work/$1-${architecture:=amd64}
    [[ ! -e $state/open ]] || return 0
    find_mirrors
    mkdir -p "$state"/{lists,cache/archives}/partial
    : >"$state/status"
    {
        echo "deb [arch=$architecture signed-by=$keyring] $mirror $suite main"
        [[ -z $security_mirror ]] || echo "deb [arch=$architecture signed-by=$keyring] $security_mirror $suite-security main"
    } >"$state/sources.list"
    # Without this, update succeeds when a mirror can't be reached.
    quietly retry in_suite "$suite" apt-get -o APT::Update::Error-Mode=any update || return
    touch "$state/open"
}

# unpack SUITE DIRECTORY PACKAGE...
unpack() {
    local suite=$1 to=$2 debs=$work/debs package
    shift 2
    open_suite "$suite" || return
    rm -rf "$debs" && mkdir -p "$debs" "$to" || return
    (cd "$debs" && quietly retry in_suite "$suite" apt-get download "$@") || return
    for package in "$debs"/*.deb; do
        dpkg -x "$package" "$to" || return
        # shellcheck disable=SC2016  # the fields are dpkg's to fill in
        say "$suite: $(dpkg-deb -W --showformat='${Package} ${Version}' "$package")"
    done
}

# unpack_source SUITE DIRECTORY PACKAGE: of the suite itself, not of its updates.
unpack_source() {
    local suite=$1 to=$2 package=$3 sources=$work/sources state=$work/$1-${architecture:=amd64}
    open_suite "$suite" || return
    if ! grep -q '^deb-src' "$state/sources.list"; then
        echo "deb-src [signed-by=$keyring] $mirror $suite main" >>"$state/sources.list"
        quietly retry in_suite "$suite" apt-get -o APT::Update::Error-Mode=any update || return
    fi
    mkdir -p "$sources"
    (cd "$sources" && quietly retry in_suite "$suite" apt-get source --download-only --only-source "$package") || return
    # apt has checked its checksum.
    quietly dpkg-source --no-check -x "$sources/$package"_*.dsc "$to" || die 1 "the source of $package can't be unpacked"
    say "$suite: source of $package $(sed -n 's/^Version: //p' "$sources/$package"_*.dsc)"
}
