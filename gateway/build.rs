//! Links against the private WasmEdge prefix, when there is one, and takes the Lua interpreter in.
include!("wasmedge/link.rs");

use std::path::Path;

fn main() {
    link_to_prefix();
    take_in_interpreter();
}

/// Writes `interpreter.rs`: the bytes of `filters/dist/lua.wasm` (`make filters`), or nothing if it is not
/// built. The program works without, and says so where a policy names a script.
fn take_in_interpreter() {
    let dist = Path::new("../filters/dist");
    let module = dist.join("lua.wasm");
    // A path that does not exist would have cargo build again each time.
    for watched in [&module, dist, Path::new("build.rs")] {
        if watched.exists() {
            println!("cargo:rerun-if-changed={}", watched.display());
            break;
        }
    }
    let Some(folder) = std::env::var_os("OUT_DIR") else { return };
    let folder = Path::new(&folder);
    let copied = std::fs::copy(&module, folder.join("lua.wasm")).is_ok();
    let text = if copied { "Some(include_bytes!(\"lua.wasm\"))" } else { "None" };
    std::fs::write(folder.join("interpreter.rs"), text).expect("cargo makes OUT_DIR for us to write to");
}
