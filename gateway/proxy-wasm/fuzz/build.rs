//! Links the library as the packages do, and gives the shared test support what cargo gives tests: a
//! folder to write to and the path of the compiler's child process.

use std::path::PathBuf;

include!("../../wasmedge/link.rs");

fn main() {
    link_to_prefix();
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets it"));
    // PROFILE/build/PACKAGE/out, as cargo lays it out.
    let profile = out.ancestors().nth(3).expect("cargo's layout");
    println!("cargo::rustc-env=CARGO_BIN_EXE_tollgate-proxy-wasm-aot={}", profile.join("aot").display());
    println!("cargo::rustc-env=CARGO_TARGET_TMPDIR={}", profile.join("tmp").display());
}
