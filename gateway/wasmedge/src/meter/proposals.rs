//! Which proposals a module uses that are not supported, for whoever asks why it is refused.

use wasmparser::{Validator, WasmFeatures};

use super::inspect::features;

/// What is not supported: the flags, and the proposal in plain words.
const UNSUPPORTED: [(WasmFeatures, &str); 9] = [
    (WasmFeatures::EXCEPTIONS, "exception handling"),
    (WasmFeatures::LEGACY_EXCEPTIONS, "legacy exception handling"),
    (WasmFeatures::GC.union(WasmFeatures::GC_TYPES), "garbage collection"),
    (WasmFeatures::FUNCTION_REFERENCES, "typed function references"),
    (WasmFeatures::THREADS, "threads"),
    (WasmFeatures::MULTI_MEMORY, "several memories"),
    (WasmFeatures::MEMORY64, "64-bit memories"),
    (WasmFeatures::STACK_SWITCHING, "stack switching"),
    (WasmFeatures::WIDE_ARITHMETIC, "wide arithmetic"),
];

/// The proposals without which `wasm` is not valid and that are not supported, in plain words. Empty
/// if it needs none, or is no valid module with all of them.
pub fn unsupported_proposals(wasm: &[u8]) -> Vec<&'static str> {
    let is_valid = |features| Validator::new_with_features(features).validate_all(wasm).is_ok();
    let all = UNSUPPORTED.iter().fold(features(), |all, (flags, _)| all | *flags);
    if is_valid(features()) || !is_valid(all) {
        return Vec::new();
    }
    let needed = UNSUPPORTED.iter().filter(|(flags, _)| !is_valid(all.difference(*flags)));
    needed.map(|(_, name)| *name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proposals(wat: &str) -> Vec<&'static str> {
        unsupported_proposals(&wat::parse_str(wat).unwrap())
    }

    #[test]
    fn names_what_a_module_needs() {
        assert_eq!(proposals("(module (memory 1) (func (nop)))"), [""; 0]);
        assert_eq!(proposals("(module (tag) (func (throw 0)))"), ["exception handling"]);
        assert_eq!(proposals("(module (memory 1) (memory 1))"), ["several memories"]);
        assert_eq!(proposals("(module (memory i64 1))"), ["64-bit memories"]);
        assert_eq!(proposals("(module (memory 1 1 shared))"), ["threads"]);
        assert!(proposals("(module (type (struct (field i32))))").contains(&"garbage collection"));
        assert_eq!(unsupported_proposals(b"\0asm\x01\0\0\0nonsense"), [""; 0]);
    }
}
