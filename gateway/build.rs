//! Links against the private WasmEdge prefix, when there is one, and takes the interpreters of scripts in.
include!("wasmedge/link.rs");

use std::path::Path;

fn main() {
    link_to_prefix();
    for interpreter in ["lua", "starlark"] {
        take_in(interpreter);
    }
}

/// Writes `NAME.rs`: the bytes of `filters/dist/NAME.wasm` (`make filters`), or nothing if it is not built. The
/// program works without, and says so where a policy names a script.
fn take_in(name: &str) {
    let dist = Path::new("../filters/dist");
    let module = dist.join(name).with_extension("wasm");
    // A path that does not exist would have cargo build again each time.
    for watched in [&module, dist, Path::new("build.rs")] {
        if watched.exists() {
            println!("cargo:rerun-if-changed={}", watched.display());
            break;
        }
    }
    let Some(folder) = std::env::var_os("OUT_DIR") else { return };
    let folder = Path::new(&folder);
    let copied = std::fs::copy(&module, folder.join(name).with_extension("wasm")).is_ok();
    let text = if copied { format!("Some(include_bytes!(\"{name}.wasm\"))") } else { "None".to_owned() };
    std::fs::write(folder.join(name).with_extension("rs"), text)
        .expect("cargo makes OUT_DIR for us to write to");
}
