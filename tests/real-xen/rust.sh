# A Rust that compiles for AArch64 and for musl, as the machine's may not: that of a Debian suite, at the minimum version of this
# crate. It is unpacked, not installed. Sourced by bash, after lib.sh.
# shellcheck shell=bash disable=SC2034,SC2154

readonly RUST_SUITE=trixie
readonly RUST=$target/minimum-rust
readonly AARCH64=aarch64-unknown-linux-gnu
# With a C library, since the machine's may be older.
readonly RUST_PACKAGES=(
    rustc libstd-rust-1.85 libstd-rust-dev libllvm19 libz3-4 libgmp10 libedit2 libxml2 libffi8 libtinfo6 libbsd0 libmd0
    libc6 libgcc-s1 libstdc++6 zlib1g libzstd1 liblzma5
)

# PROGRAM=PACKAGE: a linker for AArch64.
readonly RUST_TOOLS=(aarch64-linux-gnu-gcc=gcc-aarch64-linux-gnu /usr/aarch64-linux-gnu/lib/libc.a=libc6-dev-arm64-cross)

# fetch_rust: with debian.sh sourced.
fetch_rust() {
    local tree=$work/rust
    [[ ! -x $RUST/bin/rustc || ! -d $RUST/usr/lib/rustlib/$AARCH64 ]] || return 0
    unpack "$RUST_SUITE" "$tree" "${RUST_PACKAGES[@]}" || die 1 "Rust could not be fetched from Debian's $RUST_SUITE"
    architecture=arm64 unpack "$RUST_SUITE" "$tree" libstd-rust-dev ||
        die 1 "Rust's library for AArch64 could not be fetched from Debian's $RUST_SUITE"
    mkdir -p "$tree/bin"
    cat >"$tree/bin/rustc" <<'WRAPPER'
#!/bin/bash
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
exec "$root/usr/lib64/ld-linux-x86-64.so.2" --library-path "$root/usr/lib/x86_64-linux-gnu:$root/usr/lib" \
    "$root/usr/bin/rustc" --sysroot "$root/usr" "$@"
WRAPPER
    chmod 755 "$tree/bin/rustc"
    rm -rf "$RUST"
    mv "$tree" "$RUST"
}

# fetch_musl: gives that Rust the source of its library, which Debian has not compiled for musl, and what a target for musl has beside
# the library: objects at both ends of a program, a C library, and LLVM's unwinder. With debian.sh sourced.
fetch_musl() {
    local tree=$work/musl library=$RUST/usr/lib/rustlib/src/rust/library machine cc
    [[ ! -d $library ]] || return 0
    for machine in x86_64:amd64 aarch64:arm64; do
        cc=${machine%:*}-linux-gnu-gcc
        architecture=${machine#*:} unpack "$RUST_SUITE" "$tree/${machine%:*}" musl-dev libunwind-19-dev &&
            collect_musl "${machine%:*}" "$tree/${machine%:*}" ||
            die 1 "musl for ${machine%:*} could not be fetched from Debian's $RUST_SUITE"
    done
    unpack "$RUST_SUITE" "$tree" rust-src || die 1 "the source of Rust's library could not be fetched from Debian's $RUST_SUITE"
    mkdir -p "${library%/*}"
    mv "$tree"/usr/src/rustc-*/library "$library"
}

# collect_musl MACHINE TREE: for `-C link-self-contained`, where rustup's targets have the same files.
collect_musl() {
    local to=$RUST/usr/lib/rustlib/$1-unknown-linux-musl/lib/self-contained name
    mkdir -p "$to"
    cp "$2/usr/lib/$1-linux-musl"/{crt1.o,rcrt1.o,crti.o,crtn.o,libc.a} "$to/" || return
    for name in crtbegin crtbeginS crtend crtendS; do
        cp "$("$1-linux-gnu-gcc" -print-file-name=$name.o)" "$to/" || return
    done
    cp -L "$2"/usr/lib/llvm-*/lib/libunwind.a "$to/" || return
    # Its messages for debugging call glibc's checked functions, which musl does not have.
    "$1-linux-gnu-gcc" -O2 -U_FORTIFY_SOURCE -xc -c -o "$2/checked.o" - <<'C' || return
#include <stdarg.h>
#include <stdio.h>

int __vfprintf_chk(FILE *file, int flag, const char *format, va_list values)
{
    (void)flag;
    return vfprintf(file, format, values);
}

int __vsnprintf_chk(char *text, size_t size, int flag, size_t room, const char *format, va_list values)
{
    (void)flag;
    (void)room;
    return vsnprintf(text, size, format, values);
}
C
    "$1-linux-gnu-ar" r "$to/libunwind.a" "$2/checked.o" 2>/dev/null
}

# cargo_with_musl ARGS...: cargo with this Rust, and with its library compiled as a part of the program: without backtraces, since the
# program has no symbols.
cargo_with_musl() {
    RUSTC_BOOTSTRAP=1 \
        CARGO_TARGET_X86_64_UNKNOWN_LINUX_MUSL_RUSTFLAGS='-C link-self-contained=yes' \
        CARGO_TARGET_AARCH64_UNKNOWN_LINUX_MUSL_RUSTFLAGS='-C link-self-contained=yes' \
        CARGO_TARGET_AARCH64_UNKNOWN_LINUX_MUSL_LINKER=aarch64-linux-gnu-gcc \
        cargo_with_rust "$@" -Zbuild-std=std,panic_unwind -Zbuild-std-features=
}

# cargo_with_rust ARGS...: cargo with this Rust, in a target directory of its own. Static for AArch64, because dom0 has no libraries.
cargo_with_rust() {
    RUSTC=$RUST/bin/rustc CARGO_TARGET_DIR=$target/minimum \
        CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc \
        CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUSTFLAGS='-C target-feature=+crt-static' "${CARGO:-cargo}" "$@"
}

# twin PROGRAM: prints the path of the same test, example or binary, in the same profile, for AArch64.
twin() {
    local name=${1##*/} directory=${1%/*} kind=() profile=()
    case $directory in
        */release | */release/*) profile=(--release) ;;
    esac
    # Cargo appends a hash to the names of tests.
    [[ $name =~ ^(.*)-[0-9a-f]{16}$ ]] && name=${BASH_REMATCH[1]}
    case $directory in
        */deps) kind=(--package xen-livepatch --test) ;;
        */examples) kind=(--package xen-livepatch --example) ;;
        */debug | */release) kind=(--package xen-livepatch-tool --bin) ;;
        *) return 1 ;;
    esac
    (cd "$root" && cargo_with_rust build --locked "${profile[@]}" --target "$AARCH64" "${kind[@]}" "$name" --message-format=json) |
        built_program
}
