//! Generates the bindings of xen-headers/ into `OUT_DIR` with feature `bindgen`, for tests/bindings.rs to compare with
//! src/sys/bindings.rs. Does nothing otherwise.
#![allow(clippy::print_stdout, reason = "cargo reads the standard output of a build script")]
#![allow(clippy::expect_used, reason = "a build script fails by a panic")]

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    #[cfg(feature = "bindgen")]
    bindings::generate();
}

#[cfg(feature = "bindgen")]
mod bindings {
    use std::{env, panic, path::Path};

    use bindgen::{Builder, Formatter, RustEdition, RustTarget};

    const HEADER: &str = "xen-headers/xen-livepatch.h";

    pub(super) fn generate() {
        println!("cargo::rerun-if-changed={HEADER}");
        println!("cargo::rerun-if-env-changed=LIBCLANG_PATH");
        let out = Path::new(&env::var_os("OUT_DIR").expect("cargo sets OUT_DIR")).join("bindings.rs");

        // bindgen panics if it finds no libclang.
        let bindings = match panic::catch_unwind(|| builder().generate()) {
            Ok(bindings) => bindings,
            Err(reason) => {
                let reason = reason.downcast_ref::<String>().map_or("", String::as_str);
                println!("cargo::error=bindgen stopped: {reason}");
                println!(
                    "cargo::error=Feature `bindgen` needs libclang (Debian: libclang-dev; elsewhere set LIBCLANG_PATH). \
                     It is only needed to change xen-headers/."
                );
                return;
            }
        };
        bindings.expect("the header is valid C").write_to_file(out).expect("OUT_DIR can be written");
    }

    fn builder() -> Builder {
        let minimum_rust = RustTarget::stable(85, 0).expect("bindgen knows Rust 1.85");
        bindgen::builder()
            .header(HEADER)
            // One target and no includes give the same text on every machine. The layouts are the same on AArch64.
            .clang_arg("--target=x86_64-unknown-linux-gnu")
            .allowlist_file(HEADER)
            .rust_target(minimum_rust)
            .rust_edition(RustEdition::Edition2024)
            .use_core()
            .formatter(Formatter::Prettyplease)
            .disable_header_comment()
            .raw_line(format!("// Generated from {HEADER}: change that, then renew this file with"))
            .raw_line("// UPDATE_BINDINGS=1 cargo test --features bindgen --test bindings")
            // src/sys/layout.rs pins the layouts in fewer lines.
            .layout_tests(false)
            .derive_default(true)
            // The default of a union or of a longer array would be unsafe code, and a value of a union leaves the bytes outside
            // its member undefined.
            .no_default("xen_sysctl(_u|_livepatch_op|_livepatch_op_u)?|xen_compile_info")
    }
}
