//! Links against the private WasmEdge prefix, when there is one.
include!("wasmedge/link.rs");

fn main() {
    link_to_prefix();
}
